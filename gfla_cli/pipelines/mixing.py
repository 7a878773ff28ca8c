"""One generated frame at the full size of the image that it belongs to: mixed from its layers, with a clean outline.

`mixed` moves the photograph's own pixels along the flow, and takes the drawn image where the network trusts it more.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import BoolArray, Float32Array, Image
from gfla_cli.geometry.crop import Crop, shifted
from gfla_cli.geometry.paste import ramp
from gfla_cli.pipelines.frame_layers import LIKELY, SURE, Layers, disc, region_around, region_at, spread, whole_cells

_SLACK = 0.02  # pixels
_CERTAIN = 2  # 1 / matte from which on the subject has the edge that the source shows
MATTE_RANGE = 0.35, 0.85  # of a matte: less is background, more is subject
# The outline of a subject that has moved is ragged, because its flow has fewer pixels than the image. So it is blurred.
# Pixels of the network's frame: blur; motion that needs none, or all of it; area around.
_SOFT_OUTLINE, _MOVED, _NEAR = 0.4, (2, 6), 4
# A larger blur makes it smooth: pixels of the frame. The new edge is as wide as those of photographs, in pixels of the
# image. In small images it is so many pixels of the frame. VGG prefers wider edges, as their place is not exact.
_SMOOTH, _EDGE_WIDTH, _WIDEST_EDGE = 2, 3.5, 1.6
_THIN = 3  # pixels of the frame: half the width of a finger, at most
_OWN_COLOUR = 0.75, 1.5  # pixels of the frame inside the outline: up to the first, no colour is the subject's own
_GAP = 3  # a gap is deeper than so many times the larger blur, and larger than so many squares of it
_COARSE = 2 / 3  # pixels of the frame: fine enough for the larger blur
_NEARBY = 1e-4  # weight of the subject's own colours near a place that has none
_INVISIBLE = 1 / 512  # cover that changes no value of 0..255
_WISP = 2  # pixels of the network's frame: half the width of a thin part that is removed
_PIECE = 0.05  # of the area of the largest piece of a subject; smaller ones fade
_FRINGE = 0.006  # widths of the frame from the edge of the subject, where colours of the background shine through
_BAND = 256  # rows that are mixed at a time; it bounds the memory that large images take
REFINED_REACH = 5  # pixels of the body's frame by which a refined half may reach beyond the body


class Mixed(NamedTuple):
    """A part of an image, at its full size."""

    image: Image  # (N, M, 3)
    cover: Float32Array  # (N, M) in [0, 1]: what is the subject

    def with_smooth_outline(
        self, layers: Layers, place: Crop, region: tuple[slice, slice], heads: BoolArray, hands: Float32Array
    ) -> Mixed:
        """The same with a smooth, soft outline where the subject has moved, and its own colours up to there.

        This is a `region` (rows, columns) of an image, in which the frame of the `layers` lies at `place`. Outlines of
        refined `heads` (N, M), of thin parts near `hands` (h, w) of the frame, which are fingers, and of narrow gaps
        keep their detail: they become softer only.
        """
        there = region_around(self.cover > _INVISIBLE, math.ceil(_NEAR / place.scale))
        if there is None:
            return self
        factor = max(1, math.floor(_COARSE / place.scale))
        # In whole cells of the smaller size, so that a change of the subject elsewhere changes nothing here.
        there = whole_cells(there, factor)
        changed = Mixed(self.image.copy(), self.cover.copy())
        part = Mixed(self.image[there], self.cover[there])
        region = region_at(there, region[0].start, region[1].start)
        smooth = part._with_smooth_outline(factor, layers, place, region, heads[there], hands)
        changed.image[there], changed.cover[there] = smooth
        return changed

    def _with_smooth_outline(
        self,
        factor: int,
        layers: Layers,
        place: Crop,
        region: tuple[slice, slice],
        heads: BoolArray,
        hands: Float32Array,
    ) -> Mixed:
        """The same for a region that holds the subject, and little more. Blurs are computed `factor` times smaller."""
        height, width = self.cover.shape
        size = -(-height // factor), -(-width // factor)
        here, (rows, columns) = Crop((0.0, 0.0, float(size[1] * factor), float(size[0] * factor)), size), region
        reduced = Crop(here.bounds(shifted(place.box, -columns.start, -rows.start)), place.size)
        pixel, everywhere = 1 / reduced.scale, (slice(0, size[0]), slice(0, size[1]))
        moved = ramp(layers.way() * (layers.matte > LIKELY), *_MOVED)
        moved = reduced.uncropped(cv2.dilate(moved, disc(_NEAR)), everywhere)
        small = Mixed(*(reduced_by(part, factor) for part in self))
        fingers = small.thin(_THIN * pixel) * reduced.uncropped(hands, everywhere, beyond=0)
        detail = reduced_by(heads.astype(np.float32), factor)
        detail = np.maximum(detail, np.maximum(fingers, small.gaps(_SMOOTH * pixel)))
        free = moved * (1 - cv2.GaussianBlur(detail, (0, 0), pixel))
        smooth = cv2.GaussianBlur(small.cover, (0, 0), _SMOOTH * pixel)
        colours, foreign = small.own_colours(pixel)
        maps = np.dstack([moved, free, smooth, foreign])
        cover = cv2.GaussianBlur(self.cover, (0, 0), _SOFT_OUTLINE / place.scale)
        edge_range = _edge_range(place)
        image = np.empty_like(self.image)
        for top in range(0, height, _BAND):
            band = slice(top, min(top + _BAND, height)), slice(0, width)
            softened, smoothed, edge, other = cv2.split(enlarged(maps, here, band))
            cover[band] = self.cover[band] + softened * (cover[band] - self.cover[band])
            cover[band] += smoothed * (ramp(edge, *edge_range) - cover[band])
            # Where the outline had a notch, the image shows what is beside the subject.
            weight = smoothed * np.maximum(other, 1 - ramp(self.cover[band], LIKELY, SURE))
            own = (enlarged(colours, here, band) + 0.5).clip(0, 255).astype(np.uint8)
            image[band] = cv2.blendLinear(own, self.image[band], weight, 1 - weight)
        return Mixed(image, cover)

    def thin(self, reach: float) -> Float32Array:
        """(N, M) 1 on parts of the subject that are thinner than 2 * `reach` pixels, and around them, else 0."""
        subject, round_reach = (self.cover > LIKELY).astype(np.uint8), disc(max(1, round(reach)))
        thin = subject - cv2.morphologyEx(subject, cv2.MORPH_OPEN, round_reach)
        return np.asarray(cv2.dilate(thin, round_reach), np.float32)

    def gaps(self, reach: float) -> Float32Array:
        """(N, M) 1 on gaps between thick parts that are narrower than 2 * `reach` pixels, and beside them, else 0.

        Such a gap is between two legs, or an arm and the trunk. Notches of a ragged outline are less deep, and holes
        are smaller.
        """
        subject, round_reach = (self.cover > LIKELY).astype(np.uint8), disc(max(1, round(reach)))
        thick = cv2.morphologyEx(subject, cv2.MORPH_OPEN, round_reach)
        closed = cv2.morphologyEx(thick, cv2.MORPH_CLOSE, round_reach)
        gap = closed * (1 - subject)
        deep = cv2.distanceTransform(closed, cv2.DIST_L2, cv2.DIST_MASK_5) > _GAP * reach
        around = round(_GAP * reach)
        area = cv2.boxFilter(gap.astype(np.float32), -1, (2 * around + 1,) * 2, normalize=False)
        core = (gap * deep * (area > _GAP * reach**2)).astype(np.uint8)
        return np.asarray(cv2.dilate(gap * cv2.dilate(core, disc(around)), round_reach), np.float32)

    def own_colours(self, pixel: float) -> tuple[Float32Array, Float32Array]:
        """(N, M, 3) the subject's colours, continued beyond its outline, and (N, M) in [0, 1]: where others are.

        `pixel`: pixels here for one of the network's frame.
        """
        subject = (self.cover > LIKELY).astype(np.uint8)
        # Closed first: beside a narrow notch the subject has its own colours.
        subject = cv2.morphologyEx(subject, cv2.MORPH_CLOSE, disc(max(1, round(pixel))))
        within = cv2.distanceTransform(subject, cv2.DIST_L2, cv2.DIST_MASK_5) / pixel
        # Without an outline, distances are too large to be divided.
        inside = ramp(np.minimum(within, _OWN_COLOUR[1]), *_OWN_COLOUR)
        own = ((within > _OWN_COLOUR[1]) & (self.cover > SURE)).astype(np.float32)
        # Means of what is near: `spread` would also look far away, and change with it.
        near, weight = (cv2.GaussianBlur(x, (0, 0), _SMOOTH * pixel) for x in (self.image * own[..., None], own))
        colours = np.where(weight[..., None] > _NEARBY, near / np.maximum(weight, _NEARBY)[..., None], self.image)
        return np.asarray(colours, np.float32), 1 - inside

    def without_wisps(self, place: Crop) -> Mixed:
        """The same without what is thin, and without small pieces that are apart from the subject.

        `place` is that of the frame.
        """
        height, width = self.cover.shape
        scale = 1 / place.scale  # pixels here for one of the network's frame
        reach = round(_WISP * min(1, scale))
        if reach == 0:  # so small a subject consists of thin pieces
            return self
        size = max(1, round(width / max(1, scale))), max(1, round(height / max(1, scale)))
        subject = cv2.resize(self.cover, size, interpolation=cv2.INTER_AREA) > LIKELY
        thick = cv2.morphologyEx(subject.astype(np.uint8), cv2.MORPH_OPEN, disc(reach))
        _, pieces, found, _ = cv2.connectedComponentsWithStats(thick)
        areas = found[:, cv2.CC_STAT_AREA].astype(np.float32)
        areas[0] = 0  # the background
        kept = np.minimum(1, areas / max(1.0, _PIECE * float(areas.max())))[pieces]
        kept = cv2.blur(cv2.dilate(kept, disc(reach)), (3, 3))
        return Mixed(self.image, self.cover * cv2.resize(kept, (width, height), interpolation=cv2.INTER_LINEAR))

    def without_fringe(self, place: Crop) -> Mixed:
        """The same with the subject's own colours along its edge, where the source's background shines through.

        `place` is that of the frame. In front of its own background, the subject keeps its edge and its detail.
        """
        left, _, right, _ = place.box
        reach = max(1, round(_FRINGE * (right - left)))
        there = region_around(self.cover > _INVISIBLE)
        if there is None:  # the region shows nothing of the subject
            return self
        sure = cv2.morphologyEx((self.cover[there] > SURE).astype(np.uint8), cv2.MORPH_CLOSE, disc(2 * reach))
        # Closed first: a doubtful spot inside the subject is no edge. Eroded by distance, in half the time.
        within = cv2.distanceTransform(sure, cv2.DIST_L2, cv2.DIST_MASK_5) > reach if sure.any() else sure > 0
        if not within.any():
            return self
        weight = cv2.GaussianBlur(within.astype(np.float32), (0, 0), reach / 2) * within
        image = self.image.copy()
        colours = spread(image[there].astype(np.float32), within)
        image[there] = cv2.blendLinear(image[there], colours.clip(0, 255).astype(np.uint8), weight, 1 - weight)
        return Mixed(image, self.cover)


def mixed(
    layers: Layers,
    source: Image,
    source_crop: Crop,
    place: Crop,
    region: tuple[slice, slice],
    source_cover: Float32Array | None = None,
    *,
    only_subject: bool = False,
) -> Mixed:
    """A `region` (rows, columns) of an image in which the crop `place` is the frame that layers describe.

    `source` (H, W, 3), of which the network saw `source_crop`; both crops are upright.
    `source_cover` (H, W) in [0, 1], where the source shows its subject, sharpens the subject's edge in the result.
    `only_subject`: leave the image black far from the subject. This takes less time.
    """
    rows, columns = region
    image = np.zeros((rows.stop - rows.start, columns.stop - columns.start, 3), np.uint8)
    cover = np.empty(image.shape[:2], np.float32)
    maps = Layers(*(_not_finer(part, place) for part in layers))
    # A refined half reaches beyond the body, and a soft outline beyond both.
    margin = min(_BAND, math.ceil((REFINED_REACH + 4 * _SOFT_OUTLINE) / place.scale))
    everywhere = source_cover is None and bool((maps.matte == 1).all())  # models that separate no background
    known = None if source_cover is None else (source_cover, maps.moving())
    filled = []  # columns of each band
    for top in range(rows.start, rows.stop, _BAND):
        bottom = min(top + _BAND, rows.stop)
        band, to = (slice(top, bottom), columns), slice(top - rows.start, bottom - rows.start)
        x, y = places_in_source(maps.offset, source_crop, place, band)
        share = enlarged(maps.share, place, band)
        matte = np.ones_like(share) if everywhere else enlarged(maps.matte, place, band)
        if known is not None:
            source_subject, moving = known
            seen = cv2.remap(source_subject, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            matte = with_seen(matte, seen, share)
            behind = (1 - seen) * enlarged(moving, place, band)
            share *= 1 - behind  # background that moves along, such as a gap beside an arm, would be a spot on clothes
        if not everywhere:  # a definite outline, perhaps a pixel off, looks better than a blur
            matte = ramp(matte, *MATTE_RANGE)
        cover[to] = matte
        shown = slice(None)
        if only_subject:
            there = np.flatnonzero((matte > _INVISIBLE).any(axis=0))
            filled.append(np.zeros(len(cover[0]), np.bool_))
            if not len(there):
                continue
            shown = slice(max(0, int(there[0]) - margin), min(len(cover[0]), int(there[-1]) + 1 + margin))
            filled[-1][shown] = True
            x, y, share = x[:, shown], y[:, shown], share[:, shown]
            band = band[0], slice(columns.start + shown.start, columns.start + shown.stop)
        moved = cv2.remap(source, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        made = (enlarged(maps.drawn, place, band) + 1) * 127.5
        moved -= made
        moved *= share[..., None]
        made += moved
        made += enlarged(maps.residual, place, band) * 127.5
        image[to, shown] = (made + 0.5).clip(0, 255)
    for number, (above, below) in enumerate(pairwise(filled), start=1):
        edge, up, down = number * _BAND, below & ~above, above & ~below
        image[edge - margin : edge, up] = image[edge, up]
        image[edge : edge + margin, down] = image[edge - 1, down]
    return Mixed(image, cover)


def _edge_range(place: Crop) -> tuple[float, float]:
    """Values of a cover with the larger blur where the edge of a subject begins and ends. `place`: of the frame."""
    width = min(_WIDEST_EDGE, _EDGE_WIDTH * place.scale)
    half = width / 2 / (_SMOOTH * math.sqrt(2 * math.pi))  # by the slope of a straight edge that is blurred
    return 0.5 - half, 0.5 + half


def with_seen(matte: Float32Array, seen: Float32Array, share: Float32Array) -> Float32Array:
    """A matte (H, W), sharpened by what is `seen` (H, W) of the source's subject, where the source has a `share`."""
    # The matte limits it: where the background is copied, the source may show its subject.
    return np.asarray(matte + share * (seen * np.minimum(1, matte * _CERTAIN) - matte), np.float32)


def places_in_source(
    offset: Float32Array, source_crop: Crop, place: Crop, region: tuple[slice, slice]
) -> tuple[Float32Array, Float32Array]:
    """(N, M) x and y in the source of what a region shows. The offset (h, w, 2) is in widths of the frame."""
    places = []
    width = place.size[1]
    for axis, moved in enumerate(np.moveaxis(enlarged(offset, place, region), -1, 0)):
        scale = source_crop.matrix[axis, axis]
        start = (place.matrix[axis, 2] - source_crop.matrix[axis, 2]) / scale
        pixels = np.arange(region[1 - axis].start, region[1 - axis].stop)
        still = (pixels * (place.matrix[axis, axis] / scale) + start).astype(np.float32)
        at = moved * np.float32(width / scale) + (still if axis == 0 else still[:, None])
        # Points that did not move come with rounding errors. As whole pixels they are copied, not interpolated.
        whole = np.rint(at)
        places.append(np.where(np.abs(at - whole) < _SLACK, whole, at))
    return places[0], places[1]


def _not_finer(part: Float32Array, place: Crop) -> Float32Array:
    """A map of a frame, reduced where it has more pixels than its place."""
    left, top, right, bottom = place.box
    size = min(part.shape[1], max(1, round(right - left))), min(part.shape[0], max(1, round(bottom - top)))
    if size == part.shape[1::-1]:
        return part
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.float32)


def enlarged(part: Float32Array, place: Crop, region: tuple[slice, slice]) -> Float32Array:
    """A map of a frame (h, w, ...) in the pixels of a region; beyond the frame it goes on as at its border."""
    rows, columns = region
    matrix = Crop(place.box, (part.shape[0], part.shape[1])).matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ (columns.start, rows.start)
    size = columns.stop - columns.start, rows.stop - rows.start
    method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(part, matrix, size, flags=method, borderMode=cv2.BORDER_REPLICATE), np.float32)


def reduced_by(part: NDArray[Any], factor: int) -> NDArray[Any]:
    """Means of cells of factor x factor pixels; those of the last row and column may be smaller."""
    height, width = part.shape[:2]
    part = cv2.copyMakeBorder(part, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE)
    size = part.shape[1] // factor, part.shape[0] // factor
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA))


def on_background(frame: Mixed, background: Image) -> Image:
    """A part of an image in front of its background (N, M, 3)."""
    return np.asarray(cv2.blendLinear(frame.image, background, frame.cover, 1 - frame.cover), np.uint8)
