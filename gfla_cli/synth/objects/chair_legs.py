"""The sizes of chairs, and what they stand on: legs, sleds, cantilevers, wires, rockers and pedestals.

Lengths are decimetres (dm), y is up, the front is +z, the left is +x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gfla_cli.arrays import Float64Array
from gfla_cli.synth.objects.shapes import Shape, box, lathe, tube
from gfla_cli.synth.renderer.camera import rotation_matrix
from gfla_cli.synth.renderer.procedural import choose

Role = Literal["frame", "seat", "back", "metal", "dark"]
Piece = tuple[Shape, Role]
Point = Float64Array

LegStyle = Literal["square", "round", "turned", "tapered"]


@dataclass(frozen=True, slots=True)
class Footprint:
    """The area under a seat, which legs carry; dm."""

    width: float
    depth: float
    height: float  # of the seat's underside

    def corners(self, inset: float) -> list[Point]:
        """Corners (3,) under the seat: front left, front right, back left, back right."""
        x, z = self.width / 2 - inset, self.depth / 2 - inset
        return [np.array([sx * x, self.height, sz * z]) for sz in (1, -1) for sx in (1, -1)]


@dataclass(frozen=True, slots=True)
class Size:
    """Proportions of a chair, dm."""

    width: float
    depth: float
    seat: float  # height of its upper side
    top: float  # height of the back
    taper: float  # width of the seat at the back / at the front

    def foot(self, thickness: float, share: float = 0.96) -> Footprint:
        """The footprint under a seat of this thickness; share: of the seat's width and depth."""
        mean = self.width * (1 + self.taper) / 2
        return Footprint(mean * share, self.depth * share, self.seat - thickness)


def sample_size(rng: np.random.Generator) -> Size:
    """A chair to sit at a table, with a low or a high back."""
    seat = rng.normal(4.5, 0.2)
    tall = rng.random() < 0.3
    return Size(
        width=rng.uniform(3.9, 5.4),
        depth=rng.uniform(3.9, 5.2),
        seat=seat,
        top=seat + (rng.uniform(4.4, 6.2) if tall else rng.uniform(2.8, 4.6)),
        taper=rng.uniform(0.78, 1.0),
    )


def rounded(corners: ArrayLike, radius: float, steps: int = 4) -> Float64Array:
    """A path (n,3) along corners (k,3), which are rounded by `radius` in `steps` steps."""
    points = np.asarray(corners, np.float64)
    path = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        into, out = before - corner, after - corner
        room = min(radius, np.linalg.norm(into) * 0.48, np.linalg.norm(out) * 0.48)
        start, end = corner + into / np.linalg.norm(into) * room, corner + out / np.linalg.norm(out) * room
        t = np.linspace(0, 1, steps + 1)[:, None]
        path.extend((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return np.array([*path, points[-1]])


def mirrored_pair(shape: Shape, role: Role) -> list[Piece]:
    """The shape and its mirror image, as pieces of one role."""
    return [(shape, role), (shape.mirrored(), role)]


def legs(
    rng: np.random.Generator,
    foot: Footprint,
    role: Role,
    style: LegStyle,
    *,
    splay: float,
    thickness: float,
    plain: bool = False,
) -> list[Piece]:
    """Four legs, which lean outwards by `splay` (length per height). plain: never adds stretchers between them."""
    inset = thickness * rng.uniform(0.7, 1.6)
    tops = foot.corners(inset)
    lean = splay * foot.height
    back_lean = lean if plain or rng.random() < 0.6 else rng.uniform(0.0, 0.5)
    bottoms = []
    for top in tops:
        outwards = lean if top[2] > 0 else back_lean
        bottoms.append(np.array([top[0] + np.sign(top[0]) * lean * 0.8, 0, top[2] + np.sign(top[2]) * outwards]))
    radius, square = _leg_profile(rng, style, thickness)
    share = np.linspace(0, 1, len(radius))[:, None]
    pieces: list[Piece] = [
        (tube(top * (1 - share) + bottom * share, radius, sides=10, square=square), role)
        for top, bottom in zip(tops, bottoms, strict=True)
    ]
    kind = choose(rng, {"none": 0.5, "box": 0.2, "h": 0.15, "sides": 0.1, "front": 0.05})
    if kind != "none" and not plain:
        height = rng.uniform(0.12, 0.5)
        at = [top * height + bottom * (1 - height) for top, bottom in zip(tops, bottoms, strict=True)]
        bars = _stretchers(at, kind)
        thin = thickness * rng.uniform(0.25, 0.45)
        pieces += [(tube(bar, thin, sides=8, square=square), role) for bar in bars]
    return pieces


def _leg_profile(rng: np.random.Generator, style: LegStyle, thickness: float) -> tuple[Float64Array, bool]:
    half = thickness / 2
    if style == "square":
        return np.array([1.0, rng.uniform(0.6, 1.0)]) * half, True
    if style == "round":
        return np.array([1.0, 1.0]) * half, False
    if style == "tapered":
        return np.array([1.0, 1.0, rng.uniform(0.4, 0.6)]) * half, bool(rng.random() < 0.4)
    swell = rng.uniform(0.55, 1.05, 7)
    rings = np.repeat([swell], 3, axis=0).T.ravel() * np.tile([0.75, 1.0, 0.75], 7)
    return rings * half, False


def _stretchers(at: Sequence[Point], kind: str) -> list[Float64Array]:
    front_left, front_right, back_left, back_right = at
    left, right = np.array([front_left, back_left]), np.array([front_right, back_right])
    front, back = np.array([front_left, front_right]), np.array([back_left, back_right])
    middle = np.array([left.mean(axis=0), right.mean(axis=0)])
    return {
        "box": [left, right, front, back],
        "h": [left, right, middle],
        "sides": [left, right],
        "front": [front + np.array([0, 0.3, 0])],
    }[kind]


def sled(rng: np.random.Generator, foot: Footprint) -> list[Piece]:
    """A bent bar on either side, on runners, joined under the seat."""
    radius, bow = rng.uniform(0.09, 0.16), rng.uniform(0.2, 1.0)
    x, z = foot.width / 2 - radius, foot.depth / 2
    top = foot.height
    lean = rng.uniform(-0.1, 0.9)
    corners = [(x * 0.85, top, z * 0.7), (x, 0.1, z + lean * 0.4), (x, 0.1, -z - lean), (x * 0.85, top, -z * 0.7)]
    square = rng.random() < 0.3
    side = tube(rounded(corners, bow), radius, sides=8, square=square)
    pieces: list[Piece] = mirrored_pair(side, "metal")
    for depth in (z * 0.68, -z * 0.68):
        bar = tube([(-x * 0.85, top, depth), (x * 0.85, top, depth)], radius, sides=8)
        pieces.append((bar, "metal"))
    return pieces


def cantilever(rng: np.random.Generator, foot: Footprint) -> list[Piece]:
    """One bent tube: a runner on the floor, up at the front, back under the seat."""
    radius, bow = rng.uniform(0.1, 0.16), rng.uniform(0.5, 1.3)
    x, z = foot.width / 2 - radius, foot.depth / 2
    corners = [(0, 0.12, -z * 0.9), (x, 0.12, -z * 0.9), (x, 0.12, z), (x, foot.height, z * 0.92), (x, foot.height, -z)]
    side = tube(rounded(corners, bow, 6), radius, sides=8)
    bar = tube([(-x, foot.height, -z), (x, foot.height, -z)], radius, sides=8)
    return [*mirrored_pair(side, "metal"), (bar, "metal")]


def wires(rng: np.random.Generator, foot: Footprint) -> list[Piece]:
    """Thin rods that cross: two to every foot, and braces between them."""
    radius = rng.uniform(0.045, 0.08)
    x, z, top = foot.width / 2 * 0.95, foot.depth / 2 * 0.95, foot.height
    inner = rng.uniform(0.25, 0.5)
    pieces: list[Piece] = []
    for sz in (1, -1):
        toe = (x, 0.03, sz * z)
        for start in ((x * inner, top, sz * z * inner), (x * 0.9, top, sz * z * inner * 0.3)):
            pieces += mirrored_pair(tube([start, toe], radius, sides=6), "metal")
        brace = tube([(x * 0.72, top * 0.4, sz * z * 0.8), (-x * 0.72, top * 0.4, sz * z * 0.8)], radius * 0.8, sides=6)
        pieces.append((brace, "metal"))
    side = tube([(x * 0.8, top * 0.45, z * 0.75), (x * 0.8, top * 0.45, -z * 0.75)], radius * 0.8, sides=6)
    return pieces + mirrored_pair(side, "metal")


def crossed(rng: np.random.Generator, foot: Footprint) -> list[Piece]:
    """Folding legs: an X on either side, with bars across."""
    thickness = rng.uniform(0.12, 0.2)
    x, z, top = foot.width / 2 - thickness, foot.depth / 2, foot.height
    pieces: list[Piece] = []
    for outer, start, end in ((0.0, z, -z), (thickness * 1.6, -z * 0.8, z)):
        bar = tube([(x - outer, top, start), (x - outer, 0, end)], thickness, square=True, flat=0.6)
        pieces += mirrored_pair(bar, "frame")
        across = tube([(x - outer, 0.5, end * 0.8), (outer - x, 0.5, end * 0.8)], thickness * 0.5, sides=8)
        pieces.append((across, "frame"))
    return pieces


def rockers(rng: np.random.Generator, foot: Footprint) -> list[Piece]:
    """Curved runners under four short legs."""
    thickness = rng.uniform(0.25, 0.4)
    x, reach = foot.width / 2 - thickness, foot.depth / 2 + rng.uniform(1.0, 2.0)
    z = np.linspace(-reach - 0.6, reach * 0.8, 12)
    rise = rng.uniform(0.03, 0.07)
    runner = np.stack([np.full_like(z, x), rise * z**2 + 0.15, z], axis=1)
    pieces: list[Piece] = mirrored_pair(tube(runner, thickness * 0.45, square=True), "frame")
    for depth in (foot.depth / 2 - thickness, thickness - foot.depth / 2):
        leg = tube([(x, foot.height, depth), (x, rise * depth**2 + 0.15, depth)], thickness * 0.5, sides=8)
        pieces += mirrored_pair(leg, "frame")
    return pieces


def pedestal(rng: np.random.Generator, height: float, reach: float, *, wheels: bool) -> list[Piece]:
    """A column on a star of four or five feet, with or without wheels. `height` of the seat's underside."""
    role: Role = "dark" if rng.random() < 0.5 else "metal"
    arms = 5 if wheels or rng.random() < 0.3 else 4
    low = 0.62 if wheels else 0.12
    hub = low + rng.uniform(0.15, 0.5)
    column = rng.uniform(0.18, 0.3)
    profile = [(0, low), (column * 1.5, low), (column * 1.3, hub), (column, hub + 0.05), (column, height * 0.6)]
    profile += [(column * 0.62, height * 0.6), (column * 0.62, height), (0, height)]
    pieces: list[Piece] = [(lathe(profile, sides=16), role)]
    pieces.append((box(reach * 0.55, 0.15, reach * 0.6).moved(y=height - 0.06), "dark"))
    thick, first = rng.uniform(0.16, 0.26), np.pi / 2 if rng.random() < 0.7 else -np.pi / 2
    if arms == 4:
        first = np.pi / 4
    for k in range(arms):
        angle = first + 2 * np.pi * k / arms
        along = np.array([np.cos(angle), 0, np.sin(angle)])
        path = [along * 0.1 + [0, hub, 0], along * reach * 0.5 + [0, (hub + low) / 2, 0], along * reach + [0, low, 0]]
        pieces.append((tube(path, [thick, thick * 0.85, thick * 0.55], sides=8), role))
        if wheels:
            pieces += [(part, "dark") for part in _castor(along * reach, angle + rng.normal(0, 0.6))]
    return pieces


def _castor(at: Point, angle: float) -> list[Shape]:
    """A twin wheel that stands on the floor, and its pin."""
    radius, half = 0.27, 0.09
    wheel = lathe([(0, -half), (radius, -half), (radius, half), (0, half)], sides=14)
    upright = rotation_matrix([0, -angle, 0]) @ rotation_matrix([np.pi / 2, 0, 0])
    pair = [wheel.moved(y=shift).rotated(upright).moved(at[0], radius, at[2]) for shift in (-0.13, 0.13)]
    pin = tube(at + np.array([[0, radius, 0], [0, 0.65, 0]]), 0.07, sides=6)
    return [*pair, pin]


def disc(rng: np.random.Generator, height: float, reach: float) -> list[Piece]:
    """A column on a round plate, or on a trumpet that widens to the floor."""
    column = rng.uniform(0.12, 0.25)
    if rng.random() < 0.5:
        profile = [(0, 0), (reach, 0), (reach, 0.08), (column * 2, 0.3), (column, 0.5), (column, height), (0, height)]
    else:
        y = np.linspace(0.1, 1, 9)
        flare = column * 1.2 + (reach - column * 1.2) * (1 - y) ** 3
        top = column * 1.2 + reach * 0.35 * np.clip(y - 0.7, 0, 1) * 3
        profile = [(0, 0), (reach, 0), *zip(np.maximum(flare, top), y * height, strict=True), (0, height)]
    return [(lathe(profile, sides=28), "metal")]
