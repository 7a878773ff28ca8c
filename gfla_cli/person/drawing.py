"""Draws poses and faces on images."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image, Int32Array
from gfla_cli.person.face import POINTS, known_irises
from gfla_cli.person.pose import JOINTS, LIMBS, Pose, extent

_OPACITY = 0.75
SUBPIXEL = 4  # bits; cv2 draws at fractions of a pixel when coordinates are shifted


def _rainbow(count: int) -> list[tuple[int, int, int]]:
    """`count` distinct RGB colours, warm ones first: the right arm is orange, the face violet, as in OpenPose."""
    shades = [colorsys.hsv_to_rgb(0.92 * index / count, 0.9, 1.0) for index in range(count)]
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in shades]


LIMB_COLOURS = _rainbow(len(LIMBS))  # networks are trained on drawings in them
_JOINT_COLOURS = _rainbow(len(JOINTS))


def fixed_points(points: NDArray[np.floating]) -> Int32Array:
    """(..., 2) the x and y of points (..., >=2), as cv2 takes them with SUBPIXEL bits of fractions.

    cv2 has 32 bits for coordinates. What lies more than 20 000 pixels outside is not visible anyway.
    """
    return np.asarray(np.rint(points[..., :2].clip(-20_000, 20_000) * (1 << SUBPIXEL)), np.int32)


def draw_pose(image: Image, poses: Pose | Sequence[Pose]) -> Image:
    """A copy of (H, W, 3) uint8 RGB with one or several skeletons on it. Poses of other image sizes are scaled."""
    drawn = image.copy()
    for pose in [poses] if isinstance(poses, Pose) else poses:
        _draw(drawn, pose.scaled((image.shape[0], image.shape[1])))
    # Light lines with dark borders, half transparent: visible on white backgrounds and on black clothes.
    return cast(Image, cv2.addWeighted(drawn, _OPACITY, image, 1 - _OPACITY, 0))


# Landmarks of each line of a face; the closed ones return to their first point.
_FACE_LINES: tuple[tuple[range, bool], ...] = (
    (range(17), False),
    (range(17, 22), False),
    (range(22, 27), False),
    (range(27, 31), False),
    (range(31, 36), False),
    (range(36, 42), True),
    (range(42, 48), True),
    (range(48, 60), True),
    (range(60, 68), True),
)
_FACE_COLOUR = (255, 214, 60)


def draw_face(image: Image, points: NDArray[np.floating]) -> Image:
    """A copy of (H, W, 3) uint8 RGB with the lines of a face over it: (68 or 70, >=2) landmarks in its pixels.

    Irises are dots.
    """
    drawn = image.copy()
    irises = known_irises(points)
    thickness = max(1, round(float(np.ptp(points[:POINTS, 0])) / 150))
    for border, ink in ((thickness + 2, (30, 30, 30)), (thickness, _FACE_COLOUR)):
        for line, closed in _FACE_LINES:
            corners = fixed_points(points[list(line)])
            cv2.polylines(drawn, [corners], closed, ink, border, cv2.LINE_AA, SUBPIXEL)
        for place in () if irises is None else fixed_points(irises).tolist():
            cv2.circle(drawn, place, (border + 1) << (SUBPIXEL - 1), ink, cv2.FILLED, cv2.LINE_AA, SUBPIXEL)
    return cast(Image, cv2.addWeighted(drawn, _OPACITY, image, 1 - _OPACITY, 0))


def _draw(canvas: Image, pose: Pose) -> None:
    thickness = max(1, round(extent(pose.box) / 110))
    place = fixed_points(pose.points).tolist()
    for border, shade in ((thickness + 2, True), (thickness, False)):
        for (start, end), colour in zip(LIMBS, LIMB_COLOURS, strict=True):
            if pose.present[start] and pose.present[end]:
                ink = (30, 30, 30) if shade else colour
                cv2.line(canvas, place[start], place[end], ink, border, cv2.LINE_AA, SUBPIXEL)
    for joint, colour in enumerate(_JOINT_COLOURS):
        if pose.present[joint]:
            for radius, ink in ((thickness + 2, (30, 30, 30)), (thickness + 1, colour)):
                cv2.circle(canvas, place[joint], radius << SUBPIXEL, ink, cv2.FILLED, cv2.LINE_AA, SUBPIXEL)
