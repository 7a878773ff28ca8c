"""Training pairs of rendered people: endless, each a pure function of its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
from torch.utils.data import Dataset

from gfla_cli.arrays import Float32Array, Points
from gfla_cli.datasets.augment import as_detected, as_listed, degrade, detector_share, misdetected, relight
from gfla_cli.datasets.correspondence import correspond
from gfla_cli.datasets.render_cache import (
    FromPack,
    RenderCache,
    RenderedSample,
    StoredView,
    keypoint_rows,
    keypoints_in,
)
from gfla_cli.datasets.sample import PosePair
from gfla_cli.geometry.crop import Crop, Size, box_around
from gfla_cli.io.files import atomic_path
from gfla_cli.person.body import Half, half_crop, in_half
from gfla_cli.person.pose import MISSING, Pose

if TYPE_CHECKING:
    from gfla_cli.synth.pack import Pack

_DETECTED = "detected.npy"
_ENDS, _SHOULDERS = [1, 8, 11], [2, 5]  # joints of the torso
_SHOULDERS_APART = 0.75  # torsos
_USUAL_TORSO = 0.5  # of the body's depth, where too little of the torso is visible
_DEPTH = 0.2  # a hidden back takes its colour from the chest: clothes look alike from both sides
# Share of the crops of heads and halves that are coarse, as from a small photograph; least and most factor.
_COARSE_SHARE, _COARSE_HEADS, _COARSE_HALVES = 0.5, (1.5, 4.5), (1.0, 2.0)
_HALVES: tuple[Half, ...] = ("upper", "upper", "lower")  # hands and sleeves are harder than legs
_HALF_ZOOM = (0.95, 1.15)  # least and most size of the crop of a half
_NO_DEPTH = 0.2  # share of the images whose joints come without depth, as from a pose file
_STILL = 0.08  # share of the pairs that show one view twice, moved a little as a whole
_MOST_TURN, _MOST_ZOOM, _MOST_SHIFT = 4.0, 0.06, 0.04  # degrees, share of the size, share of the frame
_ERROR_SHARES = [0.65, 0.25, 0.1]  # images whose joints are as wrong as MediaPipe's, less wrong, and exact
_FOUND = 0.7  # share of the pairs that use a detector's joints, where it has looked
_LOST = 0.01  # share of joints that a detector misses


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderPlan:
    """Which people are rendered. Equal plans give equal samples."""

    kind: ClassVar[str] = "albums"  # part of the folder's name, which existing caches have

    seed: int = 0
    characters: int = 6000
    views: int = 6
    size: int = 256
    depths: bool = True  # store the joints' depths; older caches have none

    def render(self, pack: Pack, sample: int) -> RenderedSample:
        """The views of one character."""
        from gfla_cli.synth.people.people import random_views

        views = random_views(pack, np.random.default_rng([self.seed, sample]), self.views, self.size, **self._mix())
        depths = np.stack([view.depths for view in views])
        return views, {**keypoint_rows([view.keypoints for view in views]), "depths": depths}

    def _mix(self) -> dict[str, Any]:
        """Options of `random_views`."""
        return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadRenderPlan(RenderPlan):
    """Which head crops are rendered: what the head refinement learns from."""

    kind: ClassVar[str] = "heads"
    characters: int = 1200
    margins: tuple[float, float] = (0.1, 0.6)  # free border, as shares of a head with its neck

    def _mix(self) -> dict[str, Any]:
        return {"crops": {"head": 1}, "margins": self.margins}


def _read_detections(folder: Path) -> Float32Array:
    """(samples, views, 18, 4) x, y, confidence, depth of the joints that a detector found in rendered people.

    NaN where it has not looked yet; confidence 0 where it found no person.
    """
    path = folder / _DETECTED
    found: Float32Array = (
        np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else np.zeros((0, 0, 18, 4), np.float32)
    )
    return found


def write_detections(folder: Path, detected: Mapping[int, Float32Array]) -> None:
    """Adds a detector's joints, (views, 18, 4) by the number of the sample, to those in the folder."""
    before = _read_detections(folder)
    views = len(next(iter(detected.values())))
    found = np.full((max(len(before), *(sample + 1 for sample in detected)), views, 18, 4), np.nan, np.float32)
    found[: len(before)] = before if len(before) else found[:0]
    for sample, joints in detected.items():
        found[sample] = joints
    with atomic_path(folder / _DETECTED, overwrite=True) as temporary, temporary.open("wb") as file:
        np.save(file, found)


@dataclass(frozen=True, slots=True)
class PersonView:
    """One view of a character, as it comes back from disk."""

    view: StoredView
    points: Float32Array  # (18, 3) x, y, 1 = visible, 0 = hidden; -1, -1, 0 outside of the image
    depths: Float32Array  # (18,) pixels behind the middle of the hips, also of joints outside of the image
    detected: Float32Array | None = None  # (18, 4) x, y, confidence, depth, as a detector finds them


class RenderedPeople:
    """The people of a plan: one character in several views per sample."""

    def __init__(self, pack: Path, folder: Path, plan: RenderPlan) -> None:
        self.plan = plan
        name = f"{plan.kind}-{plan.characters}x{plan.views}"
        self.cache = RenderCache(folder, name, plan, plan.characters, FromPack(pack, plan.render))

    def view(self, sample: int, view: int) -> PersonView:
        """One view of one character; both numbers count from 0."""
        stored, rows = self.cache.read(sample, view)
        detected = np.array(self._detections[sample, view]) if self.is_detected(sample) else None
        if detected is not None and not detected[:, 2].any():
            detected = None  # the detector found no person
        return PersonView(stored, keypoints_in(rows), rows["depths"], detected)

    def is_detected(self, sample: int) -> bool:
        """Whether a detector has looked at this sample."""
        found = self._detections
        return sample < len(found) and not np.isnan(found[sample]).any()

    @cached_property
    def _detections(self) -> Float32Array:
        return _read_detections(self.cache.folder)


@dataclass(frozen=True, slots=True)
class _Side:
    """The source or the target of a pair."""

    view: StoredView
    pose: Pose  # where the joints are
    detected: Pose | None  # where a detector finds them

    @classmethod
    def of(cls, person: PersonView, size: int, *, mirrored: bool) -> _Side:
        """A view at `size` x `size`. A mirrored character is a character, too."""
        points = as_listed(np.column_stack([person.points, person.depths]))
        own = (person.view.image.shape[0], person.view.image.shape[1])
        detected = None if person.detected is None else Pose.of(person.detected, own)
        side = cls(person.view, Pose.of(points, own), detected)
        return side.cropped(replace(Crop.whole(own, (size, size)), flip=mirrored))

    def cropped(self, crop: Crop) -> _Side:
        return _Side(
            self.view.cropped(crop),
            self.pose.cropped(crop).within_frame(0),
            None if self.detected is None else self.detected.cropped(crop).within_frame(0),
        )

    def moved(self, rng: np.random.Generator) -> _Side:
        """The same image turned, zoomed and shifted a little, or in a third of the cases not at all."""
        if rng.random() < 1 / 3:
            return self
        height, width = self.pose.size
        x, y = np.array([width, height]) / 2 + rng.uniform(-_MOST_SHIFT, _MOST_SHIFT, 2) * (width, height)
        zoom = 1 + rng.uniform(-_MOST_ZOOM, _MOST_ZOOM)
        box = box_around((float(x), float(y)), width * zoom, height * zoom)
        return self.cropped(Crop(box, self.pose.size, turn=float(rng.uniform(-_MOST_TURN, _MOST_TURN))))


class PeoplePairs(Dataset[PosePair]):
    """Pair number i: two views of one character, mirrored half of the time, relit, with inexact joints.

    A share of the pairs, `heads`, shows a head crop instead of the body. Its source is often as coarse as the head in
    a small image. With `depth` the joints are (18, 4) and mostly have their depth.
    """

    def __init__(
        self,
        pack: Path,
        cache: Path,
        plan: RenderPlan,
        *,
        size: int,
        grid: int,
        seed: int = 0,
        heads: float = 0.0,
        halves: float = 0.0,
        depth: bool = False,
    ) -> None:
        """Images are `size` x `size`, correspondences `grid` x `grid`."""
        self.people = RenderedPeople(pack, cache, plan)
        near = HeadRenderPlan(seed=plan.seed, views=plan.views, size=min(plan.size, RenderPlan().size))
        self.head_crops = RenderedPeople(pack, cache, near)
        self.size, self.grid, self.seed, self.heads, self.halves, self.depth = size, grid, seed, heads, halves, depth

    def render_caches(self) -> list[RenderCache]:
        return [self.people.cache] + ([self.head_crops.cache] if self.heads else [])

    def __getitem__(self, index: int) -> PosePair:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only compete
        rng = np.random.default_rng([self.seed, index])
        is_head = self.heads > 0 and rng.random() < self.heads
        people = self.head_crops if is_head else self.people
        sample = people.cache.choose(rng)
        first, second = rng.choice(people.plan.views, 2, replace=False)
        mirrored = bool(rng.random() < 0.5)
        half = None
        if self.halves > 0 and not is_head and rng.random() < self.halves:
            half = _HALVES[int(rng.integers(len(_HALVES)))]
        size = people.plan.size if half else self.size
        target = _Side.of(people.view(sample, int(second)), size, mirrored=mirrored)
        if rng.random() < _STILL:
            source = target.moved(rng)
        else:
            source = _Side.of(people.view(sample, int(first)), size, mirrored=mirrored)
        crop = self._near(half, (source, target), rng) if half else None
        if half and crop is None:  # it gains little
            whole = Crop.whole(target.pose.size, (self.size, self.size))
            source, target = source.cropped(whole), target.cropped(whole)
        sides = source, target
        views = [side.view for side in sides]
        images = relight([view.image for view in views], rng)
        if crop:
            views = [view._replace(image=image).cropped(crop) for view, image in zip(views, images, strict=True)]
            images = [view.image for view in views]
        if (is_head or crop) and rng.random() < _COARSE_SHARE:
            factor = rng.uniform(*(_COARSE_HEADS if is_head else _COARSE_HALVES))
            own, few = (self.size, self.size), (round(self.size / factor),) * 2
            images[0] = Crop.whole(few, own).image(Crop.whole(own, few).image(images[0]))
        # A detector's own joints, where it found both people; otherwise errors like its own.
        found = source.detected is not None and target.detected is not None and rng.random() < _FOUND
        # Source and target share the convention, so a network can read it from the source.
        share = 1.0 if found else detector_share(rng, all_below=0.5, none_below=0.8)
        degraded = degrade(images[0], rng)
        given = [self._given(side, share, rng, found=found) for side in sides]
        true = [as_detected(side.pose.deep_points, share) for side in sides]
        if half and crop:
            given, true = (_within_half(both, half, crop, target.pose.size) for both in (given, true))
        return PosePair(
            source_image=degraded,
            target_image=images[1],
            source_points=given[0],
            target_points=given[1],
            true_points=np.stack(true),
            target_mask=views[1].mask,
            correspondence=correspond(views[0].surface, views[1].surface, self.grid, depth=_DEPTH),
        )

    def _near(self, half: Half, sides: Sequence[_Side], rng: np.random.Generator) -> Crop | None:
        """The crop of one half of both bodies, a little moved; see `half_crop`."""
        crop = half_crop([side.pose for side in sides], half)
        if crop is None:
            return None
        side = (crop.box[2] - crop.box[0]) * float(rng.uniform(*_HALF_ZOOM))
        x, y = np.array(crop.middle) + rng.uniform(-_MOST_SHIFT, _MOST_SHIFT, 2) * side
        return Crop.square((float(x), float(y)), side, (self.size, self.size))

    def _given(self, side: _Side, share: float, rng: np.random.Generator, *, found: bool) -> Points:
        """Joints as the network gets them: (18, 3), with depths (18, 4)."""
        wrong = rng.choice([1.0, rng.uniform(), 0.0], p=_ERROR_SHARES)
        points = side.pose.deep_points
        detected = misdetected(as_detected(points, share), _torso(points), wrong, rng)
        if found and side.detected is not None:
            detected = side.detected.deep_points
        detected[rng.random(len(detected)) < _LOST, :3] = MISSING
        if not self.depth:
            return detected[:, :3]
        if rng.random() < _NO_DEPTH:
            detected[:, 3] = np.nan
        return detected


def _within_half(both: Sequence[Points], half: Half, crop: Crop, size: Size) -> list[Points]:
    """The joints of source and target, (18, 3 or 4) in a frame of `size`, in the crop of one half; see `in_half`."""
    poses = in_half([Pose.of(points, size) for points in both], half, crop)
    return [pose.deep_points[:, : points.shape[1]] for pose, points in zip(poses, both, strict=True)]


def _torso(points: Points) -> float:
    """Pixels from the neck to the middle of the hips, estimated from (18, 4) joints where some are missing."""
    place = points[:, [0, 1, 3]]
    if points[_ENDS, 2].all():
        return float(np.linalg.norm(place[1] - (place[8] + place[11]) / 2))
    if points[_SHOULDERS, 2].all():
        return float(np.linalg.norm(place[2] - place[5])) / _SHOULDERS_APART
    return _USUAL_TORSO * float(np.ptp(points[:, 3]))
