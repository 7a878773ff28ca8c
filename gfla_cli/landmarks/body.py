"""MediaPipe's 33 body landmarks -> the 18 joints of OpenPose, as the training data has them.

There, joints of the body are given wherever they lie inside the picture, even behind the body; eyes, ears and nose
only when they are seen. MediaPipe guesses all 33 always, and its `visibility` is near 1 for the face of a person who
turns the back to us, so the direction of the head decides about the face and the border of the picture about the body.
The thresholds were chosen on the 1 000 training pictures of the rendered people and checked on the 200 test pictures.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.landmarks.pose import MISSING, Pose

# MediaPipe's index of each joint; the neck is no landmark of its own.
_SOURCE = (0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
_NECK = 1
_NOSE, _LEFT_EYE, _RIGHT_EYE, _LEFT_EAR, _RIGHT_EAR, _MOUTH, _SHOULDERS = 0, 2, 5, 7, 8, [9, 10], [11, 12]

_BORDER = 0.02  # of the picture's side: joints this far outside may be clipped to the border
_SEEN = 0.5  # visibility that a joint outside the picture needs for that
_BAND = 0.04  # of the picture's side: in this band inside, ...
_GUESSED = 0.2  # ... joints below this visibility are guesses about what the picture cuts off
_HIDDEN_LEG = 0.1  # feet are rarely hidden by the body itself: below this, something else or nothing is there
_LEAST_CONFIDENCE = 0.05  # of a joint that is hidden but there

# How far (in degrees) the head may be turned away until a feature disappears; positive = its own side turns away.
_NOSE_GONE = 120
_EYE_GONE, _NEAR_EYE_GONE = 78, 105
_EAR_GONE, _EAR_BACK = 22, 150


def to_openpose(landmarks: NDArray[np.float32], size: tuple[int, int]) -> Pose:
    """The pose of (33, 4 or 5) landmarks: x, y, z in pixels of a picture of `size` (height, width), visibility 0..1.

    A fifth column is a depth to be trusted more than z, in pixels; without it the pose has none.
    """
    joints = np.array(
        [landmarks[_SHOULDERS].mean(axis=0) if index is None else landmarks[index] for index in _SOURCE], np.float64
    )
    points = joints[:, [0, 1, 3]]
    points[_NECK, 2] = landmarks[_SHOULDERS, 3].min()
    there = _inside(points, size)
    there &= ~_hidden_legs(points[:, 2])
    for joint, seen in _face_seen(head_turn_deg(landmarks)).items():
        there[joint] &= seen
    points[:, 2] = points[:, 2].clip(_LEAST_CONFIDENCE, 1)
    points[:, :2] = points[:, :2].clip(0, (size[1] - 1, size[0] - 1))
    points[~there] = MISSING
    return Pose(points.astype(np.float32), size, joints[:, 4].astype(np.float32) if joints.shape[1] > 4 else None)


def world_depths(places: NDArray[np.float32], world: Any) -> NDArray[np.float32]:
    """(33,) depths in pixels of landmarks at places (33, 2) in pixels, from MediaPipe's world landmarks in metres.

    The metres are scaled until their x and y fit the places. These depths have the right slope on average, whereas
    MediaPipe's own z in pixels is 2.3 times too steep.
    """
    metres = np.array([[mark.x, mark.y, mark.z] for mark in world], np.float32)
    own, seen = (points - points.mean(axis=0) for points in (metres[:, :2], places))
    scale = float((own * seen).sum()) / max(float((own * own).sum()), 1e-6)
    return np.asarray(metres[:, 2] * max(scale, 0.0), np.float32)


def head_turn_deg(landmarks: NDArray[np.float32]) -> float:
    """Where the head faces: 0 = into the camera, 90 = to the right edge of the picture, ±180 = away from the camera.

    From the nose and from the line through the ears, both in the (x, y, z) of MediaPipe, whose z is noisy but has
    the right sign. The head's own up (eyes to mouth) is taken out first, so a tilted or lying head is no exception.
    """
    place = landmarks[:, :3].astype(np.float64)
    down = place[_MOUTH].mean(axis=0)[:2] - place[[_LEFT_EYE, _RIGHT_EYE]].mean(axis=0)[:2]
    across = np.array([down[1], -down[0]]) / max(float(np.hypot(*down)), 1e-6)
    forward = place[_NOSE] - place[[_LEFT_EAR, _RIGHT_EAR]].mean(axis=0)
    ears = place[_LEFT_EAR] - place[_RIGHT_EAR]
    by_nose = math.atan2(forward[:2] @ across, -forward[2])
    by_ears = math.atan2(ears[2], ears[:2] @ across)
    turn_x = 0.3 * math.cos(by_nose) + 0.7 * math.cos(by_ears)
    turn_y = 0.3 * math.sin(by_nose) + 0.7 * math.sin(by_ears)
    return math.degrees(math.atan2(turn_y, turn_x))


def _face_seen(turn_deg: float) -> dict[int, bool]:
    """For each of the five face joints whether it is seen when the head is turned by `turn_deg`."""
    # Turned to the right edge of the picture, a head hides its left side; the right side is the mirror image.
    left, right = turn_deg, -turn_deg
    return {
        0: abs(turn_deg) < _NOSE_GONE,
        14: -_NEAR_EYE_GONE < right < _EYE_GONE,
        15: -_NEAR_EYE_GONE < left < _EYE_GONE,
        16: right < _EAR_GONE or right > _EAR_BACK,
        17: left < _EAR_GONE or left > _EAR_BACK,
    }


def _inside(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(18,) whether each joint lies in the picture, by its place and, near the border, by its visibility."""
    sides = np.array([size[1], size[0]], np.float64)
    depth = np.minimum(points[:, :2], sides - 1 - points[:, :2]) / sides  # (18, 2) distance from the border, inwards
    depth = depth.min(axis=1)
    visibility = points[:, 2]
    clipped = (depth >= -_BORDER) & (depth < 0) & (visibility >= _SEEN)
    guessed = (depth < _BAND) & (visibility < _GUESSED)
    return np.asarray(clipped | ((depth >= 0) & ~guessed))


def _hidden_legs(visibility: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(18,) knees and ankles of legs that stand behind a table or are not in the picture."""
    hidden = np.zeros(len(visibility), np.bool_)
    for knee, ankle in ((9, 10), (12, 13)):
        hidden[ankle] = visibility[ankle] < _HIDDEN_LEG
        hidden[knee] = hidden[ankle] and visibility[knee] < _HIDDEN_LEG
    return hidden
