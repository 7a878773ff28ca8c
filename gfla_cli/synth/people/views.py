"""One view of a person: a pose, a camera, the image, and where joints and landmarks are in it.

Lengths are decimetres (dm), angles radians unless a name says degrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.body import Expression, Skeleton
from gfla_cli.synth.people.character import Character
from gfla_cli.synth.people.mesh import linear_blend_skinning, vertex_normals
from gfla_cli.synth.renderer.camera import Camera, rotation_matrix, view_rotation
from gfla_cli.synth.renderer.procedural import choose
from gfla_cli.synth.renderer.render import RenderedImage, Scene, render

_RELAXED = (0.5, 0.5)  # curl of the left and right fingers, 0 = straight, 1 = fist


@dataclass(frozen=True, slots=True, eq=False)
class PosedCharacter:
    """A character in a pose: n vertices, of which the first V are those of the base mesh."""

    vertices: Float32Array  # (n,3)
    normals: Float32Array  # (n,3) unit length
    joints: Float64Array  # (B,3)
    head: Float64Array  # (3,3) rotation of the head from its rest position


def pose_character(
    pack: Pack,
    character: Character,
    pose: Float64Array,
    expression: Expression | None = None,
    curl: tuple[float, float] = _RELAXED,
) -> PosedCharacter:
    """Bends a character into a pose by linear blend skinning.

    pose: local axis-angle (P,3) for the bones of the pack's pose library. expression: None = neutral.
    curl: of the left and right fingers, 0 = straight, 1 = fist.
    """
    expression = expression or Expression()
    base = character.body.vertices
    weights = np.array([expression.units.get(unit, 0.0) for unit in pack.shapes.expression_units], np.float32)
    if weights.any():
        base = base.copy()
        base[pack.shapes.expression_vertices] += (weights @ character.expression_basis).reshape(-1, 3)
    binding, skeleton = character.binding, pack.skeleton

    turn = np.zeros((len(skeleton.parent), 3))
    turn[pack.poses.bones] = pose
    turn[skeleton.index["jaw"], 0] = expression.jaw
    for side, amount in zip("LR", curl, strict=True):
        yaw, pitch = expression.gaze
        turn[skeleton.index[f"eye.{side}"], :2] = -pitch, yaw
        _curl_fingers(turn, character.joints, skeleton.index, side, amount)

    rotation, joints = skeleton.forward_kinematics(rotation_matrix(turn), character.joints)
    shift = joints - np.einsum("ijk,ik->ij", rotation, character.joints)
    vertices = linear_blend_skinning(binding.vertices_on(base), binding.bone, binding.weight, rotation, shift)
    normals = vertex_normals(vertices, character.mesh.triangles)
    return PosedCharacter(vertices, normals, joints, rotation[skeleton.index["head"]])


def _curl_fingers(turn: Float64Array, joints: Float64Array, bone: Mapping[str, int], side: str, amount: float) -> None:
    """Adds to turn (B,3): rotations of four fingers around the line of the knuckles. joints: (B,3) at rest."""

    def joint(finger: int, link: int) -> Float64Array:
        at: Float64Array = joints[bone[f"finger{finger}-{link}.{side}"]]
        return at

    knuckles = joint(5, 1) - joint(2, 1)
    knuckles /= np.linalg.norm(knuckles)
    if np.cross(knuckles, joint(3, 2) - joint(3, 1))[1] > 0:  # with this sign a positive angle closes the hand
        knuckles = -knuckles
    for finger in range(2, 6):
        for link in (1, 2, 3):
            angle = amount * (0.22 + 0.05 * finger + (0.22 if link > 1 else 0))
            turn[bone[f"finger{finger}-{link}.{side}"]] = knuckles * angle


Crop = Literal["full", "three_quarter", "upper", "head"]
Direction = Literal["front", "three_quarter", "side", "back"]

DIRECTIONS: Mapping[Direction, float] = {"front": 0.45, "three_quarter": 0.25, "side": 0.12, "back": 0.18}
MARGINS = (0.03, 0.16)  # least and most free border, as a share of what is shown

_DISTANCE: Mapping[Crop, tuple[float, float]] = {  # least and most, dm
    "full": (30, 60), "three_quarter": (26, 50), "upper": (20, 40), "head": (11, 22),
}  # fmt: skip
_LOWEST_BONE: Mapping[Crop, str] = {"three_quarter": "lowerleg01", "upper": "upperleg01"}
_BELOW_BONE = 0.25  # dm shown below that joint
_ABOVE_HEAD, _BELOW_HEAD, _AROUND_HEAD = 2.2, 2.0, 2.0  # dm shown around the joint of the head in a head crop
_CUT_OFF_WIDTH = 0.82  # share of its width that a body must have in the image if the image cuts it off below


@dataclass(frozen=True, slots=True)
class Shot:
    """How an image of a person is taken."""

    crop: Crop  # all of the person, to the knees, to the hips, or the head
    yaw_deg: float  # 0 = from the front, 90 = from the person's left
    distance: float  # dm
    pitch_deg: float = 0.0  # > 0 = from above
    margin: float = 0.08  # free border, as a share of the person
    shift: tuple[float, float] = (0.0, 0.0)  # of the person, right and down, as a share of the image's side


def sample_shot(
    rng: np.random.Generator,
    crop: Crop,
    *,
    directions: Mapping[Direction, float] = DIRECTIONS,
    margins: tuple[float, float] = MARGINS,
) -> Shot:
    """A random shot. directions: shares; margins: least and most free border, as a share of what is shown."""
    yaw_deg = _sample_yaw(rng, choose(rng, directions))
    distance, pitch_deg = rng.uniform(*_DISTANCE[crop]), rng.normal(3, 4)
    margin, shift = rng.uniform(*margins), (rng.normal(0, 0.02), rng.normal(0, 0.012))
    return Shot(crop, yaw_deg, distance, pitch_deg, margin, shift)


def _sample_yaw(rng: np.random.Generator, direction: Direction) -> float:
    """A yaw in degrees; left and right are equally likely."""
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


def aim_camera(skeleton: Skeleton, character: Character, posed: PosedCharacter, shot: Shot, size: int) -> Camera:
    """The camera for a shot of a posed character: the crop fills an image of size x size pixels."""
    head = skeleton.index["head"]
    rotation = view_rotation(shot.yaw_deg, shot.pitch_deg)
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

    share_of_width = 1.0 if shot.crop in ("full", "head") else _CUT_OFF_WIDTH
    focal_px = size / (max(bottom - top, (right - left) * share_of_width) * (1 + shot.margin))
    x = size / 2 - focal_px * (left + right) / 2 + shot.shift[0] * size
    y = size / 2 - focal_px * (top + bottom) / 2 + shot.shift[1] * size
    return replace(unit, focal_px=focal_px, centre_px=(x, y))


_KEYPOINT_DEPTH = {  # in OpenPose's COCO order, R = the person's own right; dm by which each lies under the surface
    "nose": 0.3, "neck": 1.5, "Rsho": 1.3, "Relb": 1.1, "Rwri": 0.8, "Lsho": 1.3, "Lelb": 1.1, "Lwri": 0.8, "Rhip": 2.0,
    "Rkne": 1.4, "Rank": 1.3, "Lhip": 2.0, "Lkne": 1.4, "Lank": 1.3, "Reye": 0.4, "Leye": 0.4, "Rear": 0.8, "Lear": 0.8,
}  # fmt: skip
KEYPOINTS = tuple(_KEYPOINT_DEPTH)
HALF_PIXEL = 0.5  # the camera's origin is the image's corner; keypoints count from the centre of the first pixel
_HIPS = [KEYPOINTS.index("Rhip"), KEYPOINTS.index("Lhip")]
_LIMBS = (("upperarm01", "lowerarm01", "wrist"), ("upperleg01", "lowerleg01", "foot"))
_CLOSE_UP = 6.0  # dm; if an image shows less than this, only the head casts shadows
_HEAD_REACH = 3.2  # dm around the joint of the head


@dataclass(frozen=True, slots=True, eq=False)
class View(RenderedImage):
    """An image of a character with annotations. x and y are pixels, counted from the centre of the first pixel.

    `surface` holds points of the character at rest, with clothes, in dm. Two views of one character show the same point
    of it where their surface maps hold the same value.
    """

    keypoints: Float32Array  # (18,3) x, y and 1 = visible, 0 = hidden; (-1, -1, 0) outside of the image
    depths: Float32Array  # (18,) of all keypoints, pixels behind the middle of the hips
    landmarks: Float32Array  # (68,2) x, y of the face landmarks in iBUG order; hidden ones are not marked
    irises: Float32Array  # (2,2) x, y of the middles of the right and left iris, hidden or not; NaN = unknown


def photograph(pack: Pack, character: Character, posed: PosedCharacter, camera: Camera, scene: Scene) -> View:
    """The view that a camera takes of a posed character."""
    head = posed.joints[pack.skeleton.index["head"]]
    rendered = render(
        character.mesh,
        posed.vertices,
        posed.normals,
        character.rest,
        camera,
        scene,
        shadow_box=(head - _HEAD_REACH, head + _HEAD_REACH) if camera.scale_px * _CLOSE_UP > camera.size else None,
    )
    keypoints, depths = _keypoints(pack, posed, camera, rendered.inverse_depth)
    landmarks = camera.project(posed.vertices[pack.base.landmark])[:, :2].astype(np.float32)
    irises = np.full((2, 2), np.nan, np.float32)
    if character.irises is not None:
        irises = camera.project(character.irises.on(posed.vertices))[:, :2].astype(np.float32)
    return View(
        image=rendered.image,
        mask=rendered.mask,
        inverse_depth=rendered.inverse_depth,
        surface=rendered.surface,
        keypoints=keypoints,
        depths=depths,
        landmarks=landmarks - np.float32(HALF_PIXEL),
        irises=irises - np.float32(HALF_PIXEL),
    )


def _keypoints(
    pack: Pack, posed: PosedCharacter, camera: Camera, inverse_depth: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """`keypoints` and `depths` of a View. inverse_depth: (s,s) of the same image.

    Body points are joint centres; the neck is the middle of the shoulders. A point is visible unless another surface is
    in front of the one that it lies under.
    """
    bone = pack.skeleton.index
    nose, *eyes_and_ears = (posed.vertices[vertices].mean(0) for vertices in pack.base.keypoint)
    limbs = [posed.joints[bone[f"{name}.{side}"]] for limb in _LIMBS for side in "RL" for name in limb]
    neck = (limbs[0] + limbs[3]) / 2
    points = camera.project(np.array([nose, neck, *limbs, *eyes_and_ears]))  # (18,3) x, y in pixels, depth in dm

    keypoints = np.tile(np.array([-1, -1, 0], np.float32), (len(points), 1))
    for row, ((x, y, depth), inside) in enumerate(zip(points, _KEYPOINT_DEPTH.values(), strict=True)):
        if 0 <= x < camera.size and 0 <= y < camera.size:
            seen = inverse_depth[int(y), int(x)]
            keypoints[row] = max(x - HALF_PIXEL, 0), max(y - HALF_PIXEL, 0), seen == 0 or 1 / seen > depth - inside
    depth = points[:, 2]
    middle = depth[_HIPS].mean()
    return keypoints, np.asarray((depth - middle) * camera.focal_px / middle, np.float32)
