"""What stands behind a person: studio walls, coloured paper and pretend rooms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, FloatArray
from gfla_cli.rendering.fabrics import random_colour
from gfla_cli.rendering.textures import noise

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
