"""The naked body: a base mesh, the shapes it can take, and random people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array, Float64Array, Int64Array
from gfla_cli.synth.meshes import add_scaled
from gfla_cli.synth.objects.chair_parts import Binding, Piece

ETHNICITIES = ("african", "asian", "caucasian")
_FACE_DETAILS = ("head", "forehead", "cheek", "chin", "nose", "mouth", "eyes", "ears", "eyebrows", "asym")
_BODY_DETAILS = ("torso", "hip", "stomach", "neck", "armslegs")
_HEAD_WINDOW = np.array([[0.735, 0.14], [0.265, 0.70]], np.float32)  # corner and size of the head's own texture, in uv
_LOWEST_OF_HEAD = 5.6  # dm, on the neutral body

Sex = Literal["female", "male"]


@dataclass(frozen=True, slots=True, eq=False)
class BaseMesh:
    """The neutral body, V vertices, at rest; its head has a texture of its own."""

    rest: Float32Array  # (V,3) dm, y up, the person faces +z, +x is the person's left
    arm_distance: Float32Array  # (V,) dm along the arm; -1 = not on an arm
    body: Piece
    head: Piece
    landmark: Int64Array  # (68,) vertices of the face landmarks
    keypoint: Int64Array  # (5,6) vertices whose means are nose, right eye, left eye, right ear, left ear

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> BaseMesh:
        """Reads what humans.npz holds of the base mesh."""
        rest, arm_distance = arrays["rest"], arrays["arm_distance"]
        count = len(rest)
        binding = Binding(
            reference=np.repeat(np.arange(count, dtype=np.int32)[:, None], 3, 1),
            barycentric=np.tile(np.array([1, 0, 0], np.float32), (count, 1)),
            extra=np.zeros((count, 3), np.float32),
            bone=arrays["weight_index"].astype(np.int16),
            weight=arrays["weight"].astype(np.float32),
        )
        faces, uv = arrays["faces"].astype(np.int32), arrays["uv"].astype(np.float32)
        in_window = (uv - _HEAD_WINDOW[0]) / _HEAD_WINDOW[1]
        is_head = ((in_window > 0) & (in_window < 1)).all((1, 2)) & (rest[faces][..., 1].min(1) > _LOWEST_OF_HEAD)
        return cls(
            rest=rest,
            arm_distance=arm_distance,
            body=Piece(binding, faces[~is_head], uv[~is_head], rest, arm_distance),
            head=Piece(binding, faces[is_head], in_window[is_head], rest, arm_distance),
            landmark=arrays["landmark68"].astype(np.int64),
            keypoint=arrays["keypoint_vertex"].astype(np.int64),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A sparse change of shape."""

    index: Int64Array  # (k,) base vertices, each once
    delta: Float32Array  # (k,3) dm


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """The changes of shape that bodies and faces are mixed from."""

    targets: Mapping[str, Target]
    face_details: tuple[str, ...]
    body_details: tuple[str, ...]
    expression_units: tuple[str, ...]  # U muscle movements
    expression_vertices: Int64Array  # (k,) base vertices that some unit moves
    expressions: Float32Array  # (3,U,3k) the units on these vertices, for each of ETHNICITIES

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Shapes:
        """Reads what humans.npz holds of shapes."""
        start, index = arrays["target_ptr"], arrays["target_index"].astype(np.int64)
        delta = arrays["target_delta"].astype(np.float32)
        names = [str(name) for name in arrays["target_name"]]
        rows = [slice(first, last) for first, last in pairwise(start)]
        targets = {name: _without_repeats(index[row], delta[row]) for name, row in zip(names, rows, strict=True)}
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
        """The expression units (U,3k) of a person with the given shares of ETHNICITIES."""
        african, asian, caucasian = ethnicity.astype(np.float32)
        basis: Float32Array = african * self.expressions[0]
        basis += asian * self.expressions[1]
        basis += caucasian * self.expressions[2]
        return basis


def _without_repeats(index: Int64Array, delta: Float32Array) -> Target:
    """Targets for left and right were joined: a vertex in the middle may be listed twice, and the last one counts."""
    distinct, last = np.unique(index[::-1], return_index=True)
    return Target(distinct, delta[::-1][last])


@dataclass(frozen=True, slots=True, eq=False)
class BodyShape:
    """One person's body."""

    vertices: Float32Array  # (V,3) the base mesh at rest, dm
    sex: Sex
    ethnicity: Float64Array  # (3,) shares of ETHNICITIES
    age: float  # 0 (about 25 years) to 0.5 (about 55)


def sample_shape(rng: np.random.Generator, rest: Float32Array, shapes: Shapes, sex: Sex) -> BodyShape:
    """A random body: a blend of ethnicities, age, muscle, weight, height and proportions, then details."""
    sculptor = _Sculptor(rest.copy(), shapes.targets)
    ethnicity, age = rng.dirichlet([0.35] * 3), rng.beta(1.1, 2.2) * 0.5
    muscle, weight = np.clip(rng.normal([-0.1 if sex == "female" else 0.1, -0.1], 0.45), -1, 1)
    for years, age_share in (("young", 1 - age), ("old", age)):
        for name, share in zip(ETHNICITIES, ethnicity, strict=True):
            sculptor.add(f"macrodetails/{name}-{sex}-{years}", share * age_share)
        for muscle_level, muscle_share in _levels(muscle):
            for weight_level, weight_share in _levels(weight):
                name = f"macrodetails/universal-{sex}-{years}-{muscle_level}muscle-{weight_level}weight"
                sculptor.add(name, age_share * muscle_share * weight_share)

    height = np.clip(rng.normal(0, 0.25), -0.6, 0.6)
    proportions = "ideal" if rng.random() < 0.8 else "uncommon"
    build = f"{sex}-young-averagemuscle"
    stature = "max" if height > 0 else "min"
    sculptor.add(f"macrodetails/height/{build}-averageweight-{stature}height", abs(height))
    for level, share in _levels(weight):
        name = f"macrodetails/proportions/{build}-{level}weight-{proportions}proportions"
        sculptor.add(name, share * rng.uniform(0.1, 0.8))

    for name in rng.choice(shapes.face_details, 34, replace=False):
        calm = 0.35 if "asym" in name else 0.6 if "age" in name else 1.0
        sculptor.add(str(name), min(abs(rng.normal(0, 0.33)), 0.85) * calm)
    sculptor.add("eyebrows/eyebrows-angle-up", rng.uniform(0.4, 1.1))  # the neutral brows look angry
    for name in rng.choice(shapes.body_details, 8, replace=False):
        sculptor.add(str(name), min(abs(rng.normal(0, 0.25)), 0.6))
    return BodyShape(sculptor.vertices, sex, ethnicity, age)


@dataclass(slots=True, eq=False)
class _Sculptor:
    """Changes a copy of the base mesh, target by target."""

    vertices: Float32Array
    targets: Mapping[str, Target]

    def add(self, name: str, share: float) -> None:
        """Moves the vertices by a share of a target; combinations that the pack leaves out change nothing."""
        if abs(share) > 1e-3 and (target := self.targets.get(name)):
            add_scaled(self.vertices, target.index, target.delta, np.float32(share))


def _levels(value: float) -> tuple[tuple[str, float], ...]:
    """-1..1 as shares of the three levels that targets exist for."""
    return ("min", max(-value, 0)), ("average", 1 - abs(value)), ("max", max(value, 0))


# What a face does: muscle movements, an opening jaw, a gaze.


_SIDE_EFFECTS = ("closure", "platysma")  # units that look odd on their own: closed eyes, a tense neck


@dataclass(frozen=True, slots=True)
class Expression:
    """The default is the neutral face, looking ahead."""

    units: Mapping[str, float] = field(default_factory=dict)  # name of an expression unit -> weight, about -1..1
    jaw: float = 0.0  # opening, radians
    gaze: tuple[float, float] = (0.0, 0.0)  # yaw to the person's left and pitch up, radians

    def weights(self, units: Sequence[str]) -> Float32Array:
        """The weights of the named units, (U,)."""
        return np.array([self.units.get(unit, 0.0) for unit in units], np.float32)


def sample_expression(rng: np.random.Generator, units: Sequence[str], strength: float = 1.0) -> Expression:
    """Three random units, a little smile, slightly raised inner brows, and a gaze near the front."""
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
