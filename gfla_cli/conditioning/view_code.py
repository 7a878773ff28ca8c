"""View codes: from where an image of an object is taken, as the view generator reads it. Imports no torch.

A code is 21 numbers: one-hot azimuth in 18 steps of 20 degrees, then one-hot elevation of 0, 10 or 20 degrees.
Azimuth 0 looks at the object's front, 90 at its left side, which is on the right for an observer in front of it.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from gfla_cli.arrays import Float32Array
from gfla_cli.errors import UsageError

AZIMUTH_STEP = 20  # degrees
AZIMUTHS = tuple(range(0, 360, AZIMUTH_STEP))
ELEVATIONS = (0, 10, 20)
CODE_LENGTH = len(AZIMUTHS) + len(ELEVATIONS)
_MOST_TURNS = 360  # degrees to either side that a user may name

Between = Literal["nearest", "blend"]
Code = Float32Array  # (21,)


class ViewAngles(NamedTuple):
    """From where an image is taken, in degrees."""

    azimuth: float  # 0 to 360
    elevation: float  # 0 to 20

    def __str__(self) -> str:
        return f"azimuth {self.azimuth:g}, elevation {self.elevation:g}"


def view_angles(azimuth: float, elevation: float) -> ViewAngles:
    """Checked angles, the azimuth in [0, 360). Raises UsageError for angles that the network does not know."""
    if not math.isfinite(azimuth) or not -_MOST_TURNS <= azimuth <= _MOST_TURNS:
        raise UsageError(f"azimuth {azimuth:g} is out of range", hint="degrees around the object, from -360 to 360")
    if not math.isfinite(elevation) or not ELEVATIONS[0] <= elevation <= ELEVATIONS[-1]:
        raise UsageError(f"elevation {elevation:g} is out of range", hint="degrees above the horizon, from 0 to 20")
    return ViewAngles(azimuth % 360, float(elevation))


def nearest_view(angles: ViewAngles) -> ViewAngles:
    """The trained view closest to these angles; halfway between two, the smaller."""
    step = math.ceil(angles.azimuth / AZIMUTH_STEP - 0.5) % len(AZIMUTHS)
    elevation = min(ELEVATIONS, key=lambda known: abs(known - angles.elevation))
    return ViewAngles(float(AZIMUTHS[step]), float(elevation))


def view_code(angles: ViewAngles, between: Between = "nearest") -> Code:
    """(21,) the code of a view. `blend` mixes the codes of the two trained views beside an angle."""
    if between == "nearest":
        angles = nearest_view(angles)
    code = np.zeros(CODE_LENGTH, np.float32)
    place = angles.azimuth / AZIMUTH_STEP
    first, share = int(place), place - int(place)
    code[first % len(AZIMUTHS)] += 1 - share
    code[(first + 1) % len(AZIMUTHS)] += share
    place = angles.elevation / (ELEVATIONS[1] - ELEVATIONS[0])
    first, share = int(place), place - int(place)
    code[len(AZIMUTHS) + first] += 1 - share
    if share > 0:
        code[len(AZIMUTHS) + first + 1] += share
    return code


def azimuth_difference(first: float, second: float) -> float:
    """The angle between two azimuths, 0 to 180 degrees."""
    apart = abs(first - second) % 360
    return min(apart, 360 - apart)
