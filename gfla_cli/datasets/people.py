"""Pairs of rendered people: endless, each a pure function of its number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.arrays import Points
from gfla_cli.datasets.augment import degrade, relight
from gfla_cli.datasets.correspondence import correspond
from gfla_cli.datasets.detector_errors import as_detected, misdetected
from gfla_cli.datasets.render_cache import AlbumFiles, AlbumPlan, Albums, HeadAlbumPlan, StoredPicture, StoredView
from gfla_cli.datasets.sample import PosePair
from gfla_cli.geometry.crop import Crop
from gfla_cli.person.pose import FACE, Pose

_ENDS, _SHOULDERS = [1, 8, 11], [2, 5]  # of a trunk
_SHOULDERS_APART = 0.75  # trunks
_USUAL_TRUNK = 0.5  # of how deep a body is, where too little of it is seen
_MISSING = np.array([-1, -1, 0], np.float32)
_DEPTH = 0.2  # what the source hides comes from what is before it: clothes look alike from both sides
_COARSE_HEADS, _COARSE = 0.5, (1.5, 4.5)  # share of the heads from near, and how many times too coarse they are
_NO_DEPTH = 0.2  # share of the pictures whose joints come without their depth, as from a pose file
_STILL = 0.08  # share of the pairs that show one view twice, moved a little as a whole
_MOST_TURN, _MOST_ZOOM, _MOST_SHIFT = 4.0, 0.06, 0.04  # degrees, share of the size, share of the frame
_ERROR_SHARES = [0.65, 0.25, 0.1]  # of the pictures whose joints are as wrong as mediapipe's, less, and not at all
_FOUND = 0.7  # share of the pairs with the joints that a detector found, among those where it looked
_LOST = 0.01  # share of joints that a detector does not name


@dataclass(frozen=True, slots=True)
class _Side:
    """The source or the target of a pair."""

    picture: StoredPicture
    pose: Pose  # where the joints are
    detected: Pose | None  # where a detector finds them

    def cropped(self, crop: Crop) -> _Side:
        return _Side(
            self.picture.cropped(crop),
            self.pose.cropped(crop).within_frame(0),
            None if self.detected is None else self.detected.cropped(crop).within_frame(0),
        )


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
        target = _side(albums.view(album, int(second)), self.size, mirrored)
        if rng.random() < _STILL:
            source = _moved(target, rng)
        else:
            source = _side(albums.view(album, int(first)), self.size, mirrored)
        images = relight([source.picture.image, target.picture.image], rng)
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
            true_points=np.stack([as_detected(side.pose.deep_points, convention) for side in (source, target)]),
            target_mask=target.picture.mask,
            correspondence=correspond(source.picture.surface, target.picture.surface, self.grid, depth=_DEPTH),
        )

    def _given(self, side: _Side, convention: float, rng: np.random.Generator, *, found: bool) -> Points:
        """Joints as they are given to the network: (18, 3), with depths (18, 4)."""
        share = rng.choice([1.0, rng.uniform(), 0.0], p=_ERROR_SHARES)
        points = side.pose.deep_points
        detected = misdetected(as_detected(points, convention), _trunk(points), share, rng)
        if found and side.detected is not None:
            detected = side.detected.deep_points
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
    """An image enlarged from one that is `factor` times smaller."""
    size = (image.shape[0], image.shape[1])
    few = (round(size[0] / factor), round(size[1] / factor))
    return Crop.whole(few, size).image(Crop.whole(size, few).image(image))


def _moved(side: _Side, rng: np.random.Generator) -> _Side:
    """The same image turned, zoomed and shifted a little, or in a third of the cases not at all."""
    if rng.random() < 1 / 3:
        return side
    height, width = side.pose.size
    x, y = np.array([width, height]) / 2 + rng.uniform(-_MOST_SHIFT, _MOST_SHIFT, 2) * (width, height)
    half = np.array([width, height]) / 2 * (1 + rng.uniform(-_MOST_ZOOM, _MOST_ZOOM))
    box = (float(x - half[0]), float(y - half[1]), float(x + half[0]), float(y + half[1]))
    return side.cropped(Crop(box, side.pose.size, turn=float(rng.uniform(-_MOST_TURN, _MOST_TURN))))


def _side(view: StoredView, size: int, mirrored: bool) -> _Side:
    points = np.column_stack([view.points, view.depths])
    face = list(FACE)
    points[face, :3] = np.where(points[face, 2:3] > 0, points[face, :3], _MISSING)
    points[:, 2] = points[:, 0] >= 0  # what the body itself hides, a detector guesses
    own = (view.picture.image.shape[0], view.picture.image.shape[1])
    detected = None if view.detected is None else Pose.of(view.detected, own)
    side = _Side(view.picture, Pose.of(points, own), detected)
    # A mirrored character is a character, too.
    return side.cropped(replace(Crop.whole(own, (size, size)), flip=mirrored))
