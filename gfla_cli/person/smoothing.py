"""Landmarks over time: the one-euro filter, which calms what stands still and follows what moves.

Casiez, Roussel, Vogel: "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012. A first-order low-pass filter whose cutoff frequency rises with the speed of the point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Smoothing:
    """How much to smooth. The unit of length is the size of the face or body, so no setting depends on the picture.

    The defaults leave a third of the tremble from frame to frame that MediaPipe gives a still face; a slow move (0.2
    sizes a second) lags 0.6 frames behind, a quick one (1) 0.2, at 30 frames a second.
    """

    still_hz: float = 1.5  # cutoff for a point at rest; lower = calmer
    per_speed: float = 20.0  # Hz added per size a second; higher = less lag
    speed_hz: float = 4.0  # cutoff for the speed itself

    def __post_init__(self) -> None:
        if not (self.still_hz > 0 and self.per_speed >= 0 and self.speed_hz > 0):
            raise UsageError(f"no smoothing can be {self}", hint="frequencies are above 0")


class OneEuro:
    """Filters (N, n) points, one call a frame; every point has a speed of its own, shared by its coordinates."""

    def __init__(self, fps: Fraction | float, smoothing: Smoothing | None = None) -> None:
        self.smoothing = smoothing or Smoothing()
        self.fps = float(fps)
        self._points: NDArray[np.float64] | None = None
        self._velocity: NDArray[np.float64] | None = None

    def reset(self) -> None:
        """Forgets what was before, as after a cut or when a face is found again."""
        self._points = self._velocity = None

    def __call__(self, points: NDArray[np.floating], size: float, missing: int = 0) -> NDArray[np.float32]:
        """The smoothed points. `size`: of the face or body, in the points' unit. `missing`: frames that were left out.

        The first frame, and one that has another number of points than the one before, comes out as it is.
        """
        new = np.asarray(points, np.float64)
        old, velocity = self._points, self._velocity
        if old is None or velocity is None or old.shape != new.shape:
            self._points, self._velocity = new, np.zeros_like(new)
            return new.astype(np.float32)
        interval = (1 + missing) / self.fps
        velocity = velocity + _share(self.smoothing.speed_hz, interval) * ((new - old) / interval - velocity)
        speed = np.linalg.norm(velocity, axis=1, keepdims=True) / max(size, 1e-6)  # (N, 1) sizes a second
        smoothed = old + _share(self.smoothing.still_hz + self.smoothing.per_speed * speed, interval) * (new - old)
        self._points, self._velocity = smoothed, velocity
        return smoothed.astype(np.float32)


def _share(cutoff_hz: NDArray[np.float64] | float, interval: float) -> NDArray[np.float64]:
    """How much of the difference to the new value is taken over."""
    step = 2 * math.pi * np.asarray(cutoff_hz) * interval
    return np.asarray(step / (1 + step))
