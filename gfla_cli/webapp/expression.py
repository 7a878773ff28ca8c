"""The landmarks of a face with another expression, and turned another way: what the sliders of the page change."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import UsageError
from gfla_cli.person.face import EYES, face_size

# In face sizes at the slider's end: how far a brow rises, and how far the lower lip and the chin sink.
_BROWS, _MOUTH = 0.07, 0.16
_BROW_POINTS, _LOWER_LIP = list(range(17, 27)), [*range(55, 60), *range(65, 68)]
_JAW = dict(zip(range(4, 13), (0.2, 0.4, 0.6, 0.75, 0.8, 0.75, 0.6, 0.4, 0.2), strict=True))  # share of the lip's way


@dataclass(frozen=True, slots=True)
class Expression:
    """Changes of a face. Zeros leave it as it is."""

    turn: float = 0.0  # degrees, -30..30; positive: to the right of the image
    nod: float = 0.0  # degrees, -20..20; positive: down
    tilt: float = 0.0  # degrees, -30..30; positive: clockwise
    eyes: float = 0.0  # -1 (closed)..1 (wide open)
    mouth: float = 0.0  # 0..1 (open)
    brows: float = 0.0  # -1..1 (raised)

    @classmethod
    def parse(cls, values: Any) -> Expression:
        """From a JSON object. Raises UsageError for unknown names and for values out of range."""
        known = [field.name for field in fields(cls)]
        if not isinstance(values, dict) or not set(values) <= set(known):
            raise UsageError("an expression is a JSON object", hint=f"known: {', '.join(known)}")
        for name, value in values.items():
            low, high = LIMITS[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise UsageError(f"{name} is {value!r:.30}", hint=f"{name} goes from {low:g} to {high:g}")
        return cls(**values)


LIMITS = {"turn": (-30, 30), "nod": (-20, 20), "tilt": (-30, 30), "eyes": (-1, 1), "mouth": (0, 1), "brows": (-1, 1)}


def with_expression(points: NDArray[np.floating], expression: Expression) -> NDArray[np.float32]:
    """(68, 3) landmarks x, y, z in pixels, z away from the camera, with the features moved and then the head turned."""
    face = np.asarray(points, np.float64).copy()
    size = face_size(face)
    down = face[8] - face[27]  # from the bridge of the nose to the chin
    down /= max(float(np.linalg.norm(down)), 1e-9)
    for _, first, second, _, below_second, below_first in EYES:
        for upper, lower in ((first, below_first), (second, below_second)):
            part = 1 + expression.eyes * (1.0 if expression.eyes < 0 else 0.5)
            face[upper] = face[lower] + part * (face[upper] - face[lower])
    face[_BROW_POINTS] -= expression.brows * _BROWS * size * down
    face[_LOWER_LIP] += expression.mouth * _MOUTH * size * down
    for point, share in _JAW.items():
        face[point] += expression.mouth * _MOUTH * share * size * down
    turn, nod, tilt = np.radians([expression.turn, expression.nod, expression.tilt])
    about_y = [[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]]
    about_x = [[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]]
    about_z = [[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]]
    middle = (face[0] + face[16]) / 2  # between the ears
    rotation = np.array(about_z) @ np.array(about_x) @ np.array(about_y)
    return np.asarray((face - middle) @ rotation.T + middle, np.float32)
