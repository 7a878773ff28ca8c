"""What a face does: muscle movements, an opening jaw, a gaze."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gfla_cli.arrays import Float32Array

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
