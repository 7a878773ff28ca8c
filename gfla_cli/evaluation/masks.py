"""Masks of people that somebody else has made, one file for each picture."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Points
from gfla_cli.errors import DataError
from gfla_cli.io.image import find_images, read_image
from gfla_cli.person.pose import FACE, LIMBS

_WHITE = 128  # levels from which a pixel belongs to the person


class MaskFiles:
    """The masks of a folder, by the names of the pictures they belong to, whatever their suffix."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {path.stem: path for path in find_images(folder)}

    def __call__(self, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """(H, W) of 0 and 1, white in the file is 1; raises DataError when this picture has no mask."""
        stem = PurePath(name).stem
        if stem not in self._files:
            raise DataError(f"{self.folder}: no mask for {name}", hint=f"looked for {stem} with a picture's suffix")
        grey = read_image(self._files[stem]).mean(axis=2)
        mask: NDArray[np.uint8] = (grey >= _WHITE).astype(np.uint8)
        if mask.shape == size:
            return mask
        return np.asarray(cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), np.uint8)


# Where the person of a pose is, roughly: the mask of mask-SSIM and mask-LPIPS.
#
# Market-1501 is filmed in the street, and a network that draws one person cannot know the other picture's background.
# Since Ma et al. (Pose Guided Person Image Generation, 2017, Sec. 3.1: body parts connected, then morphology until the
# whole body is about covered) figures are therefore also taken on the person alone. Nobody published the strokes; ours:
#
# - every limb of OpenPose's skeleton whose two joints are there: a stroke of 1/8 of the body's frame, H / 8 pixels
# - the quadrilateral of shoulders and hips, filled
# - a disc of H / 10 pixels radius around the middle of nose, eyes and ears, as far as they are there
# - a closing (dilation, then erosion) with a disc of H / 16 pixels
#
# H is the height of the picture, in which a person of Market-1501 stands from edge to edge; with joints that reach from
# `top` to `bottom` in a looser frame, it is 1.1 times that distance.


MASK_RULE = "limbs as strokes of H/8, torso filled, head disc of H/10, closed by H/16; outside black in both pictures"
_TORSO = (2, 5, 11, 8)  # around it: right shoulder, left shoulder, left hip, right hip


def body_mask(points: Points, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) of 0 and 1 from (18, 3) x, y, confidence in pixels of an H x W picture; all 0 without joints."""
    mask = np.zeros(size, np.uint8)
    there = points[:, 2] > 0
    if not there.any():
        return mask
    place = np.rint(points[:, :2].clip(-20_000, 20_000)).astype(int)
    height = min(float(size[0]), 1.1 * max(float(np.ptp(points[there, 1])), float(np.ptp(points[there, 0]))))
    for start, end in LIMBS:
        if there[start] and there[end]:
            cv2.line(mask, place[start].tolist(), place[end].tolist(), 1, max(1, round(height / 8)))
    if there[list(_TORSO)].all():
        cv2.fillConvexPoly(mask, cv2.convexHull(place[list(_TORSO)]), 1)
    face = [joint for joint in FACE if there[joint]]
    if face:
        middle = np.rint(place[face].mean(axis=0)).astype(int)
        cv2.circle(mask, middle.tolist(), max(1, round(height / 10)), 1, cv2.FILLED)
    radius = max(1, round(height / 16))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    around = np.pad(mask, radius)  # else it sticks to the border
    closed = cv2.morphologyEx(around, cv2.MORPH_CLOSE, disc)[radius:-radius, radius:-radius]
    return cast(NDArray[np.uint8], closed)
