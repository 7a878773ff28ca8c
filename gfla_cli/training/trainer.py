"""The training loop: the stages of a recipe, step by step, with checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.bundles.files import CARD
from gfla_cli.distributed.launch import ProcessGroup
from gfla_cli.inference.device import Placement
from gfla_cli.io.files import write_text
from gfla_cli.training.checkpoint import (
    BEST,
    check_same_recipe,
    keep_copy,
    keep_last,
    load_checkpoint,
    save_checkpoint,
    save_critics,
)
from gfla_cli.training.data import LAST, RECIPE
from gfla_cli.training.learner import AbandonedStepError, Engine, Learner, StagePosition, StepResult, memory_error
from gfla_cli.training.loading import ReadableSamples, Step, StepLoader, Unreadable
from gfla_cli.training.log import Journal, Progress, StageStats
from gfla_cli.training.recipe import Recipe, Stage, time_shares, with_batches
from gfla_cli.training.tasks.base import TrainingTask

_FIRST_SHOWN, _SHOWN = 10**9, 8  # first number and count of the sample images; training never reaches that number


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How often a run writes something, in steps, and when it ends."""

    log: int = 20  # losses
    save: int = 500  # checkpoints
    sample: int = 500  # sample images
    keep: int = 1  # newest checkpoints that are kept
    max_steps: int | None = None  # of the whole run; None = all steps of the recipe


class Clock:
    """Divides the time budget of a run between its stages. `seconds` is what a checkpoint stores."""

    def __init__(self, recipe: Recipe) -> None:
        self._budget_s = 60 * recipe.minutes
        self._ends = [self._budget_s * share for share in accumulate(time_shares(recipe))]
        self._begun_s: float | None = None  # start of the stage's first step, in seconds of the run
        self._before_s, self._started = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Duration of the run, with the time before it was resumed."""
        return self._before_s + time.monotonic() - self._started

    def resume_at(self, seconds: float) -> None:
        """Sets the time that the run took before it was resumed."""
        self._before_s, self._started = seconds, time.monotonic()

    def is_over(self, stage: int) -> bool:
        """Whether the time of a stage is over. Never without a time budget."""
        return self._budget_s > 0 and self.seconds >= self._ends[stage]

    def fraction(self, stage: int, step: int, steps: int) -> float:
        """The fraction of a stage, 0 to 1, that is over before step number `step`: of its time, or of its steps."""
        if not self._budget_s:
            return step / steps
        now_s = self.seconds
        if step == 0 or self._begun_s is None:
            self._begun_s = now_s
        return min(1.0, (now_s - self._begun_s) / max(1e-3, self._ends[stage] - self._begun_s))

    def left(self, stage: int) -> float | None:
        """Seconds until a stage ends; None without a time budget."""
        return max(0.0, self._ends[stage] - self.seconds) if self._budget_s else None


class Trainer:
    """Owns the learner, the data and the position in the recipe.

    In distributed training each process has a trainer. All take every step together, and rank 0 alone writes files.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: TrainingTask,
        folder: Path,
        placement: Placement,
        workers: int = 1,
        engine: Engine | None = None,
        *,
        tensorboard: bool = False,
        group: ProcessGroup | None = None,
    ) -> None:
        self.recipe, self.task, self.folder, self.placement = recipe, task, folder, placement
        self.engine, self.group = engine or Engine(), group or ProcessGroup()
        self.learner = Learner(recipe, task, placement, self.engine, self.group)
        if not self.group.is_rank0:
            torch.manual_seed(recipe.seed + self.group.rank)  # other random numbers, after the same initial weights
        self.stage_index = self.step = 0
        self.steps = self.samples = 0  # since the run began, in all stages
        self.stats = StageStats()
        self._carried: Tensor | None = None  # from one step to the next of the same sample
        self._random: Tensor | None = None  # random state to resume from, in the middle of a stage
        self.learner.start_stage(self.stage)
        self.clock = Clock(recipe)
        self.journal = Journal(folder, tensorboard=tensorboard) if self.group.is_rank0 else None
        self.loader = StepLoader(
            task=task,
            group=self.group,
            device=placement.device,
            workers=workers,
            parts=self.engine.accumulate,
            unreadable=Unreadable(folder),
        )

    @property
    def stage(self) -> Stage:
        """The stage that the next step belongs to."""
        return self.recipe.stages[self.stage_index]

    @property
    def checkpoint(self) -> Path:
        """Where the run's state is kept."""
        return self.folder / LAST

    def run(
        self,
        report: Callable[[Progress], None],
        pace: Pace | None = None,
        stop: Callable[[], bool] = lambda: False,
        may_abandon: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> bool:
        """Trains to the end of the recipe and returns True; or saves and returns False when `stop` returns True.

        `stop` is checked between steps. Inside of the contexts that `may_abandon` makes, an AbandonedStepError
        abandons a step. A run that is killed at any moment can be resumed exactly from its last checkpoint.
        """
        pace = pace or Pace()
        if self.journal is not None:
            write_text(self.folder / RECIPE, json.dumps(self.recipe.to_json(), indent=2) + "\n")
            if self.steps == 0:
                self.journal.rewind(0)  # a run was killed here before its first checkpoint
        finished = self._run_stages(report, pace, stop, may_abandon)
        if self.journal is not None:
            self.journal.close()
        return finished

    def _run_stages(
        self,
        report: Callable[[Progress], None],
        pace: Pace,
        stop: Callable[[], bool],
        may_abandon: Callable[[], AbstractContextManager[None]] | None,
    ) -> bool:
        while self.stage_index < len(self.recipe.stages):
            steps = self._steps(lambda: stop() or self._has_all_steps(pace) or self.clock.is_over(self.stage_index))
            for step in steps:
                if step is None:
                    break
                try:
                    self._take(step, report, pace, may_abandon() if may_abandon is not None else None)
                except AbandonedStepError:
                    break
            steps.close()  # ends the workers
            if self.group.all_reduce_max(int(stop()))[0]:
                self.save()
                return False
            if self._has_all_steps(pace) and self.step < self.stage.steps:
                self.save()  # a resumed run may have more steps
                return True
            self.stage_index, self.step = self.stage_index + 1, 0
            if self.stage_index < len(self.recipe.stages):
                self.learner.start_stage(self.stage)
            self.stats = StageStats()
            self.save()
        return True

    def _has_all_steps(self, pace: Pace) -> bool:
        return pace.max_steps is not None and self.steps >= pace.max_steps

    def _take(
        self,
        step: Step,
        report: Callable[[Progress], None],
        pace: Pace,
        may_abandon: AbstractContextManager[None] | None,
    ) -> None:
        """Takes a step, and reports and writes its results."""
        if self.step % self.task.steps_per_sample == 0:
            self._carried = None
        result = self._train_step(step, may_abandon)
        self._carried = result.carried
        self.step += 1
        self.steps += 1
        self.samples += self.stage.batch
        self.stats.add(result.losses)
        rate = self.stats.rate(self.stage.batch, time.perf_counter())
        left_s = self.clock.left(self.stage_index)
        losses = result.losses
        report(Progress(self.stage, self.stage_index, self.step, self.samples, losses, rate, left_s, step.unreadable))
        self._write_results(result.losses, pace)

    def _steps(self, stop: Callable[[], bool]) -> Generator[Step | None]:
        """The remaining steps of this stage, see `StepLoader.steps`."""
        steps = self.loader.steps(self.recipe, self.stage_index, self.step, stop)
        if self._random is not None and self.step:
            torch.set_rng_state(self._random)  # again: the loader took a number, as it did when the stage began
        self._random = None
        return steps

    def _train_step(self, step: Step, may_abandon: AbstractContextManager[None] | None) -> StepResult:
        parts = step.parts
        if self._carried is not None:
            sizes = [round(fraction * len(self._carried)) for fraction in step.fractions]
            parts = [p.continued(c) for p, c in zip(parts, self._carried.split(sizes), strict=True)]
        try:
            position = StagePosition(self.step, self.clock.fraction(self.stage_index, self.step, self.stage.steps))
            return self.learner.step(parts, step.fractions, self.stage, position, may_abandon)
        except RuntimeError as error:
            batch = self.stage.batch // self.group.world_size
            explained = memory_error(error, batch, self.stage.image_size, self.engine, self.placement)
            if explained is None:
                raise
            raise explained from error

    def _write_results(self, losses: dict[str, float], pace: Pace) -> None:
        if self.journal is not None and self.step % pace.log == 0:
            self.journal.losses(self.steps, self.stage.name, self.samples, losses)
        if self.journal is not None and self.stage.train == "joint" and self.step % pace.sample == 0:
            self.journal.samples(self.steps, self._sample())
        if self.step % pace.save == 0:
            best = self.stats.checkpoint_is_best()
            self.save(best=best)
            if self.group.is_rank0:
                keep_last(self.checkpoint, self.steps, pace.keep)

    @torch.no_grad()
    def _sample(self) -> Tensor:
        """Images by the averaged weights, for samples that are not used for training: (N, 3, H, W)."""
        dataset = ReadableSamples(self.task.dataset(self.stage))
        samples = [dataset[_FIRST_SHOWN + i].sample for i in range(_SHOWN)]
        sample = default_collate([sample for sample in samples if sample is not None])
        batch = next(iter(self.task.batches(sample, self.placement.device)))
        with self.placement.autocast:
            return self.task.rows(self.learner.average, batch)

    def save(self, *, best: bool = False) -> None:
        """Writes the checkpoint; `best` keeps a copy of it. Collective: all processes must call it."""
        carried = self._carried.cpu() if self._carried is not None else None
        gathered = self.group.all_gather((torch.get_rng_state(), carried))
        if not self.group.is_rank0:
            return
        randoms = [random for random, _ in gathered]
        state = self.learner.state() | {
            "recipe": json.dumps(self.recipe.to_json()),
            "position": [self.stage_index, self.step, self.samples],
            "steps": self.steps,
            "seconds": self.clock.seconds,
            "standing": self.stats.to_list(),
            "is_best": best,
            "random": randoms[0],
            "random_of_others": randoms[1:],
            "carried": torch.cat([part for _, part in gathered if part is not None]) if carried is not None else None,
        }
        save_checkpoint(self.checkpoint, state)
        if best:
            keep_copy(self.checkpoint, BEST)
        if self.recipe.average_decay:  # averaged weights are useful long before the end
            self.save_bundle()

    def _card(self) -> str:
        """The model card of a run: what is known about it, and what its owner should add."""
        height, width = self.recipe.model.image_size
        return (
            f"# {self.folder.resolve().name}\n\n"
            f"A model for {self.recipe.model.task}, {width}x{height} pixels, trained with "
            f"`gfla train --dataset {self.recipe.dataset}`. config.json says on how many samples.\n\n"
            "Licence and limits: not stated yet. They depend on the training images.\n"
        )

    def save_bundle(self) -> Path:
        """Writes a bundle of the current weights, averaged if the recipe asks for it, and returns its folder."""
        folder = self.folder / "bundle"
        trained = {"dataset": self.recipe.dataset, "samples": self.samples}
        card = None if (folder / CARD).exists() else self._card()  # one that the user wrote stays
        weights = self.learner.average.state_dict()
        save_bundle(folder, self.recipe.model, weights, card=card, trained=trained)
        save_critics(self.learner, folder)
        return folder

    def resume(self) -> None:
        """Restores the last checkpoint of this folder, with its batch sizes. Collective: all processes must call it.

        Raises DataError when it belongs to another recipe, UsageError when the processes cannot share its batches.
        """
        state = self.group.run_on_rank0(self._saved)
        self.recipe = with_batches(self.recipe, json.loads(state["recipe"]))
        self.stage_index, self.step, self.samples = state["position"]
        before = sum(stage.steps for stage in self.recipe.stages[: self.stage_index])
        self.steps = state.get("steps", before + self.step)
        self.clock.resume_at(state.get("seconds", 0.0))
        self.stats = StageStats.from_list(state.get("standing", []))
        self.learner.load(state, self.stage if self.stage_index < len(self.recipe.stages) else None)
        if (carried := state.get("carried")) is not None:
            own = self.group.shard(range(len(carried)))
            self._carried = carried[own.start : own.stop].to(self.placement.device)
        randoms = [state["random"], *state.get("random_of_others", [])]
        if self.group.rank < len(randoms):  # if the world size grew, extra ranks keep their fresh seed
            self._random = randoms[self.group.rank]
            torch.set_rng_state(self._random)
        if self.journal is not None:
            if state.get("is_best"):  # the run may have been killed before it could keep the copy
                keep_copy(self.checkpoint, BEST)
            self.journal.rewind(self.steps)

    def _saved(self) -> dict[str, Any]:
        state = load_checkpoint(self.checkpoint)
        check_same_recipe(self.checkpoint, state["recipe"], self.recipe)
        for stage in with_batches(self.recipe, json.loads(state["recipe"])).stages:
            self.group.shard(range(stage.batch))
        return state
