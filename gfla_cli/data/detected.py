"""Joints of the renderer's skeleton, moved to where mediapipe sees them.

A skeleton has its joints at the centres of rotation, a detector where people were told to click. The shares below
were measured on the 399 front views of the rendered training set: mean of (detected - true) position, in torsos.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

# joint -> (share, from joint, to joint), repeated: the joint moves by that share of the way between the two
_NECK, _HIPS = 1, (8, 11)
_UP = {1: 0.07, 2: 0.07, 5: 0.07, 0: 0.02, 14: 0.014, 15: 0.014, 16: 0.03, 17: 0.03}  # of hips to neck
_TOWARDS = {
    2: (0.026, 5),
    5: (0.026, 2),  # shoulders 0.02 torso inwards, 0.77 torso apart
    8: (0.03, 11),
    11: (0.03, 8),  # hips 0.014, 0.46 apart
    16: (0.13, 17),
    17: (0.13, 16),  # ears 0.04, 0.3 apart
    10: (0.06, 9),
    13: (0.06, 12),  # ankles 0.055 up the shin
    3: (0.037, 2),
    6: (0.037, 5),  # elbows 0.02 up the arm
}
_SHOULDERS_APART = 0.77  # torsos


def as_detected(points: Points, share: float = 1.0) -> Points:
    """(18, 3) skeleton joints at mediapipe's places; `share` of the way there. Missing joints stay missing."""
    present = points[:, 2] > 0
    xy = points[:, :2]
    up = _hips_to_neck(points, present)
    moved = points.copy()
    for joint, part in _UP.items():
        moved[joint, :2] += share * part * up
    for joint, (part, goal) in _TOWARDS.items():
        if present[goal]:
            moved[joint, :2] += share * part * (xy[goal] - xy[joint])
    moved[:, :2] = np.where(present[:, None], moved[:, :2].clip(0), -1)
    return moved


def _hips_to_neck(points: Points, present: NDArray[np.bool_]) -> Points:
    """The torso as a vector; upright and guessed from the shoulders when the hips are out of the picture."""
    hips = [points[hip, :2] for hip in _HIPS if present[hip]]
    if hips and present[_NECK]:
        return np.asarray(points[_NECK, :2] - np.mean(hips, axis=0), np.float32)
    if present[2] and present[5]:
        apart = float(np.linalg.norm(points[2, :2] - points[5, :2]))
        return np.array([0, -apart / _SHOULDERS_APART], np.float32)
    return np.zeros(2, np.float32)
