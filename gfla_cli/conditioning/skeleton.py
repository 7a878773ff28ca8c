"""Body structure for animation: 17 joints as heat maps, and the skeleton drawn in colour.

    channels 0..16    a Gaussian at every joint, as in heatmap.py; zeros where the joint is missing
    channels 17..19   red, green and blue, in [0, 1], of the skeleton's limbs on black

The 17 are OpenPose's 18 without the neck, in their order: the neck is the middle of the shoulders and says nothing
that they do not say; what remains are the joints of COCO. The drawing still has the limbs that meet in it, where both
shoulders are known or the neck itself is.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.conditioning.heatmap import heatmaps
from gfla_cli.person.drawing import limb_colours
from gfla_cli.person.pose import LIMBS

CHANNELS = 20
JOINTS_OF_MAPS = (0, *range(2, 18))
_NECK, _SHOULDERS = 1, (2, 5)
_THICKNESS = 1 / 64  # of the frame's height
_SUBPIXEL = 4  # bits; cv2 draws at fractions of a pixel when coordinates are shifted


def body_structure(points: NDArray[np.float32], size: tuple[int, int], sigma: float = 6.0) -> NDArray[np.float32]:
    """(20, H, W) float32 in [0, 1] from (18, >=2) points in pixels of the H x W frame; missing = negative."""
    structure = np.empty((CHANNELS, *size), np.float32)
    structure[:17] = heatmaps(points[list(JOINTS_OF_MAPS)], size, sigma)
    structure[17:] = skeleton(points, size).transpose(2, 0, 1) / np.float32(255)
    return structure


def skeleton(points: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the limbs between the points that are there, each in a colour of its own, on black."""
    places = points[:, :2].astype(np.float64)
    there = np.asarray((places >= 0).all(axis=1), np.bool_)
    if not there[_NECK] and there[list(_SHOULDERS)].all():
        places[_NECK], there[_NECK] = places[list(_SHOULDERS)].mean(axis=0), True
    canvas = np.zeros((*size, 3), np.uint8)
    thickness = max(1, round(_THICKNESS * size[0]))
    fixed = np.rint(places.clip(-20_000, 20_000) * (1 << _SUBPIXEL)).astype(int)
    for (start, end), colour in zip(LIMBS, limb_colours(), strict=True):
        if there[start] and there[end]:
            ends = tuple(fixed[start].tolist()), tuple(fixed[end].tolist())
            cv2.line(canvas, *ends, colour, thickness, cv2.LINE_AA, _SUBPIXEL)
    return cast(NDArray[np.uint8], canvas)
