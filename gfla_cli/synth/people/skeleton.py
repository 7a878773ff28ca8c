"""The bones, and the library of poses for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array, Float64Array, Int64Array
from gfla_cli.errors import UsageError
from gfla_cli.synth.renderer.camera import rotation_matrix, rotation_vector

_MOCAP, _CATALOGUE = 0, 2  # values of clip_group


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """B bones, parents before children; `.L` and `.R` are the person's own left and right."""

    index: Mapping[str, int]  # name -> bone
    parent: Int64Array  # (B,) -1 = root
    joint_vertices: Int64Array  # (B,48) base vertices whose mean is the joint

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Skeleton:
        """Reads what humans.npz holds of the rig."""
        return cls(
            index={str(name): bone for bone, name in enumerate(arrays["bone_name"])},
            parent=arrays["bone_parent"].astype(np.int64),
            joint_vertices=arrays["bone_joint"].astype(np.int64),
        )

    def joints(self, base: Float32Array) -> Float64Array:
        """The joints (B,3) of a body at rest (V,3), dm."""
        joints: Float64Array = base[self.joint_vertices].mean(1).astype(np.float64)
        return joints

    def bend(self, rotation: Float64Array, joints: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Local rotations (B,3,3) and joints at rest (B,3) -> rotations and joints in the world."""
        turned, moved = np.empty_like(rotation), np.empty_like(joints)
        for bone, parent in enumerate(self.parent):
            if parent < 0:
                turned[bone], moved[bone] = rotation[bone], joints[bone]
            else:
                turned[bone] = turned[parent] @ rotation[bone]
                moved[bone] = moved[parent] + turned[parent] @ (joints[bone] - joints[parent])
        return turned, moved


@dataclass(frozen=True, slots=True, eq=False)
class PoseLibrary:
    """N poses of P bones: frames of motion capture (15 per second), and poses as in a catalogue."""

    pose: NDArray[np.float16]  # (N,P,3) local axis-angle, radians; the heading is taken out
    heading: Float32Array  # (N,) radians
    index: Mapping[str, int]  # name of a bone -> its row in a pose
    bones: Int64Array  # (P,) bones of the skeleton
    mirror: Int64Array  # (P,) the row of the bone on the other side
    catalogue: Int64Array  # hand-made poses, rows of `pose`
    distinct: Int64Array  # poses that differ from each other
    clips: Int64Array  # (clips,2) first row and length of each stretch of motion capture
    still: Mapping[str, int]  # name -> row of every pose that is no motion capture

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], skeleton: Skeleton) -> PoseLibrary:
        """Reads poses.npz."""
        names, group = [str(name) for name in arrays["bone_name"]], arrays["clip_group"]
        clips = zip(arrays["clip_name"], arrays["clip_start"], group, strict=True)
        extent = np.stack([arrays["clip_start"], arrays["clip_length"]], 1).astype(np.int64)
        return cls(
            pose=arrays["pose"],
            heading=arrays["root_yaw"],
            index={name: row for row, name in enumerate(names)},
            bones=np.array([skeleton.index[name] for name in names]),
            mirror=np.array([names.index(_other_side(name)) for name in names]),
            catalogue=extent[group == _CATALOGUE, 0],
            distinct=arrays["unique"].astype(np.int64),
            clips=extent[group == _MOCAP],
            still={str(name): int(start) for name, start, kind in clips if kind != _MOCAP},
        )

    def sample(self, rng: np.random.Generator, catalogue: float = 0.5) -> Float64Array:
        """A pose (P,3), with this probability one as in a catalogue; half are mirrored, all are jittered."""
        rows = self.catalogue if rng.random() < catalogue else self.distinct
        return self._varied(rng, int(rng.choice(rows)))

    def sample_still(self, rng: np.random.Generator, names: Sequence[str]) -> Float64Array:
        """One of these poses (P,3), names as in `still`; half are mirrored, all are jittered."""
        return self._varied(rng, self.still[names[int(rng.integers(len(names)))]])

    def _varied(self, rng: np.random.Generator, row: int) -> Float64Array:
        pose: Float64Array = self.pose[row].astype(np.float64)
        if rng.random() < 0.5:
            pose = pose[self.mirror] * [1, -1, -1]
        pose += rng.normal(0, 0.045, pose.shape)
        for name in ("neck01", "head"):
            pose[self.index[name]] += 0.5 * rng.normal(0, [0.12, 0.28, 0.07])
        return pose

    def sample_stretch(self, rng: np.random.Generator, frames: int) -> list[Float64Array]:
        """Consecutive frames of motion capture, (P,3) each, turning from the heading of the first."""
        if not len(self.clips):
            what = "this pack of synthetic people has no motion capture, only still poses"
            raise UsageError(what, hint="build one with gfla data humans --mocap FILE; pictures need none")
        long_enough = self.clips[self.clips[:, 1] >= frames]
        if frames < 1 or not len(long_enough):
            raise UsageError(f"no stretch of motion has {frames} frames", hint=f"at most {self.clips[:, 1].max()}")
        start, length = long_enough[rng.integers(len(long_enough))]
        first = start + rng.integers(length - frames + 1)
        stretch = []
        for row in range(first, first + frames):
            pose: Float64Array = self.pose[row].astype(np.float64)
            turn = rotation_matrix([0, self.heading[row] - self.heading[first], 0])
            pose[self.index["root"]] = rotation_vector(turn @ rotation_matrix(pose[self.index["root"]]))
            stretch.append(pose)
        return stretch

    def standing(self) -> Float64Array:
        """The first pose of the catalogue, (P,3): upright, arms down."""
        pose: Float64Array = self.pose[self.catalogue[0]].astype(np.float64)
        return pose


def _other_side(name: str) -> str:
    stem, dot, side = name.rpartition(".")
    return f"{stem}.{'R' if side == 'L' else 'L'}" if dot else name
