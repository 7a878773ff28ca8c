"""Whether the person of a picture stands in a pose, as a detector sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfla_cli.data.detected import as_detected
from gfla_cli.landmarks.detector import PersonDetector
from gfla_cli.metrics.keypoints import correct_keypoints

Points = NDArray[np.float32]


class PoseJudge:
    """Finds people with MediaPipe. `rendered`: the wanted joints are a renderer's, which lie inside the body."""

    def __init__(self, *, rendered: bool) -> None:
        self._detector, self._rendered = PersonDetector(), rendered

    def pck(self, made: NDArray[np.uint8], wanted: Points) -> float:
        """Share of the wanted joints, (18, 3) in pixels of the (H, W, 3) picture, that are found in place."""
        hit, total = correct_keypoints(self.pose(made), as_detected(wanted) if self._rendered else wanted)
        return hit / max(total, 1)

    def pose(self, image: NDArray[np.uint8]) -> Points | None:
        """(18, 3) joints of the largest person; None when nobody is found."""
        people = self._detector.detect(image)
        return people[0].pose.points if people else None
