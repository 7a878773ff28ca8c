"""One training step: networks, their optimisers, and the gradients of a batch that may come in parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gfla_cli.errors import GflaError
from gfla_cli.networks.build import build, initialise
from gfla_cli.networks.flow import FlowEstimator
from gfla_cli.runtime.device import Placement
from gfla_cli.runtime.team import Team
from gfla_cli.training.average import WeightAverage
from gfla_cli.training.critics import critic_terms, generator_terms, playing
from gfla_cli.training.engine import Engine, gradient_scaler
from gfla_cli.training.gradients import averaging, level
from gfla_cli.training.objective import total, weighted
from gfla_cli.training.recipe import Recipe, Stage
from gfla_cli.training.task import Judged, Outcome, Read, TrainingTask

_TOLERATED_NANS = 10  # steps in a row whose loss is not finite before a run gives up


def _reduce_for(generator: nn.Module, size: tuple[int, int]) -> None:
    """Flow estimators that see reduced frames see those of every stage at the same size, as far as that goes."""
    for module in generator.modules():
        if isinstance(module, FlowEstimator):
            fitting = module.full_reduction * size[0] // module.full_height
            module.reduction = max(1, min(fitting, module.full_reduction))


def _add(values: dict[str, float], found: Mapping[str, float], share: float) -> None:
    """Adds a part's losses, as much as its share of the batch is."""
    for name, value in found.items():
        values[name] = values.get(name, 0.0) + share * value


class StepResult(NamedTuple):
    """What a step leaves behind."""

    losses: dict[str, float]  # unweighted, by name, and the weighted "total"
    carried: Tensor | None  # (B, ...) what the next step of the same sample goes on from


class Learner:
    """Owns the networks and their optimisers, and knows how to take a step."""

    def __init__(
        self, recipe: Recipe, task: TrainingTask, placement: Placement, engine: Engine, team: Team | None = None
    ) -> None:
        self.task, self.placement, self.engine, self.team = task, placement, engine, team or Team()
        torch.manual_seed(recipe.seed)
        self.generator = build(recipe.model)
        initialise(self.generator, recipe.initial)
        self.generator.to(placement.device)
        self.discriminators = task.discriminators().to(placement.device)
        for network in (self.generator, self.discriminators):
            engine.prepare(network)
            engine.compiled(network)
            level(network, self.team)
        self.average = WeightAverage(self.generator, recipe.average_decay)
        self.scaler = gradient_scaler(placement)
        self._averaged: set[str] = set()  # names of the critics whose gradients are averaged at present
        self._nans = 0
        # A GPU works while Python plans what comes next: losses are read a step later, and a step whose loss is not a
        # number is left out by the optimiser itself.
        self._ahead = placement.device.type == "cuda" and self.team.processes == 1 and not self.scaler.is_enabled()
        self._on_its_way: tuple[list[str], Tensor, torch.cuda.Event] | None = None

    def start_stage(self, stage: Stage) -> None:
        """New optimisers for what the stage trains."""
        _reduce_for(self.generator, stage.image_size)
        flow_only = stage.train == "flow"
        trained = nn.ModuleList(self.task.flow_modules(self.generator)) if flow_only else self.generator
        self._average_generator = averaging(trained, self.team)
        fused = True if self._ahead else None
        self.optimiser = torch.optim.Adam(trained.parameters(), lr=stage.learning_rate, betas=stage.betas, fused=fused)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminators.parameters(), lr=stage.discriminator_rate, betas=stage.betas, fused=fused
        )

    def step(self, parts: Sequence[Any], shares: Sequence[float], stage: Stage, step: int) -> StepResult:
        """Step number `step`, from 0, of a stage, with a batch in parts that make up these shares of it.

        Raises GflaError when the loss has not been a number for several steps.
        """
        self._set_learning_rate(stage, step)
        adversarial = stage.weights.adversarial > 0 and step >= stage.adversarial_from
        if self._ahead:
            return self._step_ahead(parts, shares, stage, adversarial=adversarial)
        self.optimiser.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        judged: list[dict[str, Judged | Read]] = []
        carried: list[Tensor] = []
        for number, (part, share) in enumerate(zip(parts, shares, strict=True), start=1):
            outcome, loss = self._forward(part, stage, adversarial=adversarial)
            found = {name: float(value.detach()) for name, value in (outcome.terms | {"total": loss}).items()}
            found = self.team.means(found)
            if not math.isfinite(found["total"]):
                return self._skip()
            last = number == len(parts)
            self._backward(loss * share if len(parts) > 1 else loss, self._average_generator if last else None)
            _add(values, found, share)
            judged.append({n: p._replace(fake=p.fake.detach()) for n, p in outcome.judged.items()})
            carried += [outcome.carried] if outcome.carried is not None else []
        self._nans = 0
        self.scaler.step(self.optimiser)
        self.average.update(self.generator)
        if any(judged):
            whole = values.pop("total")
            values |= self._train_discriminators(judged, shares) | {"total": whole}
        self.scaler.update()
        return StepResult(values, torch.cat(carried) if carried else None)

    def _step_ahead(
        self, parts: Sequence[Any], shares: Sequence[float], stage: Stage, *, adversarial: bool
    ) -> StepResult:
        """The same without waiting for the GPU; the losses are those of the step before."""
        self.optimiser.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        judged: list[dict[str, Judged | Read]] = []
        carried: list[Tensor] = []
        wrong = torch.zeros((), device=self.placement.device)
        for part, share in zip(parts, shares, strict=True):
            outcome, loss = self._forward(part, stage, adversarial=adversarial)
            for name, value in (outcome.terms | {"total": loss}).items():
                values[name] = values.get(name, 0.0) + share * value.detach().float()
            wrong = torch.maximum(wrong, (~loss.detach().isfinite()).float())
            self._backward(loss * share if len(parts) > 1 else loss, None)
            judged.append({n: p._replace(fake=p.fake.detach()) for n, p in outcome.judged.items()})
            carried += [outcome.carried] if outcome.carried is not None else []
        self.optimiser.found_inf = wrong  # type: ignore[attr-defined]  # fused Adam leaves weights, moments and its count alone where this is 1
        self.optimiser.step()
        self.average.update(self.generator)
        if any(judged):
            self.discriminators.requires_grad_(True)
            self.discriminator_optimiser.zero_grad(set_to_none=True)
            for pairs, share in zip(judged, shares, strict=True):
                with self.placement.autocast:
                    terms = critic_terms(self.discriminators, pairs)
                    loss = total(terms.values())
                self._backward(loss * share if len(judged) > 1 else loss, None)
                for name, value in terms.items():
                    values[name] = values.get(name, 0.0) + share * value.detach().float()
            self.discriminator_optimiser.found_inf = wrong  # type: ignore[attr-defined]
            self.discriminator_optimiser.step()
        return StepResult(self._read_later(values), torch.cat(carried) if carried else None)

    def _read_later(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Sends these to the host; gives those that were sent before, or at the first time these."""
        before = self._on_its_way
        sent = torch.stack(list(values.values())).to("cpu", non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._on_its_way = list(values), sent, arrived
        names, there, arrived = before or self._on_its_way
        arrived.synchronize()
        found = dict(zip(names, there.tolist(), strict=True))
        found["total"] = found.pop("total")  # last, as people expect it
        if math.isfinite(found["total"]):
            self._nans = 0
            return found
        self._skip()
        return {"total": math.nan}

    def _forward(self, part: Any, stage: Stage, *, adversarial: bool) -> tuple[Outcome, Tensor]:
        with self.placement.autocast:
            outcome = self.task.forward(self.generator, part, stage)
            outcome = outcome._replace(judged=playing(outcome.judged, adversarial=adversarial))
            if outcome.judged:
                self.discriminators.requires_grad_(False)  # gradients pass through them, none are kept
                outcome.terms.update(generator_terms(self.discriminators, outcome.judged))
            return outcome, weighted(outcome.terms, stage.weights)

    def _train_discriminators(
        self, judged: Sequence[dict[str, Judged | Read]], shares: Sequence[float]
    ) -> dict[str, float]:
        if (names := set(judged[0])) != self._averaged:  # later losses have to reach the same weights as the first
            self._average_discriminators = averaging(self.discriminators, self.team)
            self._averaged = names
        self.discriminators.requires_grad_(True)
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        for number, (pairs, share) in enumerate(zip(judged, shares, strict=True), start=1):
            with self.placement.autocast:
                terms = critic_terms(self.discriminators, pairs)
                loss = total(terms.values())
            last = number == len(judged)
            self._backward(loss * share if len(judged) > 1 else loss, self._average_discriminators if last else None)
            _add(values, {name: float(value.detach()) for name, value in terms.items()}, share)
        self.scaler.step(self.discriminator_optimiser)
        return self.team.means(values)

    def _backward(self, loss: Tensor, average: Callable[[Tensor], Tensor] | None) -> None:
        """Adds to the gradients; with the last part of a batch their sum is averaged over the team."""
        scaled = self.scaler.scale(loss)
        (average(scaled) if average is not None else scaled).backward()

    def _set_learning_rate(self, stage: Stage, step: int) -> None:
        rate = stage.learning_rate
        if stage.final_learning_rate is not None:
            fall = (1 + math.cos(math.pi * step / stage.steps)) / 2
            rate = stage.final_learning_rate + (rate - stage.final_learning_rate) * fall
        if stage.warmup:
            rate *= min(1.0, (step + 1) / stage.warmup)
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
            "average": self.average.state(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "nans": self._nans,
        }

    def load(self, state: dict[str, Any], stage: Stage | None) -> None:
        """Takes over a saved state, in the middle of `stage`, or at the end of the last one (None)."""
        self.generator.load_state_dict(state["generator"])
        self.discriminators.load_state_dict(state["discriminators"])
        self.average.load(state["average"], state["average_steps"])
        self._nans = state.get("nans", 0)
        if state.get("scaler") and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if stage is not None:
            self.start_stage(stage)
            self.optimiser.load_state_dict(state["optimiser"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
