"""What stands behind a person: studio walls, coloured paper and pretend rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float64Array, FloatArray
from gfla_cli.synth.people.fabrics import random_colour
from gfla_cli.synth.renderer.chance import choose
from gfla_cli.synth.renderer.materials import noise

BackgroundKind = Literal["white", "grey", "colour", "gradient", "noise", "clutter"]


def background(rng: np.random.Generator, size: int, kind: BackgroundKind) -> ByteArray:
    """An RGB picture (size,size,3); `clutter` is a blurred pretend room."""
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = _PAINTERS[kind](rng, size)
    grain = rng.standard_normal(picture.shape, np.float32) * 1.2
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def _white(rng: np.random.Generator, size: int) -> FloatArray:
    return np.array(rng.uniform(235, 255))


def _grey(rng: np.random.Generator, size: int) -> FloatArray:
    return rng.uniform(150, 235) + rng.uniform(-5, 5, 3)


def _colour(rng: np.random.Generator, size: int) -> FloatArray:
    return random_colour(rng) * 0.6 + 90


def _gradient(rng: np.random.Generator, size: int) -> FloatArray:
    """Brighter at the top or the bottom, darker towards the corners."""
    colour = rng.uniform(140, 250) + rng.uniform(-10, 10, 3)
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    across = down.transpose(1, 0, 2)
    slope = (colour * (1 - down * rng.uniform(-0.3, 0.3))).astype(np.float32)
    return slope * (1 - 0.12 * ((down - 0.5) ** 2 + (across - 0.5) ** 2))


def _noise(rng: np.random.Generator, size: int) -> FloatArray:
    colour = (random_colour(rng) * 0.5 + 100).astype(np.float32)
    large = noise(rng, size, size // 4)[..., None] * rng.uniform(8, 25)
    small = noise(rng, size, size // 16)[..., None] * 6
    return colour + (large + small)


def _clutter(rng: np.random.Generator, size: int) -> FloatArray:
    room = np.empty((size, size, 3), np.uint8)
    room[:] = random_colour(rng) * 0.4 + 120
    floor = int(size * rng.uniform(0.6, 0.9))
    room[floor:] = random_colour(rng) * 0.5 + 60
    for _ in range(rng.integers(5, 16)):
        start = (rng.random(2) * size).astype(int)
        end = (start + rng.uniform(0.05, 0.45, 2) * size).astype(int)
        colour = (random_colour(rng) * rng.uniform(0.5, 1)).tolist()
        if rng.random() < 0.7:
            cv2.rectangle(room, start.tolist(), end.tolist(), colour, -1)
        else:
            cv2.circle(room, start.tolist(), int(size * rng.uniform(0.02, 0.15)), colour, -1)
    blurred: ByteArray = cv2.GaussianBlur(room, (0, 0), size * rng.uniform(0.008, 0.03))
    return blurred * (1 + 0.12 * noise(rng, size, size // 3)[..., None])


_PAINTERS: dict[BackgroundKind, Callable[[np.random.Generator, int], FloatArray]] = {
    "white": _white,
    "grey": _grey,
    "colour": _colour,
    "gradient": _gradient,
    "noise": _noise,
    "clutter": _clutter,
}
BACKGROUNDS = tuple(_PAINTERS)


# The light of a scene, and the scene: a background picture and a light.


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
