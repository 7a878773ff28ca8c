"""MakeHuman's skeleton (.mhskel) and skinning weights (.mhw), reduced to the bones that the renderer bends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float64Array
from gfla_cli.synth.makehuman.files import explained

_MIDDLE = (
    *("root", "spine05", "spine04", "spine03", "spine02", "spine01"),
    *("neck01", "neck02", "neck03", "head", "jaw"),
)
_PAIRED = (
    *("upperleg01", "lowerleg01", "foot", "clavicle", "shoulder01", "upperarm01", "lowerarm01", "wrist", "eye"),
    *(f"finger{finger}-{link}" for finger in range(1, 6) for link in (1, 2, 3)),
)
KEPT_BONES = {*_MIDDLE, *(f"{name}.{side}" for name in _PAIRED for side in "LR")}
_MOST_JOINT_VERTICES = 48  # a joint is the mean of 1, 4, 8, 16 or 24 vertices, all of which divide 48
_BONES_PER_VERTEX = 4


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """The skeleton. `.L` and `.R` are the person's own left and right."""

    above: Mapping[str, str | None]  # every bone of the file, parents first -> its parent
    joint_vertices: Mapping[str, Sequence[int]]  # every bone -> the base vertices whose mean is its joint
    bones: tuple[str, ...]  # the B bones kept, parents first
    weight: Float64Array  # (V,B) how much each bone moves each base vertex; rows add up to one

    def nearest_kept(self, bone: str) -> str:
        """The bone itself or the nearest one above it that is kept."""
        return _nearest_kept(bone, self.above, self.bones)

    def kept_above(self, bone: str) -> str | None:
        """The nearest bone above it that is kept; None for the root."""
        parent = self.above[bone]
        return None if parent is None else self.nearest_kept(parent)

    def joint(self, bone: str, base: Float64Array) -> Float64Array:
        """Where a bone starts (3,) on a base mesh (V,3), dm."""
        joint: Float64Array = base[list(self.joint_vertices[bone])].mean(0)
        return joint

    def repeated_joint_vertices(self) -> NDArray[np.int64]:
        """The joint vertices of the kept bones in one table, (B,48)."""
        rows = (list(self.joint_vertices[bone]) * _MOST_JOINT_VERTICES for bone in self.bones)
        return np.array([row[:_MOST_JOINT_VERTICES] for row in rows])

    def parents(self) -> NDArray[np.int16]:
        """The row of each kept bone's parent, (B,); -1 for the root."""
        above = (self.kept_above(bone) for bone in self.bones)
        return np.array([-1 if parent is None else self.bones.index(parent) for parent in above], np.int16)

    def total_weight(self, *prefixes: str) -> Float64Array:
        """How much the bones with such names move each vertex, (V,)."""
        total: Float64Array = self.weight[:, [bone.startswith(prefixes) for bone in self.bones]].sum(1)
        return total


def read_rig(skeleton: Path, weights: Path, vertices: int) -> Rig:
    """Reads the skeleton and the weights for a base mesh of so many vertices."""
    with explained(skeleton, "a skeleton of MakeHuman"):
        file: dict[str, Any] = json.loads(skeleton.read_text(encoding="utf-8"))
        parents = {str(name): bone["parent"] for name, bone in file["bones"].items()}
        above = {bone: parents[bone] for bone in _depth_first(parents, None)}
        joints = {bone: [int(v) for v in file["joints"][file["bones"][bone]["head"]]] for bone in above}
        bones = tuple(bone for bone in above if bone in KEPT_BONES)
        if lacking := sorted(KEPT_BONES - set(bones)):
            raise ValueError(f"no bones {', '.join(lacking)}")
        if not all(0 <= vertex < vertices for bone in bones for vertex in joints[bone]):
            raise ValueError("a joint beyond the base mesh")
    with explained(weights, "a file of skinning weights"):
        shares = json.loads(weights.read_text(encoding="utf-8"))["weights"]
        weight = np.zeros((vertices, len(bones)))
        for bone, rows in shares.items():
            column = bones.index(_nearest_kept(bone, above, bones))
            for vertex, share in rows:
                weight[vertex, column] += share
    weight[weight.sum(1) == 0, 0] = 1  # what nothing moves goes with the root
    return Rig(above, joints, bones, weight / weight.sum(1, keepdims=True))


def _nearest_kept(bone: str, above: Mapping[str, str | None], bones: Sequence[str]) -> str:
    while bone not in bones:
        parent = above[bone]
        if parent is None:
            raise ValueError(f"no bone above {bone} is kept")
        bone = parent
    return bone


def _depth_first(parents: Mapping[str, str | None], above: str | None) -> Iterator[str]:
    for bone, parent in parents.items():
        if parent == above:
            yield bone
            yield from _depth_first(parents, bone)


def strongest(weight: Float64Array) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """The four bones that move each of n vertices most (n,4), and their shares (n,4), out of weights (n,B)."""
    bone = np.argsort(-weight, axis=1, kind="stable")[:, :_BONES_PER_VERTEX]
    share = np.take_along_axis(weight, bone, axis=1)
    return bone.astype(np.uint8), (share / share.sum(1, keepdims=True)).astype(np.float16)
