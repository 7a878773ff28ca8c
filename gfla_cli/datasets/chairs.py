"""Pairs of views of rendered chairs: endless ones to train on, and the fixed test set. Pure functions of a number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from torch.utils.data import Dataset

from gfla_cli.arrays import Image
from gfla_cli.conditioning.view_code import AZIMUTH_STEP, AZIMUTHS, ELEVATIONS, ViewAngles, view_code
from gfla_cli.datasets.augment import degrade, light_curve
from gfla_cli.datasets.correspondence import correspond
from gfla_cli.datasets.render_cache import TEST_SEED, RenderCache, RenderedSample, StoredView
from gfla_cli.datasets.sample import ObjectGeometry, ViewPair, unknown_correspondence, unknown_geometry
from gfla_cli.geometry.crop import Crop
from gfla_cli.synth.renderer.camera import view_rotation

if TYPE_CHECKING:
    from gfla_cli.synth.objects.objects import SolidObject

    _Sampler = Callable[[np.random.Generator], SolidObject]

_OUTWARDS = 0.175  # units by which the points of a surface map lie in front of the surface, on average
_SAME = 0.15  # surface points this close are the same point, in tenths of the frame
_OTHER_ELEVATION, _SAME_VIEW = 0.1, 0.03  # shares of pairs; all others have one elevation, as in the paper
_SHIFT, _ZOOM = 0.02, 0.06  # standard deviations of the object's place and size in the frame
_LARGER = 0.08  # upper limit of the zoom, which may cut the object off

_FRAME = 10.0  # units of length that an image shows at the object's middle (synth.objects.objects, which needs numba)
DIFFERENCES = tuple(range(AZIMUTH_STEP, 181, AZIMUTH_STEP))


@dataclass(frozen=True, kw_only=True, slots=True)
class ChairPlan:
    """Which chairs are rendered. Equal plans give equal samples."""

    seed: int = 0
    objects: int = 5000
    elevations: int = 2  # of the three, in every sample
    azimuths: int = 6  # of the eighteen, at each of these elevations
    size: int = 256
    extra_share: float = 0.1  # of the samples that show an extra object, when there is a folder of them; 1: no chairs
    extras: str = ""  # digest of that folder, "" = none


class ObjectView(NamedTuple):
    """One view of an object, as it comes back from disk."""

    view: StoredView
    angles: ViewAngles


class RenderedChairs:
    """The chairs of a plan: one chair, or one object of a folder of GLB files, in several views per sample."""

    def __init__(self, folder: Path, plan: ChairPlan, extras: Path | None = None) -> None:
        """`extras` is a folder of .glb files; rendering raises DataError when one of them is not usable."""
        self.plan = plan
        self._extras_folder = extras
        self._extras: _Sampler | None = None
        kind = "chairs" if plan.extra_share < 1 else "objects"
        name = f"{kind}-{plan.objects}x{plan.elevations}x{plan.azimuths}"
        self.cache = RenderCache(folder, name, plan, plan.objects, self._render)

    def view(self, sample: int, elevation: int, azimuth: int) -> ObjectView:
        """One view; all three numbers count from 0, the last two within the plan's counts."""
        view, rows = self.cache.read(sample, elevation * self.plan.azimuths + azimuth)
        angles = rows["angles"]
        return ObjectView(view, ViewAngles(float(angles[0]), float(angles[1])))

    def _render(self, sample: int) -> RenderedSample:
        from gfla_cli.synth.objects.objects import photograph_object, sample_object_light

        rng = np.random.default_rng([self.plan.seed, sample])
        item = self._sample(rng)
        light = sample_object_light(rng)
        angles = [
            (azimuth, elevation)
            for elevation in rng.choice(ELEVATIONS, self.plan.elevations, replace=False)
            for azimuth in rng.choice(AZIMUTHS, self.plan.azimuths, replace=False)
        ]
        views = [photograph_object(item, azimuth, elevation, light, self.plan.size) for azimuth, elevation in angles]
        return views, {"angles": np.array(angles, np.float32)}

    def _sample(self, rng: np.random.Generator) -> SolidObject:
        if self._extras_folder is None or rng.random() >= self.plan.extra_share:
            return _sampler(None)(rng)
        if self._extras is None:
            self._extras = _sampler(self._extras_folder)
        return self._extras(rng)


def plan_with(extras: Path | None) -> ChairPlan:
    """The plan of a training. The content of the folder of extra objects is part of it. Raises DataError."""
    if extras is None:
        return ChairPlan()
    from gfla_cli.synth.objects.objects import ObjectFolder

    found = ObjectFolder(extras)  # reads all of them, so a broken one is reported before the training starts
    listed = " ".join(f"{path.name}:{path.stat().st_size}:{found.facing.get(path.stem, 0)}" for path in found.paths)
    return ChairPlan(extras=hashlib.sha256(listed.encode()).hexdigest()[:8])


class ChairPairs(Dataset[ViewPair]):
    """Pair number i: two views of one object, mirrored half of the time, relit, and not quite centred."""

    def __init__(self, chairs: RenderedChairs, *, size: int, grid: int, seed: int = 0) -> None:
        """Images are `size` x `size`, correspondences `grid` x `grid`."""
        self.chairs, self.size, self.grid, self.seed = chairs, size, grid, seed

    def render_caches(self) -> list[RenderCache]:
        return [self.chairs.cache]

    def __getitem__(self, index: int) -> ViewPair:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only compete
        rng = np.random.default_rng([self.seed, index])
        source, target = self._views(rng)
        mirrored = bool(rng.random() < 0.5)  # a mirrored chair is a chair, too
        curve = light_curve(rng)
        # A little larger or smaller, and not quite centred.
        zoom = float(np.exp(min(rng.normal(0, _ZOOM), _LARGER)))
        right, down = rng.normal(0, _SHIFT, 2)
        whole = source.view.image.shape[0]
        place = ((whole - 1) / 2 - float(right) * whole / zoom, (whole - 1) / 2 - float(down) * whole / zoom)
        crop = replace(Crop.square(place, whole / zoom, (self.size, self.size)), flip=mirrored)
        seen, wanted = (side.view.cropped(crop, beyond=255) for side in (source, target))
        turn = -1 if mirrored else 1
        angles = [ViewAngles(turn * a.azimuth % 360, a.elevation) for a in (source.angles, target.angles)]
        depths = []  # how far towards the camera the surfaces lie, in units of length; -inf where there is none
        for surface, own in ((seen.surface, angles[0]), (wanted.surface, angles[1])):
            step = len(surface) // self.grid
            towards = view_rotation(own.azimuth, own.elevation)[2].astype(np.float32)
            depth = surface[step // 2 :: step, step // 2 :: step] @ towards - _OUTWARDS
            depths.append(np.where(np.isnan(depth), np.float32(-np.inf), depth))
        middle = crop.points(np.array([[(whole - 1) / 2] * 2], np.float32))[0]
        # The source as a camera shows it, cut out and put on white.
        around = cv2.dilate(seen.mask, np.ones((5, 5), np.uint8))[..., None]
        source_image = np.where(around > 0, degrade(_relit(seen, curve), rng), 255).astype(np.uint8)
        return ViewPair(
            source_image=source_image,
            target_image=_relit(wanted, curve),
            source_code=view_code(angles[0]),
            target_code=view_code(angles[1]),
            target_mask=wanted.mask,
            correspondence=correspond(seen.surface, wanted.surface, self.grid, _SAME),
            geometry=ObjectGeometry(
                np.stack(depths) * np.float32(2 / _FRAME * crop.scale * whole / self.size),
                ((middle + 0.5) * 2 / self.size - 1).astype(np.float32),
            ),
        )

    def _views(self, rng: np.random.Generator) -> tuple[ObjectView, ObjectView]:
        plan = self.chairs.plan
        sample, kind = self.chairs.cache.choose(rng), rng.random()
        row = int(rng.integers(plan.elevations))
        first, second = (int(k) for k in rng.choice(plan.azimuths, 2, replace=False))
        other_row = row
        if kind < _SAME_VIEW:
            second = first
        elif kind < _SAME_VIEW + _OTHER_ELEVATION and plan.elevations > 1:
            other_row = (row + 1) % plan.elevations
        return self.chairs.view(sample, row, first), self.chairs.view(sample, other_row, second)


def _relit(view: StoredView, curve: Image) -> Image:
    """The object under another exposure; the background stays white."""
    cover = view.mask[..., None].astype(np.float32) / 255
    white = 255 * (1 - cover)
    own = np.clip((view.image - white) / np.maximum(cover, 1 / 255), 0, 255).astype(np.uint8)
    return (np.asarray(cv2.LUT(own, curve)) * cover + white + 0.5).astype(np.uint8)


class UnseenObjects(Dataset[ViewPair]):
    """The test set of view models: chairs that no training sees, or the objects of a folder, without augmentation.

    Pair number i shows object i // 9 at one elevation, turned by 20, 40 ... 180 degrees to a random side.
    """

    def __init__(self, size: int, grid: int | None = None, folder: Path | None = None) -> None:
        """Images are `size` x `size`; with `grid` the pairs have the ground-truth flow, on a grid of that side.

        `folder` holds .glb files; without it, chairs are rendered. Raises DataError for files that cannot be drawn.
        """
        self.size, self.grid = size, grid
        self._sample = _sampler(folder)

    def __getitem__(self, index: int) -> ViewPair:
        from gfla_cli.synth.objects.objects import photograph_object, sample_object_light

        rng = np.random.default_rng([TEST_SEED, index // len(DIFFERENCES)])
        item, light = self._sample(rng), sample_object_light(rng)
        azimuth, elevation = float(rng.choice(AZIMUTHS)), float(rng.choice(ELEVATIONS))
        side = rng.choice([-1, 1], len(DIFFERENCES))
        number = index % len(DIFFERENCES)
        turned = (azimuth + float(side[number]) * DIFFERENCES[number]) % 360
        source, target = (photograph_object(item, a, elevation, light, self.size) for a in (azimuth, turned))
        return ViewPair(
            source.image,
            target.image,
            view_code(ViewAngles(azimuth, elevation)),
            view_code(ViewAngles(turned, elevation)),
            target.mask,
            correspond(source.surface, target.surface, self.grid, _SAME) if self.grid else unknown_correspondence(),
            unknown_geometry(),
        )


def _sampler(folder: Path | None) -> _Sampler:
    """What draws a random object of a folder, or a random chair."""
    if folder is None:
        from gfla_cli.synth.objects.chairs import sample_chair

        return sample_chair
    from gfla_cli.synth.objects.objects import ObjectFolder

    return ObjectFolder(folder).sample
