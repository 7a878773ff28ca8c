"""Clips of rendered people: talking heads and whole bodies. Endless ones to train on, and the fixed test sets.

Every sample is a pure function of its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.arrays import BoolArray, Float32Array, Image, Points
from gfla_cli.conditioning.face_map import EYE, INSIDE_LIPS, background_edges, part_labels
from gfla_cli.datasets.augment import (
    as_detected,
    as_detected_face,
    as_listed,
    degrade,
    detector_share,
    random_face_crop,
    relight,
    shake_points,
)
from gfla_cli.datasets.correspondence import correspond
from gfla_cli.datasets.render_cache import (
    ADDED_LATER,
    TEST_SEED,
    FromPack,
    RenderCache,
    RenderedSample,
    StoredView,
    keypoint_rows,
    keypoints_in,
)
from gfla_cli.datasets.sample import ClipSample, Correspondence, unknown_correspondences
from gfla_cli.geometry.crop import Crop
from gfla_cli.person import face, pose
from gfla_cli.person.face import face_crop, face_size

if TYPE_CHECKING:
    from gfla_cli.synth.pack import Pack

_SAME_SKIN_DM = 0.08  # points of the skin this close are the same; lips are closer only when they touch
_ZOOM = (0.88, 1.3)  # times the side of the usual face crop
_SHIFT = 0.05  # standard deviation of its place, as a share of its side
_STILL_REFERENCE = 0.6  # share of references that are stills; the others are frames of the clip
_NO_IRISES = 0.08  # share of the clips without irises, as from detectors that do not find them
_SHAPE, _TREMBLE = 0.006, 0.0025  # face sizes: how wrong landmarks are, in all frames alike and in each by itself

_SAME_BODY_DM = 0.3
_BODY_TREMBLE = 0.6 / 256  # of the frame: a network gets joints that were smoothed over time

_TEST_CLIPS = 1000


@dataclass(frozen=True, slots=True)
class ClipFrames:
    """N square frames of one person before one camera, with J points each."""

    images: Image  # (N, s, s, 3) RGB
    masks: Image  # (N, s, s) 255 on the person
    points: Points  # (N, 68 or 70, 2) landmarks, or (N, 18, 3) joints with a confidence, in pixels
    surfaces: Float32Array  # (N, m, m, 3) which point of the person is visible, NaN on the background

    def cropped(self, crop: Crop, order: Sequence[int] = ()) -> ClipFrames:
        """The same crop of every frame. `order`: which point of this clip becomes each point of a mirrored clip."""
        stored = zip(self.images, self.masks, self.surfaces, strict=True)
        views = [StoredView(*view).cropped(crop) for view in stored]
        points = crop.points(self.points[:, list(order)] if crop.flip else self.points)
        if points.shape[-1] == 3:
            points[points[..., 2] <= 0] = pose.MISSING
        images, masks, surfaces = (np.stack(stack) for stack in zip(*views, strict=True))
        return ClipFrames(images=images, masks=masks, points=points, surfaces=surfaces)

    def detected(self, share: float = 1.0) -> ClipFrames:
        """The landmarks or joints moved by `share` of the way to where a detector finds them."""
        move = as_detected if self.points.shape[-1] == 3 else as_detected_face
        return replace(self, points=np.stack([move(points, share) for points in self.points]))


@dataclass(frozen=True, kw_only=True, slots=True)
class PortraitPlan:
    """Which talking heads are rendered. Equal plans give equal clips."""

    kind: ClassVar[str] = "portraits"

    seed: int = 0
    clips: int = 600
    frames: int = 30
    stills: int = 6
    size: int = 320  # pixels; the face crop is cut out of it
    gestures: float = 0.5  # share of the clips with shut eyes and wide open mouths
    glances: bool = field(default=False, metadata={ADDED_LATER: True})  # eyes that jump from one direction to another

    def render(self, pack: Pack, clip: int) -> RenderedSample:
        """The frames of a clip, and its stills after them."""
        from gfla_cli.synth.people.people import portrait

        rng = np.random.default_rng([self.seed, clip])
        # From a generator of its own: a clip without gestures shows the same person in every plan.
        gestures = bool(np.random.default_rng([self.seed, clip, 1]).random() < self.gestures)
        glances = np.random.default_rng([self.seed, clip, 2]) if self.glances else None
        rendered = portrait(pack, rng, self.frames, self.stills, self.size, gestures=gestures, glances=glances)
        views = (*rendered.frames, *rendered.stills)
        # Half precision resolves millimetres around 0, but only centimetres at the height of a head.
        middle = np.nanmean(views[0].surface.reshape(-1, 3), axis=0) * (0, 1, 1)
        stored = [replace(view, surface=view.surface - middle.astype(np.float32)) for view in views]
        return stored, {"points": np.stack([np.concatenate([view.landmarks, view.irises]) for view in views])}

    def points(self, row: Mapping[str, NDArray[Any]]) -> Points:
        """(70, 2) landmarks and irises of one view; the irises are NaN in samples of older versions, without them."""
        return face.with_irises(np.asarray(row["points"], np.float32))


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionPlan:
    """Which people in motion are rendered. Equal plans give equal clips."""

    kind: ClassVar[str] = "motions"

    seed: int = 0
    clips: int = 600
    frames: int = 30
    size: int = 256

    def render(self, pack: Pack, clip: int) -> RenderedSample:
        """The frames of a clip."""
        from gfla_cli.synth.people.people import person_clip

        rng = np.random.default_rng([self.seed, clip])
        views = person_clip(pack, rng, self.frames, self.size).frames
        return views, keypoint_rows([view.keypoints for view in views])

    def points(self, row: Mapping[str, NDArray[Any]]) -> Points:
        """(18, 3) joints of one view; see `as_listed`."""
        return as_listed(keypoints_in(row))


_Plan = TypeVar("_Plan", PortraitPlan, MotionPlan)


class RenderedClips(Generic[_Plan]):
    """The clips of a plan, rendered on first use and kept in a folder."""

    def __init__(self, pack: Path, folder: Path, plan: _Plan) -> None:
        self.plan: _Plan = plan
        name = f"{plan.kind}-{plan.clips}x{plan.frames}"
        self.cache = RenderCache(folder, name, plan, plan.clips, FromPack(pack, plan.render))

    def read(self, clip: int, views: Sequence[int]) -> ClipFrames:
        """The views of one clip in this order. Frames count from 0, stills follow them."""
        stored, rows = zip(*(self.cache.read(clip, view) for view in views), strict=True)
        images, masks, surfaces = (np.stack(stack) for stack in zip(*stored, strict=True))
        return ClipFrames(images, masks, np.stack([self.plan.points(row) for row in rows]), surfaces)


class _TrainingClips(Dataset[ClipSample], Generic[_Plan]):
    def __init__(
        self, pack: Path, cache: Path, plan: _Plan, *, frames: int, size: int, grid: int, seed: int = 0
    ) -> None:
        """`frames` of a clip make a sample, at most as many as the plan has.

        Images are `size` x `size`, correspondences `grid` x `grid`.
        """
        self.clips: RenderedClips[_Plan] = RenderedClips(pack, cache, plan)
        self.frames, self.size, self.grid, self.seed = frames, size, grid, seed

    def render_caches(self) -> list[RenderCache]:
        """The caches that its frames are read from."""
        return [self.clips.cache]


class FaceClips(_TrainingClips[PortraitPlan]):
    """Clip number i: a talking head at any pace, mirrored half of the time, relit, cropped as a face is."""

    def __getitem__(self, index: int) -> ClipSample:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only compete
        rng = np.random.default_rng([self.seed, index])
        plan = self.clips.plan
        frames = sample_frames(plan.frames, self.frames, rng)
        still = plan.stills > 0 and rng.random() < _STILL_REFERENCE
        reference = plan.frames + rng.integers(plan.stills) if still else rng.integers(plan.frames)
        clip = self.clips.read(self.clips.cache.choose(rng), [int(reference), *frames])
        share, mirrored = detector_share(rng, all_below=0.7, none_below=0.85), bool(rng.random() < 0.5)
        if mirrored:  # first, as the detector's errors depend on the side
            mirror = replace(Crop.whole(clip.images.shape[1:3]), flip=True)
            clip = clip.cropped(mirror, face.mirrored(clip.points.shape[1]))
        clip = clip.detected(share)
        # About the crop that the reference alone would get: at inference the coming motion is not known.
        crop = random_face_crop(clip.points[0], clip.images.shape[1:3], self.size, rng, zoom=_ZOOM, shift=_SHIFT)
        clip = clip.cropped(crop)
        images = _augmented(clip.images, rng)
        # Landmarks as a detector gives them: a little off, mostly in the same way in all frames.
        unit, points = face_size(clip.points[0]), clip.points
        wrong = rng.normal(0, _SHAPE * unit, points.shape[1:]) + rng.normal(0, _TREMBLE * unit, points.shape)
        points = np.asarray(points + wrong, np.float32)
        opened = np.stack([_openings(landmarks, self.size, self.grid) for landmarks in clip.points[1:]])
        to_previous, to_reference = (
            _invented(known, opened) for known in clip_correspondences(clip.surfaces, self.grid, _SAME_SKIN_DM)
        )
        if rng.random() < _NO_IRISES:
            points[:, face.POINTS :] = np.nan
        # Those of the reference, for all frames: at inference no other edges are known.
        edges = background_edges(images[0], points[0])
        return ClipSample(
            images=images,
            points=points,
            masks=clip.masks,
            edges=np.broadcast_to(edges, clip.masks.shape).copy(),
            to_previous=to_previous,
            to_reference=to_reference,
        )


class BodyClips(_TrainingClips[MotionPlan]):
    """Clip number i: a person in motion at any pace, mirrored half of the time, relit."""

    def __getitem__(self, index: int) -> ClipSample:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only compete
        rng = np.random.default_rng([self.seed, index])
        rendered = self.clips.plan.frames
        frames = sample_frames(rendered, self.frames, rng)
        clip = self.clips.read(self.clips.cache.choose(rng), [int(rng.integers(rendered)), *frames])
        crop = Crop.whole(clip.images.shape[1:3], (self.size, self.size))
        clip = clip.cropped(replace(crop, flip=bool(rng.random() < 0.5)), pose.MIRRORED)
        clip = clip.detected(float(rng.random() < 0.7))
        images = _augmented(clip.images, rng)
        to_previous, to_reference = clip_correspondences(clip.surfaces, self.grid, _SAME_BODY_DM)
        return ClipSample(
            images=images,
            points=np.stack([shake_points(points, rng, _BODY_TREMBLE * self.size) for points in clip.points]),
            masks=clip.masks,
            edges=np.zeros((len(images), 0, 0), np.bool_),
            to_previous=to_previous,
            to_reference=to_reference,
        )


class UnseenFaces(Dataset[ClipSample]):
    """The test set of face animation: people that no training sees, without augmentation.

    Clip number i: a still of a person, and the same person talking.
    """

    def __init__(self, pack: Path, cache: Path, *, size: int, frames: int) -> None:
        # Without gestures, as when the first scores were measured.
        plan = PortraitPlan(seed=TEST_SEED, clips=_TEST_CLIPS, frames=frames, stills=1, gestures=0)
        self.clips = RenderedClips(pack, cache, plan)
        self.size, self.frames = size, frames

    def __getitem__(self, index: int) -> ClipSample:
        clip = self.clips.read(index, [self.frames, *range(self.frames)]).detected()
        side = clip.images.shape[1]
        clip = clip.cropped(face_crop(clip.points[0], (self.size, self.size), inside=(side, side)))
        edges = background_edges(clip.images[0], clip.points[0])
        return _test_sample(clip, np.broadcast_to(edges, clip.masks.shape).copy())


class UnseenBodies(Dataset[ClipSample]):
    """The test set of body animation: people that no training sees, without augmentation.

    Clip number i: a person in motion; the reference is the last frame, after all the others.
    """

    def __init__(self, pack: Path, cache: Path, *, size: int, frames: int) -> None:
        plan = MotionPlan(seed=TEST_SEED, clips=_TEST_CLIPS, frames=frames + 1)
        self.clips = RenderedClips(pack, cache, plan)
        self.size, self.frames = size, frames

    def __getitem__(self, index: int) -> ClipSample:
        clip = self.clips.read(index, [self.frames, *range(self.frames)])
        clip = clip.cropped(Crop.whole(clip.images.shape[1:3], (self.size, self.size))).detected()
        return _test_sample(clip, np.zeros((len(clip.images), 0, 0), np.bool_))


def _test_sample(clip: ClipFrames, edges: BoolArray) -> ClipSample:
    return ClipSample(clip.images, clip.points, clip.masks, edges, *unknown_correspondences(len(clip.images) - 1))


def sample_frames(rendered: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """Numbers of `wanted` frames of a clip: at an even pace, from a random start, forwards or backwards.

    A slow pace teaches calm motion, a fast one large motion. So the pace is random, from every frame to the fastest
    that the clip is long enough for.
    """
    fastest = max(1, (rendered - 1) // max(1, wanted - 1))
    pace = int(rng.integers(1, fastest + 1))
    first = int(rng.integers(rendered - pace * (wanted - 1)))
    numbers = [first + pace * k for k in range(wanted)]
    return numbers if rng.random() < 0.5 else numbers[::-1]


def clip_correspondences(surfaces: Float32Array, grid: int, same: float) -> tuple[Correspondence, Correspondence]:
    """From surfaces (1 + F, m, m, 3): of every frame with the one before it, and with the reference, surface 0.

    The frame before the first one is the reference, as when a clip is generated. `same` is in decimetres.
    """
    to_reference = [correspond(surfaces[0], target, grid, same) for target in surfaces[1:]]
    pairs = pairwise(surfaces[1:])
    to_previous = [to_reference[0], *(correspond(before, target, grid, same) for before, target in pairs)]
    return _stacked(to_previous), _stacked(to_reference)


def _stacked(known: Sequence[Correspondence]) -> Correspondence:
    return Correspondence(*(np.stack(parts) for parts in zip(*known, strict=True)))


def _augmented(images: Image, rng: np.random.Generator) -> Image:
    """All frames relit alike, and the reference, frame 0, degraded."""
    reference, *frames = relight(images, rng)
    return np.stack([degrade(reference, rng), *frames])


def _openings(landmarks: Points, size: int, grid: int) -> BoolArray:
    """(1, grid, grid) where the eyes and the inside of the lips are."""
    middles = ((np.arange(grid) + 0.5) * (size / grid)).astype(np.intp)
    labels = part_labels(landmarks, (size, size))[middles][:, middles]
    return np.isin(labels, (EYE, INSIDE_LIPS))[None]


def _invented(known: Correspondence, opened: BoolArray) -> Correspondence:
    """Marks what opening lids and lips uncover as hidden, without an offset: nothing else in the face looks like it."""
    hidden = opened & (known.visible < 0)
    return Correspondence(known.offset, np.where(hidden, 0, known.weight), np.where(hidden, 0, known.visible))
