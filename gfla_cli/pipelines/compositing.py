"""Results at the photograph's own size: the flow carries the photograph's pixels, and its background stays.

A network of 256 pixels draws everything again. Its flow holds at any size, so the photograph itself moves along the
flow, and the drawn image is only taken where the network trusts it more. What is neither is the background.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import LAYERS, Image
from gfla_cli.geometry.crop import Crop
from gfla_cli.geometry.paste import Paster
from gfla_cli.io.image import reduced
from gfla_cli.pipelines.head_refinement import HeadCrop

Map = NDArray[np.float32]
Size = Literal["source"] | int  # longer side of the network's frame in the result, pixels
Background = Literal["keep", "white", "transparent"] | Image

SMALLEST_FRAME = 32  # pixels
LARGEST_FRAME = 2048  # pixels of the longer side of a frame that is as large as in its source

_ENDS = tuple(accumulate(LAYERS.values()))[:-1]  # channels where the second to the last layer begin
_SLACK = 0.02  # pixels
_BAND = 256  # rows that are mixed at a time; it bounds the memory that large images take
_FILL_SIDE = 384  # pixels of the longer side at which holes are filled; larger holes are as smooth anyway
_GROWN = 0.012  # share of the longer side by which a hole is larger than the person: soft edges and contact shadows
_TONE_AROUND = 24.0  # grey levels: what differs by more from the fill is no grain


class Layers(NamedTuple):
    """What one generated frame is mixed from: `drawn * (1 - share) + share * moved source + residual`.

    All maps cover the same frame. Their sizes may differ, and so may that of the image that they are used for.
    """

    drawn: Map  # (H, W, 3) in [-1, 1]
    share: Map  # (H, W) in [0, 1], of the moved source
    residual: Map  # (H, W, 3)
    offset: Map  # (H, W, 2) x, y from each place to where the source shows the same, in widths of the frame
    matte: Map  # (H, W) in [0, 1]: the person or object, not the background

    @classmethod
    def unpacked(cls, planes: Map) -> Layers:
        """One frame (10, H, W) of what `networks.layers.pixel_layers` gives."""
        drawn, share, residual, offset, matte = np.split(np.ascontiguousarray(planes.transpose(1, 2, 0)), _ENDS, axis=2)
        return cls(drawn, share[..., 0], residual, offset, matte[..., 0])


class Mixed(NamedTuple):
    """A part of an image, at its full size."""

    image: Image  # (N, M, 3)
    cover: Map  # (N, M) in [0, 1]: what is the subject


def mixed(
    layers: Layers,
    source: Image,
    source_crop: Crop,
    place: Crop,
    region: tuple[slice, slice],
    source_cover: Map | None = None,
) -> Mixed:
    """A `region` (rows, columns) of an image in which the crop `place` is the frame that layers describe.

    `source` (H, W, 3), of which the network saw `source_crop`; both crops have the size of the network's frame.
    `source_cover` (H, W) in [0, 1], where the source shows its subject, sharpens the edge of the result's.
    """
    rows, columns = region
    image = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
    cover = np.empty(image.shape[:2], np.float32)
    for top in range(rows.start, rows.stop, _BAND):
        band = (slice(top, min(top + _BAND, rows.stop)), columns)
        drawn, share, residual, offset, matte = (place.uncropped(part, band) for part in layers)
        y, x = np.mgrid[band].astype(np.float32)
        frame = place.points(np.stack([x, y], axis=-1)) + offset * np.float32(place.size[1])
        x, y = np.moveaxis(source_crop.points_back(frame), -1, 0)
        # Points that did not move come back with rounding errors. As whole pixels they are copied, not interpolated.
        x, y = (np.where(abs(v - v.round()) < _SLACK, v.round(), v) for v in (x, y))
        moved = cv2.remap(source, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        own = (drawn + 1) * 127.5
        made = own + share[..., None] * (moved - own) + residual * 127.5
        to = slice(top - rows.start, band[0].stop - rows.start)
        image[to] = (made + 0.5).clip(0, 255)
        if source_cover is not None:
            seen = cv2.remap(source_cover, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            matte = matte + share * (seen - matte)
        cover[to] = matte
    return Mixed(image, cover)


def without_subject(image: Image, cover: Map) -> Image:
    """The background of an image (H, W, 3), filled from around where `cover` (H, W) in [0, 1] shows the subject."""
    height, width = image.shape[:2]
    grown = max(1, round(_GROWN * max(height, width)))
    hole = cv2.dilate((cover > 0.1).astype(np.uint8), np.ones((2 * grown + 1, 2 * grown + 1), np.uint8))
    if not hole.any():
        return image.copy()
    small_hole = reduced(hole.astype(np.float32), _FILL_SIDE) > 0
    if small_hole.all():
        return image.copy()
    filled = _filled(reduced(image, _FILL_SIDE), small_hole)
    region = _around(hole, 2 * grown)
    part, hole = image[region].astype(np.float32), hole[region]
    large = Crop.whole(image.shape, filled.shape[:2]).uncropped(filled, region).astype(np.float32)
    soft = np.minimum(1, 2 * cv2.blur(hole.astype(np.float32), (2 * grown + 1, 2 * grown + 1)))[..., None]
    result = image.copy()
    result[region] = (part + soft * (large + _grain(part, hole > 0) - part) + 0.5).clip(0, 255)
    return result


def _around(mask: NDArray[np.uint8], margin: int) -> tuple[slice, slice]:
    """The rows and columns that hold a mask and a margin around it."""
    there = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    rows, columns = (
        slice(max(0, int(found[0]) - margin), min(side, int(found[-1]) + 1 + margin))
        for found, side in zip(there, mask.shape, strict=True)
    )
    return rows, columns


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


def _grain(image: Map, hole: NDArray[np.bool_]) -> Map:
    """(H, W, 3) noise as fine and as strong as around a hole, so that a filled wall is no smooth spot."""
    fine = image - cv2.GaussianBlur(image, (0, 0), 2.0)
    around = ~hole
    values = fine[around]
    calm = values[np.abs(values).max(axis=1) < _TONE_AROUND]
    if len(calm) < 64:
        return np.zeros_like(fine)
    rng = np.random.default_rng(0)
    strength = 1.4826 * np.median(np.abs(calm), axis=0)
    return np.asarray(rng.standard_normal(fine.shape, np.float32) * strength.astype(np.float32))


def on_background(frame: Mixed, background: Image) -> Image:
    """A part of an image before its background (N, M, 3)."""
    cover = frame.cover[..., None]
    return np.asarray(background + cover * (frame.image.astype(np.float32) - background) + 0.5, np.uint8)


@dataclass(frozen=True, slots=True)
class Canvas:
    """What a result is set into: the whole photograph, or a frame of it."""

    source: Image  # (H, W, 3) the photograph, at the size in which it is used
    scale: Crop  # the whole photograph as it was given, at that size
    source_crop: Crop  # of `source`: what the network saw
    place: Crop  # of the canvas: where the network's frame lies
    original: Image  # (N, M, 3) what the source shows in the place of the canvas
    background: Image  # (N, M, 3) the canvas before anything is set into it
    source_cover: Map | None  # (H, W) in [0, 1]: where `source` shows its subject; None if that is not known
    keeps: bool  # whether the background stays behind the result; else the frame hides it
    transparent: bool  # whether the result has an alpha channel

    @classmethod
    def of(
        cls,
        photograph: Image,
        source_crop: Crop,
        target_crop: Crop,
        size: Size,
        *,
        whole: bool,
        cover: Callable[[Image, Crop], Map | None],
        background: Background = "keep",
    ) -> Canvas:
        """The canvas for a photograph (H, W, 3) of which the network sees `source_crop`.

        `size`: longer side of the frame in pixels, or "source". `whole`: the canvas is the photograph, not the frame.
        `cover` finds the subject in the scaled photograph; it is given the crop that maps to it. A `target_crop` other
        than `source_crop` belongs to another image: then there is no background to keep.
        """
        wanted = background_name(background)
        transparent = wanted == "transparent"
        left, top, right, bottom = source_crop.box
        side = max(right - left, bottom - top)
        factor = min(1.0, LARGEST_FRAME / side) if size == "source" else size / side
        shape = max(1, round(photograph.shape[0] * factor)), max(1, round(photograph.shape[1] * factor))
        scale = Crop.whole(photograph.shape, shape)
        source = photograph if shape == photograph.shape[:2] else scale.image(photograph)
        seen = Crop(scale.bounds(source_crop.box), source_crop.size)
        if target_crop != source_crop:
            aspect = (target_crop.box[3] - target_crop.box[1]) / (target_crop.box[2] - target_crop.box[0])
            long = side * factor
            shown = max(1, round(long * min(1, aspect))), max(1, round(long * min(1, 1 / aspect)))
            original = Crop(seen.box, shown).image(source)
            place = Crop.whole(shown, seen.size)
            behind = _given_background("white" if wanted == "keep" else background, shown)
            found = cover(source, scale) if wanted != "keep" else None
            keeps = found is not None
            return cls(source, scale, seen, place, original, behind, found, keeps=keeps, transparent=transparent)
        found = cover(source, scale)
        around = without_subject(source, found) if wanted == "keep" and found is not None else source
        place, original = seen, source
        if not whole:
            x, y = math.floor(seen.box[0]), math.floor(seen.box[1])
            span = max(1, math.ceil(seen.box[3]) - y), max(1, math.ceil(seen.box[2]) - x)
            frame = Crop((x, y, x + span[1], y + span[0]), span)
            around, original = frame.image(around), frame.image(source)
            left, top, right, bottom = seen.box
            place = Crop((left - x, top - y, right - x, bottom - y), seen.size)
        if wanted != "keep":
            around = _given_background(background, around.shape[:2])
        keeps = found is not None
        return cls(source, scale, seen, place, original, around, found, keeps=keeps, transparent=transparent)


def background_name(background: Background) -> str | None:
    """The name of a background; None for an image."""
    return background if isinstance(background, str) else None


def _given_background(background: Background, size: tuple[int, int]) -> Image:
    """(N, M, 3) white, or an image that fills the canvas and is cut where it is too long."""
    if isinstance(background, str):
        return np.full((*size, 3), 255, np.uint8)
    height, width = background.shape[:2]
    factor = max(size[0] / height, size[1] / width)
    half_height, half_width = size[0] / factor / 2, size[1] / factor / 2
    box = (width / 2 - half_width, height / 2 - half_height, width / 2 + half_width, height / 2 + half_height)
    return Crop(box, size).image(background)


def composed(canvas: Canvas, layers: Layers, head: tuple[HeadCrop, Layers] | None = None) -> Image:
    """The canvas (N, M, 3) with a generated frame, and perhaps its refined head, set into it.

    (N, M, 4) with the cover as alpha channel where the canvas is transparent.
    """
    shape = canvas.background.shape[:2]
    image, cover = canvas.background.copy(), np.zeros(shape, np.float32)
    region = canvas.place.region(shape)
    if region is None:
        raise ValueError("the frame lies outside of the canvas")
    part = mixed(layers, canvas.source, canvas.source_crop, canvas.place, region, canvas.source_cover)
    image[region], cover[region] = part
    if head is not None:
        _set_head(image, cover, canvas, *head)
    if canvas.keeps:
        image[region] = on_background(Mixed(image[region], cover[region]), canvas.background[region])
    else:
        image, cover = Paster(canvas.background, canvas.place).set_in(image[region]), np.ones(shape, np.float32)
    return np.dstack([image, (cover * 255 + 0.5).astype(np.uint8)]) if canvas.transparent else image


def _set_head(image: Image, cover: Map, canvas: Canvas, head: HeadCrop, layers: Layers) -> None:
    """Mixes a refined head into a generated body, in place."""
    place = Crop(canvas.place.bounds_back(head.place.box), head.place.size)
    region = place.region(image.shape)
    if region is None:
        return
    source_crop = Crop(canvas.scale.bounds(head.source_crop.box), head.source_crop.size)
    part = mixed(layers, canvas.source, source_crop, place, region, canvas.source_cover)
    weight = place.uncropped(head.mask(), region, beyond=0)
    cover[region] += weight * (part.cover - cover[region])
    image[region] = on_background(Mixed(part.image, weight), image[region])
