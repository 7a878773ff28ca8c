"""Skirts and dresses that stay whole: the cloth between two legs.

A network moves each leg by itself. Where the legs of a skirt go apart, it draws trousers. Here a skirt of the source is
found by its hem, and its cloth between the legs goes to the place between the legs of the target.

Heights on a leg are 0 at the hip, 1 at the knee and 2 at the ankle.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, median
from gfla_cli.geometry.crop import Size
from gfla_cli.geometry.paste import ramp
from gfla_cli.person.body import torso_length
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.frame_layers import (
    EVERYWHERE,
    LIKELY,
    Layers,
    Places,
    SourceFrame,
    disc,
    region_around,
    spread,
    squared,
)
from gfla_cli.pipelines.hands import arm_areas

_LEGS = (8, 9, 10), (11, 12, 13)  # hip, knee, ankle
_HEIGHTS = np.linspace(0, 2, 101, dtype=np.float32)  # that are looked at; the middle one is the knee
_ACROSS = 64  # places that are looked at between both legs, and beside each
# Limits of what is a skirt. Those that are missed have legs too near to each other to tell them from shorts, mostly.
_FIRST, _SHORTEST = 0.3, 0.45  # heights: from the first on, cloth is looked at; a shorter skirt may be shorts
_BELOW, _ABOVE = 0.2, 0.14  # heights below and above a hem within which the outline changes
_FILLED, _OPEN = 0.9, 0.48  # share of the person between both legs: above a hem at least, below it at most
_NARROWER = 1.35  # times: how much wider the person is above a hem than below it
_APART = 0.28  # torsos between the legs at the hem: nearer ones may be two legs of shorts that touch
_THIGH = 0.5  # torsos that a knee is below its hip: of a person who sits, the thighs hide what is between them
_BESIDE = 0.6  # torsos beside a leg that are looked at
# Where the cloth goes over into what the network made: heights, shares of the way between both legs, torsos between
# them. Legs that are close to each other need no cloth.
_FADE, _SIDE, _CLOSE = (0.1, 0.35), (0, 0.2), (0.1, 0.2)
_GAP, _ABOVE_GAP = (0.2, 1.0), 0.1  # pixels that a row lacks: below, no cloth; above, all. Torsos around such rows
_END = 0.85, 1.0  # shares of the way down to the hem: from the first on, cloth hides less and less of what was drawn
_SLANT = 0.25  # heights by which a hem differs between both legs at most
_DIFFERENT = 3, 6  # pixels between the places that two flows lead to
_LEAST = 0.01  # of a matte, to divide by
_HAND = 0.3  # torsos: how far a hand, which stays in front, reaches beyond its wrist
_FINGERS, _AROUND_ARM = 0.4, 0.04  # torsos: the same for a spread hand of the source; the shadow beside an arm


class Hem(NamedTuple):
    """Where a skirt ends: heights on both legs, 1 at the knees, 2 at the ankles."""

    right: float
    left: float

    def heights(self, count: int) -> tuple[Float32Array, Float32Array]:
        """(count,) heights on the right and on the left leg, from the hips down to the hem."""
        right, left = (np.linspace(0, height, count, dtype=np.float32) for height in self)
        return right, left


_KNEES, _ANKLES = Hem(1, 1), Hem(2, 2)


class _Legs(NamedTuple):
    """x, y in pixels along both legs, at some heights."""

    right: Float32Array  # (N, 2)
    left: Float32Array  # (N, 2)

    @classmethod
    def of(cls, pose: Pose, right: Float32Array, left: Float32Array) -> _Legs:
        """Of a pose that has all joints of its legs; (N,) heights on the right and on the left one."""
        legs = (pose.points[list(leg), :2].T for leg in _LEGS)
        return cls(
            *(
                np.stack([np.interp(heights, (0, 1, 2), x) for x in leg], axis=1, dtype=np.float32)
                for leg, heights in zip(legs, (right, left), strict=True)
            )
        )

    @property
    def apart(self) -> Float32Array:
        """(N,) pixels between both legs."""
        return np.asarray(np.linalg.norm(self.left - self.right, axis=1), np.float32)

    @property
    def longest(self) -> float:
        """Pixels along the longer leg."""
        return max(float(np.linalg.norm(np.diff(leg, axis=0), axis=1).sum()) for leg in self)

    def between(self, shares: Float32Array) -> Float32Array:
        """(N, M, 2) places at M shares of the way from the right leg to the left one."""
        return np.asarray(self.right[:, None] + shares[:, None] * (self.left - self.right)[:, None], np.float32)


def with_whole_skirt(layers: Layers, source: SourceFrame, source_pose: Pose, target_pose: Pose, hem: Hem) -> Layers:
    """Layers (H, W) with the cloth of a skirt, or a dress, where they lack it between the legs.

    Poses are in pixels of the layers. Arms and hands stay in front. Nothing changes between legs that are close to each
    other, and if a leg lacks a joint above the hem.
    """
    if not (_has_legs(source_pose, hem) and _has_legs(target_pose, hem)):
        return layers
    size = layers.matte.shape
    # Points of a mesh that are half a pixel apart, so that it has no holes.
    shape = _Legs.of(target_pose, *hem.heights(len(_HEIGHTS)))
    rows, columns = (2 * round(min(length, max(size))) + 2 for length in (shape.longest, shape.apart.max()))
    heights, across = hem.heights(rows), np.linspace(0, 1, columns, dtype=np.float32)
    source_legs, legs = _Legs.of(source_pose, *heights), _Legs.of(target_pose, *heights)
    mesh = legs.between(across)
    lacking = _lacking(_sampled(layers.matte, mesh), legs, torso_length(target_pose))
    lacking *= ramp(np.minimum(*heights), *_FADE)[:, None] * ramp(np.minimum(across, 1 - across), *_SIDE)
    places, weight = _rasterized(mesh, source_legs.between(across), lacking, size)
    arms = cv2.GaussianBlur(arm_areas(target_pose, size, hand=_HAND), (0, 0), 1) * (layers.matte > LIKELY)
    weight = np.asarray(weight * (1 - arms) * source.cover_at(places), np.float32)
    region = region_around(weight > 0)
    if region is None:
        return layers
    cloth = _cloth(source, source_pose, places, weight > 0, region)
    return layers.with_part(_in_front(cloth, layers, weight, source, region), region)


def _lacking(matte: Float32Array, legs: _Legs, torso: float) -> Float32Array:
    """(N, M) in [0, 1]: how much of the cloth is needed at points of a mesh between two legs, with N rows.

    `matte` (N, M) of what the network drew there; rows that it filled need no cloth. `torso`: its length in pixels.
    """
    near = min(2 * round(_ABOVE_GAP * torso) + 1, len(matte))  # rows, which are half a pixel apart
    gap = ramp((1 - matte).mean(axis=1) * legs.apart, *_GAP)[None]
    gap = cv2.blur(cv2.dilate(gap, np.ones((1, 2 * near + 1), np.uint8)), (near, 1))
    along = gap[0] * ramp(legs.apart / torso, *_CLOSE)
    # A hem that ends on a drawn leg would be a dark line.
    end = ramp(np.linspace(0, 1, len(matte), dtype=np.float32), *_END)
    return np.asarray(along[:, None] * (1 - matte * end[:, None]), np.float32)


def _cloth(source: SourceFrame, pose: Pose, places: Places, there: BoolArray, region: tuple[slice, slice]) -> Layers:
    """(h, w) a region of layers that show these places (H, W) of the source; where its arms hide it, colours around.

    `there` (H, W): where the places count.
    """
    size, torso = there.shape, torso_length(pose)
    around = disc(min(round(_AROUND_ARM * torso), max(size)))
    arms = cv2.dilate(arm_areas(pose, size, hand=_FINGERS), around)
    x, y = (part[region] for part in places)
    share = np.asarray(1 - cv2.remap(cv2.GaussianBlur(arms, (0, 0), 1), x, y, cv2.INTER_LINEAR), np.float32)
    moved = source.image_at((x, y))
    colours = spread(moved, share * there[region])
    drawn = np.asarray(colours + share[..., None] * (moved - colours), np.float32)
    rows, columns = (np.arange(side, dtype=np.float32)[part] for side, part in zip(size, region, strict=True))
    offset = np.asarray(np.dstack([x - columns, y - rows[:, None]]) / size[1], np.float32)
    return Layers(drawn, share, np.zeros_like(drawn), offset, np.ones_like(share))


def _in_front(
    cloth: Layers, layers: Layers, weight: Float32Array, source: SourceFrame, region: tuple[slice, slice]
) -> Layers:
    """(h, w) a region of layers (H, W) with cloth (h, w) in front. `weight` (H, W) in [0, 1] is that of the cloth."""
    below, weight = layers.part(region), weight[region]
    # Beside a leg the colours of the layers are those of the background.
    own = np.asarray(weight / (weight + (1 - weight) * np.maximum(below.matte, _LEAST)), np.float32)
    # The mean of two flows may lead to neither place, so one of them counts. Where they meet, both are drawn.
    joined = below.towards(cloth, own, offset=(own > LIKELY).astype(np.float32), drawn=own)
    apart = np.sqrt(squared(cloth.offset - below.offset)) * layers.matte.shape[1]
    both = ramp(apart, *_DIFFERENT) * np.minimum(1, 4 * np.minimum(own, 1 - own))
    shown = layers.mixed(source, region)
    shown += own[..., None] * (cloth.drawn - shown)
    joined = joined.with_drawn(shown, 1 - both, EVERYWHERE)
    joined = joined._replace(matte=below.matte + weight * (1 - below.matte))
    return below.replaced(joined, weight > 0)


def hem_of(cover: Float32Array, pose: Pose) -> Hem | None:
    """The hem of a skirt or a dress. None: no skirt is found.

    `cover` (H, W) in [0, 1]: where an image shows the person, whose pose is in its pixels. Between the legs a
    skirt is closed down to its hem. There the person becomes narrower at once, unlike between the legs of trousers.
    If an ankle is missing, a hem is only looked for above the knees.
    """
    if not _has_legs(pose, _KNEES):
        return None
    heights = _HEIGHTS if _has_legs(pose, _ANKLES) else _HEIGHTS[: len(_HEIGHTS) // 2 + 1]
    legs, torso = _Legs.of(pose, heights, heights), torso_length(pose)
    hips, knees = (np.array([leg[k, 1] for leg in legs]) for k in (0, len(_HEIGHTS) // 2))
    across = np.linspace(0, 1, _ACROSS, dtype=np.float32)
    between = _sampled(cover, legs.between(across)) > LIKELY
    filled = between.mean(axis=1)
    first = int(np.searchsorted(heights, _FIRST))
    opens = first + np.flatnonzero(filled[first:] < _FILLED)
    if (knees - hips).min() < _THIGH * torso or len(opens) == 0 or opens[0] == first:
        return None
    hem = int(opens[0])
    crosses = ((legs.left - legs.right)[: hem + 1, 0] * (legs.left - legs.right)[0, 0] <= 0).any()
    width = filled * legs.apart / torso + _beside(cover, legs, torso)
    above, below = (int(np.searchsorted(heights, heights[hem] + way)) for way in (-_ABOVE, _BELOW))
    below = min(below, len(heights) - 1)
    found = (
        heights[hem] >= _SHORTEST
        and not crosses
        and legs.apart[hem] >= _APART * torso
        and filled[hem : below + 1].min() <= _OPEN
        and width[max(first, above) : hem].mean() >= _NARROWER * width[below]
    )
    return _slanted(between[first : below + 1], heights[first : below + 1], across) if found else None


def _slanted(closed: BoolArray, heights: Float32Array, across: Float32Array) -> Hem:
    """The hem on both legs: a line through the first open place of each column of places (N, M) between them.

    `heights` (N,) of the rows, and `across` (M,), shares of the way between the legs. At least two columns are open.
    """
    open_columns = ~closed.all(axis=0)
    ends = heights[closed.argmin(axis=0)[open_columns]]
    slant = float(np.clip(np.polyfit(across[open_columns], ends, 1)[0], -_SLANT, _SLANT))
    middle = float(median(ends))
    return Hem(middle - slant / 2, middle + slant / 2)


def _has_legs(pose: Pose, hem: Hem) -> bool:
    """Whether all joints of both legs are there down to the hem, and not all of them in one place."""
    needed = [joint for leg, height in zip(_LEGS, hem, strict=True) for joint in leg[: 2 + (height > 1)]]
    return bool(pose.present[needed].all()) and torso_length(pose) > 0


def _beside(cover: Float32Array, legs: _Legs, torso: float) -> Float32Array:
    """(N,) torsos by which the person reaches beyond both legs, on the line through them."""
    across = (legs.left - legs.right) / np.maximum(legs.apart, 1e-6)[:, None]
    ways = np.linspace(0, _BESIDE * torso, _ACROSS)[:, None]
    reached = np.zeros(len(across), np.float32)
    for leg, way in ((legs.right, -across), (legs.left, across)):
        places = np.asarray(leg[:, None] + ways * way[:, None], np.float32)
        reached += np.cumprod(_sampled(cover, places) > LIKELY, axis=1).mean(axis=1)
    return _BESIDE * reached


def _sampled(cover: Float32Array, places: Float32Array) -> Float32Array:
    """(N, M) a cover at places (N, M, 2)."""
    return np.asarray(cv2.remap(cover, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _rasterized(
    target: Float32Array, source: Float32Array, weight: Float32Array, size: Size
) -> tuple[Places, Float32Array]:
    """(H, W) each: x and y in the source of a fine mesh in an image, and its weight in [0, 1], which is 0 elsewhere.

    `target`, `source`: (N, M, 2) x, y of each point of the mesh; `weight` (N, M).
    """
    x, y = np.rint(target).astype(int).reshape(-1, 2).T
    inside = (x >= 0) & (y >= 0) & (x < size[1]) & (y < size[0])
    cells = (y * size[1] + x)[inside]
    count = np.bincount(cells, minlength=size[0] * size[1])
    values = np.column_stack([source.reshape(-1, 2), weight.reshape(-1, 1)])[inside]
    sums = np.stack([np.bincount(cells, value, len(count)) for value in values.T], axis=1)
    mean = np.asarray(sums / np.maximum(count, 1)[:, None], np.float32).reshape(*size, 3)
    source_x, source_y = cv2.split(spread(mean[..., :2], (count > 0).reshape(size)))
    return (np.asarray(source_x, np.float32), np.asarray(source_y, np.float32)), np.ascontiguousarray(mean[..., 2])
