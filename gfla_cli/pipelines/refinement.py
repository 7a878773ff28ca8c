"""Refinement: further passes of the network on zoomed crops of a body, set into the image of the whole body.

In a body that fills 256 pixels the head has 30, which is too few for a face, and a hand has ten. Models that were
trained on heads, too (`refines_heads` in their config), draw the head again, several times larger, from the source's
own pixels. Hands and feet come from crops of the upper and the lower half of the body (`refines_halves`). Everything
else comes from the whole body: joints outside of a crop are missing in it, so its outline is worse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array, Image
from gfla_cli.geometry.crop import Crop, Size
from gfla_cli.geometry.paste import Paster, smoothstep
from gfla_cli.person.body import HALVES, Half, half_crop, head_box, in_half, moves, torso_length
from gfla_cli.person.pose import FACE, Pose

_ARMS = ((2, 3), (3, 4), (5, 6), (6, 7))
_LEGS = ((8, 9), (9, 10), (11, 12), (12, 13))
_ARM, _LEG = 0.12, 0.2  # thickness of an arm and of a leg, share of the crop's height
_FAR = 16.0  # crops; cv2 draws no line to a point farther away
_LARGEST = 0.7  # share of the body crop's height; a larger head needs no refinement
_IN_COMMON = 2  # face joints that both poses must show; with fewer the refinement made results worse
_SHOWN = 0.5  # share of the head crop that the source must contain; the rest would be invented
_FADES_BESIDE, _FADES_WITHIN = 0.06, 0.16  # share of a half's side over which it fades: beside, and within the body
# What a half shows: both joints of a bone, and where on it the visible part begins and ends, in lengths of the bone.
_ENDS: dict[Half, tuple[tuple[int, int, float, float], ...]] = {
    "upper": ((3, 4, -0.1, 1.7), (6, 7, -0.1, 1.7)),
    "lower": ((9, 10, 0.55, 1.35), (12, 13, 0.55, 1.35)),
}
_END = 0.2  # its thickness, share of the crop's height
_HAND = 0.6  # lengths of a forearm by which an arm goes on behind its wrist


@dataclass(frozen=True, slots=True)
class CloseUp(ABC):
    """One part of a body as the network takes it, and where the result belongs."""

    source_image: Image  # (H, W, 3)
    source_crop: Crop  # of the photograph: where `source_image` comes from
    source_points: NDArray[np.float32]  # (18, 4) x, y, confidence, depth in pixels of the crop
    target_points: NDArray[np.float32]
    # (L, 2, 2) both ends of limbs of the target that other parts show, points of the crop, perhaps outside of it.
    limbs: NDArray[np.float32]
    place: Crop  # of the target's part in the generated image of the body

    @property
    def poses(self) -> tuple[Pose, Pose]:
        """Of the source and of the target, in pixels of the crop."""
        return Pose.of(self.source_points, self.place.size), Pose.of(self.target_points, self.place.size)

    @abstractmethod
    def mask(self) -> Float32Array:
        """(H, W) in [0, 1]: how much of the generated part is visible."""


def _beside(limbs: NDArray[np.float32], size: Size, thickness: float = _ARM) -> Float32Array:
    """(H, W) 0 on limbs (L, 2, 2), which are as thick as a share of the height; 1 elsewhere, with a soft edge."""
    height = size[0]
    there = np.zeros(size, np.float32)
    for first, second in limbs.clip(-_FAR * height, _FAR * height).round().astype(int).tolist():
        cv2.line(there, first, second, 1.0, round(thickness * height))
    return np.asarray(1 - cv2.GaussianBlur(there, (0, 0), _ARM / 3 * height), np.float32)


class HeadCrop(CloseUp):
    """A head."""

    __slots__ = ()

    def paste(self, image: Image, head: Image) -> Image:
        """The generated body (H, W, 3) with the generated head (h, w, 3) in its place."""
        return Paster(image, self.place, self.mask())(head)

    def mask(self) -> Float32Array:
        """(H, W) in [0, 1] a disc without the arms: the source's head crop may not show them."""
        height, width = self.source_image.shape[:2]
        y, x = ((np.arange(length) + 0.5) / length * 2 - 1 for length in (height, width))
        inwards = np.clip(2 * (1 - np.hypot(y[:, None], x)), 0, 1)
        return np.asarray(smoothstep(inwards) * _beside(self.limbs, (height, width)), np.float32)


@dataclass(frozen=True, slots=True)
class HalfCrop(CloseUp):
    """The upper or the lower half of a body, of which hands and feet are shown."""

    half: Half
    source_limbs: NDArray[np.float32]  # (L, 2, 2) as `limbs`, of the source

    def own(self, cover: Float32Array) -> Float32Array:
        """A cover of the source (H, W) without the places of limbs that other parts show."""
        return np.asarray(cover * _beside(self.source_limbs, self.place.size), np.float32)

    def mask(self) -> Float32Array:
        """(H, W) in [0, 1]: forearms and hands of the upper half, feet of the lower one.

        It fades at all sides, over the longest way at the side where the body goes on. Arms belong to the upper half.
        Legs belong to the lower half, beyond the place where they are cut.
        """
        height, width = self.source_image.shape[:2]
        y, x = ((np.arange(length, dtype=np.float32) + 0.5) / length for length in (height, width))
        upper = self.half == "upper"
        above, below = (_FADES_BESIDE, _FADES_WITHIN) if upper else (_FADES_WITHIN, _FADES_BESIDE)
        inwards = np.minimum(
            np.minimum(y / above, (1 - y) / below)[:, None], np.minimum(x, 1 - x) / _FADES_BESIDE
        ).clip(0, 1)
        beside = _beside(self.limbs, (height, width), _LEG if upper else _ARM)
        ends = 1 - _beside(self._ends(), (height, width), _END)
        return np.asarray(smoothstep(inwards) * beside * ends, np.float32)

    def _ends(self) -> NDArray[np.float32]:
        """(E, 2, 2) both ends of forearms with their hands, or of ankles with their feet, points of the crop."""
        found = []
        for start, end, first, last in _ENDS[self.half]:
            if self.target_points[[start, end], 2].all():
                begin, way = self.target_points[start, :2], self.target_points[end, :2] - self.target_points[start, :2]
                found.append((begin + first * way, begin + last * way))
        return np.array(found, np.float32).reshape(-1, 2, 2)


def half_crops(image: Image, source_crop: Crop, poses: tuple[Pose, Pose]) -> list[HalfCrop]:
    """The halves that gain from a second pass, of a body that the network sees in `source_crop` of an image.

    `poses`: source and target in the network's frame.
    """
    found = []
    for half in HALVES:
        place = half_crop(poses, half)
        if place is not None and moves(poses, half):
            crop = Crop(source_crop.bounds_back(place.box), place.size)
            seen, drawn = (pose.deep_points for pose in in_half(poses, half, place))
            whole = [pose.cropped(place) for pose in poses]
            if half == "lower":
                source_limbs, limbs = (_arms(pose, hands=True) for pose in whole)
            else:
                source_limbs, limbs = (_cut_off(pose, cut) for pose, cut in zip(whole, (seen, drawn), strict=True))
            found.append(HalfCrop(crop.image(image), crop, seen, drawn, limbs, place, half, source_limbs))
    return found


def _arms(pose: Pose, *, hands: bool) -> NDArray[np.float32]:
    """(A, 2, 2) both ends of upper arms and forearms, up to the wrists or to the ends of the hands."""
    arms = pose.points[np.array(_ARMS)]  # (4, 2, 3)
    if hands:
        arms[1::2, 1, :2] += _HAND * (arms[1::2, 1] - arms[1::2, 0])[:, :2]
    return np.asarray(arms[(arms[..., 2] > 0).all(axis=1), :, :2])


def _cut_off(whole: Pose, left: NDArray[np.float32]) -> NDArray[np.float32]:
    """(L, 2, 2) both ends of what `in_half` has cut off the legs of a body. `left` (18, 4): the joints after that.

    A raised leg may lie in the crop of the upper half, whose pose has only a stump of it.
    """
    found = []
    for start, end in _LEGS:
        if whole.present[[start, end]].all():
            last = whole.points[end, :2]
            first = left[end, :2] if left[end, 2] > 0 else whole.points[start, :2]
            way = last - first
            length = float(np.hypot(*way))
            room = _LEG / 2 * whole.size[0]  # the soft end of a line reaches as far
            if length > room:
                found.append((first + way * (room / length), last))
    return np.array(found, np.float32).reshape(-1, 2, 2)


@dataclass(frozen=True, slots=True)
class SourceHead:
    """The head of a source, cropped once for all target poses."""

    image: Image  # (H, W, 3)
    points: NDArray[np.float32]  # (18, 4) x, y, confidence, depth in pixels of the crop
    crop: Crop  # of the photograph

    @classmethod
    def of(cls, image: Image, pose: Pose, size: Size) -> SourceHead | None:
        """The head of a pose in pixels of `image`, at `size` (height, width).

        None when there is no head, or when the image shows too little of it.
        """
        box = head_box(pose, torso_length(pose))
        if box is None:
            return None
        left, top, right, bottom = box
        height, width = image.shape[:2]
        shown = max(0, min(right, width) - max(left, 0)) * max(0, min(bottom, height) - max(top, 0))
        if shown < _SHOWN * (right - left) * (bottom - top):
            return None
        crop = Crop(box, size)
        return cls(crop.image(image), pose.cropped(crop).within_frame().deep_points, crop)

    def at(self, target: Pose, body: Crop, torso: float | None = None) -> HeadCrop | None:
        """This head in the pose of `target`, whose body is generated in the crop `body`.

        `torso`: the length of the target's torso in pixels, measured by default. None when there is nothing to refine:
        the target shows no head, its head lies outside of `body` or is large in it, or the two faces have less than two
        joints in common because the head turned away.
        """
        face = list(FACE)
        if ((self.points[face, 2] > 0) & target.present[face]).sum() < _IN_COMMON:
            return None
        box = head_box(target, torso_length(target) if torso is None else torso)
        if box is None:
            return None
        left, top, right, bottom = box = body.bounds(box)
        height, width = body.size
        outside = left >= width or top >= height or right <= 0 or bottom <= 0
        if outside or bottom - top > _LARGEST * height:
            return None
        place = Crop(box, body.size)
        posed = target.cropped(body).cropped(place)
        points = posed.within_frame().deep_points
        return HeadCrop(self.image, self.crop, self.points, points, _arms(posed, hands=False), place)
