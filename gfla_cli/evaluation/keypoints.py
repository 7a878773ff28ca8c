"""Whether a generated person stands in the pose that was asked for: PCK, and how far two poses differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Points
from gfla_cli.datasets.detector_errors import as_detected
from gfla_cli.person.detect import PersonDetector


def correct_keypoints(found: Points | None, wanted: Points, share: float = 0.1) -> tuple[int, int]:
    """How many wanted joints were found within `share` of the body's size, and how many were wanted.

    Both are (18, 3) x, y, confidence; missing = confidence 0. The body's size is the longer side of the box around
    the wanted joints (PCK of Yang & Ramanan). Nobody found (None) is no joint found.
    """
    there = wanted[:, 2] > 0
    if found is None or not there.any():
        return 0, int(there.sum())
    box = wanted[there, :2]
    size = float((box.max(axis=0) - box.min(axis=0)).max())
    distance = np.linalg.norm(found[:, :2] - wanted[:, :2], axis=1)
    hit = there & (found[:, 2] > 0) & (distance <= share * size)
    return int(hit.sum()), int(there.sum())


def pose_change(source: Points, target: Points) -> float:
    """Mean distance of corresponding joints in torso lengths, after both bodies were brought to one size and place."""
    shared = (source[:, 2] > 0) & (target[:, 2] > 0)
    if shared.sum() < 3:
        return float("inf")
    a, b = (_normalised(points[shared, :2]) for points in (source, target))
    return float(np.linalg.norm(a - b, axis=1).mean())


def _normalised(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centred, in units of a torso, of which a standing body's joints spread about 1.1 around their middle."""
    centred = points - points.mean(axis=0)
    spread = float(np.sqrt((centred**2).sum(axis=1).mean()))
    return np.asarray(centred / max(spread, 1e-6) * 1.1, np.float32)


# Whether the person of a picture stands in a pose, as a detector sees it.


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
