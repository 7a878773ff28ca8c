"""Where the photographer stands and what the picture shows of a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gfla_cli.rendering import rotations
from gfla_cli.rendering.camera import Camera
from gfla_cli.rendering.chance import choose
from gfla_cli.rendering.character import Character
from gfla_cli.rendering.posing import Posed
from gfla_cli.rendering.skeleton import Skeleton

Crop = Literal["full", "three_quarter", "upper", "head"]
Direction = Literal["front", "three_quarter", "side", "back"]

CROPS: Mapping[Crop, float] = {"full": 0.45, "three_quarter": 0.25, "upper": 0.22, "head": 0.08}
DIRECTIONS: Mapping[Direction, float] = {"front": 0.45, "three_quarter": 0.25, "side": 0.12, "back": 0.18}
MARGINS = (0.03, 0.16)  # least and most of the free border, as a share of what is shown

_DISTANCE: Mapping[Crop, tuple[float, float]] = {  # dm
    "full": (30, 60),
    "three_quarter": (26, 50),
    "upper": (20, 40),
    "head": (11, 22),
}
_LOWEST_BONE: Mapping[Crop, str] = {"three_quarter": "lowerleg01", "upper": "upperleg01"}
_BELOW_BONE = 0.25  # dm shown below that joint
_ABOVE_HEAD, _BELOW_HEAD, _AROUND_HEAD = 2.2, 2.0, 2.0  # dm shown around the joint of the head in a head crop
_SIDEWAYS = 0.82  # share of the width that a body cut off below must have in the picture


@dataclass(frozen=True, slots=True)
class Shot:
    """How a picture of a person is taken."""

    crop: Crop  # all of the person, to the knees, to the hips, or the head
    yaw_deg: float  # 0 = from the front, 90 = from the person's left
    distance: float  # dm
    pitch_deg: float = 0.0  # > 0 = from above
    margin: float = 0.08  # free border, as a share of the person
    shift: tuple[float, float] = (0.0, 0.0)  # of the person in the picture, right and down, as a share of its side


def sample_shot(
    rng: np.random.Generator,
    crop: Crop | None = None,
    *,
    crops: Mapping[Crop, float] = CROPS,
    directions: Mapping[Direction, float] = DIRECTIONS,
    margins: tuple[float, float] = MARGINS,
) -> Shot:
    """A shot with the given crop, or one drawn with these shares, from a direction drawn with those."""
    crop = crop or choose(rng, crops)
    yaw_deg = _sample_yaw(rng, choose(rng, directions))
    distance, pitch_deg = rng.uniform(*_DISTANCE[crop]), rng.normal(3, 4)
    margin, shift = rng.uniform(*margins), (rng.normal(0, 0.02), rng.normal(0, 0.012))
    return Shot(crop, yaw_deg, distance, pitch_deg, margin, shift)


def _sample_yaw(rng: np.random.Generator, direction: Direction) -> float:
    """Degrees."""
    side = rng.choice([-1, 1])
    match direction:
        case "front":
            return rng.normal(0, 18)
        case "three_quarter":
            return float(side * rng.uniform(25, 80))
        case "side":
            return float(side * rng.normal(90, 12))
        case "back":
            return rng.normal(180, 25)


def frame(skeleton: Skeleton, character: Character, posed: Posed, shot: Shot, size: int) -> Camera:
    """The camera that takes a shot of a posed character, the crop filling a picture of size x size pixels."""
    head = skeleton.index["head"]
    rotation = rotations.to_matrix([np.radians(shot.pitch_deg), 0, 0]) @ rotations.to_matrix(
        [0, -np.radians(shot.yaw_deg), 0]
    )
    if shot.crop == "head":
        target = posed.joints[head] + posed.head @ np.array([0, 0.4, 0.6])
    else:
        target = posed.joints[skeleton.index["spine03"]]
    unit = Camera(rotation, target, shot.distance, focal_px=1.0, centre_px=(0.0, 0.0), size=size)
    points = unit.project(posed.vertices[character.mesh.drawn])[:, :2]
    joints = unit.project(posed.joints)[:, :2]
    if shot.crop == "head":
        around = joints[head]
        top, bottom = around[1] - _ABOVE_HEAD / shot.distance, around[1] + _BELOW_HEAD / shot.distance
        points = points[np.hypot(*(points - around).T) < _AROUND_HEAD / shot.distance]
    else:
        top, bottom = points[:, 1].min(), points[:, 1].max()
        if bone := _LOWEST_BONE.get(shot.crop):
            lowest = max(joints[skeleton.index[f"{bone}.{side}"], 1] for side in "LR")
            bottom = min(bottom, lowest + _BELOW_BONE / shot.distance)
        points = points[points[:, 1] <= bottom]
    left, right = points[:, 0].min(), points[:, 0].max()

    share_of_width = 1.0 if shot.crop in ("full", "head") else _SIDEWAYS
    focal_px = size / (max(bottom - top, (right - left) * share_of_width) * (1 + shot.margin))
    x = size / 2 - focal_px * (left + right) / 2 + shot.shift[0] * size
    y = size / 2 - focal_px * (top + bottom) / 2 + shot.shift[1] * size
    return replace(unit, focal_px=focal_px, centre_px=(x, y))
