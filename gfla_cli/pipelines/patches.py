"""Patch matching: a hole in an image is filled with patches of a source that fit what is around it, and each other.

After Wexler et al., "Space-Time Completion of Video" (2007), and Barnes et al., "PatchMatch" (2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import BoolArray, Float32Array

Places = NDArray[np.intp]  # (2, ...) y, x

PATCH = 7  # pixels of the side of a patch
_REACH = PATCH // 2
_NUMBERS, _SAMPLES = 24, 2000  # principal components that describe a patch, and patches from which they are found
_FEWEST = 64  # patches to choose from
_SWEEPS = 2  # of trying the neighbours' places and random ones, in each round
_STEPS = tuple((dy * far, dx * far) for far in (4, 2, 1) for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)))
_REPEATED = 150.0  # squared, it counts as squared differences do: for a pixel that is shown twice
_LEAST_WEIGHT = 1e-5  # of a patch, when the best have 1
_AT_ONCE = 4_000_000  # distances that are computed at a time


class Guide(NamedTuple):
    """What else should be alike, beside the patches: `wanted` (h, w, n) of the image, `offered` (H, W, n).

    Squared differences of these numbers add to those of the 147 values of a patch.
    """

    wanted: Float32Array
    offered: Float32Array


def matched(
    image: Float32Array,
    hole: BoolArray,
    source: Float32Array,
    usable: BoolArray,
    *,
    start: Places | None,
    rounds: int,
    rng: np.random.Generator,
    guide: Guide | None = None,
    step: int = 1,
) -> tuple[Places, Float32Array] | None:
    """The places (2, h, w) in the source of the patches that fit best, and the image (h, w, 3) that they mix to.

    `image` (h, w, 3) in which `hole` (h, w) is filled with patches of `source` (H, W, 3) around `usable` (H, W) places.
    `start` (2, h, w): first guess of the places. Without it, they are those that fit the guide; without a guide, too,
    they are random. `rounds`: of matching and mixing. `step`: pixels from one matched patch to the next, at most 4: a
    patch covers 3 on each side. A place that no patch touches is its own. None without a hole or enough usable patches.
    """
    space = _Space.of(source, _whole(usable), guide)
    if space is None:
        return None
    touched = touched_by_patches(hole)
    grid = np.zeros_like(touched)
    at = np.stack(np.nonzero(touched))
    grid[tuple(at // step * step)] = True
    here = np.stack(np.nonzero(grid))
    if not here.size:
        return None
    extra = None if guide is None else guide.wanted[tuple(here)]
    found = space.first_guess(None if start is None else start[:, here[0], here[1]], extra, here.shape[1], rng)
    if guide is not None:  # what was drawn is a blur, and smooth patches would fit it best
        image = _voted(image, hole, source, here, found, None)
    number = np.zeros(hole.shape, np.intp)
    number[tuple(here)] = np.arange(here.shape[1])
    neighbours = _neighbours(grid, number, here, step)
    for _ in range(rounds):
        cost = _cost_of_repetition(found, usable.shape, step)
        match = _Match(space, space.described(_patches_at(image, here), extra), found, cost)
        match.search(neighbours, rng)
        found = match.found
        image = _voted(image, hole, source, here, found, match.error)
    places = np.indices(hole.shape)
    places[:, touched] = found[:, number[tuple(at // step * step)]] + at % step
    return places, image


def touched_by_patches(hole: BoolArray) -> BoolArray:
    """(H, W) where the middle of a patch is that covers a place of the hole."""
    return np.asarray(cv2.dilate(hole.astype(np.uint8), np.ones((PATCH, PATCH), np.uint8)) > 0)


def _neighbours(
    grid: BoolArray, number: NDArray[np.intp], here: Places, step: int
) -> list[tuple[NDArray[np.intp], Places]]:
    """For each of the `_STEPS`: number (count,) of the patch beside each one, and the way (2, count) back from it.

    `grid` (h, w): where a patch is, and `number` (h, w): which one; `here` (2, count): their places. A patch that has
    none beside it is its own neighbour.
    """
    neighbours = []
    for move in _STEPS:
        beside = here + step * np.array(move)[:, None]
        inside = (beside >= 0).all(axis=0) & (beside < np.array(grid.shape)[:, None]).all(axis=0)
        beside = np.where(inside, beside, here)
        beside = np.where(grid[tuple(beside)], beside, here)
        neighbours.append((number[tuple(beside)], here - beside))
    return neighbours


def _whole(usable: BoolArray) -> BoolArray:
    """Usable places (H, W) whose patch lies within the image."""
    inside = np.zeros_like(usable)
    inside[_REACH:-_REACH, _REACH:-_REACH] = usable[_REACH:-_REACH, _REACH:-_REACH]
    return inside


class _Space:
    """Patches of a source, and how they are described: by principal components, and by the numbers of a guide."""

    def __init__(self, source: Float32Array, usable: BoolArray, at: Places, guide: Guide | None) -> None:
        self.usable, self._at, self._guide = usable, at, guide
        patches = _patches_at(source, at)
        some = patches[:: max(1, len(patches) // _SAMPLES)]
        self._mean = some.mean(axis=0)
        centred = some - self._mean
        _, vectors = np.linalg.eigh(centred.T @ centred)
        self._basis = np.ascontiguousarray(vectors[:, ::-1][:, :_NUMBERS], np.float32)
        known = self.described(patches, None if guide is None else guide.offered[tuple(at)])
        self.known = np.zeros((*usable.shape, known.shape[1]), np.float32)
        self.known[tuple(at)] = known

    @classmethod
    def of(cls, source: Float32Array, usable: BoolArray, guide: Guide | None) -> _Space | None:
        """None when there are too few usable places (H, W)."""
        at = np.stack(np.nonzero(usable))
        return cls(source, usable, at, guide) if at.shape[1] >= _FEWEST else None

    def described(self, patches: Float32Array, extra: Float32Array | None) -> Float32Array:
        """(count, m) the numbers for patches (count, 147) and for those of the guide (count, n)."""
        numbers = (patches - self._mean) @ self._basis
        return np.asarray(numbers if extra is None else np.hstack([numbers, extra]), np.float32)

    def first_guess(
        self, start: Places | None, wanted: Float32Array | None, count: int, rng: np.random.Generator
    ) -> Places:
        """Usable places (2, count) to begin with: given ones, else by the guide's numbers (count, n), else random."""
        if start is not None:
            return self.usable_places(start, rng)
        return self.random_places(count, rng) if wanted is None else self.nearest_by_guide(wanted)

    def random_places(self, count: int, rng: np.random.Generator) -> Places:
        """Usable places (2, count)."""
        return self._at[:, rng.integers(self._at.shape[1], size=count)]

    def usable_places(self, places: Places, rng: np.random.Generator) -> Places:
        """The same places (2, count), or random ones where they are not usable."""
        inside = places.clip(0, np.array(self.usable.shape)[:, None] - 1)
        return np.where(self.usable[tuple(inside)], inside, self.random_places(places.shape[1], rng))

    def nearest_by_guide(self, wanted: Float32Array) -> Places:
        """(2, count) the usable places whose numbers of the guide are nearest to the wanted ones (count, n)."""
        assert self._guide is not None
        offered = self._guide.offered[tuple(self._at)]
        lengths = np.einsum("ij,ij->i", offered, offered) / 2
        rows = max(1, _AT_ONCE // len(offered))
        best = [
            (wanted[first : first + rows] @ offered.T - lengths).argmax(axis=1) for first in range(0, len(wanted), rows)
        ]
        return self._at[:, np.concatenate(best)]


def _cost_of_repetition(found: Places, shape: tuple[int, ...], step: int) -> Float32Array:
    """(H, W) what each place of the source costs, after Kaspar et al., "Self Tuning Texture Optimization" (2015).

    Without it, one button or a piece of a letter is repeated side by side.
    """
    shown = np.zeros(shape, np.float32)
    np.add.at(shown, tuple(found), step**2)
    shown = cv2.blur(shown, (PATCH, PATCH))  # times that each pixel is shown
    return np.asarray(np.square(_REPEATED * np.maximum(shown - 1, 0)), np.float32)


class _Match:
    """For every patch that touches the hole, the most similar of the known patches that were tried."""

    def __init__(self, space: _Space, wanted: Float32Array, found: Places, cost: Float32Array) -> None:
        """`wanted` (count, m): descriptions; `found` (2, count) y, x of a usable patch for each; `cost` (H, W)."""
        self._space, self._wanted, self._cost = space, wanted, cost
        self._largest = np.array(space.usable.shape)[:, None] - 1
        self.found = found
        self.error = self._distance(found)

    def search(self, neighbours: Sequence[tuple[NDArray[np.intp], Places]], rng: np.random.Generator) -> None:
        """Tries the places that fit the neighbours (see `_neighbours`), and random ones, from far to near."""
        for _ in range(_SWEEPS):
            for other, way in neighbours:  # a place that fits the neighbour fits here, if it is moved by the same step
                self.attempt(self.found[:, other] + way)
            radius = max(self._space.usable.shape)
            while radius >= 1:
                self.attempt(self.found + rng.integers(-radius, radius + 1, self.found.shape))
                radius //= 3

    def attempt(self, places: Places) -> None:
        """Tries other patches (2, count), and takes those that are usable and more similar."""
        places = places.clip(0, self._largest)
        error = self._distance(places)
        better = self._space.usable[tuple(places)] & (error < self.error)
        self.found, self.error = np.where(better, places, self.found), np.where(better, error, self.error)

    def _distance(self, places: Places) -> Float32Array:
        difference = self._wanted - self._space.known[tuple(places)]
        return np.asarray(np.einsum("ij,ij->i", difference, difference) + self._cost[tuple(places)])


def _patches_at(image: Float32Array, at: Places) -> Float32Array:
    """(count, 147): the values of the patches around places (2, count)."""
    padded = np.pad(image, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="reflect")
    return padded.reshape(-1, image.shape[2]).take(_covered(at, padded.shape[1]), axis=0).reshape(at.shape[1], -1)


def _covered(at: Places, width: int) -> NDArray[np.intp]:
    """(count, 49): numbers of the pixels that patches cover, in an image of this width. `at`: their first pixels."""
    inside = np.arange(PATCH)[:, None] * width + np.arange(PATCH)
    return np.asarray((at[0] * width + at[1])[:, None] + inside.ravel())


def _voted(
    image: Float32Array,
    hole: BoolArray,
    source: Float32Array,
    here: Places,
    found: Places,
    error: Float32Array | None,
) -> Float32Array:
    """(h, w, 3): in the hole, the mean of what all patches over a pixel show there; those that fit better count more.

    `here` and `found` (2, count): the patches' places in the image and in the source.
    """
    weight = np.ones(here.shape[1], np.float32)
    if error is not None:
        # Where no patch fits, the mean of those that fit least badly is shown, and not 0.
        weight = np.exp(-error / (np.percentile(error, 75) + 1e-6)).clip(_LEAST_WEIGHT, None)
    height, width = hole.shape[0] + 2 * _REACH, hole.shape[1] + 2 * _REACH
    covered, shown = _covered(here, width).ravel(), _covered(found - _REACH, source.shape[1]).ravel()
    weights = np.repeat(weight, PATCH * PATCH)
    total = np.maximum(np.bincount(covered, weights, height * width), 1e-6)
    channels = np.moveaxis(source, -1, 0)
    means = [np.bincount(covered, weights * part.take(shown), height * width) / total for part in channels]
    mean = np.stack(means, axis=1).reshape(height, width, -1)[_REACH:-_REACH, _REACH:-_REACH]
    return np.where(hole[..., None], mean, image).astype(np.float32)
