"""Putting a generated frame back into the picture that it was cut from, without a visible border."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SOFT = 0.04  # of the frame's side over which the picture fades into the frame; bodies come that near to its border

Image = NDArray[np.uint8]


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

    def __call__(self, image: Image) -> Image:
        """A copy of the picture with the frame (h, w, 3), of any size, in its place."""
        method = cv2.INTER_AREA if image.shape[1] > self._size[0] else cv2.INTER_CUBIC
        part = np.ascontiguousarray(cv2.resize(image, self._size, interpolation=method)[self._inside])
        whole = self._picture.copy()
        whole[self._place] = cv2.blendLinear(part, self._behind, self._weight, 1 - self._weight)
        return whole


def _ramp(length: int, *, fades: tuple[bool, bool]) -> NDArray[np.float32]:
    """(length,) weights: 0 to 1 at the ends that fade, smoothly; 1 where the picture ends as well."""
    distance = (np.arange(length) + 0.5) / max(_SOFT * length, 1)
    weight = np.ones(length)
    for ramp, fade in ((distance, fades[0]), (distance[::-1], fades[1])):
        if fade:
            weight = np.minimum(weight, np.clip(ramp, 0, 1))
    return (weight * weight * (3 - 2 * weight)).astype(np.float32)
