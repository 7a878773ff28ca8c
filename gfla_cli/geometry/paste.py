"""Pastes a generated image into the image that it was cropped from, without a visible border."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import BoolArray, Float32Array, Image
from gfla_cli.geometry.crop import Crop

_SOFT = 0.04  # share of the crop's side over which it fades; bodies come that near to its border
_RIM = 0.1  # share of the side, at the border, where both images should be equal; their tones are compared there
_TONES = 24  # levels; pixels that differ by more show something else
_COARSE = 32  # pixels of the side at which tones are compared
_GRID = 64  # pixels of the side at which the motion of the border is read
_REACH = 0.1, 0.3  # shares of the side, aside and up or down; further away nothing moves: a head goes on above
_SMOOTH = 2.0  # pixels of that grid, standard deviation
_MOVES = 1.5 / 256, 4 / 256  # widths of the crop: below, it is noise of a background that stands still; above, motion
_LEAST_SURE = 0.05  # weight of a place whose motion is not sure at all
_STILL = 0.5  # pixels; motion that is not worth a resampling


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
        self._hidden = _inside(self._weight, region)
        # (c, c, 1) 1 at the sides that fade
        self._rim = 1 - _coarse(crop.uncropped(_square(*size, fades, over=_RIM), region))

    def __call__(self, part: Image) -> Image:
        """A copy of the image with the generated `part` (h, w, 3), of any size, in its place."""
        return self.set_in(self._crop.uncropped(part, self._region))

    def set_in(self, part: Image, around: Image | None = None) -> Image:
        """Like a call, for a part that has the pixels of the crop's region of the image.

        `around`: what `moved_along` gives; the part is set into that.
        """
        whole = self._image.copy() if around is None else around
        behind = np.ascontiguousarray(whole[self._region])
        whole[self._region] = cv2.blendLinear(self._levelled(part, behind), behind, self._weight, self._rest)
        return whole

    def moved_along(self, offset: Float32Array, sure: Float32Array) -> Image:
        """A copy of the image in which the crop's surroundings move as its border does, less with the distance from it.

        Without that, a head whose upper end lies outside of the crop would break there. `offset` (h, w, 2): from each
        place of the generated image to the place of the image that it shows, in widths of the crop. `sure` (h, w) in
        [0, 1]: how far the offset can be trusted. Where the generated image hides it, the copy is not changed.
        """
        result = self._image.copy()
        height, width = result.shape[:2]
        moved, (x, y) = _motion_around(self._crop, offset, sure)
        rows, columns = slice(max(0, y), min(height, y + len(moved))), slice(max(0, x), min(width, x + moved.shape[1]))
        hidden_rows, hidden_columns = self._hidden
        above, below = slice(rows.start, hidden_rows.start), slice(hidden_rows.stop, rows.stop)
        left, right = slice(columns.start, hidden_columns.start), slice(hidden_columns.stop, columns.stop)
        for down, across in ((above, columns), (below, columns), (hidden_rows, left), (hidden_rows, right)):
            off = moved[down.start - y : down.stop - y, across.start - x : across.stop - x]
            if off.size and np.abs(off).max() >= _STILL:
                to_x = off[..., 0] + np.arange(across.start, across.stop, dtype=np.float32)
                to_y = off[..., 1] + np.arange(down.start, down.stop, dtype=np.float32)[:, None]
                border = cv2.BORDER_REPLICATE
                result[down, across] = cv2.remap(self._image, to_x, to_y, cv2.INTER_CUBIC, borderMode=border)
        return result

    def _levelled(self, part: Image, behind: Image) -> Image:
        """The part with the tones of what is behind it: the difference at the rim is removed, smoothly, everywhere."""
        difference = _coarse(behind) - _coarse(part)
        weight = self._rim * (np.abs(difference).max(axis=2, keepdims=True) < _TONES)
        total = _spread(weight)[..., None]
        if not total.max() > 0:
            return part
        off = _spread(difference * weight) / (total + 1e-3)
        height, width = part.shape[:2]
        levelled = part + cv2.resize(off, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(levelled.round().clip(0, 255), np.uint8)


def _motion_around(crop: Crop, offset: Float32Array, sure: Float32Array) -> tuple[Float32Array, tuple[int, int]]:
    """(n, m, 2) pixels by which a crop and its surroundings move in the image, and the place (x, y) of the first one.

    See `Paster.moved_along`.
    """
    left, top, right, bottom = crop.bounds_back((0.0, 0.0, float(crop.size[1]), float(crop.size[0])))
    weight = sure + _LEAST_SURE
    moved, total = (_read_smoothly(part) for part in (offset * weight[..., None], weight))
    moved /= total[..., None]
    moves = smoothstep(ramp(np.hypot(*np.moveaxis(moved, -1, 0)), *_MOVES))
    pixels = np.array([right - left, (bottom - top) * crop.size[1] / crop.size[0]], np.float32)
    across, down = (math.ceil(reach * _GRID) for reach in _REACH)
    wide = cv2.copyMakeBorder(
        moved * moves[..., None] * pixels, down, down, across, across, borderType=cv2.BORDER_REPLICATE
    )
    wide *= smoothstep(1 - np.minimum(1, np.hypot(_beyond(down)[:, None], _beyond(across))))[..., None]
    outer_x, outer_y = across / _GRID * (right - left), down / _GRID * (bottom - top)
    x, y = round(left - outer_x), round(top - outer_y)  # the motion is smooth: half a pixel aside it is the same
    size = max(1, round(right + outer_x) - x), max(1, round(bottom + outer_y) - y)
    return np.asarray(cv2.resize(wide, size, interpolation=cv2.INTER_LINEAR), np.float32), (x, y)


def _read_smoothly(values: Float32Array) -> Float32Array:
    small = cv2.resize(values, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), _SMOOTH, borderType=cv2.BORDER_REPLICATE), np.float32)


def _beyond(margin: int) -> NDArray[np.float32]:
    """(n,) of each pixel of the grid with a margin at both ends: 0 inside, and up to 1 at the ends."""
    at = np.arange(-margin, _GRID + margin, dtype=np.float32) + 0.5
    return np.asarray(np.maximum(np.maximum(-at, at - _GRID), 0) / margin, np.float32)


def _inside(weight: Float32Array, region: tuple[slice, slice]) -> tuple[slice, slice]:
    """Rows and columns of an image between which a weight (h, w) of its `region` is 1; empty ones if it never is."""
    found = []
    for axis, part in enumerate(region):
        there = np.flatnonzero(weight.max(axis=1 - axis) >= 1)
        first, last = (there[0], there[-1] + 1) if len(there) else (0, 0)
        found.append(slice(part.start + int(first), part.start + int(last)))
    return found[0], found[1]


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


def ramp(values: Float32Array | float, start: float, end: float) -> Float32Array:
    """0 at `start` and before, 1 at `end` and beyond."""
    return np.asarray(np.clip((values - start) / (end - start), 0, 1), np.float32)


def enclosed_pieces(places: NDArray[np.uint8], connectivity: int = 8) -> tuple[NDArray[np.int32], BoolArray]:
    """(H, W) the number of the piece that each of some places (H, W) is in, and for each number whether it is enclosed.

    A piece that reaches the border is not enclosed. The number 0 is that of everything else.
    """
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(places, connectivity=connectivity)
    left, top, width, height, _ = stats.T
    inner = (left > 0) & (top > 0) & (left + width < places.shape[1]) & (top + height < places.shape[0])
    return np.asarray(pieces, np.int32), np.asarray(inner)


def smoothstep(share: NDArray[np.floating]) -> NDArray[np.floating]:
    """0 to 1 for 0 to 1, without a corner at both ends."""
    return np.asarray(share * share * (3 - 2 * share))
