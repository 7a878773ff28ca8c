"""Depths for joints that were annotated without: those of the person that MediaPipe finds at the same place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.pose import Pose, nearest_person


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
