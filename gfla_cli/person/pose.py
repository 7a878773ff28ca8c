"""A pose: 18 joints of one person in OpenPose's order, in pixels of an image of known size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from gfla_cli.arrays import BoolArray, Float32Array
from gfla_cli.errors import DetectionError, LandmarkError, UsageError
from gfla_cli.geometry.crop import Box, Crop, Size, box_of

JOINTS = (
    "nose", "neck",
    "right shoulder", "right elbow", "right wrist",  # right is the person's own right
    "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle",
    "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
FACE = (0, 14, 15, 16, 17)
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7),
    (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
MIRRORED = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
MISSING = (-1.0, -1.0, 0.0)
LEAST_CONFIDENCE = 0.05  # joints below it are missing: programs write a place for every joint, found or not
LARGEST_IMAGE_SIDE = 100_000  # pixels; beyond it a size is a typing error


@dataclass(frozen=True, eq=False)
class Pose:
    """18 joints of one person. Joints may lie outside the frame; `within_frame` drops those.

    Joints with a confidence below LEAST_CONFIDENCE become missing.
    """

    points: Float32Array  # (18, 3): x, y in pixels, confidence in [0.05, 1]; missing = (-1, -1, 0)
    size: tuple[int, int]  # height, width of the image that x and y refer to
    # (18,) distance of the joints from the camera in pixels, with any zero; None where it is unknown.
    depths: Float32Array | None = None

    def __post_init__(self) -> None:
        """Normalises missing joints. Raises LandmarkError for a wrong shape, NaN, or values out of range."""
        height, width = (int(side) for side in self.size)
        if not (1 <= height <= LARGEST_IMAGE_SIDE and 1 <= width <= LARGEST_IMAGE_SIDE):
            raise LandmarkError(f"an image cannot be {width}x{height} pixels", hint="size is [height, width]")
        points = np.array(self.points, dtype=np.float32)
        if points.shape != (len(JOINTS), 3):
            raise LandmarkError(f"a pose is 18 joints of x, y, confidence, got an array of shape {points.shape}")
        if not np.isfinite(points).all():
            raise LandmarkError("a pose holds NaN or infinite numbers", hint="missing joints are written as -1, -1, 0")
        if points[:, 2].max() > 1:
            raise LandmarkError(f"confidences go from 0 to 1, got {points[:, 2].max():g}", hint="x, y, confidence")
        points[points[:, 2] < LEAST_CONFIDENCE] = MISSING
        points.flags.writeable = False
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "size", (height, width))
        if self.depths is not None:
            depths = np.array(self.depths, dtype=np.float32)
            if depths.shape != (len(JOINTS),) or not np.isfinite(depths).all():
                raise LandmarkError("the depths of a pose are 18 finite numbers", hint="leave them out")
            depths.flags.writeable = False
            object.__setattr__(self, "depths", depths)

    @classmethod
    def of(cls, points: Float32Array, size: tuple[int, int]) -> Pose:
        """From (18, 3) points, or (18, 4) with depths as in `deep_points`."""
        known = points.shape[1] > 3 and bool(np.isfinite(points[:, 3]).all())
        return cls(points[:, :3], size, points[:, 3] if known else None)

    @property
    def deep_points(self) -> Float32Array:
        """(18, 4) the points and their depths; NaN where they are unknown."""
        depths = np.full(len(JOINTS), np.nan, np.float32) if self.depths is None else self.depths
        return np.column_stack([self.points, depths])

    @property
    def known_points(self) -> Float32Array:
        """(18, 3) the points, or (18, 4) with their depths where they are known."""
        return self.points if self.depths is None else self.deep_points

    @property
    def present(self) -> BoolArray:
        """(18,) which joints are present."""
        return np.asarray(self.points[:, 2] > 0)

    @property
    def box(self) -> Box:
        """Left, top, right, bottom of the present joints, as points; all zero without joints."""
        there = self.points[self.present, :2]
        return box_of(there) if len(there) else (0.0, 0.0, 0.0, 0.0)

    @property
    def prominence(self) -> float:
        """Size in pixels times mean confidence: the person of an image has more of it than a false detection."""
        return extent(self.box) * float(self.points[self.present, 2].mean()) if self.present.any() else 0.0

    def cropped(self, crop: Crop) -> Pose:
        """The same pose in a crop of its image. A crop that mirrors swaps left and right joints."""
        pose = self.transformed(crop.matrix, crop.size)
        return pose._swapped() if crop.flip else pose

    def scaled(self, size: Size) -> Pose:
        """The same pose in its image resized to `size` (height, width)."""
        return self.cropped(Crop.whole(self.size, size))

    def transformed(self, matrix: ArrayLike, size: Size) -> Pose:
        """Moved by a 2x3 affine matrix, as cv2.warpAffine moves pixels, into an image of `size` (height, width)."""
        affine = np.asarray(matrix, dtype=np.float64)
        points = self.points.copy()
        points[:, :2] = points[:, :2] @ affine[:, :2].T + affine[:, 2]  # missing joints go back to -1 below
        scale = math.sqrt(abs(float(np.linalg.det(affine[:, :2]))))
        return Pose(points, size, None if self.depths is None else self.depths * np.float32(scale))

    def _swapped(self) -> Pose:
        order = list(MIRRORED)
        return Pose(self.points[order], self.size, None if self.depths is None else self.depths[order])

    def within_frame(self, tolerance: float = 0.02) -> Pose:
        """Joints further outside than `tolerance` (of the frame's side) become missing, the rest move to the border."""
        last = np.array([self.size[1] - 1, self.size[0] - 1], np.float32)
        slack = tolerance * (last + 1)
        points = self.points.copy()
        outside = ((points[:, :2] < -slack) | (points[:, :2] > last + slack)).any(axis=1)
        points[:, :2] = points[:, :2].clip(0, last)
        points[outside] = MISSING
        return Pose(points, self.size, self.depths)


class _Boxed(Protocol):
    @property
    def box(self) -> Box: ...

    @property
    def prominence(self) -> float: ...


_Person = TypeVar("_Person", bound=_Boxed)
WhichPerson = str | int  # "largest", "left", "right", or a number from the left, see `choose_person`


def choose_person(
    people: Sequence[_Person],
    which: WhichPerson = "largest",
    *,
    where: str = "the image",
    notes: list[str] | None = None,
) -> _Person:
    """One of several people, poses or detections: "largest", "left", "right", or N, counted from the left, from 1.

    "largest" is the one with the largest size times confidence.

    Adds a line to `notes` when "largest" had a choice. `where` is the image's name in messages. Raises DetectionError
    when there is no person or no N-th one, UsageError for any other `which`.
    """
    from_left = sorted(people, key=lambda person: person.box[0] + person.box[2])
    if str(which).isdecimal() and int(which) >= 1:
        place = int(which) - 1
    elif which in ("largest", "left", "right"):
        place = {"largest": -1, "left": 0, "right": len(people) - 1}[str(which)]
    else:
        raise UsageError(f"unknown person: {which}", hint="known: largest, left, right, or a number from 1")
    if not people:
        hint = "use an image in which most of one person is visible and at least a third of its height"
        raise DetectionError(f"{where}: no person found", hint=hint)
    if place >= len(people):
        count = "1 person was" if len(people) == 1 else f"{len(people)} people were"
        raise DetectionError(f"{where}: person {which} was asked for, {count} found", hint="--person largest")
    if which == "largest":
        if len(people) > 1 and notes is not None:
            notes.append(f"{where}: {len(people)} people found, took the largest; --person left|right|N picks another")
        return max(people, key=lambda person: person.prominence)
    return from_left[place]


def shortest_decimals(values: Float32Array) -> list[Any]:
    """The array as nested lists of the shortest decimals that read back as the same float32."""
    decimals: list[Any] = np.asarray(values, np.float32).astype(np.str_).astype(np.float64).tolist()
    return decimals


def extent(box: Box) -> float:
    """The diagonal of a box. Its area would be small for a person who stands straight."""
    return math.hypot(box[2] - box[0], box[3] - box[1])


_NEAR = 0.1  # of the longer side: joints of one person, annotated and detected, are nearer to each other
_FEWEST_SHARED = 4  # joints that two poses need in common to be compared


def nearest_person(people: Sequence[Pose], points: Float32Array) -> Pose | None:
    """The pose in `people` whose joints are nearest to `points` (18, 3), all in pixels of one frame.

    None when no pose is near enough to be the same person.
    """
    distances = {}
    for pose in people:
        shared = pose.present & (points[:, 2] > 0)
        if shared.sum() >= _FEWEST_SHARED:
            distance = np.linalg.norm(pose.points[shared, :2] - points[shared, :2], axis=1).mean()
            distances[float(distance)] = pose
    nearest = min(distances, default=None)
    if nearest is None or nearest > _NEAR * max(distances[nearest].size):
        return None
    return distances[nearest]
