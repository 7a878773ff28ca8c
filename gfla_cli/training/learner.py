"""One training step: the networks, their optimisers, and the gradients of a batch that may come in parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gfla_cli.distributed.launch import ProcessGroup
from gfla_cli.distributed.process_group import all_reduce_gradients, broadcast_weights
from gfla_cli.errors import GflaError, UsageError
from gfla_cli.inference.device import Placement
from gfla_cli.inference.runtime import is_out_of_memory
from gfla_cli.networks.build import build, initialise
from gfla_cli.networks.flow import FlowEstimator
from gfla_cli.networks.view import VolumeFlowEstimator
from gfla_cli.training.recipe import Recipe, Stage
from gfla_cli.training.tasks.base import (
    CriticInput,
    Outcome,
    PoseReaderInput,
    TrainingTask,
    active_critics,
    adversarial_losses,
    discriminator_losses,
    total,
    weighted,
)

_TOLERATED_NANS = 10  # steps in a row whose loss is not finite before a run gives up


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """How steps are computed: options that trade memory for time. They do not change what is learnt."""

    accumulate: int = 1  # parts of a batch, computed one after the other; their gradients are summed
    channels_last: bool = False
    compile: bool = False

    def lay_out(self, network: nn.Module) -> None:
        """Lays the weights of a network out in memory as these options say."""
        if self.channels_last:
            for weight in network.parameters():
                if weight.dim() == 4:  # critics of clips also have five axes
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def memory_error(
    error: RuntimeError, batch: int, image_size: tuple[int, int], engine: Engine, placement: Placement
) -> GflaError | None:
    """The error for a process's batch that is too large for its device; None when `error` has another cause."""
    if not is_out_of_memory(error):
        return None
    parts = f" in {engine.accumulate} parts" if engine.accumulate > 1 else ""
    height, width = image_size
    what = f"a batch of {batch} at {width}x{height}{parts} is too large for the memory of {placement.device.type}"
    if engine.accumulate >= batch:
        return GflaError(what, hint="try --precision bf16, which needs half of it, or a device with more memory")
    more = min(batch, 2 * engine.accumulate)
    return GflaError(what, hint=f"--accumulate {more} computes the same step in {more} parts; use it with --resume")


def reduce_for(generator: nn.Module, size: tuple[int, int]) -> None:
    """Adapts flow estimators that reduce their input: they see it at the same size in all stages, where possible."""
    for module in generator.modules():
        if isinstance(module, FlowEstimator | VolumeFlowEstimator):
            fitting = module.full_reduction * size[0] // module.full_height
            module.reduction = max(1, min(fitting, module.full_reduction))


def _lay_out_moments(optimiser: torch.optim.Optimizer) -> None:
    """Lays an optimiser's moments out in memory as their weights are; fused Adam on CUDA refuses others.

    Those of a checkpoint have the layout of the run that wrote it, which may be another one (`Engine.channels_last`).
    """
    for weight, moments in optimiser.state.items():
        for name, value in moments.items():
            if value.shape == weight.shape and value.stride() != weight.stride():
                moments[name] = torch.empty_like(weight, dtype=value.dtype, requires_grad=False).copy_(value)


def _add(values: dict[str, Tensor], found: Mapping[str, Tensor], fraction: float) -> None:
    """Adds the losses of a part of a batch, weighted by its fraction of the batch."""
    for name, value in found.items():
        part = fraction * value.detach().float()
        values[name] = values[name] + part if name in values else part


class StagePosition(NamedTuple):
    """The position of a step in its stage."""

    step: int  # from 0
    fraction: float  # of the stage's steps, or of its time budget, that is over: 0 to 1


class AbandonedStepError(Exception):
    """Raised inside of a step to abandon it, because the run should stop now."""


class StepResult(NamedTuple):
    """The result of a step."""

    losses: dict[str, float]  # unweighted, by name, and the weighted "total"
    carried: Tensor | None  # (B, ...) what the next step of the same sample starts from


class Learner:
    """Owns the networks and their optimisers, and takes steps."""

    def __init__(
        self,
        recipe: Recipe,
        task: TrainingTask,
        placement: Placement,
        engine: Engine,
        group: ProcessGroup | None = None,
    ) -> None:
        self.task, self.placement, self.engine, self.group = task, placement, engine, group or ProcessGroup()
        torch.manual_seed(recipe.seed)
        self.generator = build(recipe.model)
        initialise(self.generator, recipe.initial)
        self.generator.to(placement.device)
        self.discriminators = task.discriminators().to(placement.device)
        for network in (self.generator, self.discriminators):
            engine.lay_out(network)
            broadcast_weights(network, self.group)
        # The exponential moving average (EMA) of the weights is less noisy than the last weights. It is what ships.
        self.average_decay, self.average_steps = recipe.average_decay, 0
        self.average = deepcopy(self.generator).requires_grad_(False) if self.average_decay else self.generator
        if engine.compile:  # part by part, because flow stages call some parts alone; the names of weights stay
            for part in (*self.generator.children(), *self.discriminators.children()):
                part.compile()
        # Keeps float16 gradients from vanishing. Not on Macs, and not needed for other number formats.
        scaled = placement.dtype is torch.float16 and placement.device.type != "mps"
        self.scaler = torch.amp.GradScaler(placement.device.type, enabled=scaled)
        self._nans = 0
        # A GPU computes while Python prepares the next step, so Python must not wait for it. Losses are read one step
        # later, and the optimiser itself skips a step whose loss is NaN.
        self._ahead = placement.device.type == "cuda" and self.group.world_size == 1 and not self.scaler.is_enabled()
        self._sent: tuple[list[str], Tensor, torch.cuda.Event] | None = None

    def start_stage(self, stage: Stage) -> None:
        """Creates the optimisers for what the stage trains. Raises UsageError for a frozen part that does not exist."""
        self._sent = None  # losses of the previous stage
        for network in (self.generator, self.average):
            reduce_for(network, stage.image_size)
        flow_only = stage.train == "flow"
        trained = nn.ModuleList(self.task.flow_modules(self.generator)) if flow_only else self.generator
        modules = dict(self.generator.named_modules())
        if unknown := [name for name in stage.frozen if name not in modules]:
            raise UsageError(f"the stage {stage.name} freezes {unknown[0]}, which this network does not have")
        self.generator.requires_grad_(True)
        for name in stage.frozen:
            modules[name].requires_grad_(False)
        self._trained = [parameter for parameter in trained.parameters() if parameter.requires_grad]
        fused = True if self._ahead else None
        self.optimiser = torch.optim.Adam(self._trained, lr=stage.learning_rate, betas=stage.betas, fused=fused)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminators.parameters(), lr=stage.discriminator_rate, betas=stage.betas, fused=fused
        )

    def step(
        self,
        parts: Sequence[Any],
        fractions: Sequence[float],
        stage: Stage,
        position: StagePosition,
        may_abandon: AbstractContextManager[None] | None = None,
    ) -> StepResult:
        """One step of a stage, with a batch in parts, which are these fractions of it.

        An exception inside of `may_abandon` leaves everything as it was before the step. On a GPU the losses may be
        those of the previous step. Raises GflaError when the loss was NaN for several steps.
        """
        self._set_learning_rate(stage, position)
        adversarial = stage.weights.adversarial > 0 and position.step >= stage.adversarial_from
        self.optimiser.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        judged: list[dict[str, CriticInput | PoseReaderInput]] = []
        carried: list[Tensor] = []
        with self._unchanged_by_exceptions(), may_abandon or nullcontext():
            for part, fraction in zip(parts, fractions, strict=True):
                outcome, loss = self._forward(part, stage, adversarial=adversarial)
                _add(values, outcome.terms | {"total": loss}, fraction)
                self.scaler.scale(loss * fraction if len(parts) > 1 else loss).backward()
                judged.append({n: p._replace(fake=p.fake.detach()) for n, p in outcome.judged.items()})
                carried += [outcome.carried] if outcome.carried is not None else []
            all_reduce_gradients(self._trained, self.group)
        whole = values.pop("total")
        if self._ahead:
            # Fused Adam skips its step, without waiting: with `found_inf` = 1 it leaves weights and moments alone.
            for optimiser in (self.optimiser, self.discriminator_optimiser):
                optimiser.found_inf = (~whole.isfinite()).float()  # type: ignore[attr-defined]
        else:
            found = self._read({"total": whole})
            if not math.isfinite(found["total"]):
                return self._skip()
        self.scaler.step(self.optimiser)
        self._update_average()
        if any(judged):
            _add(values, self._train_discriminators(judged, fractions), 1.0)
        self.scaler.update()
        losses = self._read(values | {"total": whole})
        if not math.isfinite(losses["total"]):  # of the previous step, on a GPU
            return self._skip()
        self._nans = 0
        return StepResult(losses, torch.cat(carried) if carried else None)

    @contextmanager
    def _unchanged_by_exceptions(self) -> Iterator[None]:
        """After an exception, restores the random state and the discriminators' running estimates of spectral norms."""
        random = torch.get_rng_state()
        buffers = [(buffer, buffer.clone()) for buffer in self.discriminators.buffers()]
        try:
            yield
        except BaseException:
            torch.set_rng_state(random)
            for buffer, before in buffers:
                buffer.copy_(before)
            raise

    def _read(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """These losses, averaged over all processes; on a GPU those of the previous call."""
        names, sent = list(values), torch.stack([value.float() for value in values.values()])
        if not self._ahead:
            return self.group.all_reduce_mean(dict(zip(names, sent.tolist(), strict=True)))
        arrived = torch.cuda.Event()
        before, self._sent = self._sent, (names, sent.to("cpu", non_blocking=True), arrived)
        arrived.record()
        names, sent, arrived = before or self._sent
        arrived.synchronize()
        return dict(zip(names, sent.tolist(), strict=True))

    def _forward(self, part: Any, stage: Stage, *, adversarial: bool) -> tuple[Outcome, Tensor]:
        with self.placement.autocast:
            outcome = self.task.forward(self.generator, part, stage)
            outcome = outcome._replace(judged=active_critics(outcome.judged, adversarial=adversarial))
            if outcome.judged:
                self.discriminators.requires_grad_(False)  # they pass gradients on, and need none of their own
                outcome.terms.update(adversarial_losses(self.discriminators, outcome.judged))
            return outcome, weighted(outcome.terms, stage.weights)

    def _train_discriminators(
        self, judged: Sequence[dict[str, CriticInput | PoseReaderInput]], fractions: Sequence[float]
    ) -> dict[str, Tensor]:
        self.discriminators.requires_grad_(True)
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        for pairs, fraction in zip(judged, fractions, strict=True):
            with self.placement.autocast:
                terms = discriminator_losses(self.discriminators, pairs)
                loss = total(terms.values())
            self.scaler.scale(loss * fraction if len(judged) > 1 else loss).backward()
            _add(values, terms, fraction)
        all_reduce_gradients(self.discriminators.parameters(), self.group)
        self.scaler.step(self.discriminator_optimiser)
        return values

    def _update_average(self) -> None:
        """Moves the average towards the generator; faster in the first steps, to forget the random initial weights."""
        if not self.average_decay:
            return
        self.average_steps += 1
        decay = min(self.average_decay, (1 + self.average_steps) / (10 + self.average_steps))
        # Not AveragedModel: it copies its step count to the GPU in every step, which waits for all work queued there.
        average, current = (list(network.state_dict().values()) for network in (self.average, self.generator))
        get_ema_multi_avg_fn(decay)(average, current, self.average_steps)

    def _set_learning_rate(self, stage: Stage, position: StagePosition) -> None:
        rate = stage.learning_rate
        if stage.final_learning_rate is not None:
            fall = (1 + math.cos(math.pi * position.fraction)) / 2
            rate = stage.final_learning_rate + (rate - stage.final_learning_rate) * fall
        if stage.warmup:
            rate *= min(1.0, (position.step + 1) / stage.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def _skip(self) -> StepResult:
        self.optimiser.zero_grad(set_to_none=True)
        self._nans += 1
        if self._nans > _TOLERATED_NANS:
            raise GflaError(
                f"the loss was not a number (NaN) in {self._nans} steps in a row",
                hint="resume from the last checkpoint with a smaller learning rate or --precision fp32",
            )
        return StepResult({"total": math.nan}, None)  # the next step of the sample starts from the real frame

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to continue exactly."""
        return {
            "generator": self.generator.state_dict(),
            "discriminators": self.discriminators.state_dict(),
            "average": self.average.state_dict(),
            "average_steps": self.average_steps,
            "optimiser": self.optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "nans": self._nans,
        }

    def load(self, state: dict[str, Any], stage: Stage | None) -> None:
        """Restores a saved state, in the middle of `stage`, or at the end of the last one (None)."""
        self.generator.load_state_dict(state["generator"])
        self.discriminators.load_state_dict(state["discriminators"])
        if self.average is not self.generator:
            self.average.load_state_dict(state["average"])
        self.average_steps = state["average_steps"]
        self._nans = state.get("nans", 0)
        if state.get("scaler") and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if stage is not None:
            self.start_stage(stage)
            self.optimiser.load_state_dict(state["optimiser"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
            for optimiser in (self.optimiser, self.discriminator_optimiser):
                _lay_out_moments(optimiser)
