"""MakeHuman's neutral person: the base mesh, its rig (.mhskel, .mhw), its shape targets and landmarks.

Lengths are decimetres (dm), y is up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import BoolArray, Float64Array, Int64Array
from gfla_cli.errors import DataError
from gfla_cli.synth.makehuman.files import (
    BASE_MESH,
    SKELETON,
    WEIGHTS,
    MakeHumanFiles,
    ObjMesh,
    as_data_error,
    read_obj,
    split_lines,
)

_MIDDLE = (
    *("root", "spine05", "spine04", "spine03", "spine02", "spine01"),
    *("neck01", "neck02", "neck03", "head", "jaw"),
)
_PAIRED = (
    *("upperleg01", "lowerleg01", "foot", "clavicle", "shoulder01", "upperarm01", "lowerarm01", "wrist", "eye"),
    *(f"finger{finger}-{link}" for finger in range(1, 6) for link in (1, 2, 3)),
)
KEPT_BONES = {*_MIDDLE, *(f"{name}.{side}" for name in _PAIRED for side in "LR")}
_JOINT_VERTICES = 48  # a joint is the mean of 1, 4, 8, 16 or 24 vertices; all these numbers divide 48
_BONES_PER_VERTEX = 4


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """The skeleton. `.L` and `.R` are the person's own left and right."""

    parent_of: Mapping[str, str | None]  # every bone of the file, parents first -> its parent
    joint_vertices: Mapping[str, Sequence[int]]  # every bone -> the base vertices whose mean is its joint
    bones: tuple[str, ...]  # the B bones kept, parents first
    weight: Float64Array  # (V,B) skinning weights of the base vertices; rows add up to one

    def kept_parent(self, bone: str) -> str | None:
        """The nearest ancestor of a bone that is kept; None for the root."""
        parent = self.parent_of[bone]
        return None if parent is None else _nearest_kept(parent, self.parent_of, self.bones)

    def repeated_joint_vertices(self) -> NDArray[np.int64]:
        """The joint vertices of the kept bones in one table, (B,48)."""
        rows = (list(self.joint_vertices[bone]) * _JOINT_VERTICES for bone in self.bones)
        return np.array([row[:_JOINT_VERTICES] for row in rows])

    def parents(self) -> NDArray[np.int16]:
        """The row of each kept bone's parent, (B,); -1 for the root."""
        kept = (self.kept_parent(bone) for bone in self.bones)
        return np.array([-1 if parent is None else self.bones.index(parent) for parent in kept], np.int16)

    def total_weight(self, *prefixes: str) -> Float64Array:
        """The summed weight (V,) of all bones whose names have one of these prefixes."""
        total: Float64Array = self.weight[:, [bone.startswith(prefixes) for bone in self.bones]].sum(1)
        return total


def read_rig(skeleton: Path, weights: Path, vertices: int) -> Rig:
    """Reads a skeleton and its skinning weights. vertices: V of the base mesh. Raises DataError for damaged files."""
    with as_data_error(skeleton, "a skeleton of MakeHuman"):
        file: dict[str, Any] = json.loads(skeleton.read_text(encoding="utf-8"))
        parents = {str(name): bone["parent"] for name, bone in file["bones"].items()}
        parent_of = {bone: parents[bone] for bone in _depth_first(parents, None)}
        joints = {bone: [int(v) for v in file["joints"][file["bones"][bone]["head"]]] for bone in parent_of}
        bones = tuple(bone for bone in parent_of if bone in KEPT_BONES)
        if lacking := sorted(KEPT_BONES - set(bones)):
            raise ValueError(f"no bones {', '.join(lacking)}")
        if not all(0 <= vertex < vertices for bone in bones for vertex in joints[bone]):
            raise ValueError("a joint beyond the base mesh")
    with as_data_error(weights, "a file of skinning weights"):
        shares = json.loads(weights.read_text(encoding="utf-8"))["weights"]
        weight = np.zeros((vertices, len(bones)))
        for bone, rows in shares.items():
            column = bones.index(_nearest_kept(bone, parent_of, bones))
            for vertex, share in rows:
                weight[vertex, column] += share
    weight[weight.sum(1) == 0, 0] = 1  # vertices without weights follow the root
    return Rig(parent_of, joints, bones, weight / weight.sum(1, keepdims=True))


def _nearest_kept(bone: str, parent_of: Mapping[str, str | None], bones: Sequence[str]) -> str:
    while bone not in bones:
        parent = parent_of[bone]
        if parent is None:
            raise ValueError(f"no ancestor of the bone {bone} is kept")
        bone = parent
    return bone


def _depth_first(parents: Mapping[str, str | None], root: str | None) -> Iterator[str]:
    for bone, parent in parents.items():
        if parent == root:
            yield bone
            yield from _depth_first(parents, bone)


def strongest_bones(weight: Float64Array) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """The four bones with the largest weights (n,B) for each vertex, (n,4), and their normalised weights (n,4)."""
    bone = np.argsort(-weight, axis=1, kind="stable")[:, :_BONES_PER_VERTEX]
    share = np.take_along_axis(weight, bone, axis=1)
    return bone.astype(np.uint8), (share / share.sum(1, keepdims=True)).astype(np.float16)


_MACRO = re.compile(  # adults; the targets of average people for height and proportions serve all bodies
    r"macrodetails/("
    r"(african|asian|caucasian)-(female|male)-(young|old)"
    r"|universal-(female|male)-(young|old)-(min|average|max)muscle-(min|average|max)weight"
    r"|height/(female|male)-young-averagemuscle-averageweight-(min|max)height"
    r"|proportions/(female|male)-young-averagemuscle-(min|average|max)weight-(ideal|uncommon)proportions)"
)
_EXPRESSION = re.compile(r"expression/units/((african|asian|caucasian)/[^/]+)")
_ASYMMETRY = re.compile(r"asym/.*(jaw|nose|mouth|eye|brown)-[12]-[lr]")  # the gentle ones; `brown` is the brow
_DETAIL = re.compile(
    r"(armslegs|cheek|chin|ears|eyebrows|eyes|forehead|head|hip|mouth|neck|nose|stomach|torso)/(?:[lr]-)?([^/]+)"
)
_NO_DETAIL = re.compile(  # targets that translate whole parts, that clothes or hair hide, or that are rare
    r"(head|neck|torso|hip)-trans|trans-(in|out)|foot|hand|valgus|navel|pregnant|ear-shape"
)
_MIN_DELTA = 4e-4  # dm; smaller movements are below the precision of float16


def read_target(path: Path) -> tuple[Int64Array, Float64Array]:
    """The base vertices (k,) that a target moves, and the movements (k,3) in dm. Raises DataError."""
    with as_data_error(path, "a shape target"):
        rows = np.array([words[:4] for words in split_lines(path)], np.float64).reshape(-1, 4)
        index = rows[:, 0].astype(np.int64)
        if len(index) and index.min() < 0:
            raise ValueError(f"vertex {index.min()} does not exist")
    return index, rows[:, 1:]


def select_targets(folder: Path) -> dict[str, list[Path]]:
    """The targets of the pack: name, such as `nose/nose-hump-more` -> one file, or two that are joined: left, right."""
    selected: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.target"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if match := _EXPRESSION.fullmatch(name):
            name = f"expression/{match[1]}"
        elif (match := _DETAIL.fullmatch(name)) and not _NO_DETAIL.search(name):
            name = f"{match[1]}/{match[2]}"
        elif match or not (_MACRO.fullmatch(name) or _ASYMMETRY.fullmatch(name)):
            continue
        selected.setdefault(name, []).append(path)
    return selected


def target_arrays(files: Mapping[str, list[Path]], renumbered: Int64Array) -> dict[str, NDArray[np.generic]]:
    """The arrays of targets in humans.npz. renumbered: (V,) row of each base vertex in the pack, -1 = left out."""
    names, counts = [], [0]
    indices, deltas = [], []
    for name, paths in files.items():
        index, delta = (np.concatenate(part) for part in zip(*map(read_target, paths), strict=True))
        if len(index) and index.max() >= len(renumbered):
            with as_data_error(paths[0], "a target for this base mesh"):
                raise ValueError(f"vertex {index.max()} does not exist")
        kept: BoolArray = (renumbered[index] >= 0) & (np.abs(delta).max(1) > _MIN_DELTA)
        if kept.any():
            names.append(name)
            counts.append(int(kept.sum()))
            indices.append(renumbered[index[kept]])
            deltas.append(delta[kept])
    return {
        "target_name": np.array(names),
        "target_ptr": np.cumsum(counts).astype(np.int32),
        "target_index": np.concatenate(indices).astype(np.uint16),
        "target_delta": np.concatenate(deltas).astype(np.float16),
    }


# The vertices of the landmarks were located once, with a face mesh detector on frontal renders of many characters: each
# landmark is at the vertex that is nearest to it in the median. All characters share the mesh, and so these vertices.
LANDMARKS: tuple[int, ...] = (  # 68, in iBUG's order
    # outline of the face, from the person's right ear to the left
    *(5754, 5186, 5246, 5241, 5240, 5298, 995, 918, 5296, 7620, 7689, 11903, 11849, 11850, 11854, 11798, 12351),
    # brows: right, left
    *(254, 225, 206, 205, 208, 6983, 6980, 6981, 6999, 7023),
    # nose: bridge downwards, then along its base
    *(132, 131, 201, 294, 358, 313, 312, 7076, 7119),
    # eyes: right, left
    *(4854, 4849, 4865, 66, 47, 6776, 6850, 11483, 11467, 11472, 13372, 6831),
    # mouth: outside, inside
    *(3735, 413, 456, 466, 7215, 7173, 10403, 7232, 7245, 496, 490, 477),
    *(416, 459, 474, 7218, 7176, 7265, 523, 518),
)
_NOSE, _RIGHT_EYE, _LEFT_EYE = LANDMARKS[30], LANDMARKS[36:42], LANDMARKS[42:48]
KEYPOINTS: tuple[tuple[int, ...], ...] = (  # the means of six vertices each
    (_NOSE,) * 6,
    _RIGHT_EYE,
    _LEFT_EYE,
    (5692, 5675, 5685, 5681, 5697, 5677),  # right ear
    (12289, 12272, 12282, 12278, 12294, 12274),  # left ear
)
_VERTICES = 19158  # of the mesh `hm08`, which all assets are made for
SIDES = ((".L", 1), (".R", -1))  # ending of a bone's name, sign of x
_ALWAYS_DRESSED = ((-0.5, 0.7, np.inf), (3.0, 4.35, 1.55))  # dm: from a height, to a height, up to this |x|


@dataclass(frozen=True, eq=False)
class Figure:
    """The neutral person at rest: V base vertices, with the helper surfaces of MakeHuman."""

    mesh: ObjMesh
    rig: Rig

    @classmethod
    def read(cls, files: MakeHumanFiles) -> Figure:
        """Reads the base mesh and the rig. Raises DataError for damaged files, or for another base mesh."""
        path = files.path(BASE_MESH)
        mesh = read_obj(path)
        if len(mesh.vertices) != _VERTICES:
            what = f"{path}: the base mesh has {_VERTICES} vertices, this one {len(mesh.vertices)}"
            raise DataError(what, hint="take 3dobjs/base.obj of makehumancommunity/makehuman as it is")
        return cls(mesh, read_rig(files.path(SKELETON), files.path(WEIGHTS), _VERTICES))

    def joint(self, bone: str) -> Float64Array:
        """The joint (3,) at which a bone starts, dm."""
        joint: Float64Array = self.mesh.vertices[list(self.rig.joint_vertices[bone])].mean(0)
        return joint

    @cached_property
    def arm_weight(self) -> Float64Array:
        """The share (V,) of each vertex that moves with an arm, 0..1."""
        return self.rig.total_weight("upperarm", "lowerarm", "wrist", "finger")

    @cached_property
    def leg_weight(self) -> Float64Array:
        """The share (V,) of each vertex that moves with a leg, 0..1."""
        return self.rig.total_weight("upperleg", "lowerleg", "foot")

    @cached_property
    def arm_distance(self) -> Float64Array:
        """The distance (V,) of each vertex from the shoulder joint along the arm, dm; -1 on the torso."""
        vertices = self.mesh.vertices
        distance = np.full(len(vertices), -1.0)
        for side, sign in SIDES:
            shoulder, elbow, wrist = (self.joint(bone + side) for bone in ("upperarm01", "lowerarm01", "wrist"))
            upper, lower = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
            along_upper = (vertices - shoulder) @ (elbow - shoulder) / upper
            along_lower = (vertices - elbow) @ (wrist - elbow) / lower
            along = np.where(along_lower > 0, upper + along_lower, np.minimum(along_upper, upper))
            is_arm = np.clip((self.arm_weight - 0.1) / 0.5, 0, 1)  # fades into the torso
            near = (self.arm_weight > 0.02) & (vertices[:, 0] * sign > 0)
            distance[near] = (-1 + is_arm * (along + 1))[near]
        return distance

    @cached_property
    def skin(self) -> BoolArray:
        """A mask (F,) of the faces of the body that some outfit leaves bare."""
        x, y, _ = self.mesh.vertices.T
        on_torso = (self.arm_distance < -0.5) & (self.arm_weight < 0.05)
        dressed = np.zeros(len(y), bool)
        for lowest, highest, widest in _ALWAYS_DRESSED:
            dressed |= on_torso & (y > lowest) & (y < highest) & (np.abs(x) < widest)
        is_skin: BoolArray = (self.mesh.group == "body") & ~dressed[self.mesh.faces].all(1)
        return is_skin
