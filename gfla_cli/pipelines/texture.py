"""Texture of what a network had to draw: the source's own cloth and skin, put together from patches.

Where an arm hid a shirt, the source does not show it. A network draws the mean of what may be there: the colours are
right, but stripes and folds are a blur.
"""

from __future__ import annotations

import cv2
import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array
from gfla_cli.geometry.crop import Crop, Size, middle_of
from gfla_cli.geometry.paste import ramp
from gfla_cli.person.body import drawable, head_box, torso_length
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.frame_layers import (
    LIKELY,
    SURE,
    Layers,
    SourceFrame,
    disc,
    mean_near,
    region_around,
    whole_cells,
)
from gfla_cli.pipelines.hands import bare_hands, face_colour
from gfla_cli.pipelines.mixing import reduced_by
from gfla_cli.pipelines.patches import PATCH, Guide, Places, matched, touched_by_patches

# Lengths are in pixels of the network's frame, unless a comment says otherwise.
_FINEST = 1.5  # pixels at which patches are matched, for one of the network's frame
_FACTORS, _ROUNDS = (4, 2, 1), (5, 3, 1)  # how much smaller than that images are, coarse to fine; rounds of matching
_STEP = 2  # pixels of the image from one patch to the next
_DRAWN = 0.5  # share of the source below which a place is drawn
_INSIDE, _LEAST = 2, 25  # from the outline; area from which it is worth the time
_RIM = 2  # around bare hands that stay as drawn
_HEAD = 0.55  # torso lengths around the middle of a head, which has no texture that goes on
_PARTLY, _WHOLE = 0.3, 0.999  # shares of a pixel of a smaller image that are in the hole, and usable
_BLUR = 3.0  # of the flow; and of the colours that tell which cloth is where, in pixels of each image, coarse to fine
# Weights in the guide: of differences in blurred brightness and in hue, and of the way from where the flow leads.
_BRIGHTNESS, _HUE, _WAY = 5.0, 20.0, 8.0
_TONE, _MOST_TONE = 3.0, 0.12  # blur of the colours that patches take from what was drawn; their largest change
# Blur, and difference of blurred colours in [-1, 1] between patches and what was drawn. Below the first, patches are
# shown; above the second, a small thing was drawn that they do not have, such as a sock.
_NEAR, _OTHER = 2.0, (0.06, 0.14)
_DOUBTED = 0.8  # of a matte below SURE


def matching_size(place: Crop) -> Size:
    """Height and width of the layers in which patches of a frame are matched, whose `place` is in the result."""
    finer, cell = min(_FINEST, 1 / place.scale), _FACTORS[0]
    height, width = (max(cell, round(finer * side / cell) * cell) for side in place.size)
    return height, width


def with_texture(layers: Layers, source: SourceFrame, poses: tuple[Pose, Pose]) -> Layers | None:
    """Layers that show patches of the source where the given ones mostly draw. Their matte tells where that is.

    `layers` and `source` have the same size (H, W), see `matching_size`. `poses`: of the source and of the result,
    in pixels of the network's frame. Heads and bare hands are left alone. None when there is nothing to do.
    """
    size, pixel = layers.matte.shape, layers.matte.shape[1] / poses[0].size[1]
    seen, shown = (pose.cropped(Crop.whole(pose.size, size)) for pose in poses)
    if min(torso_length(seen), torso_length(shown)) <= 0:
        return None
    made, original = layers.mixed(source), np.asarray(source.image / np.float32(127.5) - 1, np.float32)
    hands = bare_hands((made, original), (shown, seen), face_colour(source.image, seen))
    kept, unused = (
        _head(body) | (cv2.dilate(bare.astype(np.uint8), disc(round(_RIM * pixel))) > 0)
        for bare, body in zip(hands, (shown, seen), strict=True)
    )
    hole, subject = _drawn_inside(layers, pixel) & ~kept, (source.cover > SURE) & ~unused
    usable = ~touched_by_patches(~subject)
    around, offered = region_around(hole, 4 * PATCH), region_around(usable, PATCH)
    if around is None or offered is None or hole.sum() < _LEAST * pixel**2:
        return None
    around, offered = (whole_cells(region, _FACTORS[0]) for region in (around, offered))
    image, inside = (made[around] + 1) * 127.5, hole[around]
    sure = cv2.erode((layers.matte[around] > SURE).astype(np.float32), disc(round(pixel)))
    way = cv2.GaussianBlur(np.dstack(layers.looked_at(around)[::-1]), (0, 0), _BLUR * pixel)  # y, x
    begin = np.array([part.start for part in offered])
    target = image, inside, sure, way - begin.astype(np.float32)
    found = _matched(target, (source.image[offered].astype(np.float32), usable[offered]), pixel)
    if found is None:
        return None
    places, filled = found
    here = np.stack(np.meshgrid(*(np.arange(part.start, part.stop) for part in around), indexing="ij"))
    offset = (places + begin[:, None, None] - here)[::-1].transpose(1, 2, 0) / np.float32(size[1])
    there = _filled(image, filled, offset, inside, layers.matte[around], pixel)
    return Layers(*(np.zeros_like(part) for part in layers)).with_part(there, around)


def _filled(
    image: Float32Array, filled: Float32Array, offset: Float32Array, hole: BoolArray, matte: Float32Array, pixel: float
) -> Layers:
    """Layers (h, w) that show patches in a hole, with the colours that were drawn, and only where both are alike.

    `image` and `filled` (h, w, 3) in [0, 255]: before and with patches; `offset` (h, w, 2): to the patches.
    """
    missing = (image - filled) / np.float32(127.5)
    # In a gap that the network doubts, it drew a mixture with some background: that does not count.
    trusted = ramp(matte, _DOUBTED, SURE)
    tone = mean_near(missing, hole * trusted, _TONE * pixel).clip(-_MOST_TONE, _MOST_TONE)
    other = trusted * np.sqrt(np.square(mean_near(missing, trusted, _NEAR * pixel)).mean(axis=2))
    weight = cv2.GaussianBlur(hole * (1 - ramp(other, *_OTHER)), (0, 0), pixel)
    shown = filled / 127.5 - 1, _constant(offset) * hole, tone * hole[..., None], offset, weight
    return Layers(*(part.astype(np.float32) for part in shown))


def _drawn_inside(layers: Layers, pixel: float) -> BoolArray:
    """(H, W) where a subject is mostly drawn, without its edge. `pixel`: pixels here for one of the network's frame."""
    subject = layers.matte > LIKELY  # with gaps that the network doubts
    inside = cv2.distanceTransform(subject.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    # Islands of the source in what was drawn stay: they may be a strap, a cord or a hem.
    drawn = (layers.share < _DRAWN) & (inside > _INSIDE * pixel)
    return np.asarray(cv2.morphologyEx(drawn.astype(np.uint8), cv2.MORPH_OPEN, disc(round(pixel))) > 0)


def _head(pose: Pose) -> BoolArray:
    """(H, W) where an image of the pose's size shows the head."""
    there, torso = np.zeros(pose.size, np.uint8), torso_length(pose)
    if (box := head_box(pose, torso)) is not None:
        (middle,) = drawable([middle_of(box)], pose.size).tolist()
        cv2.circle(there, middle, round(_HEAD * torso), 1, cv2.FILLED)
    return there > 0


def _matched(
    target: tuple[Float32Array, BoolArray, Float32Array, Float32Array],
    source: tuple[Float32Array, BoolArray],
    pixel: float,
) -> tuple[Places, Float32Array] | None:
    """Places (2, h, w) y, x in the source of what fills the target's hole, and the target (h, w, 3) with them.

    `target`: its image (h, w, 3) in [0, 255], the hole (h, w), where its colours are sure (h, w), and the places
    (h, w, 2) to which its flow leads. `source`: its image (H, W, 3), and its usable places (H, W).
    """
    rng, found = np.random.default_rng(0), None
    for factor, rounds in zip(_FACTORS, _ROUNDS, strict=True):
        image, hole, sure, way = (reduced_by(part.astype(np.float32), factor) for part in target)
        offered, whole = (reduced_by(part.astype(np.float32), factor) for part in source)
        usable = whole > _WHOLE
        indices = np.moveaxis(np.indices(whole.shape, np.float32), 0, -1)
        guide = Guide(
            np.dstack([_colours(image, sure), _WAY / pixel * way]),
            np.dstack([_colours(offered, whole), _WAY / pixel * factor * indices]),
        )
        step = 1 if found is None else _STEP
        start = None if found is None else _enlarged(found[0], hole.shape)
        result = matched(
            image, hole > _PARTLY, offered, usable, start=start, rounds=rounds, rng=rng, guide=guide, step=step
        )
        found = result or found
    return found


def _enlarged(places: Places, size: tuple[int, ...]) -> Places:
    """(2, h, w) places (2, h / n, w / n) in images that are n times larger."""
    factor = size[0] // places.shape[1]
    larger = places.repeat(factor, axis=1).repeat(factor, axis=2) * factor
    return np.asarray(larger + np.indices(size) % factor)


def _colours(image: Float32Array, sure: Float32Array) -> Float32Array:
    """(H, W, 3) blurred brightness and hue of sure places, with their weights in the guide."""
    known = mean_near(image, sure, _BLUR) / np.float32(255)
    return np.asarray(cv2.cvtColor(known, cv2.COLOR_RGB2YCrCb) * 255 * (_BRIGHTNESS, _HUE, _HUE), np.float32)


def _constant(offset: Float32Array) -> Float32Array:
    """(H, W) 1 where offsets (H, W, 2) are those of the pixels beside, else 0: enlarged, a jump would be a smear."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.asarray((cv2.erode(offset, cross) == cv2.dilate(offset, cross)).all(axis=2), np.float32)
