"""How a step is computed, as far as that does not decide what is learnt: memory, number formats, compilation."""

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
from gfla_cli.errors import GflaError
from gfla_cli.inference.device import Placement
from gfla_cli.inference.memory import is_out_of_memory
from gfla_cli.networks.build import build, initialise
from gfla_cli.networks.flow import FlowEstimator
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """Choices that trade memory for time; the recipe, and with it what is learnt, stays the same."""

    # Parts that a batch is computed in, one after another; the step is taken with the mean of their gradients.
    accumulate: int = 1
    channels_last: bool = False
    compile: bool = False

    def prepare(self, network: nn.Module) -> None:
        """Lays a network's weights out in memory as chosen, in place."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def compiled(self, network: nn.Module) -> None:
        """Compiles the parts of a network in place, where that was chosen; the names of its weights stay.

        Part by part, since flow stages call some parts without the network around them.
        """
        if self.compile:
            for part in network.children():
                part.compile()


def gradient_scaler(placement: Placement) -> torch.amp.GradScaler:
    """Keeps float16 gradients from vanishing; with any other number format, and on Macs, it does nothing."""
    wanted = placement.dtype is torch.float16 and placement.device.type != "mps"
    return torch.amp.GradScaler(placement.device.type, enabled=wanted)


def memory_error(
    error: RuntimeError, batch: int, image_size: tuple[int, int], engine: Engine, placement: Placement
) -> GflaError | None:
    """What to say when a batch of one process was too large for the device; None when `error` is something else."""
    if not is_out_of_memory(error):
        return None
    parts = f" in {engine.accumulate} parts" if engine.accumulate > 1 else ""
    height, width = image_size
    what = f"a batch of {batch} at {width}x{height}{parts} is too large for the memory of {placement.device.type}"
    if engine.accumulate >= batch:
        return GflaError(what, hint="--precision bf16 halves it; else only a device with more memory helps")
    more = min(batch, 2 * engine.accumulate)
    return GflaError(what, hint=f"--accumulate {more} computes the same step in {more} parts; --resume goes on")


# One training step: networks, their optimisers, and the gradients of a batch that may come in parts.


_TOLERATED_NANS = 10  # steps in a row whose loss is not finite before a run gives up


def _reduce_for(generator: nn.Module, size: tuple[int, int]) -> None:
    """Flow estimators that see reduced frames see those of every stage at the same size, as far as that goes."""
    for module in generator.modules():
        if isinstance(module, FlowEstimator):
            fitting = module.full_reduction * size[0] // module.full_height
            module.reduction = max(1, min(fitting, module.full_reduction))


def _add(values: dict[str, Tensor], found: Mapping[str, Tensor], share: float) -> None:
    """Adds a part's losses, as much as its share of the batch is."""
    for name, value in found.items():
        part = share * value.detach().float()
        values[name] = values[name] + part if name in values else part


class StagePosition(NamedTuple):
    """Where a stage is before a step."""

    step: int  # from 0
    share: float  # of the stage that is done, of its steps or of its time, 0 to 1


class AbandonedStepError(Exception):
    """Raised inside of a step that is not to be finished: somebody wants the run to stop now."""


class StepResult(NamedTuple):
    """What a step leaves behind."""

    losses: dict[str, float]  # unweighted, by name, and the weighted "total"
    carried: Tensor | None  # (B, ...) what the next step of the same sample goes on from


class Learner:
    """Owns the networks and their optimisers, and knows how to take a step."""

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
            engine.prepare(network)
            broadcast_weights(network, self.group)
        # The exponential average of the weights over time: less noisy than the last weights, and what ships.
        self.average_decay, self.average_steps = recipe.average_decay, 0
        self.average = deepcopy(self.generator).requires_grad_(False) if self.average_decay else self.generator
        for network in (self.generator, self.discriminators):
            engine.compiled(network)
        self.scaler = gradient_scaler(placement)
        self._nans = 0
        # A GPU computes while Python plans the next step, so nothing may wait for it: losses are read one step later,
        # and the optimiser itself leaves out a step whose loss is not a number.
        self._ahead = placement.device.type == "cuda" and self.group.world_size == 1 and not self.scaler.is_enabled()
        self._sent: tuple[list[str], Tensor, torch.cuda.Event] | None = None

    def start_stage(self, stage: Stage) -> None:
        """New optimisers for what the stage trains."""
        self._sent = None  # losses of the stage before
        for network in (self.generator, self.average):
            _reduce_for(network, stage.image_size)
        flow_only = stage.train == "flow"
        trained = nn.ModuleList(self.task.flow_modules(self.generator)) if flow_only else self.generator
        self._trained = list(trained.parameters())
        fused = True if self._ahead else None
        self.optimiser = torch.optim.Adam(self._trained, lr=stage.learning_rate, betas=stage.betas, fused=fused)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminators.parameters(), lr=stage.discriminator_rate, betas=stage.betas, fused=fused
        )

    def step(
        self,
        parts: Sequence[Any],
        shares: Sequence[float],
        stage: Stage,
        position: StagePosition,
        may_abandon: AbstractContextManager[None] | None = None,
    ) -> StepResult:
        """One step of a stage, with a batch in parts that make up these shares of it.

        An exception inside of `may_abandon` leaves everything as it was before the step. Where the device works ahead,
        losses are those of the step before. Raises GflaError when the loss has not been a number for several steps.
        """
        self._set_learning_rate(stage, position)
        adversarial = stage.weights.adversarial > 0 and position.step >= stage.adversarial_from
        self.optimiser.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        judged: list[dict[str, CriticInput | PoseReaderInput]] = []
        carried: list[Tensor] = []
        with self._unchanged_by_exceptions(), may_abandon or nullcontext():
            for part, share in zip(parts, shares, strict=True):
                outcome, loss = self._forward(part, stage, adversarial=adversarial)
                _add(values, outcome.terms | {"total": loss}, share)
                self.scaler.scale(loss * share if len(parts) > 1 else loss).backward()
                judged.append({n: p._replace(fake=p.fake.detach()) for n, p in outcome.judged.items()})
                carried += [outcome.carried] if outcome.carried is not None else []
            all_reduce_gradients(self._trained, self.group)
        whole = values.pop("total")
        if self._ahead:
            self._leave_out_if(~whole.isfinite())
        else:
            found = self._read({"total": whole})
            if not math.isfinite(found["total"]):
                return self._skip()
        self.scaler.step(self.optimiser)
        self._update_average()
        if any(judged):
            _add(values, self._train_discriminators(judged, shares), 1.0)
        self.scaler.update()
        losses = self._read(values | {"total": whole})
        if not math.isfinite(losses["total"]):  # of the step before: this device works ahead
            return self._skip()
        self._nans = 0
        return StepResult(losses, torch.cat(carried) if carried else None)

    @contextmanager
    def _unchanged_by_exceptions(self) -> Iterator[None]:
        """Forward passes draw random numbers, and discriminators keep estimates of their norms: both are put back."""
        random = torch.get_rng_state()
        buffers = [(buffer, buffer.clone()) for buffer in self.discriminators.buffers()]
        try:
            yield
        except BaseException:
            torch.set_rng_state(random)
            for buffer, before in buffers:
                buffer.copy_(before)
            raise

    def _leave_out_if(self, wrong: Tensor) -> None:
        """Fused Adam leaves weights, moments and its count alone where `found_inf` is 1."""
        for optimiser in (self.optimiser, self.discriminator_optimiser):
            optimiser.found_inf = wrong.float()  # type: ignore[attr-defined]

    def _read(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """These losses, as the mean of all processes; on a device that works ahead those of the call before."""
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
                self.discriminators.requires_grad_(False)  # gradients pass through them, none are kept
                outcome.terms.update(adversarial_losses(self.discriminators, outcome.judged))
            return outcome, weighted(outcome.terms, stage.weights)

    def _train_discriminators(
        self, judged: Sequence[dict[str, CriticInput | PoseReaderInput]], shares: Sequence[float]
    ) -> dict[str, Tensor]:
        self.discriminators.requires_grad_(True)
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        for pairs, share in zip(judged, shares, strict=True):
            with self.placement.autocast:
                terms = discriminator_losses(self.discriminators, pairs)
                loss = total(terms.values())
            self.scaler.scale(loss * share if len(judged) > 1 else loss).backward()
            _add(values, terms, share)
        all_reduce_gradients(self.discriminators.parameters(), self.group)
        self.scaler.step(self.discriminator_optimiser)
        return values

    def _update_average(self) -> None:
        """Moves the average towards the generator; early on by more, or the random start would linger."""
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
            fall = (1 + math.cos(math.pi * position.share)) / 2
            rate = stage.final_learning_rate + (rate - stage.final_learning_rate) * fall
        if stage.warmup:
            rate *= min(1.0, (position.step + 1) / stage.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def _skip(self) -> StepResult:
        self.optimiser.zero_grad(set_to_none=True)  # of the parts before
        self._nans += 1
        if self._nans > _TOLERATED_NANS:
            raise GflaError(
                f"the loss was not a number in {self._nans} steps in a row",
                hint="resume from the last checkpoint with a smaller learning rate or --precision fp32",
            )
        return StepResult({"total": math.nan}, None)  # the next step of the sample goes on from the real frame

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to go on exactly."""
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
        """Takes over a saved state, in the middle of `stage`, or at the end of the last one (None)."""
        self.generator.load_state_dict(state["generator"])
        self.discriminators.load_state_dict(state["discriminators"])
        self.average.load_state_dict(state["average"])
        self.average_steps = state["average_steps"]
        self._nans = state.get("nans", 0)
        if state.get("scaler") and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if stage is not None:
            self.start_stage(stage)
            self.optimiser.load_state_dict(state["optimiser"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
