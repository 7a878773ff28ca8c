"""Depths for joints that were annotated without: those of the person that MediaPipe finds at the same place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.pose import Pose

_SAME = 0.1  # of the frame's side: joints of one person, annotated and detected, are nearer to each other
_FEWEST = 4  # joints in common, to tell


class DetectedDepths:
    """Looks at every picture once. Not to be shared between threads."""

    def __init__(self) -> None:
        self._detector = PersonDetector()
        self._found: dict[str, list[Pose]] = {}

    def of(self, name: str, picture: Image, points: NDArray[np.float32], frame: tuple[int, int]) -> NDArray[np.float32]:
        """(18, 4) the points (18, 3) in pixels of the frame with depths, NaN where nobody is found there."""
        if name not in self._found:
            self._found[name] = [person.pose.scaled(frame) for person in self._detector.detect(picture)]
        nearest = nearest_person(self._found[name], points)
        return Pose(points, frame, None if nearest is None else nearest.depths).deep_points


def nearest_person(people: Sequence[Pose], points: NDArray[np.float32]) -> Pose | None:
    """Of poses in pixels of one frame the one whose joints are those of `points` (18, 3); None where none is near."""
    apart = {distance: pose for pose in people if (distance := _distance(pose, points)) is not None}
    nearest = min(apart, default=None)
    if nearest is None or nearest > _SAME * max(apart[nearest].size):
        return None
    return apart[nearest]


def _distance(pose: Pose, points: NDArray[np.float32]) -> float | None:
    """Mean distance of the joints that both have, pixels; None where they are too few."""
    both = pose.present & (points[:, 2] > 0)
    if both.sum() < _FEWEST:
        return None
    return float(np.linalg.norm(pose.points[both, :2] - points[both, :2], axis=1).mean())
