"""Pastes a generated image into the image that it was cropped from, without a visible border."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.geometry.crop import Crop

_SOFT = 0.04  # share of the crop's side over which it fades; bodies come that near to its border
_RIM = 0.1  # share of the side, at the border, where both images should be equal; their tones are compared there
_TONES = 24  # levels; pixels that differ by more show something else
_COARSE = 32  # pixels of the side at which tones are compared


class Paster:
    """Blends generated images, one after the other, into the image that they were cropped from."""

    def __init__(self, image: Image, crop: Crop, mask: NDArray[np.float32] | None = None) -> None:
        """`image` (H, W, 3); `crop`: where the generated images belong.

        `mask` (h, w) in [0, 1], of any size: how much of a generated image is visible. By default it is all visible and
        fades at those sides that lie inside of the image. Raises ValueError for a crop outside of the image.
        """
        region = crop.region(image.shape)
        if region is None:
            raise ValueError("nothing can be pasted outside of the image")
        height, width = image.shape[:2]
        left, top, right, bottom = crop.bounds_back((0.0, 0.0, float(crop.size[1]), float(crop.size[0])))
        fades = (top > 0, bottom < height), (left > 0, right < width)
        self._image, self._crop, self._region = image, crop, region
        size = max(round(bottom - top), 1), max(round(right - left), 1)  # as fine as the image that it fades into
        weight = _square(*size, fades, over=_SOFT) if mask is None else mask
        self._weight = crop.uncropped(weight, region, beyond=0)
        self._rest = 1 - self._weight
        self._behind = np.ascontiguousarray(image[region])
        # (c, c, 1) 1 at the sides that fade
        self._rim = 1 - _coarse(crop.uncropped(_square(*size, fades, over=_RIM), region))
        self._coarse_behind = _coarse(self._behind)

    def __call__(self, part: Image) -> Image:
        """A copy of the image with the generated `part` (h, w, 3), of any size, in its place."""
        return self.set_in(self._crop.uncropped(part, self._region))

    def set_in(self, part: Image) -> Image:
        """Like a call, for a part that has the pixels of the crop's region of the image."""
        part = self._levelled(part)
        whole = self._image.copy()
        whole[self._region] = cv2.blendLinear(part, self._behind, self._weight, self._rest)
        return whole

    def _levelled(self, part: Image) -> Image:
        """The part with the tones of the image: the difference at the rim is removed, smoothly, everywhere."""
        difference = self._coarse_behind - _coarse(part)
        weight = self._rim * (np.abs(difference).max(axis=2, keepdims=True) < _TONES)
        total = _spread(weight)[..., None]
        if not total.max() > 0:
            return part
        off = _spread(difference * weight) / (total + 1e-3)
        height, width = part.shape[:2]
        levelled = part + cv2.resize(off, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(levelled.round().clip(0, 255), np.uint8)


def _coarse(values: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) or (H, W, C) -> (c, c, 1 or C) means."""
    small = cv2.resize(values, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    return np.asarray(small.reshape(_COARSE, _COARSE, -1), np.float32)


def _spread(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), _COARSE / 4, borderType=cv2.BORDER_REPLICATE), np.float32)


def _square(
    height: int, width: int, fades: tuple[tuple[bool, bool], tuple[bool, bool]], *, over: float
) -> NDArray[np.float32]:
    """(height, width) weights that fall to 0 at those sides that fade: top and bottom, left and right."""
    down, across = _ramp(height, fades=fades[0], over=over), _ramp(width, fades=fades[1], over=over)
    return np.minimum(down[:, None], across)


def _ramp(length: int, *, fades: tuple[bool, bool], over: float) -> NDArray[np.float32]:
    """(length,) weights: 0 to 1 at the ends that fade, smoothly; 1 at the other ends."""
    distance = (np.arange(length) + 0.5) / max(over * length, 1)
    weight = np.ones(length)
    for ramp, fade in ((distance, fades[0]), (distance[::-1], fades[1])):
        if fade:
            weight = np.minimum(weight, np.clip(ramp, 0, 1))
    return smoothstep(weight).astype(np.float32)


def smoothstep(share: NDArray[np.floating]) -> NDArray[np.floating]:
    """0 to 1 for 0 to 1, without a corner at both ends."""
    return np.asarray(share * share * (3 - 2 * share))
