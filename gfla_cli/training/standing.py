"""How a stage is going: how fast, and whether it has ever been better."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_SMOOTHING = 0.9  # of the time of a step


@dataclass(slots=True)
class Standing:
    """Of one stage; losses of two stages cannot be compared."""

    best: float = math.inf  # mean loss between two checkpoints
    total: float = 0.0  # since the last checkpoint
    count: int = 0
    _last_s: float | None = field(default=None, repr=False)
    _step_s: float | None = field(default=None, repr=False)

    def add(self, losses: dict[str, float]) -> None:
        """One step's losses: l1 where there is one, for adversaries say nothing about quality, else the total."""
        value = losses.get("l1", losses["total"])
        if math.isfinite(value):
            self.total += value
            self.count += 1

    def judge(self) -> bool:
        """Whether the steps since the last call were the best so far; the next call looks at new ones."""
        mean = self.total / self.count if self.count else math.inf
        self.total, self.count = 0.0, 0
        better = mean < self.best
        self.best = min(self.best, mean)
        return better

    def rate(self, images: int, now_s: float) -> float:
        """Pictures a second, smoothed, from the time between the ends of steps; 0 after the first."""
        if self._last_s is not None:
            step_s = now_s - self._last_s
            before = step_s if self._step_s is None else self._step_s
            self._step_s = _SMOOTHING * before + (1 - _SMOOTHING) * step_s
        self._last_s = now_s
        return images / self._step_s if self._step_s else 0.0

    def to_list(self) -> list[float]:
        """What a checkpoint keeps."""
        return [self.best, self.total, float(self.count)]

    @classmethod
    def from_list(cls, values: list[float]) -> Standing:
        """Reads what `to_list` gave; older checkpoints have nothing."""
        return cls(values[0], values[1], int(values[2])) if values else cls()
