"""Putting a generated frame back into the picture that it was cut from, without a visible border."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image

_SOFT = 0.04  # of the frame's side over which the picture fades into the frame; bodies come that near to its border
_RIM = 0.1  # of the side: where both should show the same, and tell how much the frame's tones are off
_TONES = 24  # levels: what differs by more has moved, or is something else
_COARSE = 32  # pixels of the side at which tones are compared


class Paster:
    """Blends frames, one after the other, into one picture."""

    def __init__(
        self, picture: Image, box: tuple[float, float, float, float], mask: NDArray[np.float32] | None = None
    ) -> None:
        """`picture` (H, W, 3); `box`: left, top, right, bottom of the frame, which may reach beyond the picture.

        `mask` (h, w) in [0, 1], of any size: how much of the frame is put back; else all of it, faded at its sides.
        """
        height, width = picture.shape[:2]
        left, top, right, bottom = (round(side) for side in box)
        self._picture = picture
        self._size = (right - left, bottom - top)  # width, height, as cv2 wants them
        self._place = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        self._inside = tuple(
            slice(place.start - start, place.stop - start)
            for place, start in zip(self._place, (top, left), strict=True)
        )
        fades = (top > 0, bottom < height), (left > 0, right < width)
        if mask is None:
            weight = _square(*self._size, fades, over=_SOFT)
        else:
            weight = np.asarray(cv2.resize(mask, self._size, interpolation=cv2.INTER_AREA), np.float32)
        self._weight = np.ascontiguousarray(weight[self._inside])
        self._behind = np.ascontiguousarray(picture[self._place])
        # (c, c, 1) 1 at the sides that fade
        self._rim = 1 - _coarse(_square(*self._size, fades, over=_RIM)[self._inside])
        self._coarse_behind = _coarse(self._behind)

    def __call__(self, image: Image) -> Image:
        """A copy of the picture with the frame (h, w, 3), of any size, in its place."""
        method = cv2.INTER_AREA if image.shape[1] > self._size[0] else cv2.INTER_CUBIC
        part = np.ascontiguousarray(cv2.resize(image, self._size, interpolation=method)[self._inside])
        part = self._levelled(part)
        whole = self._picture.copy()
        whole[self._place] = cv2.blendLinear(part, self._behind, self._weight, 1 - self._weight)
        return whole

    def _levelled(self, part: Image) -> Image:
        """The frame with the tones of the picture: what is off at the rim is off, smoothly, everywhere."""
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
    width: int, height: int, fades: tuple[tuple[bool, bool], tuple[bool, bool]], *, over: float
) -> NDArray[np.float32]:
    """(height, width) weights that fall to 0 at those sides that fade: top and bottom, left and right."""
    down, across = _ramp(height, fades=fades[0], over=over), _ramp(width, fades=fades[1], over=over)
    return np.minimum(down[:, None], across)


def _ramp(length: int, *, fades: tuple[bool, bool], over: float) -> NDArray[np.float32]:
    """(length,) weights: 0 to 1 at the ends that fade, smoothly; 1 where the picture ends as well."""
    distance = (np.arange(length) + 0.5) / max(over * length, 1)
    weight = np.ones(length)
    for ramp, fade in ((distance, fades[0]), (distance[::-1], fades[1])):
        if fade:
            weight = np.minimum(weight, np.clip(ramp, 0, 1))
    return (weight * weight * (3 - 2 * weight)).astype(np.float32)
