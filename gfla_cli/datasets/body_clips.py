"""Clips of rendered people in motion: endless, each a pure function of its number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.conditioning.face_map import background_edges
from gfla_cli.datasets.augment import degrade, light_curve, shake_points
from gfla_cli.datasets.clips import (
    ClipFrames,
    clip_correspondences,
    moments,
    read_clip,
    unknown_correspondences,
)
from gfla_cli.datasets.detector_errors import as_detected, as_detected_face
from gfla_cli.datasets.face_clips import PortraitFiles, PortraitPlan
from gfla_cli.datasets.render_cache import Album, AlbumFiles, keypoint_rows, keypoints_in
from gfla_cli.datasets.sample import ClipSample
from gfla_cli.geometry.crop import Crop
from gfla_cli.person.face import face_crop
from gfla_cli.person.pose import FACE, MIRRORED, MISSING

if TYPE_CHECKING:
    from gfla_cli.synth.people.people import People


_SAME_DM = 0.3
_TREMBLE = 0.6 / 256  # of the frame: joints are smoothed over time before a network sees them


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionPlan:
    """Which clips there are. Equal plans render equal clips."""

    seed: int = 0
    clips: int = 600
    frames: int = 30
    size: int = 256


class MotionFiles:
    """Whole people in motion, rendered on first use and kept in a folder."""

    def __init__(self, pack: Path, folder: Path, plan: MotionPlan) -> None:
        self.plan = plan
        self.files = AlbumFiles(folder, f"motions-{plan.clips}x{plan.frames}", plan, plan.clips, self._render)
        self._path = pack
        self._people: People | None = None

    def read(self, clip: int, frames: list[int]) -> ClipFrames:
        """Frames of one clip in this order, with the joints (18, 3) that a detector lists."""
        return read_clip(self.files, clip, frames, lambda row: _as_listed(keypoints_in(row)))

    def _render(self, clip: int) -> Album:
        from gfla_cli.synth.pack import Pack
        from gfla_cli.synth.people.people import People

        if self._people is None:
            self._people = People(Pack.load(self._path))
        rng = np.random.default_rng([self.plan.seed, clip])
        views = self._people.person_clip(rng, self.plan.frames, self.plan.size).frames
        return views, keypoint_rows([view.keypoints for view in views])


class BodyClips(Dataset[ClipSample]):
    """Clip number i: somebody who moves, at any pace, mirrored half of the time, relit."""

    def __init__(
        self, pack: Path, cache: Path, plan: MotionPlan, *, frames: int, size: int, grid: int, seed: int = 0
    ) -> None:
        """`frames` of a clip make a sample, at most as many as the plan has."""
        self.files = MotionFiles(pack, cache, plan)
        self.frames, self.size, self.grid, self.seed = frames, size, grid, seed

    def rendered(self) -> list[AlbumFiles]:
        """What its frames are read from."""
        return [self.files.files]

    def __getitem__(self, index: int) -> ClipSample:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, index])
        plan = self.files.plan
        frames = moments(plan.frames, self.frames, rng)
        clip = self.files.read(self.files.files.choose(rng), [int(rng.integers(plan.frames)), *frames])
        crop = Crop.whole(clip.images.shape[1:3], (self.size, self.size))
        clip = clip.cropped(replace(crop, flip=bool(rng.random() < 0.5)), MIRRORED)
        clip = as_detected_clip(clip, float(rng.random() < 0.7))
        table = light_curve(rng)
        images = [np.asarray(cv2.LUT(image, table), np.uint8) for image in clip.images]
        to_previous, to_reference = clip_correspondences(clip.surfaces, self.grid, _SAME_DM)
        return ClipSample(
            images=np.stack([degrade(images[0], rng), *images[1:]]),
            points=np.stack([shake_points(points, rng, _TREMBLE * self.size) for points in clip.points]),
            masks=clip.masks,
            edges=np.zeros((len(images), 0, 0), np.bool_),
            to_previous=to_previous,
            to_reference=to_reference,
        )


def as_detected_clip(clip: ClipFrames, share: float) -> ClipFrames:
    """The joints moved by `share` of the way to where a detector finds them."""
    return replace(clip, points=np.stack([as_detected(joints, share) for joints in clip.points]))


def _as_listed(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The renderer's keypoints (..., 18, 3) as a detector lists them: face joints where visible, the others always."""
    listed = points.copy()
    listed[..., list(FACE), :] = np.where(points[..., list(FACE), 2:] > 0, points[..., list(FACE), :], MISSING)
    listed[..., 2] = listed[..., 0] >= 0
    return listed


# Rendered clips of people that no training sees, without any augmentation: the test sets of animation.


_SEED = 20_200_303  # trainings count their seeds from 0
_CLIPS = 1000


class UnseenFaces(Dataset[ClipSample]):
    """Clip number i: a still of somebody, and the same person talking."""

    def __init__(self, pack: Path, cache: Path, *, size: int, frames: int) -> None:
        # Without gestures, as from the first scores on: a yardstick must not move.
        plan = PortraitPlan(seed=_SEED, clips=_CLIPS, frames=frames, stills=1, gestures=0)
        self.files = PortraitFiles(pack, cache, plan)
        self.size, self.frames = size, frames

    def __getitem__(self, index: int) -> ClipSample:
        clip = self.files.read(index, [self.frames, *range(self.frames)])
        clip = replace(clip, points=np.stack([as_detected_face(face) for face in clip.points]))
        side = clip.images.shape[1]
        clip = clip.cropped(face_crop(clip.points[0], (self.size, self.size), inside=(side, side)))
        edges = background_edges(clip.images[0], clip.points[0])
        return _sample(clip, np.broadcast_to(edges, clip.masks.shape).copy())


class UnseenBodies(Dataset[ClipSample]):
    """Clip number i: somebody who moves; the reference is the last frame, after all the others."""

    def __init__(self, pack: Path, cache: Path, *, size: int, frames: int) -> None:
        self.files = MotionFiles(pack, cache, MotionPlan(seed=_SEED, clips=_CLIPS, frames=frames + 1))
        self.size, self.frames = size, frames

    def __getitem__(self, index: int) -> ClipSample:
        clip = self.files.read(index, [self.frames, *range(self.frames)])
        clip = clip.cropped(Crop.whole(clip.images.shape[1:3], (self.size, self.size)))
        clip = as_detected_clip(clip, 1.0)
        return _sample(clip, np.zeros((len(clip.images), 0, 0), np.bool_))


def _sample(clip: ClipFrames, edges: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> ClipSample:
    to_previous, to_reference = unknown_correspondences(len(clip.images) - 1)
    return ClipSample(clip.images, clip.points, clip.masks, edges, to_previous, to_reference)
