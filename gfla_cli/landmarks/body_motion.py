"""The motion of one body put onto another: the driver's joints over time, calmed, at the source's size and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from gfla_cli.landmarks.body_size import anchor, has_feet, torso_length
from gfla_cli.landmarks.pose import JOINTS, MISSING, Pose
from gfla_cli.landmarks.smoothing import OneEuro, Smoothing

_HELD = 3  # frames for which a joint that flickers stays where it was
_CALM_DEPTHS = Smoothing(still_hz=1.5, per_speed=2.0, speed_hz=1.0)  # they tremble far more than places do
_UPRIGHT = 80  # percentile: a torso that leans looks shorter than it is, never longer


class BodyMotion:
    """Places every pose of a clip as one alignment, computed once, tells: what moves is the driver, not the scale.

    `driving`: some poses of the driver, the first seconds for instance. Sizes are compared by torso length. Bodies
    that mostly show their feet stand, on average, where the source stands; others meet at the neck. `absolute`: where
    the driver is in its own picture, brought to the source's picture by height, stays where it is.
    """

    def __init__(self, source: Pose, driving: Sequence[Pose], *, absolute: bool = False) -> None:
        self._size = source.size
        self._feet = has_feet(source) and 2 * sum(has_feet(pose) for pose in driving) > len(driving)
        own = driving[0].size
        if absolute:
            scale = source.size[0] / own[0]
            shift = np.array([(source.size[1] - scale * own[1]) / 2, 0])
        else:
            scale, shift = self._alignment(source, driving)
        self._matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        self._ground = round(scale * own[0] + float(shift[1]))

    def _alignment(self, source: Pose, driving: Sequence[Pose]) -> tuple[float, NDArray[np.float64]]:
        lengths = [length for pose in driving if (length := torso_length(pose)) > 0]
        wanted, found = torso_length(source), float(np.percentile(lengths, _UPRIGHT)) if lengths else 0.0
        scale = wanted / found if wanted > 0 and found > 0 else 1.0
        fitting = [pose for pose in driving if has_feet(pose)] if self._feet else driving
        place = np.median([anchor(pose, feet=self._feet) for pose in fitting], axis=0)
        return scale, anchor(source, feet=self._feet) - scale * place

    def __call__(self, pose: Pose) -> Pose:
        """The driver's pose in the source's picture; joints may lie outside of it."""
        moved = pose.transformed(self._matrix, self._size)
        if has_feet(pose):
            return moved
        # A body that its own picture cuts stays cut there, not where the source's picture ends.
        return replace(moved, size=(max(1, min(self._ground, self._size[0])), self._size[1]))


class SteadyBody:
    """Smooths joints over time, each by itself, and bridges short gaps; `smooth` False only bridges."""

    def __init__(self, fps: Fraction | float, smoothing: Smoothing | None = None, *, smooth: bool = True) -> None:
        self._smooth = smooth
        self._filters = [OneEuro(fps, smoothing) for _ in JOINTS]
        self._depths = OneEuro(fps, smoothing or _CALM_DEPTHS)
        self._last = np.tile(np.array(MISSING, np.float32), (len(JOINTS), 1))
        self._gap = np.zeros(len(JOINTS), np.intp)  # frames since a joint was seen

    def __call__(self, pose: Pose, missing: int = 0) -> Pose:
        """The calmed pose. `missing`: frames without anybody before this one."""
        size = torso_length(pose) or 1.0
        points = pose.points.copy()
        self._gap += missing
        for joint, there in enumerate(pose.present):
            if there:
                if self._gap[joint] > _HELD:
                    self._filters[joint].reset()
                if self._smooth:
                    gap = int(self._gap[joint])
                    points[joint, :2] = self._filters[joint](points[joint : joint + 1, :2], size, gap)[0]
                self._gap[joint] = 0
                self._last[joint] = points[joint]
            elif self._gap[joint] < _HELD and self._last[joint, 2] > 0:
                points[joint] = self._last[joint]
                self._gap[joint] += 1
            else:
                self._gap[joint] += 1
        depths = pose.depths
        if depths is not None and self._smooth:
            depths = self._depths(depths[:, None], size, missing)[:, 0]
        return Pose(points, pose.size, depths)
