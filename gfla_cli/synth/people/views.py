"""Where the photographer stands and what the picture shows of a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array, Float64Array
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.body import Skeleton
from gfla_cli.synth.people.character import Character
from gfla_cli.synth.people.posing import PosedCharacter
from gfla_cli.synth.renderer.camera import Camera, rotation_matrix
from gfla_cli.synth.renderer.procedural import choose
from gfla_cli.synth.renderer.render import Box, Scene, render

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


def frame(skeleton: Skeleton, character: Character, posed: PosedCharacter, shot: Shot, size: int) -> Camera:
    """The camera that takes a shot of a posed character, the crop filling a picture of size x size pixels."""
    head = skeleton.index["head"]
    rotation = rotation_matrix([np.radians(shot.pitch_deg), 0, 0]) @ rotation_matrix([0, -np.radians(shot.yaw_deg), 0])
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


# Where joints and face landmarks are in a picture.


_KEYPOINT_DEPTH = {  # OpenPose's COCO order, R = the person's own right; how deep under the surface it lies, dm
    "nose": 0.3,
    "neck": 1.5,
    "Rsho": 1.3,
    "Relb": 1.1,
    "Rwri": 0.8,
    "Lsho": 1.3,
    "Lelb": 1.1,
    "Lwri": 0.8,
    "Rhip": 2.0,
    "Rkne": 1.4,
    "Rank": 1.3,
    "Lhip": 2.0,
    "Lkne": 1.4,
    "Lank": 1.3,
    "Reye": 0.4,
    "Leye": 0.4,
    "Rear": 0.8,
    "Lear": 0.8,
}
KEYPOINTS = tuple(_KEYPOINT_DEPTH)
_EDGE = 0.5  # pixels: the camera counts from the image's edge, points lie at pixel centres (geometry/crop.py)
_HIPS = [KEYPOINTS.index("Rhip"), KEYPOINTS.index("Lhip")]
_LIMBS = (("upperarm01", "lowerarm01", "wrist"), ("upperleg01", "lowerleg01", "foot"))


def body_keypoints(pack: Pack, posed: PosedCharacter, camera: Camera, inverse_depth: Float32Array) -> Float32Array:
    """The 18 KEYPOINTS (18,3): x and y as points of the image, and 1 = visible, 0 = hidden behind something.

    Body points are joint centres, the neck is the middle of the shoulders. Outside of the image x = y = -1.
    `inverse_depth`: (s,s) of the same image.
    """
    points = _projected(pack, posed, camera)
    keypoints = np.tile(np.array([-1, -1, 0], np.float32), (len(points), 1))
    for row, ((x, y, depth), inside) in enumerate(zip(points, _KEYPOINT_DEPTH.values(), strict=True)):
        if 0 <= x < camera.size and 0 <= y < camera.size:
            seen = inverse_depth[int(y), int(x)]
            keypoints[row] = max(x - _EDGE, 0), max(y - _EDGE, 0), seen == 0 or 1 / seen > depth - inside
    return keypoints


def keypoint_depths(pack: Pack, posed: PosedCharacter, camera: Camera) -> Float32Array:
    """How far the 18 KEYPOINTS (18,) are behind the middle of the hips, in pixels at its distance; before it: < 0."""
    depth = _projected(pack, posed, camera)[:, 2]
    middle = depth[_HIPS].mean()
    return np.asarray((depth - middle) * camera.focal_px / middle, np.float32)


def _projected(pack: Pack, posed: PosedCharacter, camera: Camera) -> Float64Array:
    """The 18 KEYPOINTS (18,3): x, y in pixels, and depth in dm."""
    bone = pack.skeleton.index
    nose, *eyes_and_ears = (posed.vertices[vertices].mean(0) for vertices in pack.base.keypoint)
    limbs = [posed.joints[bone[f"{name}.{side}"]] for limb in _LIMBS for side in "RL" for name in limb]
    neck = (limbs[0] + limbs[3]) / 2
    return camera.project(np.array([nose, neck, *limbs, *eyes_and_ears]))


def face_landmarks(pack: Pack, posed: PosedCharacter, camera: Camera) -> Float32Array:
    """The 68 landmarks (68,2) in iBUG order, points of the image. They are fixed points of the face, seen or hidden."""
    return camera.project(posed.vertices[pack.base.landmark])[:, :2].astype(np.float32) - np.float32(_EDGE)


# One picture of a person, with all that is known about it.


_CLOSE_UP = 6.0  # dm; a picture that shows less has its shadows computed for the head alone
_FACE_REACH = 3.2  # dm


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture of side s.

    surface[r, c] is the point of the character at rest, clothes included, seen in the middle of the 2 x 2 pixels from
    (2r, 2c) on: at x = 2c + 0.75, y = 2r + 0.75, pixel centres being at .5. NaN = background. Two views of one
    character show the same point of it where their surfaces hold the same value.
    """

    image: ByteArray  # (s,s,3) RGB
    mask: ByteArray  # (s,s) share of the pixel that the person covers, 0..255
    keypoints: Float32Array  # (18,3) points of the image and 1 = visible, 0 = hidden; -1, -1, 0 outside of it
    depths: Float32Array  # (18,) of the keypoints, pixels behind the middle of the hips; also of those outside
    landmarks: Float32Array  # (68,2) points of the image, iBUG order
    surface: Float32Array  # (s/2,s/2,3) dm
    inverse_depth: Float32Array  # (s,s) 1 / dm from the camera; 0 = background; clothes count as a little closer


def photograph(pack: Pack, character: Character, posed: PosedCharacter, camera: Camera, scene: Scene) -> View:
    """The picture that a camera takes of a posed character."""
    picture = render(
        character.mesh,
        posed.vertices,
        posed.normals,
        character.rest,
        camera,
        scene,
        shadow_box=_shadow_box(pack, posed, camera),
    )
    return View(
        image=picture.image,
        mask=picture.mask,
        keypoints=body_keypoints(pack, posed, camera, picture.inverse_depth),
        depths=keypoint_depths(pack, posed, camera),
        landmarks=face_landmarks(pack, posed, camera),
        surface=picture.surface,
        inverse_depth=picture.inverse_depth,
    )


def _shadow_box(pack: Pack, posed: PosedCharacter, camera: Camera) -> Box | None:
    if camera.scale_px * _CLOSE_UP <= camera.size:
        return None
    head = posed.joints[pack.skeleton.index["head"]]
    return head - _FACE_REACH, head + _FACE_REACH
