"""Seats and backs in one sheet: moulded buckets, tubs, ribbons."""

from __future__ import annotations

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.rendering.chair_frame import Size
from gfla_cli.rendering.chair_legs import Piece, rounded
from gfla_cli.rendering.shapes import sheet


def _spaced(path: Float64Array, count: int) -> Float64Array:
    """`count` points at equal distances along a path (k,3)."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    places = np.linspace(0, along[-1], count)
    return np.stack([np.interp(places, along, path[:, axis]) for axis in range(3)], axis=1)


def bucket(rng: np.random.Generator, size: Size) -> list[Piece]:
    """A moulded shell: seat, lap and back in one, hollowed, with or without sides that rise to arms."""
    low = size.seat - 0.1
    top = size.seat + rng.uniform(2.6, 4.6)
    lean = rng.uniform(0.6, 1.3)
    corners = [(0, low - 0.25, size.depth / 2), (0, low, size.depth * 0.38), (0, low - 0.15, -size.depth * 0.36)]
    profile = _spaced(rounded([*corners, (0, top, -size.depth * 0.36 - lean)], rng.uniform(1.0, 1.9), 8), 26)
    v = np.linspace(0, 1, 26)[None]
    u = np.linspace(-1, 1, 21)[:, None]
    half = size.width / 2 * (1 + 0.06 * np.sin(np.pi * v)) * (1 - rng.uniform(0.0, 0.3) * v**3)
    corner = (np.abs(v - 0.5) * 2) ** rng.uniform(5, 10)  # the four corners are rounded off
    half = half * np.sqrt(np.clip(1 - 0.6 * corner, 0.05, 1))
    arms = rng.random() < 0.35
    rise = rng.uniform(1.3, 2.0) if arms else rng.uniform(0.1, 0.5)
    lift = rise * np.abs(u) ** (3.5 if arms else 2.2) * np.exp(-(((v - 0.45) / 0.28) ** 2))
    forward = rng.uniform(0.3, 0.9) * np.abs(u) ** 2.4 * np.clip(v - 0.45, 0, 1)
    points = np.stack([u * half, profile[:, 1] + lift, profile[:, 2] + forward + 0 * u], axis=-1)
    return [(sheet(points, rng.uniform(0.08, 0.16)), "seat")]


def ribbon(rng: np.random.Generator, size: Size) -> list[Piece]:
    """One bent board from the floor up to the seat and on to the back, or a seat on a closed loop."""
    depth, top = size.depth / 2, size.top
    corners = [(0, 0.06, -depth * rng.uniform(0.6, 1)), (0, 0.06, depth * 0.7), (0, size.seat, depth)]
    corners += [(0, size.seat - 0.2, -depth * 0.8), (0, top, -depth - rng.uniform(0.3, 1.1))]
    profile = _spaced(rounded(corners, rng.uniform(0.8, 1.6), 8), 60)
    u = np.linspace(-1, 1, 9)[:, None]
    waist = 1 - rng.uniform(0, 0.18) * np.sin(np.linspace(0, 2 * np.pi, 60)) ** 2
    hollow = rng.uniform(0, 0.25) * u**2
    points = np.stack([u * size.width / 2 * waist, profile[:, 1] + hollow, profile[:, 2] + 0 * u], axis=-1)
    return [(sheet(points, rng.uniform(0.12, 0.3)), "seat")]


def tub(rng: np.random.Generator, size: Size, *, low: float, thickness: float) -> list[Piece]:
    """A wall around three sides of a seat, as high as the arms in front and as the back behind."""
    reach = np.radians(rng.uniform(105, 150))
    angle = np.linspace(-reach, reach, 33)[:, None]  # 0 = straight behind
    power = rng.uniform(2.0, 3.2)
    ring = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)
    fall = (1 - np.cos(angle)) / (1 - np.cos(reach))
    arm = rng.uniform(1.4, 2.4)
    height = size.top - (size.top - size.seat - arm) * fall ** rng.uniform(0.8, 2.0)
    t = np.linspace(0, 1, 9)[None]
    flare = 1 + rng.uniform(0.0, 0.14) * t
    points = np.stack(
        [
            np.sin(angle) * ring * size.width / 2 * flare,
            low + (height - low) * t + 0 * angle,
            -np.cos(angle) * ring * size.depth / 2 * flare,
        ],
        axis=-1,
    )
    return [(sheet(points, thickness), "seat")]
