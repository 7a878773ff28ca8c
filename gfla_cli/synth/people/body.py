"""The body: a base mesh with the shapes it can take, facial expressions, the skeleton and a library of poses.

Lengths are decimetres (dm), angles radians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from gfla_cli.errors import UsageError
from gfla_cli.synth.people.mesh import Binding, Piece, add_scaled, barycentric
from gfla_cli.synth.renderer.camera import rotation_matrix, rotation_vector

ETHNICITIES = ("african", "asian", "caucasian")
_FACE_DETAILS = ("head", "forehead", "cheek", "chin", "nose", "mouth", "eyes", "ears", "eyebrows", "asym")
_BODY_DETAILS = ("torso", "hip", "stomach", "neck", "armslegs")
HEAD_WINDOW = ((0.735, 0.14), (0.265, 0.70))  # lower left corner and size of the head in the uv of a skin
_LIPS = slice(48, 68)  # of the landmarks
_LIP = 0.08  # dm; the inside of the mouth lies at least this far behind the surface of the face
_MOUTH_EXTENT = np.array(
    [0.65, 1.5, 7], np.float32
)  # of the lips, to either side of their middle; ends before the nape
_MIN_HEAD_HEIGHT = 5.6  # dm, on the neutral body

_SIDE_EFFECTS = ("closure", "platysma")  # units that look odd on their own: closed eyes, a tense neck
MOCAP_CLIP, STATIC_POSE, CATALOGUE_POSE = 0, 1, 2  # values of `clip_group` in poses.npz

Sex = Literal["female", "male"]


@dataclass(frozen=True, slots=True, eq=False)
class BaseMesh:
    """The neutral body at rest, V vertices. Its head has a texture of its own."""

    rest: Float32Array  # (V,3) dm, y up, the person faces +z, +x is the person's left
    arm_distance: Float32Array  # (V,) dm along the arm; -1 = not on an arm
    body: Piece
    head: Piece
    mouth: Piece  # its inside, with the texture of the body
    landmark: Int64Array  # (68,) vertices of the face landmarks
    keypoint: Int64Array  # (5,6) vertices whose means are nose, right eye, left eye, right ear, left ear

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> BaseMesh:
        """Reads the base mesh from the arrays of humans.npz."""
        rest, arm_distance = arrays["rest"], arrays["arm_distance"]
        count = len(rest)
        binding = Binding(
            reference=np.repeat(np.arange(count, dtype=np.int32)[:, None], 3, 1),
            barycentric=np.tile(np.array([1, 0, 0], np.float32), (count, 1)),
            offset=np.zeros((count, 3), np.float32),
            bone=arrays["weight_index"].astype(np.int16),
            weight=arrays["weight"].astype(np.float32),
        )
        faces, uv = arrays["faces"].astype(np.int32), arrays["uv"].astype(np.float32)
        corner, extent = np.array(HEAD_WINDOW, np.float32)
        in_window = (uv - corner) / extent
        is_head = ((in_window > 0) & (in_window < 1)).all((1, 2)) & (rest[faces][..., 1].min(1) > _MIN_HEAD_HEIGHT)
        landmark = arrays["landmark68"].astype(np.int64)
        in_mouth = _behind_lips(rest[faces], rest[landmark])
        is_head &= ~in_mouth
        skin = Piece(binding, faces, uv, rest, arm_distance)
        return cls(
            rest=rest,
            arm_distance=arm_distance,
            body=skin.with_faces(~is_head & ~in_mouth),
            head=Piece(binding, faces[is_head], in_window[is_head], rest, arm_distance),
            mouth=skin.with_faces(in_mouth),
            landmark=landmark,
            keypoint=arrays["keypoint_vertex"].astype(np.int64),
        )


def _behind_lips(corners: Float32Array, landmarks: Float32Array) -> BoolArray:
    """(F,) whether triangles (F,3,3) lie in the mouth; landmarks: (68,3). Both of a face whose lips are shut."""
    middle = corners.mean(1)
    low, high = landmarks[_LIPS].min(0), landmarks[_LIPS].max(0)
    beside = np.abs(middle - (low + high) / 2) < (high - low) * _MOUTH_EXTENT
    near = np.flatnonzero(beside.all(1))
    weights = barycentric(middle[near, :2], corners[near, :, :2])  # (N,N,3)
    covers, depth = (weights >= 0).all(-1), (weights * corners[near, :, 2]).sum(-1)
    front = np.where(covers, depth, -np.inf).max(1, initial=-np.inf)
    inside = np.zeros(len(middle), bool)
    inside[near] = front - middle[near, 2] > _LIP
    return inside


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A sparse blend shape."""

    index: Int64Array  # (k,) base vertices, each once
    delta: Float32Array  # (k,3) dm


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """The blend shapes of bodies and faces."""

    targets: Mapping[str, Target]
    face_details: tuple[str, ...]
    body_details: tuple[str, ...]
    expression_units: tuple[str, ...]  # U muscle movements
    expression_vertices: Int64Array  # (k,) base vertices that some unit moves
    expressions: Float32Array  # (3,U,3k) the units on these vertices, for each of ETHNICITIES

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Shapes:
        """Reads the blend shapes from the arrays of humans.npz."""
        start, index = arrays["target_ptr"], arrays["target_index"].astype(np.int64)
        delta = arrays["target_delta"].astype(np.float32)
        names = [str(name) for name in arrays["target_name"]]
        targets = {}
        for name, (first, last) in zip(names, pairwise(start), strict=True):
            # Left and right halves were joined, so vertices may repeat. The last entry of a vertex counts.
            vertices, kept = np.unique(index[first:last][::-1], return_index=True)
            targets[name] = Target(vertices, delta[first:last][::-1][kept])
        expressions = [name for name in names if name.startswith("expression/")]
        units = tuple(sorted({name.split("/")[2] for name in expressions}))
        vertices = np.unique(np.concatenate([targets[name].index for name in expressions]))
        dense = np.zeros((len(ETHNICITIES), len(units), len(vertices), 3), np.float32)
        for name in expressions:
            _, ethnicity, unit = name.split("/")
            rows_of_unit = np.searchsorted(vertices, targets[name].index)
            dense[ETHNICITIES.index(ethnicity), units.index(unit), rows_of_unit] = targets[name].delta
        return cls(
            targets=targets,
            face_details=tuple(n for n in names if n.split("/")[0] in _FACE_DETAILS and "eyebrows-angle" not in n),
            body_details=tuple(n for n in names if n.split("/")[0] in _BODY_DETAILS),
            expression_units=units,
            expression_vertices=vertices,
            expressions=dense.reshape(len(ETHNICITIES), len(units), -1),
        )

    def expression_basis(self, ethnicity: Float64Array) -> Float32Array:
        """The expression units (U,3k) for a person; ethnicity: (3,) shares of ETHNICITIES."""
        african, asian, caucasian = ethnicity.astype(np.float32)[:, None, None] * self.expressions
        basis: Float32Array = african + asian + caucasian
        return basis


@dataclass(frozen=True, slots=True, eq=False)
class BodyShape:
    """The body of one person."""

    vertices: Float32Array  # (V,3) the base mesh at rest, dm
    sex: Sex
    ethnicity: Float64Array  # (3,) shares of ETHNICITIES
    age: float  # 0 (about 25 years) to 0.5 (about 55)


def sample_shape(rng: np.random.Generator, rest: Float32Array, shapes: Shapes, sex: Sex) -> BodyShape:
    """A random body: a blend of ethnicities, age, muscle, weight, height and proportions, with random details.

    rest: the neutral base mesh (V,3), dm; it stays unchanged.
    """
    vertices = rest.copy()

    def add(name: str, share: float) -> None:
        """Adds a share of a target; names that the pack does not have change nothing."""
        if abs(share) > 1e-3 and (target := shapes.targets.get(name)):
            add_scaled(vertices, target.index, target.delta, np.float32(share))

    ethnicity, age = rng.dirichlet([0.35] * 3), rng.beta(1.1, 2.2) * 0.5
    muscle, weight = np.clip(rng.normal([-0.1 if sex == "female" else 0.1, -0.1], 0.45), -1, 1)
    for years, age_share in (("young", 1 - age), ("old", age)):
        for name, share in zip(ETHNICITIES, ethnicity, strict=True):
            add(f"macrodetails/{name}-{sex}-{years}", share * age_share)
        for muscle_level, muscle_share in _levels(muscle):
            for weight_level, weight_share in _levels(weight):
                name = f"macrodetails/universal-{sex}-{years}-{muscle_level}muscle-{weight_level}weight"
                add(name, age_share * muscle_share * weight_share)

    height = np.clip(rng.normal(0, 0.25), -0.6, 0.6)
    proportions = "ideal" if rng.random() < 0.8 else "uncommon"
    build = f"{sex}-young-averagemuscle"
    stature = "max" if height > 0 else "min"
    add(f"macrodetails/height/{build}-averageweight-{stature}height", abs(height))
    for level, share in _levels(weight):
        name = f"macrodetails/proportions/{build}-{level}weight-{proportions}proportions"
        add(name, share * rng.uniform(0.1, 0.8))

    for name in rng.choice(shapes.face_details, 34, replace=False):
        calm = 0.35 if "asym" in name else 0.6 if "age" in name else 1.0
        add(str(name), min(abs(rng.normal(0, 0.33)), 0.85) * calm)
    add("eyebrows/eyebrows-angle-up", rng.uniform(0.4, 1.1))  # the neutral brows look angry
    for name in rng.choice(shapes.body_details, 8, replace=False):
        add(str(name), min(abs(rng.normal(0, 0.25)), 0.6))
    return BodyShape(vertices, sex, ethnicity, age)


def _levels(value: float) -> tuple[tuple[str, float], ...]:
    """Splits a value, -1..1, into shares of the three levels that targets exist for."""
    return ("min", max(-value, 0)), ("average", 1 - abs(value)), ("max", max(value, 0))


@dataclass(frozen=True, slots=True)
class Expression:
    """A facial expression; the default is neutral and looks ahead."""

    units: Mapping[str, float] = field(default_factory=dict)  # name of an expression unit -> weight, about -1..1
    jaw: float = 0.0  # opening, radians
    gaze: tuple[float, float] = (0.0, 0.0)  # yaw to the person's left and pitch up, radians


def sample_expression(rng: np.random.Generator, units: Sequence[str], strength: float = 1.0) -> Expression:
    """Three random units, a slight smile, raised inner brows, and a gaze near the front. strength: scales the units."""
    weights: dict[str, float] = {}
    for unit in rng.choice(units, 3, replace=False):
        if not unit.endswith(_SIDE_EFFECTS):
            weights[str(unit)] = rng.uniform(0, 0.5 * strength) * (0.35 if unit == "mouth-open" else 1)
    weights["eyebrows-left-inner-up"] = weights["eyebrows-right-inner-up"] = rng.uniform(0, 0.5)
    smile = rng.uniform(-0.05, 0.45) * strength
    weights["mouth-corner-puller"] = weights.get("mouth-corner-puller", 0) + smile
    jaw = max(rng.normal(-0.05, 0.08), 0)
    yaw, pitch = rng.normal(0, 0.12, 2)
    return Expression(weights, jaw, (yaw, pitch))


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """B bones, parents first; `.L` and `.R` are the person's own left and right."""

    index: Mapping[str, int]  # name -> bone
    parent: Int64Array  # (B,) -1 = root
    joint_vertices: Int64Array  # (B,48) base vertices whose mean is the joint

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Skeleton:
        """Reads the rig from the arrays of humans.npz."""
        return cls(
            index={str(name): bone for bone, name in enumerate(arrays["bone_name"])},
            parent=arrays["bone_parent"].astype(np.int64),
            joint_vertices=arrays["bone_joint"].astype(np.int64),
        )

    def joints(self, base: Float32Array) -> Float64Array:
        """The joints (B,3) of a body at rest (V,3)."""
        joints: Float64Array = base[self.joint_vertices].mean(1).astype(np.float64)
        return joints

    def forward_kinematics(self, rotation: Float64Array, joints: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Local rotations (B,3,3) and joints at rest (B,3) -> the same in the world, for the posed skeleton."""
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
    """N poses of P bones: frames of motion capture at 15 per second, and still poses."""

    pose: NDArray[np.float16]  # (N,P,3) local axis-angle, radians, without the heading
    heading: Float32Array  # (N,) radians
    index: Mapping[str, int]  # name of a bone -> its row in a pose
    bones: Int64Array  # (P,) bones of the skeleton
    mirror: Int64Array  # (P,) the row of the bone on the other side
    catalogue: Int64Array  # rows of hand-made poses, as in a fashion catalogue
    distinct: Int64Array  # rows of poses that differ from each other
    clips: Int64Array  # (clips,2) first row and length of each clip of motion capture
    still: Mapping[str, int]  # name of a still pose -> row

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
            catalogue=extent[group == CATALOGUE_POSE, 0],
            distinct=arrays["unique"].astype(np.int64),
            clips=extent[group == MOCAP_CLIP],
            still={str(name): int(start) for name, start, kind in clips if kind != MOCAP_CLIP},
        )

    def sample(self, rng: np.random.Generator, catalogue: float = 0.5) -> Float64Array:
        """A random pose (P,3), mirrored or not, with jitter. catalogue: probability of a catalogue pose, 0..1."""
        rows = self.catalogue if rng.random() < catalogue else self.distinct
        return self._augmented(rng, int(rng.choice(rows)))

    def sample_still(self, rng: np.random.Generator, names: Sequence[str]) -> Float64Array:
        """A random one of the still poses with these names, (P,3), mirrored or not, with jitter."""
        return self._augmented(rng, self.still[names[int(rng.integers(len(names)))]])

    def _augmented(self, rng: np.random.Generator, row: int) -> Float64Array:
        pose: Float64Array = self.pose[row].astype(np.float64)
        if rng.random() < 0.5:
            pose = pose[self.mirror] * [1, -1, -1]
        pose += rng.normal(0, 0.045, pose.shape)
        for name in ("neck01", "head"):
            pose[self.index[name]] += 0.5 * rng.normal(0, [0.12, 0.28, 0.07])
        return pose

    def sample_clip(self, rng: np.random.Generator, frames: int) -> list[Float64Array]:
        """Consecutive frames of motion capture, (P,3) each; the first one has the heading 0.

        Raises UsageError if the pack has no motion capture, or no clip of that many frames.
        """
        if not len(self.clips):
            what = "this pack of synthetic people has no motion capture, only still poses"
            raise UsageError(what, hint="build one with gfla data humans --mocap FILE; still images need none")
        long_enough = self.clips[self.clips[:, 1] >= frames]
        if frames < 1 or not len(long_enough):
            raise UsageError(f"no clip of motion capture has {frames} frames", hint=f"at most {self.clips[:, 1].max()}")
        start, length = long_enough[rng.integers(len(long_enough))]
        first = start + rng.integers(length - frames + 1)
        clip = []
        for row in range(first, first + frames):
            pose: Float64Array = self.pose[row].astype(np.float64)
            turn = rotation_matrix([0, self.heading[row] - self.heading[first], 0])
            pose[self.index["root"]] = rotation_vector(turn @ rotation_matrix(pose[self.index["root"]]))
            clip.append(pose)
        return clip

    def standing(self) -> Float64Array:
        """The first pose of the catalogue, (P,3): upright, arms down."""
        pose: Float64Array = self.pose[self.catalogue[0]].astype(np.float64)
        return pose


def _other_side(name: str) -> str:
    stem, dot, side = name.rpartition(".")
    return f"{stem}.{'R' if side == 'L' else 'L'}" if dot else name
