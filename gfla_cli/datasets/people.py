"""Pairs of rendered people: endless, each a pure function of its number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.arrays import Points
from gfla_cli.datasets.augment import degrade, mirror_points, relight
from gfla_cli.datasets.correspondence import correspond
from gfla_cli.datasets.detector_errors import as_detected, misdetected
from gfla_cli.datasets.render_cache import AlbumFiles, AlbumPlan, Albums, HeadAlbumPlan, StoredView
from gfla_cli.datasets.sample import PosePair

_HIDDEN_FACE = (0, 14, 15, 16, 17)  # nose, eyes, ears: a detector names them only where they are seen
_ENDS, _SHOULDERS = [1, 8, 11], [2, 5]  # of a trunk
_SHOULDERS_APART = 0.75  # trunks
_USUAL_TRUNK = 0.5  # of how deep a body is, where too little of it is seen
_MISSING = np.array([-1, -1, 0], np.float32)
_MIRRORED = np.array([-1, 1, 1], np.float32)  # a rest position on the other side of the body
_DEPTH = 0.2  # what the source hides comes from what is before it: clothes look alike from both sides
_COARSE_HEADS, _COARSE = 0.5, (1.5, 4.5)  # share of the heads from near, and how many times too coarse they are
_NO_DEPTH = 0.2  # share of the pictures whose joints come without their depth, as from a pose file
_STILL = 0.08  # share of the pairs that show one view twice, moved a little as a whole
_MOST_TURN, _MOST_ZOOM, _MOST_SHIFT = 4.0, 0.06, 0.04  # degrees, share of the size, share of the frame
_ERROR_SHARES = [0.65, 0.25, 0.1]  # of the pictures whose joints are as wrong as mediapipe's, less, and not at all
_FOUND = 0.7  # share of the pairs with the joints that a detector found, among those where it looked
_LOST = 0.01  # share of joints that a detector does not name


@dataclass(frozen=True, slots=True)
class _Framed:
    """A view brought to the size and the side it is trained at."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    points: NDArray[np.float32]  # (18, 4) the fourth is depth
    surface: NDArray[np.float32]
    detected: NDArray[np.float32] | None  # (18, 4) as a detector found them


class PeoplePairs(Dataset[PosePair]):
    """Pair number i: two views of one character, mirrored half of the time, relit, with shaky joints.

    A share of the pairs, `heads`, shows the head from near instead of the body, its source often as coarse as the head
    of a small picture is. With `depth` joints mostly have their depth, (18, 4).
    """

    def __init__(
        self,
        pack: Path,
        cache: Path,
        plan: AlbumPlan,
        *,
        size: int,
        grid: int,
        seed: int = 0,
        heads: float = 0.0,
        depth: bool = False,
    ) -> None:
        self.albums = Albums(pack, cache, plan)
        self.heads = heads
        self.head_albums = Albums(pack, cache, HeadAlbumPlan(seed=plan.seed, views=plan.views, size=plan.size))
        self.size = size
        self.grid = grid
        self.seed = seed
        self.depth = depth

    def rendered(self) -> list[AlbumFiles]:
        """What its pictures are read from."""
        return [self.albums.files] + ([self.head_albums.files] if self.heads else [])

    def __getitem__(self, index: int) -> PosePair:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only get in each other's way
        rng = np.random.default_rng([self.seed, index])
        near = self.heads > 0 and rng.random() < self.heads
        albums = self.head_albums if near else self.albums
        album = albums.files.choose(rng)
        first, second = rng.choice(albums.plan.views, 2, replace=False)
        mirrored = bool(rng.random() < 0.5)
        target = _frame(albums.view(album, int(second)), self.size, mirrored)
        if rng.random() < _STILL:
            source = _moved(target, rng)
        else:
            source = _frame(albums.view(album, int(first)), self.size, mirrored)
        images = relight([source.image, target.image], rng)
        if near and rng.random() < _COARSE_HEADS:
            images[0] = _coarse(images[0], rng.uniform(*_COARSE))
        # A detector's own joints, where it looked at both; else errors like its.
        found = source.detected is not None and target.detected is not None and rng.random() < _FOUND
        convention = 1.0 if found else _convention(rng)
        return PosePair(
            source_image=degrade(images[0], rng),
            target_image=images[1],
            source_points=self._given(source, convention, rng, found=found),
            target_points=self._given(target, convention, rng, found=found),
            true_points=np.stack([as_detected(view.points, convention) for view in (source, target)]),
            target_mask=target.mask,
            correspondence=correspond(source.surface, target.surface, self.grid, depth=_DEPTH),
        )

    def _given(self, view: _Framed, convention: float, rng: np.random.Generator, *, found: bool) -> Points:
        """Joints as they are given to the network: (18, 3), with depths (18, 4)."""
        share = rng.choice([1.0, rng.uniform(), 0.0], p=_ERROR_SHARES)
        detected = misdetected(as_detected(view.points, convention), _trunk(view.points), share, rng)
        if found and view.detected is not None:
            detected = view.detected.copy()
        detected[rng.random(len(detected)) < _LOST, :3] = _MISSING
        if not self.depth:
            return detected[:, :3]
        if rng.random() < _NO_DEPTH:
            detected[:, 3] = np.nan
        return detected


def _trunk(points: Points) -> float:
    """Pixels from the neck to the middle of the hips, by what the picture shows of the body and by its depth."""
    place = points[:, [0, 1, 3]]
    if points[_ENDS, 2].all():
        return float(np.linalg.norm(place[1] - (place[8] + place[11]) / 2))
    if points[_SHOULDERS, 2].all():
        return float(np.linalg.norm(place[2] - place[5])) / _SHOULDERS_APART
    return _USUAL_TRUNK * float(np.ptp(points[:, 3]))


def _convention(rng: np.random.Generator) -> float:
    """How far joints are moved from the skeleton's places to a detector's: mostly all the way, or not at all.

    Source and target share it, so a network can tell the convention from the source and serve both.
    """
    kind = rng.random()
    return 1.0 if kind < 0.5 else 0.0 if kind < 0.8 else float(rng.random())


def _coarse(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """A picture enlarged from one that is `factor` times smaller."""
    side = image.shape[0]
    small = cv2.resize(image, (round(side / factor),) * 2, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def _moved(view: _Framed, rng: np.random.Generator) -> _Framed:
    """The same picture turned, zoomed and shifted a little, or not at all in a third of the cases."""
    if rng.random() < 1 / 3:
        return view
    side = len(view.image)
    middle = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D(
        (middle, middle), rng.uniform(-_MOST_TURN, _MOST_TURN), 1 + rng.uniform(-_MOST_ZOOM, _MOST_ZOOM)
    )
    matrix[:, 2] += rng.uniform(-_MOST_SHIFT, _MOST_SHIFT, 2) * side
    image = cv2.warpAffine(view.image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(view.mask, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # The surface has cells of its own size; pixel centres are at 0.5 cells.
    cell = side / len(view.surface)
    coarse = matrix.copy()
    coarse[:, 2] = (matrix[:, :2].sum(axis=1) * (cell - 1) / 2 + matrix[:, 2] - (cell - 1) / 2) / cell
    nowhere = (float("nan"),) * 3
    surface = cv2.warpAffine(
        view.surface, coarse, view.surface.shape[1::-1], flags=cv2.INTER_NEAREST, borderValue=nowhere
    )
    return _Framed(
        np.asarray(image, np.uint8),
        np.asarray(mask, np.uint8),
        _moved_joints(view.points, matrix, side),
        np.asarray(surface, np.float32),
        None if view.detected is None else _moved_joints(view.detected, matrix, side),
    )


def _moved_joints(points: Points, matrix: NDArray[np.float64], side: int) -> Points:
    moved = points.copy()
    there = points[:, 2] > 0
    moved[there, :2] = points[there, :2] @ matrix[:, :2].T + matrix[:, 2]
    inside = ((moved[:, :2] >= 0) & (moved[:, :2] <= side - 1)).all(axis=1)
    moved[there & ~inside, :3] = _MISSING
    moved[:, 3] *= np.sqrt(np.linalg.det(matrix[:, :2]))
    return moved


def _frame(view: StoredView, size: int, mirrored: bool) -> _Framed:
    points = np.column_stack([view.points, view.depths])
    # The renderer counts from the corner of the first pixel, everything else from its middle.
    points[:, :2] = np.where(points[:, :2] >= 0, (points[:, :2] - 0.5).clip(0), -1)
    face = list(_HIDDEN_FACE)
    points[face, :3] = np.where(points[face, 2:3] > 0, points[face, :3], _MISSING)
    points[:, 2] = points[:, 0] >= 0  # what the body itself hides, a detector guesses
    image, mask, surface, detected = view.image, view.mask, view.surface, view.detected
    if mirrored:
        # A mirrored character is a character too; its rest pose is mirrored with it.
        image, mask = image[:, ::-1], mask[:, ::-1]
        surface = surface[:, ::-1] * _MIRRORED
        points = mirror_points(points, image.shape[1])
        detected = None if detected is None else mirror_points(detected, image.shape[1])
    if (scale := size / image.shape[1]) != 1:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
        points = _scaled(points, scale)
        detected = None if detected is None else _scaled(detected, scale)
    return _Framed(np.ascontiguousarray(image), np.ascontiguousarray(mask), points, surface, detected)


def _scaled(points: Points, scale: float) -> Points:
    scaled = points * np.float32(scale)
    place = (points[:, :2] + 0.5) * scale - 0.5
    scaled[:, :2], scaled[:, 2] = np.where(points[:, :2] >= 0, place, -1), points[:, 2]
    return scaled
