"""How large a body is in a picture, and how far it reaches beyond its joints.

The unit is the torso: neck to middle of the hips, seen from the front. The ratios are means over the bodies of the
rendered people (80 shapes, both sexes), the reach is the median over 180 of their whole-body views.
"""

from __future__ import annotations

import numpy as np

from gfla_cli.landmarks.pose import Pose

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


def body_box(pose: Pose) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the whole visible body in pixels: joints, and hair, hands and shoes beyond them.

    A body without ankles is cut by the picture's lower border, and so is its box.
    """
    left, top, right, bottom = pose.box
    torso = torso_length(pose)
    neck = pose.points[1] if pose.present[1] else None
    crown = (neck[1] if neck is not None else top) - _ABOVE_NECK * torso
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
