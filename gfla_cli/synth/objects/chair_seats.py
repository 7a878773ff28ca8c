"""Seats, cushions and arms of chairs, and shells that are seat and back in one.

Lengths are decimetres (dm), y is up, the front is +z, the left is +x.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.synth.objects.chair_legs import Piece, Role, Size, mirrored_pair, rounded
from gfla_cli.synth.objects.shapes import Shape, arc_length, box, lathe, surface_patch, tube

SeatStyle = Literal["board", "padded", "round", "shaped", "slatted", "woven"]


def cushion(width: float, height: float, depth: float, *, radius: float, bulge: float) -> Shape:
    """A cushion centred at the origin: a rounded box whose flat sides bulge."""

    def swell(points: Float64Array) -> Float64Array:
        x, y, z = (points / [width / 2, height / 2, depth / 2]).T
        full = (1 - x**2) * (1 - z**2)
        swollen: Float64Array = points + np.stack([0 * x, bulge * full * y, 0 * x], axis=1)
        return swollen

    return box(width, height, depth, radius, rounds=3, cells=6).deformed(swell)


def superellipse(width: float, depth: float, power: float) -> Float64Array:
    """A closed curve (28,2) between an ellipse (power 2) and a rectangle (large powers), counter-clockwise."""
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    scale = (np.abs(cosine) ** power + np.abs(sine) ** power) ** (-1 / power)
    return np.stack([cosine * scale * width / 2, -sine * scale * depth / 2], axis=1)


def seat(
    rng: np.random.Generator, style: SeatStyle, width: float, depth: float, top: float, thickness: float, taper: float
) -> list[Piece]:
    """A seat whose upper side is at the height `top`. taper: width of its back edge / width of its front edge."""
    if style == "padded":
        return _padded(rng, width, depth, top, thickness, taper)
    if style in ("round", "shaped"):
        outline = superellipse(width, depth, 2.0 if style == "round" else rng.uniform(2.6, 5))
        outline[:, 0] *= 1 + (taper - 1) * (0.5 - outline[:, 1] / depth)
        shape = _disc(rng, outline, thickness, soft=rng.random() < 0.5)
        return [(shape.moved(y=top - thickness), "seat")]
    if style == "slatted":
        return _slatted(rng, width, depth, top, taper)
    rim = box(width, thickness, depth, min(0.06, thickness / 2.2), rounds=2, cells=5)
    dip = rng.uniform(0, 0.12) if style == "board" else 0.0
    shaped = rim.deformed(lambda p: _tapered(p, depth, taper, dip / (width / 2) ** 2)).moved(y=top - thickness / 2)
    if style == "board":
        return [(shaped, "seat")]
    pad = cushion(width * 0.84, thickness * 0.9, depth * 0.84, radius=0.08, bulge=0.05)
    return [(shaped, "frame"), (pad.deformed(lambda p: _tapered(p, depth, taper)).moved(y=top), "seat")]


def _tapered(points: Float64Array, depth: float, taper: float, dip: float = 0.0) -> Float64Array:
    """Narrows a seat towards the back, and hollows it by `dip` times the squared distance from the middle."""
    x, y, z = points.T
    hollow = dip * (x**2 - (np.abs(x).max() ** 2)) * (y > 0)
    return np.stack([x * (1 + (taper - 1) * (0.5 - z / depth)), y + hollow, z], axis=1)


def _padded(
    rng: np.random.Generator, width: float, depth: float, top: float, thickness: float, taper: float
) -> list[Piece]:
    soft = max(thickness, rng.uniform(0.45, 0.9))
    pad = cushion(width, soft, depth, radius=soft * rng.uniform(0.25, 0.48), bulge=rng.uniform(0.05, 0.25))
    pieces: list[Piece] = [(pad.deformed(lambda p: _tapered(p, depth, taper)).moved(y=top - soft / 2), "seat")]
    if rng.random() < 0.5:
        apron = box(width * 0.94, 0.5, depth * 0.94, 0.04).deformed(lambda p: _tapered(p, depth, taper))
        pieces.append((apron.moved(y=top - soft - 0.1), "frame"))
    return pieces


def _disc(rng: np.random.Generator, outline: Float64Array, thickness: float, *, soft: bool) -> Shape:
    """A body with an outline (k,2); its upper side is flat with a sharp edge, or `soft`: rounded and domed."""
    if not soft:
        edge = [(0.97, 0), (1, thickness * 0.3), (1, thickness * 0.8), (0.98, thickness)]
        return lathe([(0, 0), *edge, (0, thickness)], outline)
    share = np.linspace(0, np.pi / 2, 7)
    dome = thickness * rng.uniform(0.1, 0.35)
    rim = [(1 - 0.12 * (1 - np.cos(a)), thickness * (0.4 + 0.6 * np.sin(a))) for a in share]
    crown = [(r, thickness + dome * (1 - (r / 0.88) ** 2)) for r in (0.7, 0.45, 0.2, 0.0)]
    return lathe([(0, 0), (0.96, 0), (1, thickness * 0.2), *rim, *crown], outline)


def _slatted(rng: np.random.Generator, width: float, depth: float, top: float, taper: float) -> list[Piece]:
    count, thickness = int(rng.integers(4, 9)), rng.uniform(0.12, 0.22)
    pitch = depth / count
    pieces: list[Piece] = []
    for k in range(count):
        z = depth / 2 - pitch * (k + 0.5)
        narrow = 1 + (taper - 1) * (0.5 - z / depth)
        pieces.append((box(width * narrow, thickness, pitch * 0.72).moved(y=top - thickness / 2, z=z), "seat"))
    for x in (-0.42, 0.42):
        rail = box(0.25, 0.3, depth * 0.96).moved(x=x * width * (1 + taper) / 2, y=top - thickness - 0.15)
        pieces.append((rail, "frame"))
    return pieces


def rail_arms(
    rng: np.random.Generator, width: float, depth: float, seat_top: float, role: Role, *, thickness: float
) -> list[Piece]:
    """On each side, a rail from the back to a post at the front of the seat; sometimes bent in one piece."""
    height = seat_top + rng.uniform(1.7, 2.5)
    x, front, back = width / 2 + thickness * 0.2, depth / 2 * rng.uniform(0.35, 0.95), -depth / 2 - 0.1
    if rng.random() < 0.4:
        path = rounded([(x, height, back), (x, height, front), (x, seat_top - 0.2, front)], rng.uniform(0.3, 1.0), 6)
        return mirrored_pair(tube(path, thickness * 0.45, sides=8), role)
    square = rng.random() < 0.5
    drop = rng.uniform(0, 0.25)
    rail = tube([(x, height, back), (x, height - drop, front + 0.3)], thickness * 0.55, square=square, flat=0.6)
    post = tube([(x, height - drop, front), (x, seat_top - 0.3, front)], thickness * 0.4, square=square)
    return [piece for shape in (rail, post) for piece in mirrored_pair(shape, role)]


def office_arms(rng: np.random.Generator, width: float, seat_top: float) -> list[Piece]:
    """A pad on a post or in a loop on either side of an office chair."""
    height, x = seat_top + rng.uniform(1.8, 2.5), width / 2 + rng.uniform(0.1, 0.4)
    pad = box(0.75, 0.25, rng.uniform(2.2, 3.0), 0.1, rounds=2).moved(x, height, 0.1)
    if rng.random() < 0.5:
        under = seat_top - 0.5
        corners = [(width * 0.3, under, 0.0), (x, under, 0.0), (x, height, 0.0)]
        holder = tube(rounded(corners, 0.4), rng.uniform(0.14, 0.25), sides=8, flat=rng.uniform(0.5, 1))
    else:
        low = seat_top - 0.3
        corners = [(x, low, -0.9), (x, height, -1.1), (x, height, 1.1), (x, low, 0.9), (x, low, -0.9)]
        holder = tube(rounded(corners, 0.5), rng.uniform(0.1, 0.16), sides=8)
    return [piece for shape in (pad, holder) for piece in mirrored_pair(shape, "dark")]


def box_arms(rng: np.random.Generator, width: float, depth: float, bottom: float, seat_top: float) -> list[Piece]:
    """Upholstered blocks on both sides of a seat; their upper side is square or rolled."""
    height, thick = seat_top + rng.uniform(0.7, 2.2), rng.uniform(0.5, 1.5)
    x = width / 2 + thick / 2
    block = box(thick, height - bottom, depth, rng.uniform(0.08, 0.3), rounds=2).moved(x, (height + bottom) / 2, 0)
    parts = [block]
    if rng.random() < 0.35:
        roll = tube([(x + 0.1, height - 0.1, depth / 2), (x + 0.1, height - 0.1, -depth / 2)], thick * 0.62, sides=16)
        parts.append(roll)
    return [piece for shape in parts for piece in mirrored_pair(shape, "seat")]


def _spaced(path: Float64Array, count: int) -> Float64Array:
    """`count` points at equal distances along a path (k,3)."""
    along = arc_length(path)
    places = np.linspace(0, along[-1], count)
    return np.stack([np.interp(places, along, path[:, axis]) for axis in range(3)], axis=1)


def bucket(rng: np.random.Generator, size: Size) -> list[Piece]:
    """A moulded shell of seat and back; its sides sometimes rise to arms."""
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
    return [(surface_patch(points, rng.uniform(0.08, 0.16)), "seat")]


def ribbon(rng: np.random.Generator, size: Size) -> list[Piece]:
    """One bent board, from the floor over the seat to the back."""
    depth, top = size.depth / 2, size.top
    corners = [(0, 0.06, -depth * rng.uniform(0.6, 1)), (0, 0.06, depth * 0.7), (0, size.seat, depth)]
    corners += [(0, size.seat - 0.2, -depth * 0.8), (0, top, -depth - rng.uniform(0.3, 1.1))]
    profile = _spaced(rounded(corners, rng.uniform(0.8, 1.6), 8), 60)
    u = np.linspace(-1, 1, 9)[:, None]
    waist = 1 - rng.uniform(0, 0.18) * np.sin(np.linspace(0, 2 * np.pi, 60)) ** 2
    hollow = rng.uniform(0, 0.25) * u**2
    points = np.stack([u * size.width / 2 * waist, profile[:, 1] + hollow, profile[:, 2] + 0 * u], axis=-1)
    return [(surface_patch(points, rng.uniform(0.12, 0.3)), "seat")]


def tub(rng: np.random.Generator, size: Size, *, low: float, thickness: float) -> list[Piece]:
    """A wall around three sides of a seat: behind it the back, at its sides the arms. low: height of its lower end."""
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
    return [(surface_patch(points, thickness), "seat")]
