"""The training loop: stages one after another, each a plain sequence of steps that a checkpoint can interrupt."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from gfla_cli.config import ModelConfig
from gfla_cli.errors import DataError, GflaError
from gfla_cli.losses.adversarial import discriminator_loss, generator_loss
from gfla_cli.media.atomic import atomic_path
from gfla_cli.networks.build import build, initialise
from gfla_cli.runtime.device import Placement
from gfla_cli.training.average import WeightAverage
from gfla_cli.training.checkpoint import load_checkpoint, save_checkpoint
from gfla_cli.training.journal import Journal
from gfla_cli.training.objective import total, weighted
from gfla_cli.training.recipe import Recipe, Stage
from gfla_cli.training.task import Judged, TrainingTask

_NEVER_TRAINED, _SHOWN = 10**9, 8  # first number and count of the samples that are drawn to look at
_TOLERATED_NANS = 10  # steps in a row whose loss is not finite before a run gives up


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run reports after every step."""

    stage: Stage
    stage_index: int
    step: int  # of the stage, counted from 1
    samples: int  # seen since the run began, all stages together
    losses: dict[str, float]
    images_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How often a run leaves something behind, in steps."""

    log: int = 20
    save: int = 500
    sample: int = 500


class Trainer:
    """Owns the networks, their optimisers and the position in the recipe."""

    def __init__(
        self, recipe: Recipe, task: TrainingTask, folder: Path, placement: Placement, workers: int = 1
    ) -> None:
        self.recipe, self.task, self.folder, self.placement, self.workers = recipe, task, folder, placement, workers
        torch.manual_seed(recipe.seed)
        self.generator = build(recipe.model)
        initialise(self.generator, recipe.initial)
        self.generator.to(placement.device)
        self.discriminators = task.discriminators().to(placement.device)
        self.average = WeightAverage(self.generator, recipe.average_decay)
        self.stage_index = self.step = self.samples = 0
        self._carried: Tensor | None = None  # from one step to the next of the same sample
        self._nans = 0
        self._start_stage()
        self.journal = Journal(folder)
        with atomic_path(folder / "recipe.json", overwrite=True) as temporary:
            temporary.write_text(json.dumps(recipe.to_json(), indent=2) + "\n", encoding="utf-8")

    @property
    def stage(self) -> Stage:
        """The stage that the next step belongs to."""
        return self.recipe.stages[self.stage_index]

    @property
    def checkpoint(self) -> Path:
        """Where the run's state is kept."""
        return self.folder / "checkpoint.pt"

    def _start_stage(self) -> None:
        stage = self.stage
        flow_only = stage.train == "flow"
        trained = nn.ModuleList(self.task.flow_modules(self.generator)) if flow_only else self.generator
        self.optimiser = torch.optim.Adam(trained.parameters(), lr=stage.learning_rate, betas=stage.betas)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminators.parameters(), lr=stage.discriminator_rate, betas=stage.betas
        )

    def run(self, report: Callable[[Progress], None], pace: Pace | None = None) -> None:
        """Trains until the recipe ends. Interrupted at any step, `resume` goes on from the last checkpoint."""
        pace = pace or Pace()
        while self.stage_index < len(self.recipe.stages):
            for batch in self._batches():
                if self.step % self.task.steps_per_sample == 0:
                    self._carried = None
                started = time.perf_counter()
                losses = self._train_step(batch if self._carried is None else batch.continued(self._carried))
                self.step += 1
                self.samples += self.stage.batch
                rate = self.stage.batch / (time.perf_counter() - started)
                report(Progress(self.stage, self.stage_index, self.step, self.samples, losses, rate))
                self._leave_behind(losses, pace)
            self.stage_index, self.step = self.stage_index + 1, 0
            if self.stage_index < len(self.recipe.stages):
                self._start_stage()
            self.save()

    def _batches(self) -> Iterator[Any]:
        """The rest of this stage. Sample numbers follow from the step alone, so a resumed run sees the same ones."""
        stage, repeats = self.stage, self.task.steps_per_sample
        before = sum(-(-s.steps // repeats) * s.batch for s in self.recipe.stages[: self.stage_index])
        first, last = self.step // repeats * stage.batch, -(-stage.steps // repeats) * stage.batch
        loader: DataLoader[Any] = DataLoader(
            self.task.dataset(stage),
            batch_size=stage.batch,
            sampler=range(before + first, before + last),
            num_workers=self.workers,
            prefetch_factor=6 if self.workers else None,
            # A forked worker inherits locks that other threads of this process held, and may wait for them for ever.
            multiprocessing_context="spawn" if self.workers else None,
        )
        done = self.step % repeats  # steps of the first sample that were taken before the run was interrupted
        for sample in loader:
            for batch in islice(self.task.batches(sample, self.placement.device), done, None):
                if self.step < stage.steps:
                    yield batch
            done = 0

    def _train_step(self, batch: Any) -> dict[str, float]:
        self._set_learning_rate()
        stage = self.stage
        with self.placement.autocast:
            outcome = self.task.forward(self.generator, batch, stage)
            judged = outcome.judged if self._adversarial() else {}
            if judged:
                outcome.terms["adversarial"] = self._fooling(judged)
            loss = weighted(outcome.terms, stage.weights)
        if not math.isfinite(loss.item()):
            return self._skip_step()
        self._nans = 0
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self._carried = outcome.carried
        self.average.update(self.generator)
        values = {name: float(value.detach()) for name, value in outcome.terms.items()}
        if judged:
            values["discriminator"] = self._train_discriminators(judged)
        return values | {"total": float(loss.detach())}

    def _fooling(self, judged: dict[str, Judged]) -> Tensor:
        self.discriminators.requires_grad_(False)  # gradients pass through them, none are kept
        return total(generator_loss(self.discriminators[name](pair.fake)) for name, pair in judged.items())

    def _train_discriminators(self, judged: dict[str, Judged]) -> float:
        self.discriminators.requires_grad_(True)
        with self.placement.autocast:
            loss = total(
                discriminator_loss(self.discriminators[name](pair.real), self.discriminators[name](pair.fake.detach()))
                for name, pair in judged.items()
            )
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimiser.step()
        return float(loss.detach())

    def _adversarial(self) -> bool:
        return self.stage.weights.adversarial > 0 and self.step >= self.stage.adversarial_from

    def _set_learning_rate(self) -> None:
        stage = self.stage
        rate = stage.learning_rate
        if stage.final_learning_rate is not None:
            fall = (1 + math.cos(math.pi * self.step / stage.steps)) / 2
            rate = stage.final_learning_rate + (rate - stage.final_learning_rate) * fall
        if stage.warmup:
            rate *= min(1.0, (self.step + 1) / stage.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def _skip_step(self) -> dict[str, float]:
        self._nans += 1
        self._carried = None  # the next step of the sample goes on from the real frame
        if self._nans > _TOLERATED_NANS:
            raise GflaError(
                f"the loss was not a number in {self._nans} steps in a row",
                hint="resume from the last checkpoint with a smaller learning rate or --precision fp32",
            )
        return {"total": math.nan}

    def _leave_behind(self, losses: dict[str, float], pace: Pace) -> None:
        steps = sum(s.steps for s in self.recipe.stages[: self.stage_index]) + self.step
        if self.step % pace.log == 0:
            self.journal.losses(steps, self.stage.name, self.samples, losses)
        if self.stage.train == "joint" and self.step % pace.sample == 0:
            self._sample(steps)
        if self.step % pace.save == 0:
            self.save()

    @torch.no_grad()
    def _sample(self, steps: int) -> None:
        """Pictures of the averaged weights on samples with numbers that training never reaches."""
        dataset = self.task.dataset(self.stage)
        sample = default_collate([dataset[_NEVER_TRAINED + i] for i in range(_SHOWN)])
        batch = next(iter(self.task.batches(sample, self.placement.device)))
        with self.placement.autocast, self.average.applied(self.generator):
            self.journal.samples(steps, self.task.rows(self.generator, batch))

    def weights(self) -> dict[str, Tensor]:
        """The weights to ship: averaged over time when the recipe says so."""
        return self.average.state() if self.recipe.average_decay else dict(self.generator.state_dict())

    def save(self) -> None:
        """Writes the checkpoint."""
        state: dict[str, Any] = {
            "recipe": json.dumps(self.recipe.to_json()),
            "position": [self.stage_index, self.step, self.samples],
            "generator": self.generator.state_dict(),
            "discriminators": self.discriminators.state_dict(),
            "average": self.average.state(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "carried": self._carried,
        }
        save_checkpoint(self.checkpoint, state)

    def resume(self) -> None:
        """Goes back to the last checkpoint of this folder; raises DataError when it belongs to another recipe."""
        state = load_checkpoint(self.checkpoint)
        # Compared as configs: a run from before a setting existed has its default, and is the same model.
        if ModelConfig.from_json(json.loads(state["recipe"])["model"]) != self.recipe.model:
            raise DataError(f"{self.checkpoint}: made with another model", hint="choose another --output folder")
        self.stage_index, self.step, self.samples = state["position"]
        self.generator.load_state_dict(state["generator"])
        self.discriminators.load_state_dict(state["discriminators"])
        self.average.load(state["average"], state["average_steps"])
        carried = state.get("carried")
        self._carried = carried.to(self.placement.device) if carried is not None else None
        if self.stage_index < len(self.recipe.stages):
            self._start_stage()
            self.optimiser.load_state_dict(state["optimiser"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        torch.set_rng_state(state["random"])
