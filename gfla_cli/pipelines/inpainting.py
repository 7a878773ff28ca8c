"""Inpainting: the background of a photograph without its subject, filled from what is around.

A calm wall is continued smoothly, with its grain. On a busy background, patches from elsewhere in the photograph are
put together.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Image, median
from gfla_cli.geometry.crop import Crop
from gfla_cli.geometry.paste import enclosed_pieces, ramp
from gfla_cli.io.image import reduced
from gfla_cli.pipelines.frame_layers import mean_near, region_around
from gfla_cli.pipelines.patches import PATCH, Places, matched, touched_by_patches

_GROWN = 0.012  # share of the longer side by which a hole is larger than the subject: soft edges and contact shadows
_BAND = 256  # rows that are filled at a time; it bounds the memory that large images take

_SMOOTH_SIDE = 384  # pixels of the longer side at which holes are filled smoothly; larger holes are as smooth anyway
_SMOOTHED = 12  # times that each level of a smooth filling is smoothed
_SIDEWAYS = 7, 3  # pixels, width and height: people are tall, and floors change from row to row
_TONE_AROUND = 24.0  # grey levels: what differs by more from the filling is no grain

# Scraps of the subject: share of the hole that an enclosed gap has at most; grey levels by which they differ from the
# filling; pixels at _SMOOTH_SIDE around them, which are mixtures.
_GAP, _SCRAP, _AROUND_SCRAP = 0.03, 14, 2
_AROUND_HOLE = 24  # pixels at _SMOOTH_SIDE around the hole that tell what is behind it
_BETWEEN = 0.08  # heights of the hole: half the width of an open gap, such as that between two legs
_DETAIL = 4.0  # pixels at _SMOOTH_SIDE: sigma of the blur that leaves a calm wall as it is
_BUSY = 3, 6  # grey levels of detail up to which a wall is continued, and from which patches are copied
_WORTH = 0.02  # share of a hole from which it is worth the time to look for patches
_PATCH_SIDES = 32, 64, 128  # pixels of the longer side at which patches are compared, coarse to fine
_ROUNDS = 6, 3, 3  # of matching and mixing, for each of the sides
_INSIDE = 0.99  # share of a smaller image's pixel that is in the hole
_TONE = 6.0  # pixels at the last of these sides: blur of colours that tells a tone
# Grey levels: patches whose tone differs by less keep it; by more, they take that of what is around. Then grey levels
# of detail: below, things are blurred; above, there is a texture, such as a shelf of books: any tone may be right.
_OTHER_TONE, _TEXTURED = (10, 30), (8, 11)


def without_subject(image: Image, cover: Float32Array) -> Image:
    """The background of an image (H, W, 3), filled from around where `cover` (H, W) in [0, 1] shows the subject."""
    height, width = image.shape[:2]
    grown = max(1, round(_GROWN * max(height, width)))
    hole = cv2.dilate((cover > 0.1).astype(np.uint8), np.ones((2 * grown + 1, 2 * grown + 1), np.uint8))
    region = region_around(hole, 2 * grown)
    if region is None:
        return image.copy()
    small = reduced(image, _SMOOTH_SIDE).astype(np.float32)
    small_hole = reduced(hole.astype(np.float32), _SMOOTH_SIDE) > 0
    if small_hole.all():
        return image.copy()
    scraps, there = np.zeros_like(small_hole), region_around(small_hole, _AROUND_HOLE)
    if there is not None:  # the rest of the image would take as long
        scraps[there] = _scraps(small[there], small_hole[there])
    if scraps.any():
        small_hole |= scraps
        hole |= cv2.resize(scraps.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    small_filled = smoothly_filled(small, small_hole)
    smooth = _enlarged(small_filled, image, region)
    part, inside = image[region].astype(np.float32), hole[region]
    filling = smooth + _grain(part, inside > 0)
    detail = _detail_around(small_filled, small_hole)
    busy = ramp(detail, *_BUSY) * small_hole  # 1 where patches have to fill it
    if busy.sum() > _WORTH * small_hole.sum() and (shifts := _patch_shifts(image, hole > 0)) is not None:
        patches = _patches(image, shifts, region)
        tone = _missing_tone(small_filled, small_hole, shifts, 1 - ramp(detail, *_TEXTURED))
        patches += _enlarged(tone, image, region)
        patches -= filling  # in place: large images have hundreds of megabytes
        patches *= _enlarged(busy, image, region)[..., None]
        filling += patches
    soft = np.minimum(1, 2 * cv2.blur(inside.astype(np.float32), (2 * grown + 1, 2 * grown + 1)))[..., None]
    result = image.copy()
    result[region] = (part + soft * (filling - part) + 0.5).clip(0, 255)
    return result


def _scraps(image: Float32Array, hole: BoolArray) -> BoolArray:
    """(H, W) what is left of the subject in small gaps of a hole (H, W): hair beside an arm, the inside of a skirt.

    One such scrap would darken all of the filling. Only in front of a calm wall it can be told from the background. A
    gap that is open at one side may show a shadow, which is darker, but has no other colour. It may also show a thing
    behind the subject, which goes on outside of the gap.
    """
    pieces, enclosed = enclosed_pieces((~hole).astype(np.uint8), connectivity=4)
    small = (enclosed & (np.bincount(pieces.ravel()) < _GAP * hole.sum()))[pieces] & ~hole
    between = _between_parts(hole)
    gaps: BoolArray = small | between
    if not gaps.any():
        return gaps
    filled = smoothly_filled(image, hole | gaps)
    calm = _detail_around(filled, hole | gaps) < _BUSY[0]
    brightness = (image * filled).sum(axis=2) / np.maximum((filled * filled).sum(axis=2), 1)  # as a share of the wall's
    unlike, tinted = (np.abs(image - wall).max(axis=2) > _SCRAP for wall in (filled, brightness[..., None] * filled))
    _, pieces = cv2.connectedComponents((between & tinted).astype(np.uint8))
    outside = cv2.dilate((~hole & ~gaps).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    within = (pieces > 0) & ~np.isin(pieces, pieces[outside])
    scraps = calm & ((small & unlike) | within)
    around = np.ones((2 * _AROUND_SCRAP + 1,) * 2, np.uint8)
    return np.asarray((cv2.dilate(scraps.astype(np.uint8), around) > 0) & gaps)


def _between_parts(hole: BoolArray) -> BoolArray:
    """(H, W) narrow gaps between two parts of a hole (H, W), such as legs, that may be open at one side."""
    _, _, _, height = cv2.boundingRect(hole.astype(np.uint8))
    reach = round(_BETWEEN * height)
    # With room around, so that what lies between a part and the image's border does not count. Closed by distances,
    # because a large disc takes long.
    free = np.pad((~hole).astype(np.uint8), reach, constant_values=1)
    near = (cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5) <= reach).astype(np.uint8)
    closed = cv2.distanceTransform(near, cv2.DIST_L2, cv2.DIST_MASK_5) > reach
    return np.asarray(closed[reach:, reach:][: hole.shape[0], : hole.shape[1]] & ~hole)


def _enlarged(small: Float32Array, image: Image, region: tuple[slice, slice]) -> Float32Array:
    """A region of a small map of an image, at the size of the image."""
    return Crop.whole(image.shape, (small.shape[0], small.shape[1])).uncropped(small, region).astype(np.float32)


def smoothly_filled(image: Float32Array, hole: BoolArray) -> Float32Array:
    """A smooth continuation of what is around: means of coarser and coarser levels, then smoothed inside the hole.

    `image` (H, W) or (H, W, 3).
    """
    levels = [(image, (~hole).astype(np.float32))]
    while min(levels[-1][1].shape) > 1 and levels[-1][1].min() == 0:
        values, known = levels[-1]
        size = (max(1, (known.shape[1] + 1) // 2), max(1, (known.shape[0] + 1) // 2))
        weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
        total = cv2.resize(values * _as(known, values), size, interpolation=cv2.INTER_AREA)
        mean = np.asarray(total / np.maximum(_as(weight, total), 1e-6), np.float32)
        levels.append((mean, (weight > 0).astype(np.float32)))
    filled = levels[-1][0]
    for values, known in levels[-2::-1]:
        filled = cv2.resize(filled, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
        outside = known.astype(np.uint8)
        for _ in range(_SMOOTHED):
            filled = cv2.copyTo(values, outside, cv2.blur(filled, _SIDEWAYS))
    return np.asarray(filled, np.float32)


def _as(weight: Float32Array, values: Float32Array) -> Float32Array:
    """A weight (H, W) with an axis for the channels, if the values have one."""
    return weight[..., None] if values.ndim == 3 else weight


def _grain(image: Float32Array, hole: BoolArray) -> Float32Array:
    """(H, W, 3) noise as fine and as strong as around a hole, so that a filled wall is no smooth spot."""
    fine = cv2.absdiff(image, cv2.GaussianBlur(image, (0, 0), 2.0))
    red, green, blue = cv2.split(fine)
    calm = fine[(cv2.max(cv2.max(red, green), blue) < _TONE_AROUND) & ~hole]
    if len(calm) < 64:
        return np.zeros_like(image)
    rng = np.random.default_rng(0)
    strength = 1.4826 * median(calm)
    return np.asarray(rng.standard_normal(image.shape, np.float32) * strength.astype(np.float32))


def _detail_around(filled: Float32Array, hole: BoolArray) -> Float32Array:
    """(H, W) grey levels of detail around each place. `filled` (H, W, 3): the image, with its hole filled smoothly."""
    detail = np.abs(filled - cv2.GaussianBlur(filled, (0, 0), _DETAIL)).mean(axis=2)
    detail = cv2.blur(detail, (2 * math.ceil(_DETAIL) + 1,) * 2)
    ring = cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0  # its detail is an edge of the filling
    return smoothly_filled(np.asarray(detail, np.float32), ring)


def _patch_shifts(image: Image, hole: BoolArray) -> Float32Array | None:
    """(h, w, 2): from each place to the one that fills it, y, x, as shares of the image's height and width.

    It is 0 where no patch touches the hole. None when too little of the image is known at any size.
    """
    rng = np.random.default_rng(0)
    longer, filled, shifts = max(hole.shape), None, None
    for side, rounds in zip(_PATCH_SIDES, _ROUNDS, strict=True):
        width, height = (max(PATCH, round(length * side / longer)) for length in hole.shape[::-1])
        known = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        inside = cv2.resize(hole.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0
        if filled is None or shifts is None:
            guess, start = smoothly_filled(known, inside), None
        else:
            guess = np.where(inside[..., None], cv2.resize(filled, (width, height)), known)
            moved = np.rint(cv2.resize(shifts, (width, height), interpolation=cv2.INTER_NEAREST) * (height, width))
            start = np.indices((height, width)) + moved.transpose(2, 0, 1).astype(np.intp)
        found = matched(guess, inside, known, ~touched_by_patches(inside), start=start, rounds=rounds, rng=rng)
        if found is None:  # too little is known at this size
            continue
        places, filled = found
        shifts = ((places - np.indices((height, width))).transpose(1, 2, 0) / (height, width)).astype(np.float32)
    return shifts


def _patches(image: Image, shifts: Float32Array, region: tuple[slice, slice]) -> Float32Array:
    """(N, M, 3): a region of the image, filled from the places that `shifts` gives, at full size.

    The patches of the four nearest places of `shifts` are mixed, so there are no seams between them.
    """
    (height, width), (small_height, small_width) = image.shape[:2], shifts.shape[:2]
    rows, columns = region
    x = np.arange(columns.start, columns.stop, dtype=np.float32)
    across = (x + 0.5) * (small_width / width) - 0.5
    result = np.zeros((rows.stop - rows.start, len(x), 3), np.float32)
    for top in range(rows.start, rows.stop, _BAND):
        y = np.arange(top, min(top + _BAND, rows.stop), dtype=np.float32)[:, None]
        down = (y + 0.5) * (small_height / height) - 0.5
        band = result[top - rows.start :][: len(y)]
        for row, part_down in _nearest_two(down, small_height):
            for column, part_across in _nearest_two(across, small_width):
                shift = shifts[row, column] * np.array([height, width], np.float32)
                moved = cv2.remap(
                    image, x + shift[..., 1], y + shift[..., 0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
                )
                band += (part_down * part_across)[..., None] * moved
    return result


def _missing_tone(smooth: Float32Array, hole: BoolArray, shifts: Float32Array, blurred: Float32Array) -> Float32Array:
    """(h, w, 3): what patches lack to have the tone of what is around the hole, at the size of `shifts` (h, w, 2).

    Where nothing in the photograph fits, patches have another tone than their neighbourhood, and the old outline of the
    subject would show. There they keep their detail, and take their blurred colours from the smooth filling.
    `smooth` (H, W, 3): the image, with its `hole` (H, W) filled smoothly; `blurred` (H, W) in [0, 1]: where it has no
    texture.
    """
    height, width = shifts.shape[:2]
    image = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_AREA)
    share = cv2.resize(hole.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    inside = (share > _INSIDE).astype(np.float32)  # elsewhere a pixel shows what is around, too
    patches = _patches(image, shifts, (slice(0, height), slice(0, width)))
    missing = mean_near(image - patches, inside, _TONE)
    weight = ramp(np.abs(missing).max(axis=2), *_OTHER_TONE)
    weight *= cv2.resize(blurred, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(missing * weight[..., None], np.float32)


def _nearest_two(at: Float32Array, count: int) -> list[tuple[Places, Float32Array]]:
    """The whole numbers below and above, within 0..count - 1, and the share of each."""
    below = np.floor(at)
    return [((below + k).clip(0, count - 1).astype(np.intp), 1 - np.abs(at - below - k)) for k in (0, 1)]
