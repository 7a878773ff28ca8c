"""Whole hands: the source's own, and in place of a hidden hand the other one, mirrored.

A network moves a hand as a part of its forearm, and draws a mitten where the arm turns. Here a hand that is seen in
front of clothes or the background goes to its new place as it is.

A hand in a pocket or behind the back is replaced by the other hand, because the flow leads to clothes there. A hand
counts as hidden if its place does not have the colour of the face, while the other hand has it. Estimated depths are
too noisy to tell. The same holds for a bare forearm.

Where a hand lay in front of clothes, the flow may still lead to it. Such scraps of the old hand are filled from around.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from gfla_cli.arrays import BoolArray, Float32Array, Float64Array, Image, median
from gfla_cli.geometry.crop import Size
from gfla_cli.geometry.paste import ramp
from gfla_cli.person.body import drawable, torso_length
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.frame_layers import LIKELY, Layers, SourceFrame, disc, region_around, spread

_ARMS = ((3, 4), (6, 7))  # elbow and wrist
_NOSE, _EYES, _SHOULDERS, _HIPS = 0, (14, 15), (2, 5), (8, 11)
_LENGTH, _RADIUS, _CUFF = 0.42, 0.14, 0.06  # torsos: of a hand from its wrist, half its width, and before its wrist
_MIDDLE, _FOREARM = (0.36, 0.1), 0.06  # length and radius of what is most likely the hand; radius of such a forearm
_AROUND, _RING = (0.3, 0.2), 0.1  # length and radius of all of a hand; width of what is looked at around it
_BARE_SKIN = 0.08  # share of skin beside a hand from which on it cannot be told from a thigh behind it
_PLAIN = 0.03  # the same; above, clothes may have a pattern of this colour, which is no scrap of a hand
_LEAST_FOREARM = 0.2  # torsos: a shorter one points at the camera, and does not tell where its hand points
_CLASPED = 0.3  # torsos between wrists: hands that are nearer cannot be told apart
_OTHERS = 0.6  # distances from a hand's wrist: a place that is nearer to the other wrist belongs to that hand
_FREE = 0.15, 0.1  # share of the subject around a hand: above, the hand lies in front of the body; below, beside it
_NEAR = 0.04  # torsos around a hand beside the body, in which what was drawn stays
_MOVED = 0.15, 0.25  # forearms, way of wrist or elbow: a hand at rest is right as it is, and stays in its pocket
_ARM = 0.09  # torsos: half the width of an arm of the target, where a hand of the source is no scrap
_SHOWN = 0.1  # share of the source from which on a place may show a scrap
_SCRAP = 0.9  # share of a piece of skin that shows hands of the source: a bare thigh behind a hand has less
# Pixels around a scrap, and shares of the body there: below, it is a hand on the background; above, it is removed.
_RING_OF_SCRAP, _ON_BODY = 4, (0.65, 0.77)
_SKIN = 0.25, 0.4  # in [0, 1]: more is skin in the result, and in the source
_UNLIKE = 0.1, 0.2  # difference in [-1, 1] of clothes over a hand from those around: below, they may stay there
_RIM = 3  # pixels around a hand where its flow goes over into that of the network
_THICKEST = 32_767  # pixels of a line of OpenCV
_FACE_RADIUS = 0.6  # distances between the eyes
_HEAD_RADIUS = 0.25  # torsos around the nose
_CHROMA, _LIGHTNESS = (12, 22), (70, 90)  # differences from the face in YCrCb (0..255): below, it is skin; above, none
_HIDDEN, _BARE = 0.1, 0.22  # share of skin: a hand with less is hidden, one with more is bare
# Of a hand in the target, from hidden to visible: torsos by which it is nearer than the hips, or else by which it lies
# inside of the outline of the trunk; and how steeply its forearm points away from the camera. Between both values it is
# partly visible, so that it comes and goes slowly in a clip.
_BEFORE, _BESIDE, _AWAY = (0.05, 0.15), (-0.1, -0.2), (1.2, 0.8)


class _Hand(NamedTuple):
    elbow: Float64Array  # (2,) x, y
    wrist: Float64Array
    way: Float64Array  # (2,) of length 1, from the elbow to the wrist
    forearm: float  # pixels, from the elbow to the wrist

    @classmethod
    def of(cls, pose: Pose, arm: tuple[int, int]) -> _Hand | None:
        """None: a joint is missing."""
        elbow, wrist = pose.points[list(arm), :2].astype(np.float64)
        forearm = float(np.hypot(*(wrist - elbow)))
        if not pose.present[list(arm)].all() or forearm == 0:
            return None
        return cls(elbow, wrist, (wrist - elbow) / forearm, forearm)

    def from_wrist(self, size: Size) -> Float32Array:
        """(H, W) distance of each pixel from its wrist."""
        y, x = np.ogrid[: size[0], : size[1]]
        return np.asarray(np.hypot(x - self.wrist[0], y - self.wrist[1]), np.float32)

    @property
    def across(self) -> Float64Array:
        return np.array([-self.way[1], self.way[0]])

    def area(self, size: Size, length: float, radius: float, before: float = 0.0) -> Float32Array:
        """(H, W) 1 on the hand, which goes on for `length` pixels beyond its wrist and `before` pixels before it."""
        return _line(size, (self.wrist - before * self.way, self.wrist + length * self.way), 2 * radius)


class _Placed(NamedTuple):
    """A hand of the source that goes to another place."""

    shown: _Hand  # where the target has it
    hand: _Hand  # of the source
    neighbour: _Hand | None  # the other hand of the source
    weight: float  # in [0, 1]: how much of it is visible
    mirrored: bool
    forearm: bool  # whether its forearm comes along


def hand_areas(pose: Pose, size: Size) -> Float32Array:
    """(H, W) 1 where the hands of a body are, as far as its forearms tell, else 0. The pose is in pixels of the map."""
    length, radius = _times(torso_length(pose), *_AROUND)
    areas = np.zeros(size, np.float32)
    for arm in _ARMS:
        if (hand := _Hand.of(pose, arm)) is not None:
            areas = np.maximum(areas, hand.area(size, length, radius))
    return areas


def bare_hands(images: Sequence[Float32Array], bodies: Sequence[Pose], face: Float32Array | None) -> list[BoolArray]:
    """(H, W) for each image (H, W, 3) in [-1, 1]: where it shows skin in the hand areas of its body, see `hand_areas`.

    `face`: the colour of skin, see `face_colour`. If it is None, this is all of the areas.
    """
    areas = [hand_areas(body, body.size) > 0 for body in bodies]
    if face is None:
        return areas
    return [area & _is_bare(image, face) for area, image in zip(areas, images, strict=True)]


def with_whole_hands(layers: Layers, source: SourceFrame, source_pose: Pose, target_pose: Pose) -> Layers:
    """The same with whole hands where the target shows them, and where the source shows this or the other hand.

    Poses are in pixels of the layers. Hands at rest stay as they are. So do all hands without a face that
    looks at the camera, without a bare hand (gloves stay gloves), and if they are clasped. Scraps of hands that moved
    away are removed.
    """
    torso, face = torso_length(source_pose), face_colour(source.image, source_pose)
    if face is None or not 0 < torso < max(layers.matte.shape):  # of a larger body there is no whole hand
        return layers
    skin = cv2.GaussianBlur(_skin(source.image, face), (0, 0), 1) * source.cover
    source_hands, target_hands = ([_Hand.of(pose, arm) for arm in _ARMS] for pose in (source_pose, target_pose))
    size = layers.matte.shape
    bare_beside = [
        _share_of_skin(skin, source.cover, _beside(hand, source_hands, size, torso)) if hand else 1.0
        for hand in source_hands
    ]
    placed = _placed(source, skin, source_hands, bare_beside, target_hands, target_pose, torso)
    head = _around_nose(source_pose, size, _HEAD_RADIUS * torso)  # a forearm may point at it
    arms = arm_areas(target_pose, size)
    for hand, bare, (_, wrist), one in zip(source_hands, bare_beside, _ARMS, placed, strict=True):
        if hand and bare < _PLAIN:
            its_own = _around_wrist(target_pose, wrist, size, torso) * np.float32(1 - (one.weight if one else 0))
            kept = np.maximum(arms, its_own)
            layers = _without_old_hand(layers, source, skin * (1 - head), face, hand, kept, torso)
    for one in placed:
        if one is not None:
            around = _beside(one.shown, target_hands, size, torso)
            free = float(ramp(float(np.vdot(layers.matte, around)) / max(1.0, float(around.sum())), *_FREE))
            free *= one.shown.forearm > _LEAST_FOREARM * torso  # else its upper arm may lie there
            if one.mirrored:
                layers = _without_cover_of_hand(layers, source, skin, face, one, torso)
            layers = _with_hand(layers, source, skin, one, torso, free=free)
    return layers


def _placed(
    source: SourceFrame,
    skin: Float32Array,
    source_hands: Sequence[_Hand | None],
    bare_beside: Sequence[float],
    target_hands: Sequence[_Hand | None],
    target_pose: Pose,
    torso: float,
) -> list[_Placed | None]:
    """For each arm the hand to set into the target, see `with_whole_hands`. None: the network's own hand stays.

    `bare_beside`: the shares of skin beside the hands of the source.
    """
    placed: list[_Placed | None] = [None, None]
    first, second = source_hands
    if first and second and np.hypot(*(first.wrist - second.wrist)) < _CLASPED * torso:
        return placed
    size = skin.shape
    share_of_skin = partial(_share_of_skin, skin, source.cover)
    pairs = zip(source_hands, source_hands[::-1], target_hands, _ARMS, strict=True)
    for k, (own, other, shown, arm) in enumerate(pairs):
        if own is None or shown is None or own.forearm < _LEAST_FOREARM * torso:
            continue
        weight = _moved(own, shown) * _visible(target_pose, arm, torso)
        if weight == 0:
            continue
        bare = share_of_skin(own.area(size, *_times(torso, *_MIDDLE)))
        if bare > _BARE:
            if bare_beside[k] < _BARE_SKIN:
                placed[k] = _Placed(shown, own, other, weight, mirrored=False, forearm=False)
        elif other is None or other.forearm < _LEAST_FOREARM * torso:
            continue
        elif bare < _HIDDEN and share_of_skin(other.area(size, *_times(torso, *_MIDDLE))) > _BARE:
            forearms = (share_of_skin(hand.area(size, 0, _FOREARM * torso, hand.forearm)) for hand in (own, other))
            sleeveless = next(forearms) < _HIDDEN and next(forearms) > _BARE
            placed[k] = _Placed(shown, other, own, weight, mirrored=True, forearm=sleeveless)
    return placed


def _without_old_hand(
    layers: Layers,
    source: SourceFrame,
    skin: Float32Array,
    face: Float32Array,
    hand: _Hand,
    kept: Float32Array,
    torso: float,
) -> Layers:
    """The same without scraps of a hand of the source. They have the colours around them instead.

    `skin` (H, W) of the source without its head. `face`: its colour (3,) in YCrCb. `kept` (H, W) in [0, 1]:
    where that hand is no scrap.
    """
    old = hand.area(layers.matte.shape, *_times(torso, _LENGTH, _RADIUS, _CUFF))
    old = cv2.dilate((old * skin > _SKIN[1]).astype(np.float32), disc(2))
    subject = layers.matte > LIKELY
    beside = subject & (kept < 1)
    shows_hand = beside & (layers.share > _SHOWN) & (cv2.remap(old, *layers.looked_at(), cv2.INTER_LINEAR) > 0)
    there = region_around(shows_hand, round(torso / 2))
    if there is None:
        return layers
    subject, beside, shows_hand = subject[there], beside[there], shows_hand[there]
    made = layers.mixed(source, there)
    bare = beside & (_is_bare(made, face) | shows_hand)
    scrap = _scraps(bare, shows_hand, subject) * beside
    known = cv2.erode(beside.astype(np.uint8), disc(2)) * ~((scrap > 0) | bare)
    if not scrap.any() or not known.any():
        return layers
    filled = cv2.GaussianBlur(scrap, (0, 0), 1) * (1 - kept[there]) * subject
    return layers.with_drawn(spread(made, known), 1 - filled, there)


def _without_cover_of_hand(
    layers: Layers, source: SourceFrame, skin: Float32Array, face: Float32Array, placed: _Placed, torso: float
) -> Layers:
    """The same without the clothes that hide a hand of the source, where the flow moves them along with it.

    They have the colours around them instead, unless these are similar. `skin` and `face` as for `_without_old_hand`.
    `placed`: the other hand, which goes there.
    """
    hidden, size = placed.neighbour, layers.matte.shape
    if hidden is None:
        return layers
    measures = _times(torso, _LENGTH, _RADIUS, _CUFF)
    sleeve = hidden.area(size, 0, _FOREARM * torso, hidden.forearm)  # it belongs to the arm that the hand ends
    clothes = hidden.area(size, *measures) * (1 - sleeve) * (1 - skin)
    area = cv2.dilate(placed.shown.area(size, *measures), disc(round(_NEAR * torso)))
    subject = layers.matte > LIKELY
    cover = area * subject * (cv2.remap(clothes, *layers.looked_at(), cv2.INTER_LINEAR) > LIKELY)
    there = region_around(cover, round(torso / 2))
    if there is None:
        return layers
    cover, subject, made = cv2.dilate(cover[there], disc(2)), subject[there], layers.mixed(source, there)
    known = cv2.erode((subject & ~_is_bare(made, face)).astype(np.uint8), disc(2)) * (
        cv2.dilate(cover, disc(_RIM)) == 0
    )
    if not known.any():
        return layers
    around = spread(made, known)
    unlike = ramp(float(np.linalg.norm((made - around)[cover > 0].mean(axis=0))), *_UNLIKE)
    filled = cv2.GaussianBlur(cover, (0, 0), 1) * (unlike * np.float32(placed.weight)) * subject
    return layers.with_drawn(around, 1 - filled, there)


def _scraps(bare: BoolArray, hand: BoolArray, subject: BoolArray) -> Float32Array:
    """(H, W) in [0, 1]: pieces of skin (H, W) on the subject that show little but a hand (H, W) of the source."""
    count, pieces, boxes, _ = cv2.connectedComponentsWithStats(cv2.dilate(bare.astype(np.uint8), disc(1)))
    near = cv2.dilate(hand.astype(np.uint8), disc(2)) > 0
    whole, within = (np.bincount(pieces[part], minlength=count) for part in (bare, bare & near))
    scraps, around = np.zeros(bare.shape, np.float32), _RING_OF_SCRAP
    for piece in np.flatnonzero(within[1:] > _SCRAP * whole[1:]) + 1:
        left, top, width, height = boxes[piece, :4].tolist()
        there = slice(max(0, top - around), top + height + around), slice(max(0, left - around), left + width + around)
        found = (pieces[there] == piece).astype(np.uint8)
        ring = cv2.dilate(found, disc(around)) > found
        on_body = ramp(subject[there][ring].mean(), *_ON_BODY) if ring.any() else 0
        scraps[there] = np.maximum(scraps[there], on_body * cv2.dilate(found, disc(2)))
    return scraps


def arm_areas(pose: Pose, size: Size, *, hand: float = 0.0) -> Float32Array:
    """(H, W) 1 on the arms of a body, up to `hand` torso lengths beyond their wrists, else 0."""
    arms, torso = np.zeros(size, np.float32), torso_length(pose)
    for shoulder, arm in zip(_SHOULDERS, _ARMS, strict=True):
        upper = [shoulder, arm[0]]
        if pose.present[upper].all():
            arms = np.maximum(arms, _line(size, pose.points[upper, :2], 2 * _ARM * torso))
        if (lower := _Hand.of(pose, arm)) is not None:
            arms = np.maximum(arms, lower.area(size, hand * torso, _ARM * torso, lower.forearm))
    return arms


def _around_wrist(pose: Pose, wrist: int, size: Size, torso: float) -> Float32Array:
    """(H, W) 1 where the hand of a wrist may be, as hands bend."""
    if not pose.present[wrist]:
        return np.zeros(size, np.float32)
    return _line(size, pose.points[[wrist, wrist], :2], 2 * (_LENGTH + _RADIUS) * torso)


def _line(size: Size, ends: ArrayLike, thickness: float) -> Float32Array:
    """(H, W) 1 on a line between two places (2, 2) x, y, else 0. All lengths are in pixels."""
    first, last = drawable(ends, size).tolist()
    width = min(max(1, round(thickness)), _THICKEST)
    return np.asarray(cv2.line(np.zeros(size, np.float32), first, last, 1.0, width), np.float32)


def _share_of_skin(skin: Float32Array, cover: Float32Array, area: Float32Array) -> float:
    """How much of an area (H, W) of a subject is skin; `skin` and `cover` (H, W) are those of the source."""
    return float(np.vdot(skin, area)) / max(1.0, float(np.vdot(cover, area)))


def _times(torso: float, *lengths: float) -> list[float]:
    """Lengths in torsos as pixels."""
    return [length * torso for length in lengths]


def _beside(hand: _Hand, hands: Sequence[_Hand | None], size: Size, torso: float) -> Float32Array:
    """(H, W) 1 around one of the hands of a body, without its arm and the other hand."""
    length, radius, cuff = _times(torso, *_AROUND, _CUFF)
    around = cv2.dilate(hand.area(size, length, radius, cuff), disc(round(_RING * torso)))
    for one in hands:
        if one is not None:
            around *= 1 - one.area(size, length, radius, one.forearm if one is hand else 0)
    return np.asarray(around, np.float32)


def _with_hand(
    layers: Layers, source: SourceFrame, skin: Float32Array, placed: _Placed, torso: float, *, free: float
) -> Layers:
    """The same with a hand of the source, and its forearm, in its new place. `skin` (H, W) of the source.

    `free` in [0, 1]: whether it lies in front of the background. There the network's own hand is removed, because it
    may point elsewhere.
    """
    shown, hand, neighbour, weight, mirrored, forearm = placed
    size, width = layers.matte.shape, layers.matte.shape[1]
    if neighbour is not None:
        skin = skin * (neighbour.from_wrist(size) > _OTHERS * hand.from_wrist(size))
    length, radius, cuff = _times(torso, _LENGTH, _RADIUS, _CUFF)
    begin, its_begin = (one.forearm if forearm else cuff for one in (shown, hand))
    area = shown.area(size, length + _RIM, radius + _RIM, begin + _RIM)
    y, x = np.nonzero(area)
    if len(y) == 0:  # outside of the frame
        return layers
    way = np.column_stack([x, y]) - shown.wrist
    along, across = (np.asarray(way @ axis, np.float32) for axis in (shown.way, shown.across))
    along = np.where(along < 0, along * (its_begin / begin), along)  # forearms differ in how they are foreshortened
    side = -hand.across if mirrored else hand.across
    places = (hand.wrist + along[:, None] * hand.way + across[:, None] * side).astype(np.float32)
    shape = skin * hand.area(size, length, radius, its_begin)
    shape = cv2.morphologyEx(shape, cv2.MORPH_CLOSE, disc(1))
    rows = -(-len(y) // width)  # OpenCV takes no column of more than 32 766 pixels
    across_map, down_map = (np.resize(one, (rows, width)) for one in places.T)
    share = cv2.remap(shape, across_map, down_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT).ravel()[: len(y)]
    share *= ramp(along, -its_begin, cuff - its_begin)
    # The source is not shown where both flows meet: enlarged, the flow there would lead to places between the two.
    moved, within = (cv2.erode(area, disc(reach), borderValue=0)[y, x] for reach in (_RIM - 1, _RIM))
    share *= within * np.float32(weight)
    changed = layers.copied()
    top, left = y.min(), x.min()
    made = layers.mixed(source, (slice(top, y.max() + 1), slice(left, x.max() + 1)))
    changed.drawn[y, x] = made[y - top, x - left]
    changed.residual[y, x] = 0
    changed.share[y, x] = share
    near = cv2.dilate(changed.share * area, disc(round(_NEAR * torso)))[y, x]
    kept = 1 - weight * free * (1 - np.maximum(ramp(along, cuff, 0), near))
    changed.matte[y, x] = np.maximum(layers.matte[y, x] * kept, share)
    offset = (places - np.column_stack([x, y])) / width
    changed.offset[y, x] = np.where(moved[:, None] > 0, offset, layers.offset[y, x])
    return changed


def face_colour(image: Image, pose: Pose) -> Float32Array | None:
    """(3,) the colour of the face in YCrCb, 0..255. None: the face does not look at the camera."""
    if not pose.present[[_NOSE, *_EYES]].all():
        return None
    eyes = pose.points[list(_EYES), :2]
    radius = _FACE_RADIUS * float(np.hypot(*(eyes[0] - eyes[1])))
    face = _around_nose(pose, image.shape[:2], radius)
    if round(radius) == 0 or not face.any():
        return None
    return np.asarray(median(_ycrcb(image)[face > 0], axis=0), np.float32)


def _around_nose(pose: Pose, size: Size, radius: float) -> Float32Array:
    """(H, W) 1 up to so many pixels from the nose."""
    place = np.rint(pose.points[_NOSE, :2]).astype(int).tolist()
    return np.asarray(cv2.circle(np.zeros(size, np.float32), place, round(radius), 1.0, cv2.FILLED), np.float32)


def _ycrcb(image: Image) -> Float32Array:
    # OpenCV would need 80 ms to prepare for Lab.
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb), np.float32)


def _skin(image: Image, face: Float32Array) -> Float32Array:
    """(H, W) in [0, 1]: what has the colour (3,) of the face, see `face_colour`."""
    lightness, *chroma = np.moveaxis(_ycrcb(image) - face, -1, 0)
    return ramp(np.hypot(*chroma), *_CHROMA[::-1]) * ramp(np.abs(lightness), *_LIGHTNESS[::-1])


def _is_bare(made: Float32Array, face: Float32Array) -> BoolArray:
    """(H, W) whether a mixed image (H, W, 3) in [-1, 1] shows skin, see `_skin`."""
    return _skin(((made + 1) * 127.5).clip(0, 255).astype(np.uint8), face) > _SKIN[0]


def _moved(own: _Hand, shown: _Hand) -> float:
    """In [0, 1]: whether a hand or its elbow is elsewhere in the target. All crops of a body agree about it."""
    way = max(np.hypot(*(shown.wrist - own.wrist)), np.hypot(*(shown.elbow - own.elbow)))
    return float(ramp(way / max(own.forearm, shown.forearm), *_MOVED))


def _visible(pose: Pose, arm: tuple[int, int], torso: float) -> float:
    """In [0, 1]: whether a hand of the target lies in front of its trunk and arm, as far as depths are known."""
    elbow, wrist = pose.deep_points[list(arm)]
    hips = pose.deep_points[list(_HIPS), 3].mean()
    if np.isnan(wrist[3] + elbow[3] + hips):
        return 1.0
    visible = float(ramp((wrist[3] - elbow[3]) / max(1.0, np.hypot(*(wrist - elbow)[:2])), *_AWAY))
    trunk = [*_SHOULDERS, *_HIPS[::-1]]
    if not pose.present[trunk].all():
        return visible
    outline = pose.points[trunk, :2].astype(np.float32)
    inside = cv2.pointPolygonTest(outline, wrist[:2].astype(float).tolist(), measureDist=True)
    beside, before = ramp(inside / torso, *_BESIDE), ramp((hips - wrist[3]) / torso, *_BEFORE)
    return visible * float(max(beside, before))
