"""Landmarks over time: the one-euro filter, which smooths resting points and follows moving ones.

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
from gfla_cli.person.body import torso_length
from gfla_cli.person.pose import JOINTS, MISSING, Pose


@dataclass(frozen=True, kw_only=True, slots=True)
class Smoothing:
    """How much to smooth. The unit of length is the size of the face or body, so no setting depends on the image.

    The defaults reduce MediaPipe's trembling of a still face to a third. At 30 frames per second a slow motion (0.2
    sizes per second) lags 0.6 frames behind, a quick one (1 size per second) 0.2 frames.
    """

    still_hz: float = 1.5  # cutoff for a point at rest; lower = calmer
    per_speed: float = 20.0  # Hz added per speed of one size per second; higher = less lag
    speed_hz: float = 4.0  # cutoff for the speed itself

    def __post_init__(self) -> None:
        if not (self.still_hz > 0 and self.per_speed >= 0 and self.speed_hz > 0):
            raise UsageError(f"impossible smoothing: {self}", hint="frequencies are above 0")


class OneEuro:
    """Filters (N, n) points, one call per frame. Each point has its own speed, shared by its coordinates."""

    def __init__(self, fps: Fraction | float, smoothing: Smoothing | None = None) -> None:
        self.smoothing = smoothing or Smoothing()
        self.fps = float(fps)
        self._points: NDArray[np.float64] | None = None
        self._velocity: NDArray[np.float64] | None = None

    def reset(self) -> None:
        """Restarts the filter, for instance after a cut or when a face is found again."""
        self._points = self._velocity = None

    def __call__(self, points: NDArray[np.floating], size: float, missing: int = 0) -> NDArray[np.float32]:
        """The smoothed points. `size`: of the face or body, in the points' unit. `missing`: frames left out before.

        The first frame, and any frame with a new number of points, is returned unchanged.
        """
        new = np.asarray(points, np.float64)
        old, velocity = self._points, self._velocity
        if old is None or velocity is None or old.shape != new.shape:
            self._points, self._velocity = new, np.zeros_like(new)
            return new.astype(np.float32)
        interval = (1 + missing) / self.fps
        velocity = velocity + _share(self.smoothing.speed_hz, interval) * ((new - old) / interval - velocity)
        speed = np.linalg.norm(velocity, axis=1, keepdims=True) / max(size, 1e-6)  # (N, 1) sizes per second
        smoothed = old + _share(self.smoothing.still_hz + self.smoothing.per_speed * speed, interval) * (new - old)
        self._points, self._velocity = smoothed, velocity
        return smoothed.astype(np.float32)


def _share(cutoff_hz: NDArray[np.float64] | float, interval: float) -> NDArray[np.float64]:
    """The share of the new value in the result, 0..1."""
    step = 2 * math.pi * np.asarray(cutoff_hz) * interval
    return np.asarray(step / (1 + step))


_BRIDGED = 3  # frames for which a joint that is lost stays where it was
_DEPTHS = Smoothing(still_hz=1.5, per_speed=2.0, speed_hz=1.0)  # depths tremble far more than x and y


class BodyFilter:
    """Smooths each joint of a body over time and bridges short gaps. `smooth=False` only bridges gaps."""

    def __init__(self, fps: Fraction | float, smoothing: Smoothing | None = None, *, smooth: bool = True) -> None:
        self._smooth = smooth
        self._filters = [OneEuro(fps, smoothing) for _ in JOINTS]
        self._depths = OneEuro(fps, smoothing or _DEPTHS)
        self._last = np.tile(np.array(MISSING, np.float32), (len(JOINTS), 1))
        self._gap = np.zeros(len(JOINTS), np.intp)  # frames since a joint was seen

    def __call__(self, pose: Pose, missing: int = 0) -> Pose:
        """The smoothed pose. `missing`: frames without a person before this one."""
        size = torso_length(pose) or 1.0
        points = pose.points.copy()
        self._gap += missing
        for joint, there in enumerate(pose.present):
            if there:
                if self._gap[joint] > _BRIDGED:
                    self._filters[joint].reset()
                if self._smooth:
                    gap = int(self._gap[joint])
                    points[joint, :2] = self._filters[joint](points[joint : joint + 1, :2], size, gap)[0]
                self._gap[joint] = 0
                self._last[joint] = points[joint]
            elif self._gap[joint] < _BRIDGED and self._last[joint, 2] > 0:
                points[joint] = self._last[joint]
                self._gap[joint] += 1
            else:
                self._gap[joint] += 1
        depths = pose.depths
        if depths is not None and self._smooth:
            depths = self._depths(depths[:, None], size, missing)[:, 0]
        return Pose(points, pose.size, depths)
