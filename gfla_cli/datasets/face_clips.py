"""Clips of rendered talking heads: endless, each a pure function of its number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.conditioning.face_map import EYE, INSIDE_LIPS, background_edges, part_labels
from gfla_cli.datasets.augment import degrade, light_curve
from gfla_cli.datasets.clips import ClipFrames, clip_correspondences, moments, read_clip
from gfla_cli.datasets.detector_errors import as_detected_face
from gfla_cli.datasets.render_cache import Album, AlbumFiles
from gfla_cli.datasets.sample import ClipSample, Correspondence
from gfla_cli.geometry.crop import Crop
from gfla_cli.person.face import MIRRORED, face_crop, face_size, square_crop

if TYPE_CHECKING:
    from gfla_cli.synth.pack import Pack


_SAME_DM = 0.08  # points of the skin this close are the same; lips are closer than that only when they touch
_ZOOM = (0.88, 1.3)  # times the side of the usual frame
_SHIFT = 0.05  # standard deviation of its place, shares of its side
_STILL_REFERENCE = 0.6  # share of references that are stills; the others are frames of the clip
_SHAPE, _TREMBLE = 0.006, 0.0025  # face sizes: how wrong landmarks are, in all frames alike and in each by itself


@dataclass(frozen=True, kw_only=True, slots=True)
class PortraitPlan:
    """Which clips there are. Equal plans render equal clips."""

    seed: int = 0
    clips: int = 600
    frames: int = 30
    stills: int = 6
    size: int = 320  # the frame is cut out of it
    gestures: float = 0.5  # share of the clips with shut eyes and wide open mouths


class PortraitFiles:
    """The portraits of a plan, rendered on first use and kept in a folder."""

    def __init__(self, pack: Path, folder: Path, plan: PortraitPlan) -> None:
        self.plan = plan
        name = f"portraits-{plan.clips}x{plan.frames}"
        self.files = AlbumFiles(folder, name, plan, plan.clips, self._render)
        self._path = pack
        self._pack: Pack | None = None

    def read(self, clip: int, views: list[int]) -> ClipFrames:
        """Views of one clip: frames count from 0, stills follow them. Landmarks count from the first pixel's centre."""
        return read_clip(self.files, clip, views)

    def _render(self, clip: int) -> Album:
        from gfla_cli.synth.pack import Pack
        from gfla_cli.synth.people.people import portrait

        if self._pack is None:
            self._pack = Pack.load(self._path)
        plan = self.plan
        rng = np.random.default_rng([plan.seed, clip])
        # From a generator of its own: a clip without gestures shows the same person as if there were none at all.
        gestures = bool(np.random.default_rng([plan.seed, clip, 1]).random() < plan.gestures)
        filmed = portrait(self._pack, rng, plan.frames, plan.stills, plan.size, gestures=gestures)
        views = (*filmed.frames, *filmed.stills)
        # Half precision has millimetres around 0 and centimetres at the height of a head.
        middle = np.nanmean(views[0].surface.reshape(-1, 3), axis=0) * (0, 1, 1)
        stored = [replace(view, surface=view.surface - middle.astype(np.float32)) for view in views]
        return stored, {"points": np.stack([view.landmarks for view in views])}


class FaceClips(Dataset[ClipSample]):
    """Clip number i: somebody who talks, at any pace, mirrored half of the time, relit, cut as a face is."""

    def __init__(
        self, pack: Path, cache: Path, plan: PortraitPlan, *, frames: int, size: int, grid: int, seed: int = 0
    ) -> None:
        """`frames` of a clip make a sample, at most as many as the plan has."""
        self.files = PortraitFiles(pack, cache, plan)
        self.frames, self.size, self.grid, self.seed = frames, size, grid, seed

    def rendered(self) -> list[AlbumFiles]:
        """What its frames are read from."""
        return [self.files.files]

    def __getitem__(self, index: int) -> ClipSample:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only get in each other's way
        rng = np.random.default_rng([self.seed, index])
        plan = self.files.plan
        frames = moments(plan.frames, self.frames, rng)
        still = plan.stills > 0 and rng.random() < _STILL_REFERENCE
        reference = plan.frames + rng.integers(plan.stills) if still else rng.integers(plan.frames)
        clip = self.files.read(self.files.files.choose(rng), [int(reference), *frames])
        share, mirrored = _convention(rng), bool(rng.random() < 0.5)
        if mirrored:  # first, as the detector's errors depend on the side
            clip = clip.cropped(replace(Crop.whole(clip.images.shape[1:3]), flip=True), MIRRORED)
        clip = replace(clip, points=np.stack([as_detected_face(face, share) for face in clip.points]))
        clip = clip.cropped(_crop(clip, self.size, rng))
        table = light_curve(rng)
        images = [np.asarray(cv2.LUT(image, table), np.uint8) for image in clip.images]
        images[0] = degrade(images[0], rng)
        points = _shaken(clip.points, rng)
        opened = np.stack([_openings(face, self.size, self.grid) for face in clip.points[1:]])
        to_previous, to_reference = (
            _invented(known, opened) for known in clip_correspondences(clip.surfaces, self.grid, _SAME_DM)
        )
        # Those of the reference, whatever moves afterwards: of a stranger's face no other edges are known.
        edges = background_edges(images[0], points[0])
        return ClipSample(
            images=np.stack(images),
            points=points,
            masks=clip.masks,
            edges=np.broadcast_to(edges, clip.masks.shape).copy(),
            to_previous=to_previous,
            to_reference=to_reference,
        )


def _openings(face: NDArray[np.float32], size: int, grid: int) -> NDArray[np.bool_]:
    """(1, grid, grid) where the eyes and the inside of the lips are."""
    middles = ((np.arange(grid) + 0.5) * (size / grid)).astype(np.intp)
    labels = part_labels(face, (size, size))[middles][:, middles]
    return np.isin(labels, (EYE, INSIDE_LIPS))[None]


def _invented(known: Correspondence, opened: NDArray[np.bool_]) -> Correspondence:
    """Behind lids and lips that open lies what no other spot of the face looks like: it is not to be taken from any."""
    hidden = opened & (known.visible < 0)
    return Correspondence(known.offset, np.where(hidden, 0, known.weight), np.where(hidden, 0, known.visible))


def _convention(rng: np.random.Generator) -> float:
    """How far landmarks are moved to a detector's places: mostly all the way, now and then not at all."""
    kind = rng.random()
    return 1.0 if kind < 0.7 else 0.0 if kind < 0.85 else float(rng.random())


def _crop(clip: ClipFrames, size: int, rng: np.random.Generator) -> Crop:
    """About the crop that the reference alone would get: how a face will move is not known beforehand."""
    side = clip.images.shape[1]
    left, top, right, bottom = face_crop(clip.points[0], (size, size), inside=(side, side)).box
    wanted = (right - left) * rng.uniform(*_ZOOM)
    x, y = np.array([left + right - 1, top + bottom - 1]) / 2 + rng.normal(0, _SHIFT, 2) * wanted
    return square_crop((x, y), max(2, min(side, round(wanted))), (size, size), inside=(side, side))


def _shaken(points: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Landmarks as a detector gives them: a little off, mostly in the same way all the time."""
    unit = face_size(points[0])
    wrong = rng.normal(0, _SHAPE * unit, points.shape[1:]) + rng.normal(0, _TREMBLE * unit, points.shape)
    return np.asarray(points + wrong, np.float32)
