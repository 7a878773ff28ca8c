"""Pairs of views of rendered chairs: endless, each a pure function of its number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.conditioning.view_code import AZIMUTH_STEP, AZIMUTHS, ELEVATIONS, ViewAngles, view_code
from gfla_cli.datasets.augment import degrade, light_curve
from gfla_cli.datasets.correspondence import correspond
from gfla_cli.datasets.render_cache import Album, AlbumFiles, StoredPicture
from gfla_cli.datasets.sample import ViewPair, unknown_correspondence
from gfla_cli.geometry.crop import Crop

if TYPE_CHECKING:
    from gfla_cli.synth.objects.objects import ObjectFolder, SolidObject


_SAME = 0.15  # tenths of the frame: points of the surface this close are the same point
_OTHER_ELEVATION, _SAME_VIEW = 0.1, 0.03  # shares of pairs; the others share their elevation, as the paper's do
_SHIFT, _ZOOM = 0.02, 0.06  # standard deviations of the object's place and size: nobody frames a photo exactly
_LARGER = 0.08  # most of the zoom that may cut the object


@dataclass(frozen=True, kw_only=True, slots=True)
class ChairPlan:
    """Which albums of chairs there are. Equal plans render equal albums."""

    seed: int = 0
    objects: int = 5000
    elevations: int = 2  # of the three, in every album
    azimuths: int = 6  # of the eighteen, at each of these elevations
    size: int = 256
    extra_share: float = 0.1  # of albums that show objects of the folder of extras, when there is one
    extras: str = ""  # digest of that folder, "" = none


@dataclass(frozen=True, slots=True)
class StoredObjectView:
    """One view of an object, as it comes back from disk."""

    picture: StoredPicture
    angles: ViewAngles


class ChairAlbums:
    """The albums of a plan; every album shows one chair, or one object of a folder of GLB files."""

    def __init__(self, folder: Path, plan: ChairPlan, extras: Path | None = None) -> None:
        """Raises DataError when `extras` is a folder without usable objects."""
        self.plan = plan
        self._extras_folder = extras
        self._extras: ObjectFolder | None = None
        name = f"chairs-{plan.objects}x{plan.elevations}x{plan.azimuths}"
        self.files = AlbumFiles(folder, name, plan, plan.objects, self._render)

    def view(self, album: int, elevation: int, azimuth: int) -> StoredObjectView:
        """One view; all three numbers count from 0, the last two within the plan's counts."""
        picture, rows = self.files.read(album, elevation * self.plan.azimuths + azimuth)
        angles = rows["angles"]
        return StoredObjectView(picture, ViewAngles(float(angles[0]), float(angles[1])))

    def _render(self, album: int) -> Album:
        from gfla_cli.synth.objects.objects import photograph_object, sample_object_light

        rng = np.random.default_rng([self.plan.seed, album])
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
        from gfla_cli.synth.objects.chairs import sample_chair

        if self._extras_folder is None or rng.random() >= self.plan.extra_share:
            return sample_chair(rng)
        if self._extras is None:
            from gfla_cli.synth.objects.objects import ObjectFolder

            self._extras = ObjectFolder(self._extras_folder)
        return self._extras.sample(rng)


def plan_with(extras: Path | None, seed: int = 0) -> ChairPlan:
    """The plan of a training; what is in the folder of extra objects is part of it. Raises DataError."""
    if extras is None:
        return ChairPlan(seed=seed)
    from gfla_cli.synth.objects.objects import ObjectFolder

    found = ObjectFolder(extras)  # reads them all, so that a broken one is named before the training starts
    listed = " ".join(f"{path.name}:{path.stat().st_size}:{found.facing.get(path.stem, 0)}" for path in found.paths)
    return ChairPlan(seed=seed, extras=hashlib.sha256(listed.encode()).hexdigest()[:8])


class ChairPairs(Dataset[ViewPair]):
    """Pair number i: two views of one object, mirrored half of the time, relit, both framed a little askew."""

    def __init__(self, albums: ChairAlbums, *, size: int, grid: int, seed: int = 0) -> None:
        self.albums = albums
        self.size = size
        self.grid = grid
        self.seed = seed

    def rendered(self) -> list[AlbumFiles]:
        """What its pictures are read from."""
        return [self.albums.files]

    def __getitem__(self, index: int) -> ViewPair:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only get in each other's way
        rng = np.random.default_rng([self.seed, index])
        source, target = self._views(rng)
        mirrored = bool(rng.random() < 0.5)  # chairs have no writing on them, so a mirrored one is a chair, too
        curve = light_curve(rng)
        crop = _sample_crop(rng, source.picture.image.shape, self.size, mirrored)
        seen, wanted = (view.picture.cropped(crop, beyond=255) for view in (source, target))
        return ViewPair(
            source_image=_degraded(_relit(seen, curve), seen.mask, rng),
            target_image=_relit(wanted, curve),
            source_code=view_code(_mirrored(source.angles) if mirrored else source.angles),
            target_code=view_code(_mirrored(target.angles) if mirrored else target.angles),
            target_mask=wanted.mask,
            correspondence=correspond(seen.surface, wanted.surface, self.grid, _SAME),
        )

    def _views(self, rng: np.random.Generator) -> tuple[StoredObjectView, StoredObjectView]:
        plan = self.albums.plan
        album, kind = self.albums.files.choose(rng), rng.random()
        row = int(rng.integers(plan.elevations))
        first, second = (int(k) for k in rng.choice(plan.azimuths, 2, replace=False))
        other_row = row
        if kind < _SAME_VIEW:
            second = first
        elif kind < _SAME_VIEW + _OTHER_ELEVATION and plan.elevations > 1:
            other_row = (row + 1) % plan.elevations
        return self.albums.view(album, row, first), self.albums.view(album, other_row, second)


def _mirrored(angles: ViewAngles) -> ViewAngles:
    return ViewAngles((-angles.azimuth) % 360, angles.elevation)


def _sample_crop(rng: np.random.Generator, picture: tuple[int, ...], size: int, mirrored: bool) -> Crop:
    """The view, a little larger or smaller, and not quite in the middle."""
    zoom = float(np.exp(min(rng.normal(0, _ZOOM), _LARGER)))
    right, down = rng.normal(0, _SHIFT, 2)
    side = picture[0]
    middle = ((side - 1) / 2 - float(right) * side / zoom, (side - 1) / 2 - float(down) * side / zoom)
    return replace(Crop.square(middle, side / zoom, (size, size)), flip=mirrored)


def _relit(picture: StoredPicture, curve: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The object under another exposure; the paper around it stays white."""
    cover = picture.mask[..., None].astype(np.float32) / 255
    paper = 255 * (1 - cover)
    own = np.clip((picture.image - paper) / np.maximum(cover, 1 / 255), 0, 255).astype(np.uint8)
    return (np.asarray(cv2.LUT(own, curve)) * cover + paper + 0.5).astype(np.uint8)


def _degraded(image: NDArray[np.uint8], mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """As a camera would have it, cut out and put on white."""
    around = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    return np.where(around[..., None] > 0, degrade(image, rng), 255).astype(np.uint8)


# Pairs of rendered chairs that no training sees, at every angle alike: the test set of view models.


_SEED = 20_200_303  # trainings count their seeds from 0
_DIFFERENCES = tuple(range(AZIMUTH_STEP, 181, AZIMUTH_STEP))


class UnseenChairs(Dataset[ViewPair]):
    """Pair number i: chair i // 9, turned by 20, 40 ... 180 degrees to either side. Not augmented, equal elevations."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __getitem__(self, index: int) -> ViewPair:
        from gfla_cli.synth.objects.chairs import sample_chair
        from gfla_cli.synth.objects.objects import photograph_object, sample_object_light

        rng = np.random.default_rng([_SEED, index // len(_DIFFERENCES)])
        chair, light = sample_chair(rng), sample_object_light(rng)
        azimuth, elevation = float(rng.choice(AZIMUTHS)), float(rng.choice(ELEVATIONS))
        side = rng.choice([-1, 1], len(_DIFFERENCES))
        number = index % len(_DIFFERENCES)
        turned = (azimuth + float(side[number]) * _DIFFERENCES[number]) % 360
        source, target = (photograph_object(chair, a, elevation, light, self.size) for a in (azimuth, turned))
        return ViewPair(
            source.image,
            target.image,
            view_code(ViewAngles(azimuth, elevation)),
            view_code(ViewAngles(turned, elevation)),
            target.mask,
            unknown_correspondence(),
        )
