"""Hands as a whole: the source's own, or for one that it hides the mirrored other one.

A network moves a hand as a part of its forearm, and draws a mitten where the arm turns. Here a hand that is seen before
clothes or the background goes to its new place as it is.

A hand in a pocket or behind the back is the other one: the flow leads to where it should be, and the source shows
clothes there. Whether it does is read off the image: the other hand has the colour of the face, and this place has not.
Estimated depths are too noisy to tell. The same holds for a bare forearm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array, Image, median
from gfla_cli.geometry.crop import Size
from gfla_cli.person.body import drawable, torso_length
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.frame_layers import Layers, SourceFrame, disc, ramp

_ARMS = ((3, 4), (6, 7))  # elbow and wrist
_NOSE, _EYES, _SHOULDERS, _HIPS = 0, (14, 15), (2, 5), (8, 11)
_LENGTH, _RADIUS, _CUFF = 0.42, 0.14, 0.06  # torsos: of a hand from its wrist, half its width, and before its wrist
_MIDDLE, _FOREARM = (0.36, 0.1), 0.06  # length and radius of what is most likely the hand; radius of such a forearm
_AROUND, _RING = (0.3, 0.2), 0.1  # length and radius of all of a hand; width of what is looked at around it
_BARE_SKIN = 0.08  # share of skin beside a hand from which on it cannot be told from a thigh behind it
_LEAST_FOREARM = 0.2  # torsos: a shorter one points at the camera, and does not tell where its hand points
_CLASPED = 0.3  # torsos between wrists: hands that are nearer cannot be told apart
_OTHERS = 0.6  # distances from a hand's wrist: a place that is nearer to the other wrist belongs to that hand
_FREE = 0.15, 0.1  # share of the subject around a hand: above, the hand lies before the body; below, beside it
_NEAR = 0.04  # torsos around a hand beside the body, in which what was drawn stays
_MOVED = 0.15, 0.25  # forearms, way of wrist or elbow: a hand at rest is right as it is, and stays in its pocket
_RIM = 3  # pixels around a hand where its flow goes over into that of the network
_FACE_RADIUS = 0.6  # distances between the eyes
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
        ends = self.wrist - before * self.way, self.wrist + length * self.way
        first, last = drawable(ends, size).tolist()
        area = np.zeros(size, np.float32)
        return np.asarray(cv2.line(area, first, last, 1.0, max(1, round(2 * radius))), np.float32)


def with_whole_hands(layers: Layers, source: SourceFrame, source_pose: Pose, target_pose: Pose) -> Layers:
    """The same with whole hands where the target shows them, and where the source shows this or the other hand.

    Poses are in pixels of the layers. Hands that rest stay as they are. So does all without a face that looks at the
    camera, without a bare hand (gloves stay gloves), and with clasped hands.
    """
    torso, skin = torso_length(source_pose), _skin(source.image, source_pose)
    if torso <= 0 or skin is None:
        return layers
    wrists = source_pose.points[[wrist for _, wrist in _ARMS]]
    if (wrists[:, 2] > 0).all() and np.hypot(*(wrists[0] - wrists[1])[:2]) < _CLASPED * torso:
        return layers
    skin = skin * source.cover
    size = layers.matte.shape

    def share_of_skin(area: Float32Array) -> float:
        return float(np.vdot(skin, area)) / max(1.0, float(np.vdot(source.cover, area)))

    def with_hand(
        shown: _Hand, hand: _Hand, neighbour: _Hand | None, weight: float, *, mirrored: bool, forearm: bool = False
    ) -> Layers:
        around = _beside(shown, target_hands, size, torso)
        free = float(ramp(float(np.vdot(layers.matte, around)) / max(1.0, float(around.sum())), *_FREE))
        free *= shown.forearm > _LEAST_FOREARM * torso  # else its upper arm may lie there
        its_skin = skin
        if neighbour is not None:
            its_skin = skin * (neighbour.from_wrist(size) > _OTHERS * hand.from_wrist(size))
        return _with_hand(
            layers, source, its_skin, shown, hand, torso, weight=weight, free=free, mirrored=mirrored, forearm=forearm
        )

    source_hands, target_hands = ([_Hand.of(pose, arm) for arm in _ARMS] for pose in (source_pose, target_pose))
    for own, other, shown, arm in zip(source_hands, source_hands[::-1], target_hands, _ARMS, strict=True):
        if own is None or shown is None or own.forearm < _LEAST_FOREARM * torso:
            continue
        weight = _moved(own, shown) * _visible(target_pose, arm, torso)
        if weight == 0:
            continue
        bare = share_of_skin(own.area(size, *_times(torso, *_MIDDLE)))
        if bare > _BARE:
            if share_of_skin(_beside(own, source_hands, size, torso)) < _BARE_SKIN:
                layers = with_hand(shown, own, other, weight, mirrored=False)
        elif other is None or other.forearm < _LEAST_FOREARM * torso:
            continue
        elif bare < _HIDDEN and share_of_skin(other.area(size, *_times(torso, *_MIDDLE))) > _BARE:
            forearms = (share_of_skin(hand.area(size, 0, _FOREARM * torso, hand.forearm)) for hand in (own, other))
            sleeveless = next(forearms) < _HIDDEN and next(forearms) > _BARE
            layers = with_hand(shown, other, own, weight, mirrored=True, forearm=sleeveless)
    return layers


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
    layers: Layers,
    source: SourceFrame,
    skin: Float32Array,
    shown: _Hand,
    hand: _Hand,
    torso: float,
    *,
    weight: float,
    free: float,
    mirrored: bool,
    forearm: bool,
) -> Layers:
    """The same with a `hand` of the source, and its forearm, where the target has the hand `shown`.

    `weight` in [0, 1]: how much of it is visible. `free` in [0, 1]: whether it lies before the background. There the
    network's own hand goes, which may point elsewhere.
    """
    height, width = layers.matte.shape
    length, radius, cuff = _times(torso, _LENGTH, _RADIUS, _CUFF)
    begin, its_begin = (one.forearm if forearm else cuff for one in (shown, hand))
    area = shown.area((height, width), length + _RIM, radius + _RIM, begin + _RIM)
    y, x = np.nonzero(area)
    if len(y) == 0:  # outside of the frame
        return layers
    way = np.column_stack([x, y]) - shown.wrist
    along, across = (np.asarray(way @ axis, np.float32) for axis in (shown.way, shown.across))
    along = np.where(along < 0, along * (its_begin / begin), along)  # forearms differ in how they are foreshortened
    side = -hand.across if mirrored else hand.across
    places = (hand.wrist + along[:, None] * hand.way + across[:, None] * side).astype(np.float32)
    shape = skin * hand.area((height, width), length, radius, its_begin)
    shape = cv2.morphologyEx(shape, cv2.MORPH_CLOSE, disc(1))
    rows = -(-len(y) // width)  # OpenCV takes no column of more than 32 766 pixels
    across_map, down_map = (np.resize(one, (rows, width)) for one in places.T)
    share = cv2.remap(shape, across_map, down_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT).ravel()[: len(y)]
    share *= ramp(along, -its_begin, cuff - its_begin)
    # Nothing of the source is shown where both flows meet. Between their pixels it would be places between the two.
    moved, within = (cv2.erode(area, disc(reach), borderValue=0)[y, x] for reach in (_RIM - 1, _RIM))
    share *= within * np.float32(weight)
    changed = Layers(*(part.copy() for part in layers))
    changed.drawn[y, x] = layers.mixed(source)[y, x]
    changed.residual[y, x] = 0
    changed.share[y, x] = share
    near = cv2.dilate(changed.share * area, disc(round(_NEAR * torso)))[y, x]
    kept = 1 - weight * free * (1 - np.maximum(ramp(along, cuff, 0), near))
    changed.matte[y, x] = np.maximum(layers.matte[y, x] * kept, share)
    offset = (places - np.column_stack([x, y])) / width
    changed.offset[y, x] = np.where(moved[:, None] > 0, offset, layers.offset[y, x])
    return changed


def _skin(image: Image, pose: Pose) -> Float32Array | None:
    """(H, W) in [0, 1]: what has the colour of the face. None: the face does not look at the camera."""
    if not pose.present[[_NOSE, *_EYES]].all():
        return None
    eyes = pose.points[list(_EYES), :2]
    radius = round(_FACE_RADIUS * float(np.hypot(*(eyes[0] - eyes[1]))))
    face = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(face, np.rint(pose.points[_NOSE, :2]).astype(int).tolist(), radius, 1, cv2.FILLED)
    # OpenCV would need 80 ms to prepare for Lab.
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    if radius == 0 or not face.any():
        return None
    lightness, *chroma = np.moveaxis(colours - median(colours[face > 0], axis=0), -1, 0)
    skin = ramp(np.hypot(*chroma), *_CHROMA[::-1]) * ramp(np.abs(lightness), *_LIGHTNESS[::-1])
    return np.asarray(cv2.GaussianBlur(skin, (0, 0), 1), np.float32)


def _moved(own: _Hand, shown: _Hand) -> float:
    """In [0, 1]: whether a hand or its elbow is elsewhere in the target. All crops of a body agree about it."""
    way = max(np.hypot(*(shown.wrist - own.wrist)), np.hypot(*(shown.elbow - own.elbow)))
    return float(ramp(way / max(own.forearm, shown.forearm), *_MOVED))


def _visible(pose: Pose, arm: tuple[int, int], torso: float) -> float:
    """In [0, 1]: whether a hand of the target lies before its trunk and its own arm, as far as depths are known."""
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
