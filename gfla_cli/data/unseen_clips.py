"""Rendered clips of people that no training sees, without any augmentation: the test sets of animation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from gfla_cli.data.body_clips import MotionFiles, MotionPlan, as_seen, scaled
from gfla_cli.data.clips import ClipFrames, unknown_correspondences
from gfla_cli.data.detected_faces import as_detected_face
from gfla_cli.data.face_clips import PortraitFiles, PortraitPlan
from gfla_cli.data.sample import ClipSample
from gfla_cli.landmarks.face_framing import face_frame
from gfla_cli.structure.face import background_edges

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
        clip = clip.cut(face_frame(clip.points[0], (self.size, self.size), inside=(side, side)), self.size // 4)
        edges = background_edges(clip.images[0], clip.points[0])
        return _sample(clip, np.broadcast_to(edges, clip.masks.shape).copy())


class UnseenBodies(Dataset[ClipSample]):
    """Clip number i: somebody who moves; the reference is the last frame, after all the others."""

    def __init__(self, pack: Path, cache: Path, *, size: int, frames: int) -> None:
        self.files = MotionFiles(pack, cache, MotionPlan(seed=_SEED, clips=_CLIPS, frames=frames + 1))
        self.size, self.frames = size, frames

    def __getitem__(self, index: int) -> ClipSample:
        clip = scaled(as_seen(self.files.read(index, [self.frames, *range(self.frames)]), 1.0), self.size)
        return _sample(clip, np.zeros((len(clip.images), 0, 0), np.bool_))


def _sample(clip: ClipFrames, edges: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> ClipSample:
    to_previous, to_reference = unknown_correspondences(len(clip.images) - 1)
    return ClipSample(clip.images, clip.points, clip.masks, edges, to_previous, to_reference)
