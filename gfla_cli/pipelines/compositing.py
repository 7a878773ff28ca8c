"""Results at the photograph's own size: a generated body and its refined parts, set in front of the background.

Head, hands and feet are generated from near. Their layers are blended into those of the body before they are mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from gfla_cli.arrays import Float32Array, Image
from gfla_cli.geometry.crop import Crop, shifted
from gfla_cli.geometry.paste import ramp
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.canvas import Canvas
from gfla_cli.pipelines.frame_layers import (
    BODY_STRETCH,
    EVERYWHERE,
    HEAD_STRETCH,
    LIKELY,
    UNLIKELY,
    Layers,
    SourceFrame,
    disc,
    region_around,
    region_at,
)
from gfla_cli.pipelines.hands import hand_areas, with_whole_hands
from gfla_cli.pipelines.mixing import (
    MATTE_RANGE,
    REFINED_REACH,
    Mixed,
    enlarged,
    mixed,
    on_background,
    places_in_source,
    with_seen,
)
from gfla_cli.pipelines.refinement import CloseUp, HalfCrop, HeadCrop
from gfla_cli.pipelines.shadows import ANKLES
from gfla_cli.pipelines.skirts import with_whole_skirt
from gfla_cli.pipelines.subject_flow import with_flow_into_subject, without_filled_gaps
from gfla_cli.pipelines.texture import matching_size, with_texture

_LEAST_WEIGHT = 0.01  # of a colour outside of the subject, which a soft outline shows
_HEAD_OUTLINE = 0.75, 0.95  # weights of a refined head: below, the body's outline holds; above, the head's own
_UNSURE, _WITHIN = 3, (0.6, 0.95)  # pixels of the body's frame; shares of subject in them: colours are unsure, sure
# Pixels of its frame by which the flow of a refined part differs from the body's: below, both show the same place;
# above, two. Then pixels from an outline. Then weights of the part between which one flow is replaced by the other.
_APART, _INSIDE, _HALF_WAY = (6, 12), 3, (0.4, 0.6)
_OUTLINE = 1.5  # pixels of a refined part: half the width of the soft edge of an outline between two
_AT_A_TIME = 2  # parts of a body that are sharpened or mixed at the same time

Poses = tuple[Pose, Pose]  # of the source and of the target, in pixels of the network's frame


def composed(
    canvas: Canvas,
    layers: Layers,
    close_ups: Sequence[tuple[CloseUp, Layers]] = (),
    *,
    place: Crop | None = None,
    poses: Poses | None = None,
    ankles: Float32Array | None = None,
    single: bool = False,
) -> Image:
    """The canvas (N, M, 3) with a generated frame in it, into which the refined parts are set in their order.

    (N, M, 4) if the canvas is transparent: alpha is the cover, and does not multiply the colours.
    `place`: where the frame lies, if it is not the place for which the canvas was made. `poses`: of the body in the
    source and in the frame, in pixels of the layers; they tell which hands the source hides. `ankles` (2, 2) x, y in
    the canvas: where the feet stand, if that is known (`ankles_in`); the shadow goes there. `single`: the frame is no
    part of a clip. So what was drawn inside of a body gets the texture of the source, and feet may exchange their
    shadows; in a clip, both would change from frame to frame.
    """
    place = place or canvas.place
    shape = canvas.background.shape[:2]
    region = place.region(shape)
    keeps = canvas.source_cover is not None
    alpha = np.full((*shape, 1), 0 if keeps else 255, np.uint8) if canvas.transparent else None
    if region is None:  # the subject has left the canvas
        image = canvas.behind(np.zeros((1, 1), np.float32), (slice(0, 1), slice(0, 1)), ankles, exchange=single)
    else:
        part = _with_close_ups(canvas, layers, place, region, close_ups, poses, textured=single)
        if keeps:
            part = part.without_wisps(place)
        if keeps and canvas.replaced:
            part = part.without_fringe(place)
        if keeps and canvas.shown is not None:
            part = Mixed(part.image, part.cover * canvas.shown[region[0]])
        if canvas.paster is not None and not keeps:
            image = canvas.paster.set_in(part.image, canvas.paster.moved_along(layers.offset, layers.share))
        else:
            image = canvas.behind(part.cover, region, ankles, exchange=single)
            if keeps and alpha is not None:  # the subject's own colours: the viewer mixes them by alpha
                alpha[region] = (part.cover * 255 + 0.5)[..., None]
                np.copyto(image[region], part.image, where=alpha[region] > 0)
            else:
                image[region] = on_background(part, image[region]) if keeps else part.image
    return image if alpha is None else np.dstack([image, alpha])


def ankles_in(place: Crop, layers: Layers, poses: Poses | None) -> Float32Array | None:
    """(2, 2) x, y of a body's ankles in the canvas, of which `place` is the frame of the layers; None unless both show.

    `poses`: see `composed`.
    """
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
    led = with_flow_into_subject(layers, source)
    if led is not layers:
        rigid = led.moves_rigidly(BODY_STRETCH)
    layers = without_filled_gaps(led, source)
    layers = layers.with_definite_outline(source).without_torn_source(source)
    if part is not None:  # a hand that turns is stretched, which looks better than a blur
        rigid = np.maximum(rigid, layers.moved_as_drawn(source))
    layers = layers.with_sharp_source(rigid * layers.shown_once(source))
    return layers if poses is None else with_whole_hands(layers, source, *poses)


def _sharp_head(layers: Layers, source: SourceFrame) -> Layers:
    """The same for a head, which moves as a whole or not at all."""
    layers = layers.with_even_outline()
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
        return np.asarray(cv2.dilate(self.layers.matte, disc(REFINED_REACH)), np.float32)

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
        drawn, share, residual, _, matte = (enlarged(part, here, region) for part in self.layers)
        still = np.ogrid[region][::-1]
        matrix, width = other.source_crop.matrix, other.place.size[1]
        offset = [
            (matrix[axis, axis] * places + (matrix[axis, 2] - still[axis])) / width
            for axis, places in enumerate(places_in_source(self.layers.offset, self.source_crop, here, region))
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
    *,
    textured: bool,
) -> Mixed:
    """A body, whose frame lies in `place` of the canvas, with its refined parts, in the pixels of a region."""
    keeps = canvas.source_cover is not None
    with ThreadPoolExecutor(_AT_A_TIME) as pool:  # most of it is in OpenCV and NumPy, which run side by side
        sharp = pool.submit(_body, canvas, layers, place, poses)
        refined = pool.map(lambda pair: _refined(canvas, place, poses, *pair), close_ups)
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
        texture = pool.submit(_texture, canvas, body, parts, poses) if textured and poses is not None else None
        result = mixed_body.result()
        heads = np.zeros(result.cover.shape, np.bool_)
        for part, (there, weight, mixed_part) in zip(parts, mixed_parts, strict=True):
            image, cover = mixed_part.result()
            at = region_at(there, -region[0].start, -region[1].start)
            mask = (weight > 0).astype(np.uint8)
            result.image[at] = cv2.copyTo(image, mask, result.image[at])
            result.cover[at] = cv2.copyTo(cover, mask, result.cover[at])
            if part.is_head:
                heads[at] |= weight > _HEAD_OUTLINE[0]
        if texture is not None and (filled := texture.result()) is not None:
            _set_texture_into(result.image, canvas, filled, region)
    if not keeps:
        return result
    shape = layers.matte.shape
    hands = np.zeros(shape, np.float32) if poses is None else hand_areas(poses[1], shape)
    return result.with_smooth_outline(body.layers, place, region, heads, hands)


def _set_texture_into(image: Image, canvas: Canvas, filled: _Frame, region: tuple[slice, slice]) -> None:
    """Mixes a frame into an image (N, M, 3), which is a region of the canvas, where the frame's matte says so."""
    weight = filled.place.uncropped(filled.layers.matte, region, beyond=0)
    at = region_around(weight > 0)
    if at is None:
        return
    there, own = region_at(at, region[0].start, region[1].start), weight[at]
    shown = mixed(filled.layers, canvas.source, filled.source_crop, filled.place, there).image
    image[at] = cv2.blendLinear(shown, image[at], own, 1 - own)


def _texture(canvas: Canvas, body: _Frame, parts: Sequence[_Refined], poses: Poses) -> _Frame | None:
    """A frame of a body and its parts, with more pixels; it shows patches of the source where they mostly draw."""
    height, width = size = matching_size(body.place)
    crops = [Crop(crop.box, size) for crop in (body.source_crop, body.place)]
    source, everywhere = canvas.frame_of(crops[0]), (slice(0, height), slice(0, width))
    if source is None:
        return None
    whole = _Frame(body.layers, *crops)  # its crops count, and not its layers
    layers = body.layers_in(whole, everywhere)
    for part in parts:
        visible = part.frame.place_in(whole).uncropped(part.weight, everywhere, beyond=0) > 0.5
        if (there := region_around(visible)) is not None:
            above = part.frame.layers_in(whole, there)
            layers = layers.with_part(layers.part(there).replaced(above, visible[there]), there)
    filled = with_texture(layers, source, poses)
    return None if filled is None else replace(whole, layers=filled)


def _body(canvas: Canvas, layers: Layers, place: Crop, poses: Poses | None) -> _Frame:
    """A sharp body whose frame lies in `place` of the canvas."""
    if (source := canvas.frame_of(Crop(canvas.source_crop.box, layers.matte.shape))) is not None:
        layers = _sharp_body(_with_skirt(canvas, layers, source, poses), source, poses)
    return _Frame(layers, canvas.source_crop, place)


def _with_skirt(canvas: Canvas, layers: Layers, source: SourceFrame, poses: Poses | None) -> Layers:
    """Layers with a whole skirt, if the canvas knows that its subject wears one. `poses` in pixels of the layers."""
    if canvas.hem is None or poses is None:
        return layers
    return with_whole_skirt(layers, source, *poses, canvas.hem)


def _refined(canvas: Canvas, place: Crop, poses: Poses | None, close_up: CloseUp, layers: Layers) -> _Refined:
    """A sharp refined part of the body that lies in `place` of the canvas. `poses`: see `composed`."""
    source_crop = Crop(canvas.scale.bounds(close_up.source_crop.box), close_up.source_crop.size)
    if (source := canvas.frame_of(Crop(source_crop.box, layers.matte.shape))) is not None:
        if isinstance(close_up, HalfCrop):
            # Its own poses end where the crop cuts them; a hem is a height on whole legs.
            whole = poses and (poses[0].cropped(close_up.place), poses[1].cropped(close_up.place))
            layers = _with_skirt(canvas, layers, source, whole)
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
    there = region_at(shown, there[0].start, there[1].start)
    return region_at(there, rows.start, columns.start), weight[shown].copy()


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
    first, second = below.part(region), above.part(region)
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
            outline = with_seen(outline, seen, within * first.share)
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
    least, most = MATTE_RANGE
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
