"""Landmarks drawn by hand: a face that turns, opens its mouth and shuts its eyes, and a body that stands."""

from __future__ import annotations

import numpy as np

from gfla_cli.person.face import (
    EYES,
    mirrored,
)

# x, y, depth of the 18 joints of a standing person: 100 pixels from the hips to the neck, in an image of 400x480.
STANDING = np.array(
    [
        (200, 46, -10), (200, 100, 0), (162, 100, 0), (155, 154, 0), (150, 206, 0), (238, 100, 0), (245, 154, 0),
        (250, 206, 0), (177, 200, 0), (175, 287, 0), (174, 380, 0), (223, 200, 0), (225, 287, 0), (226, 380, 0),
        (193, 38, -9), (207, 38, -9), (185, 42, 2), (215, 42, 2),
    ],
    np.float32,
)  # fmt: skip


def drawn_face(depth=False):
    """(68, 2) or (68, 3): a face from the front, 200 px wide, mouth closed, by hand."""
    jaw = [(-100 * np.cos(t), 130 * np.sin(t)) for t in np.linspace(0, np.pi, 17)]
    heights = (-42, -50, -52, -50, -46)
    brows = [(-x, y) for x, y in zip((75, 62, 48, 34, 22), heights, strict=True)]
    brows += [(x, y) for x, y in zip((22, 34, 48, 62, 75), reversed(heights), strict=True)]
    nose = [(0, -25), (0, -8), (0, 9), (0, 26), (-18, 38), (-9, 41), (0, 43), (9, 41), (18, 38)]
    eye = [(-18, 0), (-7, -6), (7, -6), (18, 0), (7, 6), (-7, 6)]
    eyes = [(x + middle, y - 22) for middle in (-45, 45) for x, y in eye]
    upper = [(-35, 75), (-22, 69), (-9, 66), (0, 68), (9, 66), (22, 69), (35, 75)]
    lower = [(22, 83), (9, 87), (0, 88), (-9, 87), (-22, 83)]
    inner = [(-30, 75), (-12, 75), (0, 75), (12, 75), (30, 75), (12, 76), (0, 76), (-12, 76)]
    points = np.array(jaw + brows + nose + eyes + upper + lower + inner, np.float64)
    x, y = points.T
    z = -np.sqrt(np.maximum(0, 110**2 - x**2 - (0.7 * y) ** 2))  # a ball, nearer in the middle
    z[27:36] -= (8, 14, 22, 30, 12, 14, 16, 14, 12)
    return np.stack([x, y, z], axis=1) if depth else points


def turned(points, yaw_deg, roll_deg=0.0):
    """(68, 3) after the head turned."""
    yaw, roll = np.radians([yaw_deg, roll_deg])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return points @ (about_z @ about_y).T


def with_open_mouth(points, gap):
    opened = points.copy()
    opened[[*range(55, 60), *range(65, 68)], 1] += gap
    opened[4:13, 1] += gap
    return opened


def with_closed_eyes(points, openness=0.0):
    shut = points.copy()
    for eye in EYES:
        for upper, lower in ((eye[1], eye[5]), (eye[2], eye[4])):
            shut[upper] = shut[lower] + openness * (points[upper] - points[lower])
    return shut


def drawn_body(size=(64, 64), middle=32.0):
    """(18, 3): a standing person from the front, all joints present."""
    points = np.ones((18, 3), np.float32)
    points[:, 0] = middle + np.array([0, 0, -6, -8, -8, 6, 8, 8, -4, -4, -4, 4, 4, 4, -1, 1, -3, 3])
    points[:, 1] = [8, 14, 14, 22, 30, 14, 22, 30, 32, 44, 56, 32, 44, 56, 7, 7, 8, 8]
    points[:, :2] *= np.array([size[1], size[0]]) / 64
    return points


def mirrored_face(points, width):
    """The face in the mirrored image of `width` pixels."""
    turned = points[list(mirrored(len(points)))]
    turned[:, 0] = width - 1 - turned[:, 0]
    return turned
