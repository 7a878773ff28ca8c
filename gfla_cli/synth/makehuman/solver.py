"""Poses out of directions: the bones turn until the limbs point where they should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.synth.makehuman.figure import Figure
from gfla_cli.synth.renderer.camera import rotation_matrix, rotation_vector

_LIMBS = {  # a bone -> the bone that starts where the limb ends
    "upperleg01": "lowerleg01",
    "lowerleg01": "foot",
    "foot": "toe2-1",
    "upperarm01": "lowerarm01",
    "lowerarm01": "wrist",
}
_BENDING_SPINE = ("spine05", "spine04", "spine03", "spine02")
_SHRUG = 0.14  # how much of the turn of the upper arm its collar bone takes
_NOT_POSED = ("finger", "jaw", "eye")


def unit(vector: Float64Array) -> Float64Array:
    """The vector at length one."""
    return vector / np.linalg.norm(vector)


def posed_bones(figure: Figure) -> tuple[str, ...]:
    """The P bones whose rotations make up a pose, parents first."""
    return tuple(bone for bone in figure.rig.bones if not bone.startswith(_NOT_POSED))


@dataclass(frozen=True, slots=True, eq=False)
class PoseSolver:
    """A skeleton at rest."""

    above: Mapping[str, str | None]  # the P bones, parents first -> their parents
    limb: Mapping[str, Float64Array]  # the limb that starts at a bone, (3,)
    neck: Float64Array  # (3,) from the first bone of the neck to the head

    @classmethod
    def of(cls, figure: Figure) -> PoseSolver:
        """The skeleton of the neutral person."""
        limb = {
            start + side: figure.joint(end + side) - figure.joint(start + side)
            for start, end in _LIMBS.items()
            for side in (".L", ".R")
        }
        above = {bone: figure.rig.kept_above(bone) for bone in posed_bones(figure)}
        return cls(above, limb, figure.joint("head") - figure.joint("neck01"))

    def solve(
        self,
        directions: Mapping[str, Float64Array],
        *,
        root: Float64Array | None = None,
        chest: Float64Array | None = None,
        head: Float64Array | None = None,
        neck: Float64Array | None = None,
    ) -> Float64Array:
        """A pose (P,3): local axis-angle per bone.

        directions: where the limb of each bone of arms and legs points in the world. root, chest: rotations (3,3) in
        the world; head: relative to the neck; neck: where it points in the world. None = as at rest.
        """
        straight = np.eye(3)
        root, chest = straight if root is None else root, straight if chest is None else chest
        share_of_spine = rotation_matrix(rotation_vector(root.T @ chest) / len(_BENDING_SPINE))
        world: dict[str, Float64Array] = {}
        pose = []
        for bone, parent in self.above.items():
            before = world[parent] if parent else straight
            if bone == "root":
                local = root
            elif bone in _BENDING_SPINE:
                local = share_of_spine
            elif bone.startswith("clavicle"):
                local = self._shrugged(before, f"upperarm01{bone[-2:]}", directions)
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

    def _shrugged(self, before: Float64Array, arm: str, directions: Mapping[str, Float64Array]) -> Float64Array:
        """The collar bone follows the upper arm a little, less when that swings forward and back."""
        turn = rotation_vector(align(self.limb[arm], before.T @ directions[arm]))
        return rotation_matrix(_SHRUG * turn * [1, 0.5, 1])


def _turned_to(before: Float64Array, limb: Float64Array, direction: Float64Array) -> Float64Array:
    """The local rotation (3,3) with which a limb points in a direction of the world."""
    return before.T @ align(before @ limb, direction) @ before


def align(start: Float64Array, end: Float64Array) -> Float64Array:
    """The shortest rotation (3,3) from one direction to another."""
    a, b = unit(start), unit(end)
    cosine = a @ b
    if cosine < -0.9999:
        return np.diag([-1.0, -1.0, 1.0])
    x, y, z = np.cross(a, b)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix: Float64Array = np.eye(3) + cross + cross @ cross / (1 + cosine)
    return matrix


def basis(across: Float64Array, up: Float64Array) -> Float64Array:
    """An orthonormal frame (3,3) of columns: across, upwards, forward."""
    x = unit(across)
    z = unit(np.cross(x, up))
    return np.stack([x, np.cross(z, x), z], 1)
