"""Results at the photograph's own size: the flow carries the photograph's pixels, and its background stays.

A network of 256 pixels draws everything again. Its flow holds at any size, so the photograph itself moves along the
flow, and the drawn image is only taken where the network trusts it more. What is neither is the background.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.geometry.crop import Crop

Map = NDArray[np.float32]

_BAND = 256  # rows that are mixed at a time; it bounds the memory that large images take
_FILL_SIDE = 384  # pixels of the longer side at which holes are filled; larger holes are as smooth anyway
_GROWN = 0.012  # share of the longer side by which a hole is larger than the person: soft edges and contact shadows
_TONE_AROUND = 24.0  # grey levels: what differs by more from the fill is no grain


class Layers(NamedTuple):
    """What one generated image is mixed from: `drawn * (1 - share) + share * moved source + residual`.

    All maps cover the same frame. Their sizes may differ, and so may that of the frame that they are used for.
    """

    drawn: Map  # (H, W, 3) in [-1, 1]
    share: Map  # (H, W) in [0, 1], of the moved source
    residual: Map  # (H, W, 3)
    offset: Map  # (h, w, 2) x, y from each place to where the source shows the same, in widths of the frame
    matte: Map | None  # (H, W) in [0, 1]: the person or object, not the background


class Mixed(NamedTuple):
    """A frame at the size of its source."""

    image: Image  # (N, M, 3)
    cover: Map | None  # (N, M) in [0, 1]: what is the subject


def mixed(layers: Layers, source: Image, source_cover: Map | None = None) -> Mixed:
    """The frame that layers describe, at the size (N, M) of the source frame (N, M, 3) they were computed from.

    `source_cover` (N, M) in [0, 1], where the source shows its subject, sharpens the edge of the result's.
    """
    height, width = source.shape[:2]
    image = np.empty_like(source)
    cover = None if layers.matte is None else np.empty((height, width), np.float32)
    for top in range(0, height, _BAND):
        rows = slice(top, min(top + _BAND, height))
        share = _band(layers.share, rows, (height, width))
        x, y = _places(layers.offset, rows, (height, width))
        moved = cv2.remap(source, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        own = (_band(layers.drawn, rows, (height, width)) + 1) * 127.5
        made = own + share[..., None] * (moved - own) + _band(layers.residual, rows, (height, width)) * 127.5
        image[rows] = (made + 0.5).clip(0, 255)
        if cover is not None and layers.matte is not None:
            cover[rows] = _band(layers.matte, rows, (height, width))
            if source_cover is not None:
                seen = cv2.remap(source_cover, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                cover[rows] += share * (seen - cover[rows])
    return Mixed(image, cover)


def _band(values: Map, rows: slice, size: tuple[int, int]) -> Map:
    """Some rows of a map that is enlarged to `size` (height, width)."""
    down = values.shape[0] / size[0]
    box = (0.0, rows.start * down, float(values.shape[1]), rows.stop * down)
    return Crop(box, (rows.stop - rows.start, size[1])).image(values, beyond="edge")


def _places(offset: Map, rows: slice, size: tuple[int, int]) -> tuple[Map, Map]:
    """Where in the source some rows of a frame of `size` (height, width) come from: x and y, each (rows, width)."""
    moved = _band(offset, rows, size) * np.float32(size[1])
    y, x = np.mgrid[rows.start : rows.stop, : size[1]].astype(np.float32)
    return x + moved[..., 0], y + moved[..., 1]


def without_subject(image: Image, cover: Map) -> Image:
    """The background of an image (H, W, 3), filled from around where `cover` (H, W) in [0, 1] shows the subject."""
    height, width = image.shape[:2]
    grown = max(1, round(_GROWN * max(height, width)))
    hole = cv2.dilate((cover > 0.1).astype(np.uint8), np.ones((2 * grown + 1, 2 * grown + 1), np.uint8))
    if not hole.any():
        return image.copy()
    scale = min(1.0, _FILL_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small_hole = (cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    if small_hole.all():
        return image.copy()
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    filled = _filled(small, small_hole > 0)
    large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)
    soft = cv2.blur(hole.astype(np.float32), (2 * grown + 1, 2 * grown + 1))[..., None]
    soft = np.minimum(1, soft * 2)
    grain = _grain(image, hole > 0)
    return np.asarray((image + soft * (large + grain - image) + 0.5).clip(0, 255), np.uint8)


def _filled(image: Image, hole: NDArray[np.bool_]) -> Image:
    """A smooth continuation of what is around: means of coarser and coarser levels, then smoothed inside the hole."""
    levels = [(image.astype(np.float32), (~hole).astype(np.float32))]
    while min(levels[-1][1].shape) > 1 and levels[-1][1].min() == 0:
        values, known = levels[-1]
        size = (max(1, (known.shape[1] + 1) // 2), max(1, (known.shape[0] + 1) // 2))
        weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
        total = cv2.resize(values * known[..., None], size, interpolation=cv2.INTER_AREA)
        levels.append((total / np.maximum(weight, 1e-6)[..., None], (weight > 0).astype(np.float32)))
    filled = levels[-1][0]
    for values, known in levels[-2::-1]:
        filled = cv2.resize(filled, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
        filled = np.where(known[..., None] > 0, values, filled)
    return np.asarray(filled.clip(0, 255), np.uint8)


def _grain(image: Image, hole: NDArray[np.bool_]) -> Map:
    """(H, W, 3) noise as fine and as strong as around a hole, so that a filled wall is no smooth spot."""
    fine = image.astype(np.float32) - cv2.GaussianBlur(image, (0, 0), 2.0)
    around = ~hole
    values = fine[around]
    calm = values[np.abs(values).max(axis=1) < _TONE_AROUND]
    if len(calm) < 64:
        return np.zeros_like(fine)
    rng = np.random.default_rng(0)
    strength = 1.4826 * np.median(np.abs(calm), axis=0)
    return np.asarray(rng.standard_normal(fine.shape, np.float32) * strength.astype(np.float32))


def on_background(frame: Mixed, background: Image) -> Image:
    """A frame before a background (N, M, 3) of its size; a frame without a cover hides it."""
    if frame.cover is None:
        return frame.image
    cover = frame.cover[..., None]
    return np.asarray(background + cover * (frame.image.astype(np.float32) - background) + 0.5, np.uint8)
