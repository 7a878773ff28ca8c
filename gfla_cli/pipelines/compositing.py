"""Results at the photograph's own size: the flow carries the photograph's pixels, and its background stays.

A network of 256 pixels draws everything again. Its flow holds at any size, so the photograph itself moves along the
flow, and the drawn image is only taken where the network trusts it more. The rest is the photograph's background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Image
from gfla_cli.geometry.crop import Crop, shifted
from gfla_cli.geometry.paste import ramp
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.canvas import Canvas
from gfla_cli.pipelines.frame_layers import (
    BODY_STRETCH,
    EVERYWHERE,
    HEAD_STRETCH,
    LIKELY,
    SURE,
    UNLIKELY,
    Layers,
    SourceFrame,
    disc,
    region_around,
    spread,
)
from gfla_cli.pipelines.hands import hand_areas, with_whole_hands
from gfla_cli.pipelines.refinement import CloseUp, HalfCrop, HeadCrop
from gfla_cli.pipelines.shadows import ANKLES

_SLACK = 0.02  # pixels
_CERTAIN = 2  # 1 / matte from which on the subject has the edge that the source shows
_MATTE_RANGE = 0.35, 0.85  # of a matte: less is background, more is subject
# The outline of a subject that has moved is ragged, because its flow has fewer pixels than the image. So it is blurred.
# Pixels of the network's frame: blur; motion that needs none, or all of it; area around. Then the least blur, pixels.
_SOFT_OUTLINE, _MOVED, _NEAR, _LEAST_SOFT = 0.4, (2, 6), 4, 0.5
# A larger blur makes it smooth: pixels of the frame, and its values where the new edge begins and ends.
_SMOOTH, _EDGE = 2, (0.32, 0.68)
_THIN = 3  # pixels of the frame: half the width of a finger, at most
_OWN_COLOUR = 0.5, 1  # pixels of the frame inside the outline: up to the first, no colour is the subject's own
_GAP = 3  # a gap is deeper than so many times the larger blur, and larger than so many squares of it
_FINE = 2  # pixels for one of the frame: enough for the larger blur
_LEAST_WEIGHT = 0.01  # of a colour outside of the subject, which a soft outline shows
_INVISIBLE = 1 / 512  # cover that changes no value of 0..255
_WISP = 2  # pixels of the network's frame: half the width of a thin part that is removed
_PIECE = 0.05  # of the area of the largest piece of a subject; smaller ones fade
_FRINGE = 0.006  # widths of the frame from the edge of the subject, where colours of the background shine through
_HEAD_OUTLINE = 0.75, 0.95  # weights of a refined head: below, the body's outline holds; above, the head's own
_UNSURE, _WITHIN = 3, (0.6, 0.95)  # pixels of the body's frame; shares of subject in them: colours are unsure, sure
# Pixels of its frame by which the flow of a refined part differs from the body's: below, both show the same place;
# above, two. Then pixels from an outline. Then weights of the part between which one flow is replaced by the other.
_APART, _INSIDE, _HALF_WAY = (6, 12), 3, (0.4, 0.6)
_REFINED_REACH = 5  # pixels of the body's frame by which a refined half may reach beyond the body
_OUTLINE = 1.5  # pixels of a refined part: half the width of the soft edge of an outline between two
_AT_A_TIME = 2  # parts of a body that are sharpened or mixed at the same time
_BAND = 256  # rows that are mixed at a time; it bounds the memory that large images take

Poses = tuple[Pose, Pose]  # of the source and of the target, in pixels of the network's frame


class Mixed(NamedTuple):
    """A part of an image, at its full size."""

    image: Image  # (N, M, 3)
    cover: Float32Array  # (N, M) in [0, 1]: what is the subject

    def with_smooth_outline(
        self, frame: _Frame, region: tuple[slice, slice], heads: BoolArray, hands: Float32Array
    ) -> Mixed:
        """The same with a smooth, soft outline where the subject has moved, and its own colours up to there.

        This is a `region` (rows, columns) of the image in which the frame lies. Outlines of refined `heads` (N, M),
        of thin parts near `hands` (h, w) of the frame, which are fingers, and of narrow gaps keep their detail: they
        become softer only.
        """
        pixel = 1 / frame.place.scale  # of the frame
        if _SOFT_OUTLINE * pixel <= _LEAST_SOFT:
            return self
        there = region_around(self.cover > _INVISIBLE, math.ceil(_NEAR * pixel))
        if there is None:
            return self
        changed = Mixed(self.image.copy(), self.cover.copy())
        part = Mixed(self.image[there], self.cover[there])
        region = _region_at(there, region[0].start, region[1].start)
        changed.image[there], changed.cover[there] = part._with_smooth_outline(frame, region, heads[there], hands)
        return changed

    def _with_smooth_outline(
        self, frame: _Frame, region: tuple[slice, slice], heads: BoolArray, hands: Float32Array
    ) -> Mixed:
        """The same for a region that holds the subject, and little more."""
        height, width = self.cover.shape
        factor = min(1, _FINE * frame.place.scale)
        size = max(1, round(height * factor)), max(1, round(width * factor))
        here, (rows, columns) = Crop.whole((height, width), size), region
        place = Crop(here.bounds(shifted(frame.place.box, -columns.start, -rows.start)), frame.place.size)
        everywhere = slice(0, size[0]), slice(0, size[1])
        moved = ramp(frame.layers.way() * (frame.layers.matte > LIKELY), *_MOVED)
        moved = place.uncropped(cv2.dilate(moved, disc(_NEAR)), everywhere)
        small = Mixed(*(cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA) for part in self))
        fingers = small.thin(_THIN / place.scale) * place.uncropped(hands, everywhere, beyond=0)
        detail = cv2.resize(heads.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
        detail = np.maximum(detail, np.maximum(fingers, small.gaps(_SMOOTH / place.scale)))
        free = moved * (1 - cv2.GaussianBlur(detail, (0, 0), 1 / place.scale))
        smooth = cv2.GaussianBlur(small.cover, (0, 0), _SMOOTH / place.scale)
        colours, foreign = small.own_colours(1 / place.scale)
        maps = np.dstack([moved, free, smooth, foreign])
        cover = cv2.GaussianBlur(self.cover, (0, 0), _SOFT_OUTLINE / frame.place.scale)
        image = np.empty_like(self.image)
        for top in range(0, height, _BAND):
            band = slice(top, min(top + _BAND, height)), slice(0, width)
            softened, smoothed, edge, other = cv2.split(_enlarged(maps, here, band))
            cover[band] = self.cover[band] + softened * (cover[band] - self.cover[band])
            cover[band] += smoothed * (ramp(edge, *_EDGE) - cover[band])
            # Where the outline had a notch, the image shows what is beside the subject.
            weight = smoothed * np.maximum(other, 1 - ramp(self.cover[band], LIKELY, SURE))
            own = (_enlarged(colours, here, band) + 0.5).clip(0, 255).astype(np.uint8)
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
        _, pieces, found, _ = cv2.connectedComponentsWithStats(closed * (1 - subject))
        deep = cv2.distanceTransform(closed, cv2.DIST_L2, cv2.DIST_MASK_5) > _GAP * reach
        kept = found[:, cv2.CC_STAT_AREA] > _GAP * reach**2
        kept &= np.isin(np.arange(len(kept)), pieces[deep])
        kept[0] = False  # what is no gap
        return np.asarray(cv2.dilate(kept[pieces].astype(np.uint8), round_reach), np.float32)

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
        own = (within > _OWN_COLOUR[1]) & (self.cover > SURE)
        return spread(self.image.astype(np.float32), own), 1 - inside

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
    margin = min(_BAND, math.ceil((_REFINED_REACH + 4 * _SOFT_OUTLINE) / place.scale))
    everywhere = source_cover is None and bool((maps.matte == 1).all())  # models that separate no background
    known = None if source_cover is None else (source_cover, maps.moving())
    filled = []  # columns of each band
    for top in range(rows.start, rows.stop, _BAND):
        bottom = min(top + _BAND, rows.stop)
        band, to = (slice(top, bottom), columns), slice(top - rows.start, bottom - rows.start)
        x, y = _places(maps.offset, source_crop, place, band)
        share = _enlarged(maps.share, place, band)
        matte = np.ones_like(share) if everywhere else _enlarged(maps.matte, place, band)
        if known is not None:
            source_subject, moving = known
            seen = cv2.remap(source_subject, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            matte = _with_seen(matte, seen, share)
            behind = (1 - seen) * _enlarged(moving, place, band)
            share *= 1 - behind  # background that moves along, such as a gap beside an arm, would be a spot on clothes
        if not everywhere:  # a definite outline, perhaps a pixel off, looks better than a blur
            matte = ramp(matte, *_MATTE_RANGE)
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
        made = (_enlarged(maps.drawn, place, band) + 1) * 127.5
        moved -= made
        moved *= share[..., None]
        made += moved
        made += _enlarged(maps.residual, place, band) * 127.5
        image[to, shown] = (made + 0.5).clip(0, 255)
    for number, (above, below) in enumerate(pairwise(filled), start=1):
        edge, up, down = number * _BAND, below & ~above, above & ~below
        image[edge - margin : edge, up] = image[edge, up]
        image[edge : edge + margin, down] = image[edge - 1, down]
    return Mixed(image, cover)


def _with_seen(matte: Float32Array, seen: Float32Array, share: Float32Array) -> Float32Array:
    """A matte (H, W), sharpened by what is `seen` (H, W) of the source's subject, where the source has a `share`."""
    # The matte limits it: where the background is copied, the source may show its subject.
    return np.asarray(matte + share * (seen * np.minimum(1, matte * _CERTAIN) - matte), np.float32)


def _places(
    offset: Float32Array, source_crop: Crop, place: Crop, region: tuple[slice, slice]
) -> tuple[Float32Array, Float32Array]:
    """(N, M) x and y in the source of what a region shows. The offset (h, w, 2) is in widths of the frame."""
    places = []
    width = place.size[1]
    for axis, moved in enumerate(np.moveaxis(_enlarged(offset, place, region), -1, 0)):
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


def _enlarged(part: Float32Array, place: Crop, region: tuple[slice, slice]) -> Float32Array:
    """A map of a frame (h, w, ...) in the pixels of a region; beyond the frame it goes on as at its border."""
    rows, columns = region
    matrix = Crop(place.box, (part.shape[0], part.shape[1])).matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ (columns.start, rows.start)
    size = columns.stop - columns.start, rows.stop - rows.start
    method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(part, matrix, size, flags=method, borderMode=cv2.BORDER_REPLICATE), np.float32)


def on_background(frame: Mixed, background: Image) -> Image:
    """A part of an image in front of its background (N, M, 3)."""
    return np.asarray(cv2.blendLinear(frame.image, background, frame.cover, 1 - frame.cover), np.uint8)


def composed(
    canvas: Canvas,
    layers: Layers,
    close_ups: Sequence[tuple[CloseUp, Layers]] = (),
    *,
    place: Crop | None = None,
    poses: Poses | None = None,
) -> Image:
    """The canvas (N, M, 3) with a generated frame in it, into which the refined parts are set in their order.

    (N, M, 4) if the canvas is transparent: alpha is the cover, and does not multiply the colours.
    `place`: where the frame lies, if it is not the place for which the canvas was made. `poses`: of the body in the
    source and in the frame, in pixels of the layers; they tell which hands the source hides.
    """
    place = place or canvas.place
    shape = canvas.background.shape[:2]
    region = place.region(shape)
    keeps = canvas.source_cover is not None
    alpha = np.full((*shape, 1), 0 if keeps else 255, np.uint8) if canvas.transparent else None
    if region is None:  # the subject has left the canvas
        image = canvas.background.copy()
    else:
        part = _with_close_ups(canvas, layers, place, region, close_ups, poses)
        if keeps:
            part = part.without_wisps(place)
        if keeps and canvas.replaced:
            part = part.without_fringe(place)
        if keeps and canvas.shown is not None:
            part = Mixed(part.image, part.cover * canvas.shown[region[0]])
        if canvas.paster is not None and not keeps:
            image = canvas.paster.set_in(part.image, canvas.paster.moved_along(layers.offset, layers.share))
        else:
            image = canvas.behind(part.cover, region, _ankles(place, layers, poses))
            if keeps and alpha is not None:  # the subject's own colours: the viewer mixes them by alpha
                alpha[region] = (part.cover * 255 + 0.5)[..., None]
                np.copyto(image[region], part.image, where=alpha[region] > 0)
            else:
                image[region] = on_background(part, image[region]) if keeps else part.image
    return image if alpha is None else np.dstack([image, alpha])


def _ankles(place: Crop, layers: Layers, poses: Poses | None) -> Float32Array | None:
    """(2, 2) x, y in the canvas of a body's ankles; None unless both are known. `poses`: see `composed`."""
    if poses is None or not poses[1].present[ANKLES].all():
        return None
    return Crop(place.box, layers.matte.shape).points_back(poses[1].points[ANKLES, :2])


def _sharp_body(layers: Layers, source: SourceFrame, poses: Poses | None, part: HalfCrop | None = None) -> Layers:
    """The layers of a body, or a part of it, with one outline, and the source's own pixels where it moves rigidly."""
    rigid = layers.moves_rigidly(BODY_STRETCH)
    # A lower half hardly moves when arms are raised. But hands that hung beside it are elsewhere then.
    rest = source if part is None else source._replace(cover=part.own(source.cover))
    layers = layers.with_rest_of_source(rigid, rest)
    layers = layers.with_outline_of_source(rigid, source, as_a_whole=False)
    layers = layers.with_definite_outline(source).without_torn_source(source)
    if part is not None:  # a hand that turns is stretched, which looks better than a blur
        rigid = np.maximum(rigid, layers.moved_as_drawn(source))
    layers = layers.with_sharp_source(rigid * layers.shown_once(source))
    return layers if poses is None else with_whole_hands(layers, source, *poses)


def _sharp_head(layers: Layers, source: SourceFrame) -> Layers:
    """The same for a head, which moves as a whole or not at all."""
    rigid = layers.moves_rigidly(HEAD_STRETCH, as_a_whole=True)
    layers = layers.with_outline_of_source(rigid, source, as_a_whole=True)
    return layers.with_definite_outline(source).without_torn_source(source).with_sharp_source(rigid)


@dataclass(frozen=True)
class _Frame:
    """A generated frame before it is mixed. Both crops are upright."""

    layers: Layers
    source_crop: Crop  # of the source: what the network saw
    place: Crop  # of the canvas: where the frame lies

    @cached_property
    def near(self) -> Float32Array:
        """(H, W) the matte, and around it as far as a refined half may reach."""
        return np.asarray(cv2.dilate(self.layers.matte, disc(_REFINED_REACH)), np.float32)

    @cached_property
    def unmoved(self) -> Float32Array:
        """See `Layers.unmoved`."""
        return self.layers.unmoved()

    def place_in(self, other: _Frame) -> Crop:
        """Where this frame lies in another one."""
        return Crop(other.place.bounds(self.place.box), self.place.size)

    def layers_in(self, other: _Frame, region: tuple[slice, slice]) -> Layers:
        """The layers in the pixels of a region of another frame; beyond this frame they go on as at its border."""
        here = self.place_in(other)
        drawn, share, residual, _, matte = (_enlarged(part, here, region) for part in self.layers)
        still = np.ogrid[region][::-1]
        matrix, width = other.source_crop.matrix, other.place.size[1]
        offset = [
            (matrix[axis, axis] * places + (matrix[axis, 2] - still[axis])) / width
            for axis, places in enumerate(_places(self.layers.offset, self.source_crop, here, region))
        ]
        return Layers(drawn, share, residual, np.dstack(offset).astype(np.float32), matte)

    def mixed(self, canvas: Canvas, region: tuple[slice, slice], *, only_subject: bool = False) -> Mixed:
        """See the function of this name."""
        cover = canvas.source_cover
        return mixed(self.layers, canvas.source, self.source_crop, self.place, region, cover, only_subject=only_subject)


class _Refined(NamedTuple):
    """A refined part of a body."""

    frame: _Frame
    weight: Float32Array  # (H, W) in [0, 1] in the pixels of its frame: how much of it is visible
    source: SourceFrame | None
    is_head: bool

    def within(self, body: _Frame) -> _Refined:
        """The same without what is far from the body, and, for a half, without what does not move."""
        layers, weight = self.frame.layers, self.weight
        height, width = weight.shape
        everywhere, here = (slice(0, height), slice(0, width)), body.place_in(self.frame)
        near = here.uncropped(body.near, everywhere)
        if not self.is_head:  # far from the whole body nothing belongs to it; at rest a half adds nothing
            layers = layers._replace(matte=np.minimum(layers.matte, near))
            weight = weight * (1 - here.uncropped(body.unmoved, everywhere))
        if self.source is not None:  # else the background is shown, too, and the part must not end abruptly in it
            subject = np.maximum(layers.matte, near) > UNLIKELY
            weight = weight * cv2.dilate(subject.astype(np.uint8), disc(_INSIDE))
        return self._replace(frame=replace(self.frame, layers=layers), weight=weight)

    def set_into(self, body: _Frame, others: Sequence[_Refined]) -> _Refined:
        """The same with layers that are blended into those of the body, and of other parts that were set into it.

        Flows are mixed instead of images, because a mixture of two images shows everything twice.
        """
        above = self.frame.layers
        region = region_around(self.weight > 0, _UNSURE * _INSIDE)
        assert region is not None
        below = body.layers_in(self.frame, region)
        for other in others:
            visible = other.frame.place_in(self.frame).uncropped(other.weight, region, beyond=0) > 0
            if visible.any():
                below = below.replaced(other.frame.layers_in(self.frame, region), visible)
        below = above.with_part(below, region)
        pixel = self.frame.place.scale / body.place.scale
        joined = _joined(below, above, self.weight, self.source, pixel, region, is_head=self.is_head)
        return self._replace(frame=replace(self.frame, layers=above.with_part(joined, region)))


def _with_close_ups(
    canvas: Canvas,
    layers: Layers,
    place: Crop,
    region: tuple[slice, slice],
    close_ups: Sequence[tuple[CloseUp, Layers]],
    poses: Poses | None,
) -> Mixed:
    """A body, whose frame lies in `place` of the canvas, with its refined parts, in the pixels of a region."""
    keeps = canvas.source_cover is not None
    with ThreadPoolExecutor(_AT_A_TIME) as pool:  # most of it is in OpenCV and NumPy, which run side by side
        sharp = pool.submit(_body, canvas, layers, place, poses)
        refined = pool.map(lambda pair: _refined(canvas, place, *pair), close_ups)
        body = sharp.result()
        mixed_body = pool.submit(body.mixed, canvas, region, only_subject=keeps)
        parts: list[_Refined] = []
        mixed_parts = []
        for part in refined:
            part = part.within(body)
            shown = _shown(part, region)
            if shown is not None:
                part = part.set_into(body, parts)
                parts.append(part)
                mixed_parts.append((*shown, pool.submit(part.frame.mixed, canvas, shown[0])))
        result = mixed_body.result()
        heads = np.zeros(result.cover.shape, np.bool_)
        for part, (there, weight, mixed_part) in zip(parts, mixed_parts, strict=True):
            image, cover = mixed_part.result()
            at = _region_at(there, -region[0].start, -region[1].start)
            mask = (weight > 0).astype(np.uint8)
            result.image[at] = cv2.copyTo(image, mask, result.image[at])
            result.cover[at] = cv2.copyTo(cover, mask, result.cover[at])
            if part.is_head:
                heads[at] |= weight > _HEAD_OUTLINE[0]
    if not keeps:
        return result
    shape = layers.matte.shape
    hands = np.zeros(shape, np.float32) if poses is None else hand_areas(poses[1], shape)
    return result.with_smooth_outline(body, region, heads, hands)


def _body(canvas: Canvas, layers: Layers, place: Crop, poses: Poses | None) -> _Frame:
    """A sharp body whose frame lies in `place` of the canvas."""
    if (source := canvas.frame_of(Crop(canvas.source_crop.box, layers.matte.shape))) is not None:
        layers = _sharp_body(layers, source, poses)
    return _Frame(layers, canvas.source_crop, place)


def _refined(canvas: Canvas, place: Crop, close_up: CloseUp, layers: Layers) -> _Refined:
    """A sharp refined part of the body that lies in `place` of the canvas."""
    source_crop = Crop(canvas.scale.bounds(close_up.source_crop.box), close_up.source_crop.size)
    if (source := canvas.frame_of(Crop(source_crop.box, layers.matte.shape))) is not None:
        if isinstance(close_up, HalfCrop):
            layers = _sharp_body(layers, source, close_up.poses, close_up)
        else:
            layers = _sharp_head(layers, source)
    frame = _Frame(layers, source_crop, Crop(place.bounds_back(close_up.place.box), close_up.place.size))
    return _Refined(frame, close_up.mask(), source, isinstance(close_up, HeadCrop))


def _shown(part: _Refined, region: tuple[slice, slice]) -> tuple[tuple[slice, slice], Float32Array] | None:
    """Rows and columns in a region of the canvas that show a refined part, and its weight (N, M) in them."""
    rows, columns = region
    left, top = -columns.start, -rows.start
    place = Crop(shifted(part.frame.place.box, left, top), part.frame.place.size)
    there = place.region((rows.stop + top, columns.stop + left))
    if there is None:
        return None
    weight = place.uncropped(part.weight, there, beyond=0)
    shown = region_around(weight > 0)  # much of a half is not visible
    if shown is None:
        return None
    there = _region_at(shown, there[0].start, there[1].start)
    return _region_at(there, rows.start, columns.start), weight[shown].copy()


def _joined(
    below: Layers,
    above: Layers,
    weight: Float32Array,
    source: SourceFrame | None,
    pixel: float,
    region: tuple[slice, slice],
    *,
    is_head: bool,
) -> Layers:
    """Layers (h, w) of a region (rows, columns): `below` where `weight` is 0, `above` where it is 1, blended between.

    `source`: the frame that both flows move. `pixel`: its pixels for one of the whole body's frame.
    """
    first, second = (Layers(*(part[region] for part in layers)) for layers in (below, above))
    width, weight = weight.shape[1], weight[region]
    # Colours are unreliable outside of the person, and along an outline that the other layers lack.
    side = 2 * round(_UNSURE * pixel) + 1
    sure = ramp(cv2.blur(second.matte, (side, side)), *_WITHIN) * second.matte
    own, other = weight * np.maximum(sure, _LEAST_WEIGHT), (1 - weight) * np.maximum(first.matte, _LEAST_WEIGHT)
    colour = own / (own + other)
    # The mean of two flows to distant places is useless, so the change is abrupt.
    apart = ramp(np.hypot(*np.moveaxis(second.offset - first.offset, -1, 0)) * width, *_APART)
    moved = _of_two(1 - colour, colour, first.share, second.share)  # a flow that is hardly shown may be torn
    drawn = _of_two(1 - colour, colour, 1 - first.share, 1 - second.share)
    offset = moved + apart * (ramp(moved, *_HALF_WAY) - moved)
    joined = first.towards(second, colour, offset=offset, drawn=drawn)
    both = cv2.erode((np.minimum(first.matte, second.matte) > LIKELY).astype(np.uint8), disc(_INSIDE))
    within = below.within_frame(region)
    twice = both * apart * np.minimum(1, 4 * np.minimum(moved, 1 - moved)) * within * above.within_frame(region)
    if source is not None and twice.any():
        shown = below.mixed(source, region)
        shown += colour[..., None] * (above.mixed(source, region) - shown)
        joined = joined.with_drawn(shown, 1 - twice, EVERYWHERE)
    # A mixture of two outlines would show a faint second shoulder or thigh.
    if is_head:
        matte = first.matte + ramp(weight, *_HEAD_OUTLINE) * (second.matte - first.matte)
    else:
        # Of the body alone: what a half doubts is where the foot of the source was.
        outline = first.matte
        if source is not None:
            seen = source.cover_at(below.looked_at(region))
            outline = _with_seen(outline, seen, within * first.share)
        matte = _between(first.matte, second.matte, weight, (outline, second.matte))
    return joined._replace(matte=matte)


def _of_two(first: Float32Array, second: Float32Array, shown: Float32Array, other: Float32Array) -> Float32Array:
    """(H, W) in [0, 1]: the share of the second of two weights, each times its visibility (`shown`, `other`)."""
    first, second = first * np.maximum(shown, _LEAST_WEIGHT), second * np.maximum(other, _LEAST_WEIGHT)
    return np.asarray(second / (first + second), np.float32)


def _between(
    first: Float32Array, second: Float32Array, weight: Float32Array, seen: tuple[Float32Array, Float32Array]
) -> Float32Array:
    """(H, W) matte with an outline between those of two mattes, nearer to the second where the weight is larger.

    `seen`: the same two mattes, sharpened by what the source shows; the outlines are theirs.
    """
    least, most = _MATTE_RANGE
    mixture = first + weight * (second - first)
    covers = [ramp(matte, least, most) for matte in seen]
    distance = (1 - weight) * _from_outline(covers[0]) + weight * _from_outline(covers[1])
    between = np.minimum(ramp(distance, -_OUTLINE, _OUTLINE), np.maximum(*covers))
    matte = least + (most - least) * between
    matte = np.where(between == 0, np.minimum(mixture, least), np.where(between == 1, np.maximum(mixture, most), matte))
    return np.where((weight > 0) & (weight < 1), matte, mixture).astype(np.float32)


def _from_outline(cover: Float32Array) -> Float32Array:
    """(H, W) pixels from the outline of a subject; negative outside of it."""
    inside = (cover > LIKELY).astype(np.uint8)
    there, beyond = (cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_5) for part in (inside, 1 - inside))
    return np.asarray(there - beyond, np.float32)


def _region_at(region: tuple[slice, slice], top: int, left: int) -> tuple[slice, slice]:
    """A region of a part of an image, in pixels of the image; the part begins at `top` and `left`."""
    rows, columns = region
    return slice(rows.start + top, rows.stop + top), slice(columns.start + left, columns.stop + left)
