"""The light of a scene, and the scene: a background picture and a light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gfla_cli.arrays import ByteArray, Float64Array
from gfla_cli.rendering.backgrounds import BackgroundKind, background
from gfla_cli.rendering.chance import choose


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """One key light and light from everywhere."""

    direction: Float64Array  # (3,) towards the key light, in camera axes; any length
    key: Float64Array  # (3,) linear RGB
    ambient: Float64Array  # (3,) linear RGB
    floor: bool  # whether the person throws a shadow on the floor


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Where a picture is taken."""

    background: ByteArray  # (s,s,3) RGB
    light: Light


def sample_light(rng: np.random.Generator, floor: bool = True) -> Light:
    """A key light from the front, above the horizon; the more ambient light, the weaker it is."""
    azimuth, elevation = np.radians(rng.normal(0, 50)), np.radians(rng.uniform(5, 60))
    ambient = rng.uniform(0.48, 0.76)
    warmth = 1 + rng.normal(0, 0.035, 3) * [1, 0.3, 1]
    return Light(
        direction=np.array(
            [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        ),
        key=warmth * rng.uniform(0.62, 0.92) * (1.25 - 0.45 * ambient),
        ambient=ambient * (1 + rng.normal(0, 0.02, 3)),
        floor=floor,
    )


def sample_scene(rng: np.random.Generator, size: int, backgrounds: Mapping[BackgroundKind, float]) -> Scene:
    """A scene whose background is of a kind drawn with the given probabilities; in clutter there is no floor."""
    kind = choose(rng, backgrounds)
    picture = background(rng, size, kind)
    return Scene(picture, sample_light(rng, floor=kind != "clutter"))
