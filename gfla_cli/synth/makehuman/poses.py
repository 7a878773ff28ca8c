"""Poses: solved from limb directions, made by hand as in a catalogue, or read from MakeHuman's .bvh files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.synth.makehuman.figure import Figure, Rig
from gfla_cli.synth.makehuman.files import as_data_error
from gfla_cli.synth.renderer.camera import rotation_matrix, rotation_vector

_LIMBS = {  # bone -> the bone that starts where its limb ends
    **{"upperleg01": "lowerleg01", "lowerleg01": "foot", "foot": "toe2-1"},
    **{"upperarm01": "lowerarm01", "lowerarm01": "wrist"},
}
_BENDING_SPINE = ("spine05", "spine04", "spine03", "spine02")
_CLAVICLE_SHARE = 0.14  # of the turn of the upper arm
_NOT_POSED = ("finger", "jaw", "eye")


def unit(vector: Float64Array) -> Float64Array:
    """The vector scaled to length 1."""
    return vector / np.linalg.norm(vector)


def posed_bones(figure: Figure) -> tuple[str, ...]:
    """The P bones whose rotations make up a pose, parents first."""
    return tuple(bone for bone in figure.rig.bones if not bone.startswith(_NOT_POSED))


@dataclass(frozen=True, slots=True, eq=False)
class PoseSolver:
    """Solves for the bone rotations of a skeleton that point its limbs in given directions."""

    parent_of: Mapping[str, str | None]  # the P bones, parents first -> their parents
    limb: Mapping[str, Float64Array]  # bone -> vector (3,) of the limb that starts there, at rest
    neck: Float64Array  # (3,) from the first bone of the neck to the head, at rest

    @classmethod
    def of(cls, figure: Figure) -> PoseSolver:
        """The solver for the skeleton of the neutral person."""
        limb = {
            start + side: figure.joint(end + side) - figure.joint(start + side)
            for start, end in _LIMBS.items()
            for side in (".L", ".R")
        }
        parent_of = {bone: figure.rig.kept_parent(bone) for bone in posed_bones(figure)}
        return cls(parent_of, limb, figure.joint("head") - figure.joint("neck01"))

    def solve(
        self,
        directions: Mapping[str, Float64Array],
        *,
        root: Float64Array | None = None,
        chest: Float64Array | None = None,
        head: Float64Array | None = None,
        neck: Float64Array | None = None,
    ) -> Float64Array:
        """A pose (P,3): local axis-angle per bone, radians.

        directions: bone -> direction (3,) of its limb in the world, for all bones of arms and legs. root, chest:
        rotations (3,3) in the world. head: rotation (3,3) relative to the neck. neck: its direction (3,) in the world.
        None = as at rest.
        """
        straight = np.eye(3)
        root, chest = straight if root is None else root, straight if chest is None else chest
        share_of_spine = rotation_matrix(rotation_vector(root.T @ chest) / len(_BENDING_SPINE))
        world: dict[str, Float64Array] = {}
        pose = []
        for bone, parent in self.parent_of.items():
            before = world[parent] if parent else straight
            if bone == "root":
                local = root
            elif bone in _BENDING_SPINE:
                local = share_of_spine
            elif bone.startswith("clavicle"):  # it takes a part of the upper arm's turn, less of its swing
                arm = f"upperarm01{bone[-2:]}"
                turn = rotation_vector(rotation_between(self.limb[arm], before.T @ directions[arm]))
                local = rotation_matrix(_CLAVICLE_SHARE * turn * [1, 0.5, 1])
            elif bone in directions:
                local = _turned_to(before, self.limb[bone], directions[bone])
            elif bone == "neck01" and neck is not None:
                local = _turned_to(before, self.neck, neck)
            elif bone == "head" and head is not None:
                local = head
            else:
                local = straight
            world[bone] = before @ local
            pose.append(rotation_vector(local))
        return np.stack(pose)


def _turned_to(before: Float64Array, limb: Float64Array, direction: Float64Array) -> Float64Array:
    """The local rotation (3,3) that points a limb in a direction of the world. before: (3,3) rotation of its parent."""
    return before.T @ rotation_between(before @ limb, direction) @ before


def rotation_between(start: Float64Array, end: Float64Array) -> Float64Array:
    """The smallest rotation (3,3) that turns one direction (3,) into another."""
    a, b = unit(start), unit(end)
    cosine = a @ b
    if cosine < -0.9999:
        return np.diag([-1.0, -1.0, 1.0])
    x, y, z = np.cross(a, b)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix: Float64Array = np.eye(3) + cross + cross @ cross / (1 + cosine)
    return matrix


def orthonormal_frame(across: Float64Array, up: Float64Array) -> Float64Array:
    """An orthonormal basis (3,3) with the columns across, up and forward."""
    x = unit(across)
    z = unit(np.cross(x, up))
    return np.stack([x, np.cross(z, x), z], 1)


Direction = tuple[float, float, float]
Turn = tuple[float, float, float]

# Upper and lower arm or leg, of the left side: x away from the body, y up, z forward; the right side is mirrored.
_ARMS: Mapping[str, tuple[Direction, Direction]] = {
    "down": ((0.22, -1, 0), (0.16, -1, 0.16)),
    "relaxed": ((0.2, -1, -0.08), (0.12, -1, 0.3)),
    "hip": ((0.82, -0.78, -0.32), (-0.72, -0.62, 0.5)),
    "hip_low": ((0.55, -0.85, -0.3), (-0.42, -0.8, 0.42)),
    "pocket": ((0.38, -0.95, -0.28), (-0.15, -1, 0.34)),
    "up": ((0.42, 0.95, 0.1), (0.1, 1, 0.12)),
    "behind_head": ((0.85, 0.62, -0.05), (-0.85, 0.35, -0.18)),
    "out": ((1, -0.08, 0.05), (1, -0.02, 0.12)),
    "cross_a": ((0.3, -1, 0.3), (-0.88, 0.12, 0.52)),
    "cross_b": ((0.3, -1, 0.26), (-0.88, 0, 0.62)),
    "forward": ((0.15, -0.45, 0.9), (0.05, -0.1, 1)),
    "wave": ((0.9, -0.25, 0.2), (0.35, 0.95, 0.25)),
    "chin": ((0.12, -0.9, 0.45), (-0.35, 0.85, 0.42)),
    "swing_f": ((0.15, -0.9, 0.42), (0.02, -0.62, 0.78)),
    "swing_b": ((0.18, -0.92, -0.4), (0.12, -1, 0.1)),
    "lap": ((0.2, -0.93, 0.3), (-0.2, -0.5, 0.8)),
    "phone": ((0.3, -0.85, 0.42), (-0.32, 0.35, 0.8)),
    "chest": ((0.3, -0.92, 0.2), (-0.75, 0.45, 0.5)),
}
_LEGS: Mapping[str, tuple[Direction, Direction]] = {
    "straight": ((0.06, -1, 0.02), (0.02, -1, -0.05)),
    "apart": ((0.22, -1, 0.02), (0.16, -1, -0.04)),
    "relax": ((0.16, -1, 0.14), (0.12, -1, -0.12)),
    "fwd": ((0.05, -0.93, 0.38), (0.02, -1, -0.1)),
    "back": ((0.05, -0.96, -0.26), (0.02, -0.86, -0.5)),
    "cross": ((-0.12, -1, 0.1), (-0.12, -1, -0.02)),
    "sit": ((0.15, -0.12, 1), (0.1, -1, 0.02)),
    "sit2": ((0.02, -0.05, 1), (-0.35, -0.95, 0.12)),
    "knee_up": ((0.1, -0.35, 0.93), (0.03, -1, -0.2)),
}
_TOES_OUT = 0.25  # dm
_HEEL_RAISED = np.array([0.0, -1.4, -0.2])  # dm, of the foot of a leg that swings back


@dataclass(frozen=True, slots=True)
class CataloguePose:
    """Names of positions of arms and legs; turns are pitch (forward), yaw (to the person's left) and roll, degrees."""

    left_arm: str
    right_arm: str
    left_leg: str
    right_leg: str
    chest: Turn = (0, 0, 0)
    head: Turn = (0, 0, 0)


CATALOGUE_POSES: Mapping[str, CataloguePose] = {
    "front": CataloguePose("down", "down", "straight", "straight"),
    "front_relaxed": CataloguePose("relaxed", "down", "relax", "straight", chest=(0, 6, 2)),
    "front_apart": CataloguePose("relaxed", "relaxed", "apart", "apart"),
    "hand_on_hip_L": CataloguePose("hip", "down", "relax", "straight", chest=(0, 5, 4), head=(0, 10, 4)),
    "hand_on_hip_R": CataloguePose("relaxed", "hip", "straight", "relax", head=(4, -12, 0)),
    "both_hips": CataloguePose("hip", "hip", "apart", "apart"),
    "hips_low": CataloguePose("hip_low", "hip_low", "relax", "apart", chest=(0, -6, 0)),
    "pockets": CataloguePose("pocket", "pocket", "relax", "straight", head=(6, 14, 0)),
    "arms_crossed": CataloguePose("cross_a", "cross_b", "straight", "apart"),
    "walk_1": CataloguePose("swing_b", "swing_f", "fwd", "back", chest=(3, 9, 0)),
    "walk_2": CataloguePose("swing_f", "swing_b", "back", "fwd", chest=(3, -9, 0)),
    "arm_up_L": CataloguePose("up", "down", "straight", "relax", chest=(0, 0, -6)),
    "arm_up_R": CataloguePose("hip_low", "up", "relax", "straight"),
    "behind_head": CataloguePose("behind_head", "behind_head", "apart", "straight"),
    "wave": CataloguePose("relaxed", "wave", "straight", "relax", head=(0, -8, 4)),
    "arms_out": CataloguePose("out", "out", "apart", "apart"),
    "over_shoulder_L": CataloguePose("relaxed", "relaxed", "straight", "relax", chest=(0, 28, 0), head=(4, 42, 0)),
    "over_shoulder_R": CataloguePose("hip", "relaxed", "relax", "straight", chest=(0, -28, 0), head=(2, -42, 0)),
    "catwalk": CataloguePose("swing_b", "hip", "cross", "back", chest=(0, 8, 3)),
    "legs_crossed": CataloguePose("relaxed", "pocket", "cross", "straight", head=(0, 12, 6)),
    "thinking": CataloguePose("cross_b", "chin", "straight", "relax", head=(8, 8, -5)),
    "sit": CataloguePose("lap", "lap", "sit", "sit"),
    "sit_crossed": CataloguePose("lap", "lap", "sit", "sit2", chest=(4, 8, 0)),
    "knee_up": CataloguePose("relaxed", "hip", "straight", "knee_up"),
    "phone": CataloguePose("phone", "pocket", "relax", "straight", head=(18, 8, 0)),
    "reach": CataloguePose("forward", "relaxed", "fwd", "straight", chest=(8, -10, 0)),
    "hand_on_chest": CataloguePose("chest", "relaxed", "straight", "relax", head=(0, 10, 0)),
}


def catalogue_pose(pose: CataloguePose, solver: PoseSolver) -> Float64Array:
    """The local axis-angle (P,3) of a catalogue pose, radians."""
    chest = _turned(pose.chest)
    directions: dict[str, Float64Array] = {}
    for side, sign, arm, leg in ((".L", 1, pose.left_arm, pose.left_leg), (".R", -1, pose.right_arm, pose.right_leg)):
        outwards = np.array([sign, 1, 1])
        for limb, (upper, lower), frame in (("arm", _ARMS[arm], chest), ("leg", _LEGS[leg], np.eye(3))):
            directions[f"upper{limb}01{side}"] = frame @ (upper * outwards)
            directions[f"lower{limb}01{side}"] = frame @ (lower * outwards)
        foot = solver.limb[f"foot{side}"].copy()
        foot[0] = _TOES_OUT * sign
        directions[f"foot{side}"] = foot + (_HEEL_RAISED if leg == "back" else 0)
    return solver.solve(directions, chest=chest, head=_turned(pose.head))


def _turned(turn: Turn) -> Float64Array:
    """The rotation (3,3): first yaw, then pitch, then roll, about fixed axes."""
    pitch, yaw, roll = np.radians(turn)
    about_x, about_y, about_z = rotation_matrix([[pitch, 0, 0], [0, yaw, 0], [0, 0, roll]])
    turned: Float64Array = about_z @ about_x @ about_y
    return turned


_UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # in these files z is up, and the person faces -y


def read_bvh(path: Path) -> dict[str, Float64Array]:
    """Bone -> local rotation (3,3) in the first frame of a .bvh file, with y up. Raises DataError."""
    with as_data_error(path, "a BVH pose"):
        hierarchy, motion = path.read_text(encoding="utf-8", errors="replace").split("MOTION")
        values = [float(word) for word in motion.split("Time:")[1].split()[1:]]
        rotation = {}
        name, first = "", 0
        for words in map(str.split, hierarchy.splitlines()):
            if words and words[0] in ("ROOT", "JOINT"):
                name = words[1]
            elif words and words[0] == "CHANNELS":
                channels = words[2:]
                rotation[name] = _rotation(channels, values[first : first + len(channels)])
                first += len(channels)
        if first > len(values):
            raise ValueError(f"{first} channels, {len(values)} values")
    return rotation


def _rotation(channels: list[str], values: list[float]) -> Float64Array:
    """The product of rotation channels such as `Xrotation`, in degrees, with y up."""
    turned = np.eye(3)
    for channel, value in zip(channels, values, strict=False):
        if channel.endswith("rotation"):
            axis = np.eye(3)["XYZ".index(channel[0])]
            turned = turned @ rotation_matrix(np.radians(value) * axis)
    upright: Float64Array = _UPRIGHT @ turned @ _UPRIGHT.T
    return upright


def reduced_pose(rotation: dict[str, Float64Array], rig: Rig, bones: tuple[str, ...]) -> Float64Array:
    """The local axis-angle (P,3) of P bones, radians; includes the rotations of the bones left out between them."""
    world: dict[str | None, Float64Array] = {None: np.eye(3)}
    for bone, parent in rig.parent_of.items():
        world[bone] = world[parent] @ rotation.get(bone, np.eye(3))
    return np.stack([rotation_vector(world[rig.kept_parent(bone)].T @ world[bone]) for bone in bones])
