"""Landmarks of rendered faces, moved to where mediapipe sees them.

The renderer's landmarks are fixed points of the skin, a detector's are where it learnt to see them: its jaw slides
along the outline of a turning head, its brows begin elsewhere. The table was measured on 880 rendered portraits: least
squares of (detected - rendered) on the turn of the head, left and right taken as mirror images. What remains is
1.8 % of the face's width on average, of 2.6 % before; it differs from person to person.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfla_cli.landmarks.face_points import MIRRORED, Points, face_size

EDGE = 0.5  # pixels: the renderer counts from the picture's edge, landmarks from the centre of the first pixel

# point -> shift across and down the face, and how much it grows with the turn of the head; face sizes
_SHIFT: dict[int, tuple[float, float, float, float]] = {
    0: (0.013, -0.007, 0.165, -0.031),
    1: (-0.014, 0.011, -0.374, -0.010),
    2: (-0.009, -0.007, -0.146, 0.011),
    3: (-0.009, -0.019, -0.103, 0.061),
    4: (0.009, 0.009, -0.028, 0.081),
    5: (-0.024, -0.007, -0.173, 0.100),
    6: (0.004, 0.000, 0.527, 0.090),
    7: (0.006, -0.013, 0.231, 0.038),
    8: (0.000, -0.012, 0.179, 0.000),
    17: (0.002, -0.047, 0.000, -0.001),
    18: (-0.006, -0.011, -0.068, -0.006),
    19: (0.008, -0.019, -0.048, -0.015),
    20: (-0.021, 0.012, -0.051, -0.014),
    21: (0.010, 0.019, 0.002, -0.009),
    27: (0.000, 0.002, 0.071, 0.000),
    28: (0.000, 0.010, 0.136, 0.000),
    29: (0.000, 0.011, 0.150, 0.000),
    30: (0.000, 0.002, 0.115, 0.000),
    31: (-0.003, 0.001, 0.043, 0.014),
    32: (-0.005, 0.013, 0.057, 0.005),
    33: (0.000, 0.010, 0.004, 0.000),
    36: (0.000, 0.004, -0.047, 0.006),
    37: (-0.001, 0.001, -0.091, 0.000),
    38: (-0.005, 0.003, -0.088, -0.006),
    39: (-0.001, 0.008, -0.003, 0.006),
    40: (0.007, -0.001, -0.050, -0.001),
    41: (-0.009, 0.000, -0.063, -0.003),
    48: (-0.004, 0.006, -0.078, 0.013),
    49: (0.001, -0.004, -0.050, 0.021),
    50: (0.003, 0.004, -0.017, 0.005),
    51: (0.000, -0.006, -0.019, 0.000),
    55: (0.022, 0.001, -0.042, -0.024),
    56: (0.014, 0.005, 0.009, -0.016),
    57: (0.000, 0.010, 0.023, 0.000),
    60: (-0.012, 0.015, -0.122, 0.015),
    61: (-0.020, 0.004, -0.102, 0.009),
    62: (0.000, -0.006, -0.004, 0.000),
    65: (0.005, -0.001, 0.028, -0.015),
    66: (0.000, -0.002, 0.067, 0.000),
}
_MIRROR = np.array([-1, 1, 1, -1])  # signs of the four numbers at the mirrored point
_FURTHEST = 0.35  # turn up to which the table was measured


def _table() -> NDArray[np.float64]:
    """(68, 4): the table with its mirror image."""
    table = np.zeros((68, 4))
    for point, numbers in _SHIFT.items():
        table[MIRRORED[point]] = numbers * _MIRROR
        table[point] = numbers
    return table


_TABLE = _table()


def as_detected_face(landmarks: Points, share: float = 1.0) -> NDArray[np.float32]:
    """(68, 2) rendered landmarks, in pixels from the centre of the first, at the detector's places.

    `share` says how much of the way they are moved.
    """
    points = np.asarray(landmarks[:, :2], np.float64)
    eyes = points[45] - points[36]
    apart = max(float(np.linalg.norm(eyes)), 1e-6)
    across = eyes / apart
    down = np.array([-across[1], across[0]])
    turn = float(np.clip((points[30] - points[[36, 45]].mean(axis=0)) @ across / apart, -_FURTHEST, _FURTHEST))
    shift = _TABLE[:, :2] + turn * _TABLE[:, 2:]
    moved = points + share * face_size(points) * (shift[:, :1] * across + shift[:, 1:] * down)
    return np.asarray(moved, np.float32)
