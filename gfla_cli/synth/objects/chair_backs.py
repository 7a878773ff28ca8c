"""Backs of chairs: panels, slats, rungs, spindles, hoops, crosses, cushions and nets, on one curved plane.

Lengths are decimetres (dm), y is up, the front is +z, the left is +x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gfla_cli.arrays import Float64Array
from gfla_cli.synth.objects.chair_legs import Piece, Role, Size
from gfla_cli.synth.objects.shapes import Shape, box, surface_patch, tube

BackStyle = Literal[
    "panel", "slats", "rungs", "spindles", "hoop", "cross", "splat", "open", "padded", "cane", "net", "shield"
]


@dataclass(frozen=True, slots=True)
class BackPlane:
    """The curved plane of a back: u is -1 (right) to 1 (left), v is 0 (seat) to 1 (top)."""

    bottom: float  # height of its lower end, dm
    top: float
    width: float  # at the seat
    flare: float  # width at the top / width at the seat
    z: float  # of the middle of its lower end
    recline: float  # dm backwards per dm upwards
    wrap: float  # dm by which the sides come forward
    lumbar: float = 0.0  # dm by which the middle height comes forward

    def at(self, u: ArrayLike, v: ArrayLike, forward: ArrayLike = 0.0) -> Float64Array:
        """Points (...,3) of the plane, `forward` dm in front of it."""
        across, up, ahead = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (u, v, forward)))
        half = self.width / 2 * (1 + (self.flare - 1) * up)
        rise = up * (self.top - self.bottom)
        z = self.z - self.recline * rise + self.wrap * across**2 + self.lumbar * np.sin(np.pi * np.clip(up, 0, 1))
        return np.stack([across * half, self.bottom + rise, z + ahead], axis=-1)

    def bent(self, shape: Shape) -> Shape:
        """Bends a flat shape onto the plane. Its origin is the middle of the plane's lower end; z is forward."""
        height = self.top - self.bottom

        def bend(points: Float64Array) -> Float64Array:
            x, y, z = points.T
            return self.at(x / (self.width / 2), y / height, z)

        return shape.deformed(bend)

    def board(self, u: float, v: float, width: float, height: float, thickness: float, radius: float = 0.05) -> Shape:
        """A board around (u, v); width and height are shares of the plane, thickness and radius dm."""
        tall = height * (self.top - self.bottom)
        flat = box(width * self.width, tall, thickness, radius, rounds=2, cells=6)
        return self.bent(flat.moved(u * self.width / 2, v * (self.top - self.bottom)))

    def bar(self, u: ArrayLike, v: ArrayLike, radius: ArrayLike, *, square: bool = False, flat: float = 1.0) -> Shape:
        """A bar through the points (u, v); see `tube`."""
        return tube(self.at(u, v), radius, sides=8, square=square, flat=flat)


def sample_plane(rng: np.random.Generator, size: Size, *, gap: float = 0.0) -> BackPlane:
    """A back over the rear edge of the seat, `gap` above it."""
    return BackPlane(
        bottom=size.seat - 0.1 + gap,
        top=size.top,
        width=size.width * size.taper - 0.3,
        flare=rng.uniform(0.85, 1.12),
        z=-size.depth / 2 + rng.uniform(0.1, 0.3),
        recline=rng.uniform(0.02, 0.28),
        wrap=rng.uniform(0, 0.5) if rng.random() < 0.7 else 0.0,
        lumbar=rng.uniform(-0.05, 0.15),
    )


_UP = np.linspace(0, 1, 6)


def back(rng: np.random.Generator, style: BackStyle, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    """A random back of one style. role: of its wooden or metal parts; thickness: of its posts, dm."""
    return _BACKS[style](rng, plane, role, thickness)


def _posts(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    square = rng.random() < 0.55
    taper = np.linspace(1, rng.uniform(0.6, 1), len(_UP)) * thickness / 2
    top = rng.uniform(1.0, 1.06)
    return [(plane.bar(np.full(len(_UP), side), _UP * top, taper, square=square), role) for side in (-1.0, 1.0)]


def _top_rail(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> Piece:
    height = rng.uniform(0.08, 0.22)
    over = rng.uniform(0.98, 1.14)
    rail = plane.board(0, 1 - height / 2 + 0.03, over, height, thickness * rng.uniform(0.6, 1.0))
    crest = rng.uniform(0, 0.35) if rng.random() < 0.4 else 0.0
    half = plane.width / 2

    def bow(points: Float64Array) -> Float64Array:
        x = points[:, 0]
        bowed: Float64Array = points + np.stack([0 * x, crest * (1 - (x / half) ** 2), 0 * x], axis=1)
        return bowed

    return rail.deformed(bow), role


def _posts_and_rail(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    return [*_posts(rng, plane, role, thickness), _top_rail(rng, plane, role, thickness)]


def _polyline(corners: Sequence[tuple[float, float]], count: int) -> tuple[Float64Array, Float64Array]:
    """u and v, (count,) each, of points along straight lines between corners (u, v)."""
    points, at = np.array(corners), np.linspace(0, len(corners) - 1, count)
    u, v = (np.interp(at, np.arange(len(corners)), points[:, axis]) for axis in range(2))
    return u, v


def _panel(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    low = rng.choice([0.0, 0.25, 0.45])
    board = plane.board(0, (1 + low) / 2, 1, 1 - low, rng.uniform(0.12, 0.3), rng.uniform(0.05, 0.12))
    return [(board, "back"), *(_posts(rng, plane, role, thickness) if low or rng.random() < 0.5 else [])]


def _slats(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    count = int(rng.integers(3, 8))
    width = rng.uniform(0.35, 0.75) * 2 / (count + 1)
    low = rng.uniform(0.0, 0.25)
    pieces = _posts_and_rail(rng, plane, role, thickness)
    for u in np.linspace(-1, 1, count + 2)[1:-1]:
        pieces.append((plane.board(float(u), (low + 0.95) / 2, width / 2, 0.95 - low, rng.uniform(0.09, 0.14)), role))
    if low > 0.08:
        pieces.append((plane.board(0, low, 1, 0.07, thickness * 0.6), role))
    return pieces


def _rungs(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    count, height = int(rng.integers(2, 6)), rng.uniform(0.35, 0.7)
    pieces = _posts(rng, plane, role, thickness)
    places = np.linspace(rng.uniform(0.15, 0.4), 0.94, count)
    tall = min(height * float(places[1] - places[0]), 0.28)
    for v in places:
        pieces.append((plane.board(0, float(v), 0.99, tall, rng.uniform(0.09, 0.18)), role))
    return pieces


def _spindles(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    count, fan = int(rng.integers(5, 10)), rng.uniform(0.75, 1.0)
    pieces: list[Piece] = [_top_rail(rng, plane, role, thickness)]
    swell = np.array([0.8, 1.1, 1.2, 1.0, 0.8, 0.7]) * rng.uniform(0.07, 0.11)
    for u in np.linspace(-0.94, 0.94, count):
        pieces.append((plane.bar(u * (fan + (1 - fan) * _UP), _UP * 0.95, swell), role))
    return pieces


def _hoop(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    """A bow with spindles or a panel inside."""
    angle = np.linspace(0, np.pi, 17)
    power = rng.uniform(0.45, 1.0)
    u, v = np.cos(angle), np.sin(angle) ** power
    pieces: list[Piece] = [(plane.bar(u, v, thickness * 0.42), role)]
    if rng.random() < 0.3:
        inside = [plane.at(np.linspace(-x, x, 9) * 0.97, y) for x, y in zip(u[:9], v[:9] * 0.97, strict=True)]
        return [*pieces, (surface_patch(np.array(inside).transpose(1, 0, 2), 0.1), "back")]
    for at in np.linspace(-0.8, 0.8, int(rng.integers(4, 9))):
        height = float(np.sqrt(1 - at**2) ** power)
        pieces.append((plane.bar(at * np.linspace(0.85, 1, 6), _UP * height, rng.uniform(0.06, 0.09)), role))
    return pieces


def _cross(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    pieces = _posts_and_rail(rng, plane, role, thickness)
    low, bow = rng.uniform(0.05, 0.3), rng.uniform(0, 0.25)
    for side in (-1, 1):
        u = side * (np.linspace(-0.95, 0.95, 9) + bow * np.sin(np.linspace(-np.pi, np.pi, 9)))
        pieces.append((plane.bar(u, np.linspace(low, 0.88, 9), thickness * 0.3, flat=0.7), role))
    pieces.append((plane.board(0, low, 1, 0.06, thickness * 0.6), role))
    return pieces


def _splat(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    """One shaped board in the middle, between posts and a top rail."""
    pieces = _posts_and_rail(rng, plane, role, thickness)
    v = np.linspace(0, 0.93, 15)
    half = rng.uniform(0.25, 0.4) * (1 + rng.uniform(0, 0.4) * np.sin(v * rng.uniform(4, 11) + rng.uniform(0, 6)))
    points = plane.at(np.linspace(-1, 1, 7)[:, None] * half, v[None])
    return [*pieces, (surface_patch(points, 0.12), role)]


def _open(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    """A frame with one band across it."""
    u, v = _polyline([(-1, 0), (-1, 0.98), (1, 0.98), (1, 0)], 31)
    pieces: list[Piece] = [(plane.bar(u, v, thickness * 0.45), role)]
    band = rng.uniform(0.15, 0.5)
    pieces.append((plane.board(0, 1 - band / 2 - rng.uniform(0, 0.3), 1, band, 0.12), "back"))
    return pieces


def _padded(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    low, thick = rng.choice([0.0, 0.1, 0.35]), rng.uniform(0.3, 0.9)
    height = (1 - low) * (plane.top - plane.bottom)
    flat = box(plane.width, height, thick, thick * rng.uniform(0.2, 0.48), rounds=3, cells=6)
    swell, half = rng.uniform(0, 0.2), np.array([plane.width / 2, height / 2])

    def swollen(points: Float64Array) -> Float64Array:
        x, y = (points[:, :2] / half).T
        forwards = swell * (1 - x**2) * (1 - y**2) * np.sign(points[:, 2])
        moved: Float64Array = points + np.stack([0 * x, 0 * x, forwards], axis=1)
        return moved

    middle = plane.top - plane.bottom - height / 2
    pieces: list[Piece] = [(plane.bent(flat.deformed(swollen).moved(y=middle)), "back")]
    if low > 0.2:
        for u in (-0.6, 0.6):
            pieces.append((plane.bar([u, u], [-0.05, low + 0.1], thickness * 0.4, square=True), role))
    elif rng.random() < 0.3:
        pieces += _posts(rng, plane, role, thickness)
    return pieces


def _woven(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    """A net or a weave in a frame. Its holes are in the material of the back."""
    low = rng.uniform(0, 0.2)
    v = np.linspace(low, 0.97, 9)
    points = plane.at(np.linspace(-0.97, 0.97, 9)[:, None], v[None])
    frame = plane.bar(*_polyline([(-1, low), (-1, 0.98), (1, 0.98), (1, low), (-1, low)], 41), thickness * 0.4)
    feet = [plane.bar([u, u], [-0.05, low + 0.05], thickness * 0.45) for u in (-0.8, 0.8)]
    return [(surface_patch(points, 0.0), "back"), (frame, role), *((foot, role) for foot in feet)]


def _shield(rng: np.random.Generator, plane: BackPlane, role: Role, thickness: float) -> list[Piece]:
    """A padded oval in a frame, on two short posts."""
    angle = np.linspace(0, 2 * np.pi, 25)
    power = rng.uniform(0.5, 1)
    u = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    v = 0.58 + 0.42 * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    rings = [plane.at(u * r, 0.58 + (v - 0.58) * r, 0.35 * (1 - r**2)) for r in np.linspace(0.02, 1, 6)]
    front = surface_patch(np.array(rings), 0.18)
    ring = tube(plane.at(u[:-1], v[:-1]), thickness * 0.45, sides=8, closed=True)
    feet = [plane.bar([s * 0.55, s * 0.6], [-0.05, 0.3], thickness * 0.4) for s in (-1, 1)]
    return [(front, "back"), (ring, role), *((foot, role) for foot in feet)]


_BACKS: Mapping[BackStyle, Callable[[np.random.Generator, BackPlane, Role, float], list[Piece]]] = {
    "panel": _panel,
    "slats": _slats,
    "rungs": _rungs,
    "spindles": _spindles,
    "hoop": _hoop,
    "cross": _cross,
    "splat": _splat,
    "open": _open,
    "padded": _padded,
    "cane": _woven,
    "net": _woven,
    "shield": _shield,
}
