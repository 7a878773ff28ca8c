"""Bodies: gives poses of a driver the size, the place and the build of the source's body."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gfla_cli.arrays import Float64Array, median
from gfla_cli.geometry.paste import ramp
from gfla_cli.person.body import anchor, has_feet, torso_length
from gfla_cli.person.pose import Pose

_UPRIGHT = 80  # percentile of the torso's length: a leaning torso looks shorter than it is, never longer
_PLACE = [0, 1, 3]  # columns of joints with depths: x, y, depth
_NECK, _SHOULDERS, _HIPS, _WRISTS = 1, [2, 5], [8, 11], [4, 7]  # right, left
_WITH_NECK = [0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17]  # joints that move with the neck
_WITH_SHOULDER, _WITH_HIP = ([2, 3, 4], [5, 6, 7]), ([8, 9, 10], [11, 12, 13])
# Joints of the bones on the right and on the left, and how much they tell about the size of a body. The weights
# are for joints that MediaPipe found in 120 pairs of rendered people.
_BONES = (
    ((8, 9), (11, 12), 1.0),
    ((9, 10), (12, 13), 1.0),
    ((2, 3), (5, 6), 0.5),
    ((3, 4), (6, 7), 0.2),
    ((2, 5), (2, 5), 0.3),
)
_WEIGHTS = np.array([weight for *_, weight in _BONES] + [1.0])
_TRUNK = len(_BONES)  # the last one
_TRUSTED = 0.5  # share of a difference of trunks that is no error of the detector, for the same pairs
_LEAST_WEIGHT = 0.8  # of all bones that both bodies show; with less the size comes from the torsos
_AGREES = 1.5  # factor between both sizes; bones that differ by more have wrong depths
# Shares of a squared width that lie in the image plane: below the first the width is unknown, above the second right.
_TURNED, _FRONTAL = 0.6, 0.95
_LEAST, _MOST = 0.7, 1.4  # limits of the factors
_TOUCHING = 0.45, 0.25  # trunks between a wrist and the other one, or a hip: below the second they stay together


@dataclass(frozen=True, slots=True)
class Build:
    """How the body of a source differs from that of a driver."""

    scale: float  # the source's size over the driver's, both in pixels of their images
    trunk: float = 1.0  # factor of the length from the hips to the neck, beside `scale`
    shoulders: float = 1.0  # the same of the widths
    hips: float = 1.0

    @classmethod
    def of(cls, source: Pose, driving: Sequence[Pose]) -> Build:
        """From the source and one or more poses of the driver.

        With depths the lengths of bones are compared, else the lengths of the torsos.
        """
        known = [pose for pose in driving if pose.depths is not None]
        torsos = _ratio_of_torsos(source, driving)
        if source.depths is None or not known:
            return cls(torsos)
        lengths, found = _lengths(source), np.stack([_lengths(pose) for pose in known])
        both = np.isfinite(lengths) & np.isfinite(found)  # (poses, bones, 2)
        own, other = (np.where(both, x, 0).sum(axis=2) for x in (lengths, found))
        seen = (own > 0) & (other > 0)
        ratios = np.log(np.where(seen, own, 1) / np.where(seen, other, 1))
        compared = seen.any(axis=0)
        if _WEIGHTS[compared].sum() < _LEAST_WEIGHT:
            return cls(torsos)
        bones = np.array([median(x[there]) if there.any() else 0 for x, there in zip(ratios.T, seen.T, strict=True)])
        size = float(np.average(bones, weights=_WEIGHTS * compared))
        if abs(size - math.log(torsos)) > math.log(_AGREES):
            return cls(torsos)
        trunk = math.exp(_TRUSTED * (bones[_TRUNK] - size)) if compared[_TRUNK] else 1.0
        shoulders, hips = (_width_factor(source, known, pair, size) for pair in (_SHOULDERS, _HIPS))
        return cls(math.exp(size), *(min(max(factor, _LEAST), _MOST) for factor in (trunk, shoulders, hips)))

    def given_to(self, pose: Pose) -> Pose:
        """A pose of the driver with the source's build, but in the driver's size.

        Limbs keep their directions. Hands that touch each other or a hip stay there.
        """
        places = _places(pose)
        shifts = np.zeros_like(places)
        along = places[_NECK] - _middle(places[_HIPS])  # NaN where joints are missing, which moves nothing
        shifts[_WITH_NECK] += (self.trunk - 1) * np.nan_to_num(along)
        for middle, joints, factor in (
            (places[_NECK], _WITH_SHOULDER, self.shoulders),
            (_middle(places[_HIPS]), _WITH_HIP, self.hips),
        ):
            for limb in joints:
                shifts[limb] += (factor - 1) * np.nan_to_num(places[limb[0]] - middle)
        _keep_touching(places, shifts)
        points = pose.deep_points.copy()
        points[:, _PLACE] += np.where(pose.present[:, None], shifts, 0)
        return Pose.of(points, pose.size)


def _keep_touching(places: Float64Array, shifts: Float64Array) -> None:
    """Changes the shifts (18, 3) of wrists that are near each other or a hip, in place."""
    trunk = float(np.linalg.norm(places[_NECK] - _middle(places[_HIPS])))
    own = shifts.copy()
    for (wrist, other), hip in zip((_WRISTS, _WRISTS[::-1]), _HIPS, strict=True):
        for partner, goal in ((hip, own[hip]), (other, own[_WRISTS].mean(axis=0))):
            way = float(np.linalg.norm(places[wrist] - places[partner]))
            if trunk > 0 and math.isfinite(way):
                near = float(ramp(way / trunk, *_TOUCHING))
                shifts[wrist] += near * (goal - shifts[wrist])
        shifts[wrist - 1] += (shifts[wrist] - own[wrist]) / 2  # the elbow


def _middle(places: Float64Array) -> Float64Array:
    """(3,) the mean of those of (2, 3) places that are known; NaN if none is."""
    known = places[np.isfinite(places).all(axis=1)]
    if not len(known):
        return np.array([math.nan] * 3)
    return np.asarray(known.mean(axis=0), np.float64)


def _ratio_of_torsos(source: Pose, driving: Sequence[Pose]) -> float:
    lengths = [length for pose in driving if (length := torso_length(pose)) > 0]
    wanted, found = torso_length(source), float(np.percentile(lengths, _UPRIGHT)) if lengths else 0.0
    return wanted / found if wanted > 0 and found > 0 else 1.0


def _places(pose: Pose) -> Float64Array:
    """(18, 3) x, y, depth of the joints; NaN where they are missing. Unknown depths are 0."""
    places = np.zeros((len(pose.points), 3))
    places[:, :2] = pose.points[:, :2]
    if pose.depths is not None:
        places[:, 2] = pose.depths
    places[~pose.present] = np.nan
    return places


def _lengths(pose: Pose) -> Float64Array:
    """(6, 2) lengths of `_BONES` and of the trunk in pixels, right and left; NaN where a joint is missing."""
    places = _places(pose)
    ends = np.array([bone[:2] for bone in _BONES])  # (5, 2, 2)
    bones = np.linalg.norm(places[ends[..., 0]] - places[ends[..., 1]], axis=2)
    trunk = np.linalg.norm(places[_NECK] - _middle(places[_HIPS]))
    return np.concatenate([bones, [[trunk, trunk]]])


def _width_factor(source: Pose, driving: Sequence[Pose], pair: list[int], size: float) -> float:
    """The source's width over the driver's, beside the ratio of their sizes exp(`size`).

    `pair`: the joints. What a turned body shows is mostly depth, which is detected badly; it counts less.
    """
    showing = [pose for pose in driving if pose.present[pair].all()]
    if not showing or not source.present[pair].all():
        return 1.0
    across = np.stack([np.subtract(*_places(pose)[pair]) for pose in (source, *showing)])
    length = np.linalg.norm(across, axis=1).clip(min=1e-6)
    in_plane = (across[:, :2] ** 2).sum(axis=1) / length**2
    best = 1 + np.argsort(-in_plane[1:])[: max(1, len(showing) // 4)]  # the driver's most frontal poses
    sure = (min(in_plane[0], float(median(in_plane[best]))) - _TURNED) / (_FRONTAL - _TURNED)
    factor = math.log(length[0] / float(median(length[best]))) - size
    return math.exp(min(max(sure, 0.0), 1.0) * factor)


def aligned(target: Pose, source: Pose) -> Pose:
    """The target pose with the size, the place and the build of the source's body, in pixels of the source's image.

    Two bodies with feet stand on the same ground, other bodies meet at the neck. Joints may lie outside of the image.
    """
    return BodyMotion(source, [target])(target)


class BodyMotion:
    """Gives all poses of a driver the size, the place and the build of the source. They are fixed for the whole video.

    `driving`: some poses of the driver, for instance of the first seconds. Bodies that mostly show their feet are
    aligned at the ankles, others at the neck. `absolute`: the driver keeps its build and its place in the image; only
    the image's height is scaled to that of the source.
    """

    def __init__(self, source: Pose, driving: Sequence[Pose], *, absolute: bool = False) -> None:
        self._size = source.size
        self._feet = has_feet(source) and 2 * sum(has_feet(pose) for pose in driving) > len(driving)
        own = driving[0].size
        if absolute:
            scale = source.size[0] / own[0]
            self._build = Build(scale)
            shift = np.array([(source.size[1] - scale * own[1]) / 2, 0])
        else:
            self._build = Build.of(source, driving)
            scale, shift = self._build.scale, self._shift(source, driving)
        self._matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        self._ground = math.floor(scale * (own[0] - 0.5) + float(shift[1]) + 1)

    def _shift(self, source: Pose, driving: Sequence[Pose]) -> Float64Array:
        fitting = [pose for pose in driving if has_feet(pose)] if self._feet else driving
        places = [anchor(self._build.given_to(pose), feet=self._feet) for pose in fitting]
        return anchor(source, feet=self._feet) - self._build.scale * np.median(places, axis=0)

    def __call__(self, pose: Pose) -> Pose:
        """The driver's pose in the source's image; joints may lie outside of it."""
        moved = self._build.given_to(pose).transformed(self._matrix, self._size)
        if has_feet(pose):
            return moved
        # A body that is cut by its own image stays cut there, not where the source's image ends.
        return replace(moved, size=(max(1, min(self._ground, self._size[0])), self._size[1]))
