"""The local attention operator: the form without patches against the paper's definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from gfla_cli.benchmark.measure import interleaved_times, peak_bytes
from gfla_cli.ops.local_attention import Attended, AttentionWeights, local_attention, local_attention_reference

_HIDDEN = 128


@dataclass(frozen=True, slots=True)
class Case:
    """One size of the operator, as the pose generator for 256x256 pictures uses it."""

    name: str
    channels: int
    height: int
    width: int
    patch: int
    backward: bool = False


CASES = (
    Case("stride 4", 128, 64, 64, 5),
    Case("stride 8", 256, 32, 32, 3),
    Case("stride 4, with gradients", 128, 64, 64, 5, backward=True),
    Case("stride 8, with gradients", 256, 32, 32, 3, backward=True),
)


@dataclass(frozen=True, slots=True)
class Result:
    """Both forms at one size; a ratio of 5 means the form without patches takes a fifth."""

    case: Case
    reference_ms: float
    fast_ms: float
    reference_mb: float
    fast_mb: float

    @property
    def time_ratio(self) -> float:
        """Time of the definition over time of the fast form."""
        return self.reference_ms / self.fast_ms

    @property
    def memory_ratio(self) -> float:
        """Extra memory of the definition over that of the fast form."""
        return self.reference_mb / self.fast_mb

    def to_json(self) -> dict[str, Any]:
        """Sizes and ratios, and the measured values they come from."""
        measured = {k: round(getattr(self, k), 3) for k in ("reference_ms", "fast_ms", "reference_mb", "fast_mb")}
        ratios = {"time_ratio": round(self.time_ratio, 3), "memory_ratio": round(self.memory_ratio, 3)}
        return {**asdict(self.case), **ratios, **measured}


def measure(case: Case, device: torch.device, batch: int = 1, rounds: int = 15) -> Result:
    """Times and memory of both forms on random features and flows of a few pixels, float32."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device).requires_grad_(case.backward)

    C, n = case.channels, case.patch
    source, target = (random(batch, C, case.height, case.width) for _ in range(2))
    offset = random(batch, 2, case.height, case.width).detach().mul(4).requires_grad_(case.backward)
    weights = AttentionWeights(
        random(_HIDDEN, 2 * C, n, n).detach().div(n * C**0.5).requires_grad_(case.backward),
        random(_HIDDEN),
        random(n * n, _HIDDEN, 1, 1),
        random(n * n),
    )

    def runner(form: Callable[..., Attended]) -> Callable[[], None]:
        def run() -> None:
            with torch.set_grad_enabled(case.backward):
                features = form(source, target, offset, weights).features
            if case.backward:
                features.sum().backward()

        return run

    forms = {"reference": runner(local_attention_reference), "fast": runner(local_attention)}
    seconds = interleaved_times(forms, rounds)
    peaks = {name: peak_bytes(form, device) for name, form in forms.items()}
    return Result(
        case,
        reference_ms=seconds["reference"] * 1e3,
        fast_ms=seconds["fast"] * 1e3,
        reference_mb=peaks["reference"] / 1e6,
        fast_mb=peaks["fast"] / 1e6,
    )
