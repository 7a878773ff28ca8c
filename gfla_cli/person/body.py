"""How large a body is in a picture, and how far it reaches beyond its joints.

The unit is the torso: neck to middle of the hips, seen from the front. The ratios are means over the bodies of the
rendered people (80 shapes, both sexes), the reach is the median over 180 of their whole-body views.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.geometry.crop import Box
from gfla_cli.person.pose import MISSING, Pose

# pairs of joints -> their distance in torsos
_SEGMENTS: dict[tuple[int, int], float] = {
    (2, 5): 0.77,
    (2, 3): 0.54,
    (5, 6): 0.54,
    (3, 4): 0.52,
    (6, 7): 0.52,
    (8, 9): 0.87,
    (11, 12): 0.87,
    (9, 10): 0.93,
    (12, 13): 0.93,
    (0, 1): 0.54,
}
_ABOVE_NECK, _BELOW_ANKLE, _BESIDE = 0.81, 0.24, 0.12  # crown, soles, arms and hands; torsos
_ANKLES, _HIPS, _SHOULDERS = (10, 13), (8, 11), (2, 5)


def torso_length(pose: Pose) -> float:
    """Estimated length of the torso in pixels; 0 when no two joints tell it.

    Seen at an angle every segment looks shorter than it is, never longer, so the long ones are the honest ones:
    the mean of the three largest estimates.
    """
    estimates = [
        float(np.linalg.norm(pose.points[a, :2] - pose.points[b, :2])) / ratio
        for (a, b), ratio in _SEGMENTS.items()
        if pose.present[a] and pose.present[b]
    ]
    hips = middle(pose, _HIPS)
    if hips is not None and pose.present[1]:
        estimates.append(float(np.linalg.norm(pose.points[1, :2] - hips)))
    return float(np.mean(sorted(estimates)[-3:])) if estimates else 0.0


def middle(pose: Pose, joints: tuple[int, int]) -> np.ndarray[tuple[int], np.dtype[np.float32]] | None:
    """Mean x, y of the joints that are present; None when none is."""
    there = [pose.points[joint, :2] for joint in joints if pose.present[joint]]
    return np.mean(there, axis=0) if there else None


def body_box(pose: Pose) -> Box:
    """The box of the whole visible body: its joints, and hair, hands and shoes beyond them. See `geometry.crop`.

    A body without ankles is cut by the image's lower border, and so is its box.
    """
    left, top, right, bottom = (side + 0.5 for side in pose.box)
    torso = torso_length(pose)
    crown = (pose.points[1, 1] + 0.5 if pose.present[1] else top) - _ABOVE_NECK * torso
    # With raised arms the hands are highest; they reach past the wrist about as far as shoes do past the ankle.
    top = min(top - _BESIDE * torso, float(crown))
    bottom = bottom + _BELOW_ANKLE * torso if has_feet(pose) else max(bottom, float(pose.size[0]))
    return left - _BESIDE * torso, top, right + _BESIDE * torso, bottom


def has_feet(pose: Pose) -> bool:
    """Whether at least one ankle is in the picture."""
    return any(bool(pose.present[joint]) for joint in _ANKLES)


def anchor(pose: Pose, *, feet: bool) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The point by which a body is put in its place: x of the hips (else neck), y of the lower ankle or of the neck."""
    hips, shoulders = middle(pose, _HIPS), middle(pose, _SHOULDERS)
    neck = pose.points[1, :2] if pose.present[1] else shoulders
    fallback = np.array([(pose.box[0] + pose.box[2]) / 2, pose.box[1]], np.float32)
    across = hips if hips is not None else neck if neck is not None else fallback
    down = neck if neck is not None else fallback
    if feet:
        return np.array([across[0], max(pose.points[j, 1] for j in _ANKLES if pose.present[j])], np.float32)
    return np.array([across[0], down[1]], np.float32)


# MediaPipe's 33 body landmarks -> the 18 joints of OpenPose, as the training data has them.
#
# The training data gives the joints of the body wherever they lie inside the picture, even behind the body. It gives
# eyes, ears and nose only when they are visible. MediaPipe always guesses all 33, and its `visibility` is near 1 even
# for the face of a person who turns away. So the direction of the head decides which face joints are kept, and the
# border of the picture decides about the body. The thresholds were chosen on 1 000 rendered training pictures and
# checked on 200 test pictures.


# MediaPipe's index of each joint; the neck is no landmark of its own.
_SOURCE = (0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
_NECK = 1
_NOSE, _LEFT_EYE, _RIGHT_EYE, _LEFT_EAR, _RIGHT_EAR, _MOUTH, _MARK_SHOULDERS = 0, 2, 5, 7, 8, [9, 10], [11, 12]

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
        [landmarks[_MARK_SHOULDERS].mean(axis=0) if index is None else landmarks[index] for index in _SOURCE],
        np.float64,
    )
    points = joints[:, [0, 1, 3]]
    points[_NECK, 2] = landmarks[_MARK_SHOULDERS, 3].min()
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
