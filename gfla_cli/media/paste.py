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

    def __init__(self, picture: Image, box: tuple[float, float, float, float]) -> None:
        """`picture` (H, W, 3); `box`: left, top, right, bottom of the frame, which may reach beyond the picture."""
        height, width = picture.shape[:2]
        left, top, right, bottom = (round(side) for side in box)
        self._picture = picture
        self._size = (right - left, bottom - top)  # width, height, as cv2 wants them
        self._place = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        self._inside = tuple(
            slice(place.start - start, place.stop - start)
            for place, start in zip(self._place, (top, left), strict=True)
        )
        down = _ramp(bottom - top, fades=(top > 0, bottom < height))
        across = _ramp(right - left, fades=(left > 0, right < width))
        self._weight = np.ascontiguousarray(np.minimum(down[:, None], across)[self._inside])
        self._behind = np.ascontiguousarray(picture[self._place])
        rim = np.minimum(
            _ramp(bottom - top, fades=(top > 0, bottom < height), over=_RIM)[:, None],
            _ramp(right - left, fades=(left > 0, right < width), over=_RIM),
        )[self._inside]
        self._rim = 1 - _coarse(rim)  # (c, c, 1) 1 at the sides that fade
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


def _ramp(length: int, *, fades: tuple[bool, bool], over: float = _SOFT) -> NDArray[np.float32]:
    """(length,) weights: 0 to 1 at the ends that fade, smoothly; 1 where the picture ends as well."""
    distance = (np.arange(length) + 0.5) / max(over * length, 1)
    weight = np.ones(length)
    for ramp, fade in ((distance, fades[0]), (distance[::-1], fades[1])):
        if fade:
            weight = np.minimum(weight, np.clip(ramp, 0, 1))
    return (weight * weight * (3 - 2 * weight)).astype(np.float32)
