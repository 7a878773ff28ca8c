"""The pose map of body animation (the paper's "structure"): 17 heat maps, and the skeleton drawn in colour.

    channels 0..16    a Gaussian at every joint, as in heatmap.py; zeros where the joint is missing
    channels 17..19   red, green and blue, in [0, 1], of the skeleton's limbs on black

The 17 joints are OpenPose's 18 without the neck, in their order, which are the joints of COCO. The neck is only the
middle of the shoulders. The drawing still has the limbs that end at the neck, if it or both shoulders are known.
"""

from __future__ import annotations

import cv2
import numpy as np

from gfla_cli.arrays import Float32Array, Image, Points
from gfla_cli.conditioning.heatmap import heatmaps
from gfla_cli.person.drawing import limb_colours
from gfla_cli.person.pose import LIMBS

CHANNELS = 20
JOINTS_OF_MAPS = (0, *range(2, 18))
_NECK, _SHOULDERS = 1, (2, 5)
_THICKNESS = 1 / 64  # of the frame's height
_SUBPIXEL = 4  # bits; cv2 draws at fractions of a pixel when coordinates are shifted


def body_structure(points: Points, size: tuple[int, int], sigma: float = 6.0) -> Float32Array:
    """(20, H, W) float32 in [0, 1] from (18, >=2) points in pixels of the H x W frame; missing = negative."""
    structure = np.empty((CHANNELS, *size), np.float32)
    structure[:17] = heatmaps(points[list(JOINTS_OF_MAPS)], size, sigma)
    structure[17:] = skeleton(points, size).transpose(2, 0, 1) / np.float32(255)
    return structure


def skeleton(points: Points, size: tuple[int, int]) -> Image:
    """(H, W, 3) uint8: the limbs whose ends (18, >=2) are present, each in a colour of its own, on black."""
    places = points[:, :2].astype(np.float64)
    present = np.asarray((places >= 0).all(axis=1), np.bool_)
    if not present[_NECK] and present[list(_SHOULDERS)].all():
        places[_NECK], present[_NECK] = places[list(_SHOULDERS)].mean(axis=0), True
    canvas: Image = np.zeros((*size, 3), np.uint8)
    thickness = max(1, round(_THICKNESS * size[0]))
    fixed = np.rint(places.clip(-20_000, 20_000) * (1 << _SUBPIXEL)).astype(int)
    for (start, end), colour in zip(LIMBS, limb_colours(), strict=True):
        if present[start] and present[end]:
            ends = tuple(fixed[start].tolist()), tuple(fixed[end].tolist())
            cv2.line(canvas, *ends, colour, thickness, cv2.LINE_AA, _SUBPIXEL)
    return canvas
