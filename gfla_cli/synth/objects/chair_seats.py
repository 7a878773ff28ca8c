"""Seats, cushions and arms."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.synth.objects.chair_backs import BackPlane, BackStyle, back
from gfla_cli.synth.objects.chair_frame import (
    COVERED,
    LEG_STYLES,
    WOODEN,
    Built,
    Size,
    palette,
    sample_plane,
    sample_size,
)
from gfla_cli.synth.objects.chair_legs import (
    Footprint,
    LegStyle,
    Piece,
    Role,
    both_sides,
    crossed,
    disc,
    legs,
    pedestal,
    rockers,
    rounded,
)
from gfla_cli.synth.objects.finishes import any_finish, finish
from gfla_cli.synth.objects.shapes import Shape, box, sheet, tube, turned
from gfla_cli.synth.renderer.camera import rotation_matrix
from gfla_cli.synth.renderer.procedural import choose

SeatStyle = Literal["board", "padded", "round", "shaped", "slatted", "woven"]


def cushion(width: float, height: float, depth: float, *, radius: float, bulge: float) -> Shape:
    """A pillow about the origin: a rounded box that swells on its flat sides."""

    def swell(points: Float64Array) -> Float64Array:
        x, y, z = (points / [width / 2, height / 2, depth / 2]).T
        full = (1 - x**2) * (1 - z**2)
        swollen: Float64Array = points + np.stack([0 * x, bulge * full * y, 0 * x], axis=1)
        return swollen

    return box(width, height, depth, radius, rounds=3, cells=6).deformed(swell)


def superellipse(width: float, depth: float, power: float, count: int = 28) -> Float64Array:
    """A closed curve (count,2) between an ellipse (power 2) and a rectangle (large powers), counter-clockwise."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    scale = (np.abs(cosine) ** power + np.abs(sine) ** power) ** (-1 / power)
    return np.stack([cosine * scale * width / 2, -sine * scale * depth / 2], axis=1)


def seat(
    rng: np.random.Generator, style: SeatStyle, width: float, depth: float, top: float, thickness: float, taper: float
) -> list[Piece]:
    """A seat whose upper side is at height `top`; its back edge is `taper` times as wide as its front."""
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
    """Narrower towards the back, and hollowed by `dip` per squared distance from the middle."""
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
    """A body of the given outline, with a sharp, a rounded or a swollen upper side."""
    if not soft:
        edge = [(0.97, 0), (1, thickness * 0.3), (1, thickness * 0.8), (0.98, thickness)]
        return turned([(0, 0), *edge, (0, thickness)], outline)
    share = np.linspace(0, np.pi / 2, 7)
    dome = thickness * rng.uniform(0.1, 0.35)
    rim = [(1 - 0.12 * (1 - np.cos(a)), thickness * (0.4 + 0.6 * np.sin(a))) for a in share]
    crown = [(r, thickness + dome * (1 - (r / 0.88) ** 2)) for r in (0.7, 0.45, 0.2, 0.0)]
    return turned([(0, 0), (0.96, 0), (1, thickness * 0.2), *rim, *crown], outline)


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
    """A rail from the back forwards, on a post at the front of the seat; sometimes bent in one piece."""
    height = seat_top + rng.uniform(1.7, 2.5)
    x, front, back = width / 2 + thickness * 0.2, depth / 2 * rng.uniform(0.35, 0.95), -depth / 2 - 0.1
    if rng.random() < 0.4:
        path = rounded([(x, height, back), (x, height, front), (x, seat_top - 0.2, front)], rng.uniform(0.3, 1.0), 6)
        return [(part, role) for part in both_sides(tube(path, thickness * 0.45, sides=8))]
    square = rng.random() < 0.5
    drop = rng.uniform(0, 0.25)
    rail = tube([(x, height, back), (x, height - drop, front + 0.3)], thickness * 0.55, square=square, flat=0.6)
    post = tube([(x, height - drop, front), (x, seat_top - 0.3, front)], thickness * 0.4, square=square)
    return [(part, role) for shape in (rail, post) for part in both_sides(shape)]


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
    return [(part, "dark") for shape in (pad, holder) for part in both_sides(shape)]


def box_arms(rng: np.random.Generator, width: float, depth: float, bottom: float, seat_top: float) -> list[Piece]:
    """Upholstered blocks beside a seat of the given width, rolled or square at the top."""
    height, thick = seat_top + rng.uniform(0.7, 2.2), rng.uniform(0.5, 1.5)
    x = width / 2 + thick / 2
    block = box(thick, height - bottom, depth, rng.uniform(0.08, 0.3), rounds=2).moved(x, (height + bottom) / 2, 0)
    parts = [block]
    if rng.random() < 0.35:
        roll = tube([(x + 0.1, height - 0.1, depth / 2), (x + 0.1, height - 0.1, -depth / 2)], thick * 0.62, sides=16)
        parts.append(roll)
    return [(part, "seat") for shape in parts for part in both_sides(shape)]


# Seats and backs in one sheet: moulded buckets, tubs, ribbons.


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


# Armchairs, sofas and tub chairs.


def armchair(rng: np.random.Generator) -> Built:
    """One place between thick arms."""
    return _upholstered(rng, rng.uniform(5.0, 6.5), 1)


def sofa(rng: np.random.Generator) -> Built:
    """Two or three places."""
    places = int(rng.choice([2, 3], p=[0.65, 0.35]))
    return _upholstered(rng, places * rng.uniform(5.2, 6.4), places)


def _upholstered(rng: np.random.Generator, width: float, places: int) -> Built:
    """Blocks and cushions: a base, a cushion or two per place, arms, short legs."""
    depth, seat = rng.uniform(5.2, 7.0), rng.uniform(3.7, 4.5)
    low, thick = rng.uniform(0.4, 1.6), rng.uniform(0.9, 1.6)
    tall = seat + rng.uniform(3.2, 6.0 if places == 1 else 4.4)
    plane = BackPlane(low, tall, width, rng.uniform(0.96, 1.04), 0.5 - depth / 2, rng.uniform(0.04, 0.22), wrap=0.0)
    arms = rng.random() < 0.85
    rear = rng.uniform(0.6, 1.1)
    base = box(width, seat - thick - low, depth, 0.1, rounds=2).moved(y=(seat - thick + low) / 2)
    pieces: list[Piece] = [(base, "seat")]
    pieces.append((plane.board(0, 0.5, 1 + 0.04 * arms, 1, rear, rng.uniform(0.1, 0.4)), "seat"))
    loose, plump = rng.random() < 0.7 or places > 1, rng.uniform(0.1, 0.4)
    for k in range(places):
        share = width / places
        x = share * (k + 0.5) - width / 2
        room = depth / 2 - plane.z - rear / 2
        pillow = cushion(share * 0.985, thick, room, radius=plump, bulge=plump * 0.6)
        pieces.append((pillow.moved(x, seat - thick / 2, depth / 2 - room / 2 + 0.05), "back"))
        if loose:
            pieces.append((_back_cushion(plane, x, share * 0.97, seat, rear), "back"))
    if rng.random() < 0.2 and places == 1:
        pieces += _wings(plane, rng, rear)
    if arms:
        pieces += box_arms(rng, width, depth * 0.98, low * 0.9, seat)
    foot = Footprint(width + (1.0 if arms else 0.0), depth, low + 0.1)
    style: LegStyle = choose(rng, {"square": 0.4, "tapered": 0.6})
    pieces += legs(rng, foot, "frame", style, splay=0.08, thickness=rng.uniform(0.35, 0.6), plain=True)
    cover = any_finish(rng, COVERED)
    cushions = any_finish(rng, COVERED) if rng.random() < 0.25 else cover
    feet = any_finish(rng, {"wood": 0.7, "metal": 0.3})
    return pieces, palette(rng, feet, seat=cover, back=cushions)


def _back_cushion(plane: BackPlane, x: float, width: float, seat: float, rear: float) -> Shape:
    """A pillow that leans against the back."""
    height = (plane.top - seat) * 0.95
    standing = cushion(width, 0.9, height, radius=0.35, bulge=0.25).turned(rotation_matrix([np.pi / 2, 0, 0]))
    return plane.bent(standing.moved(x, seat - plane.bottom + height / 2, rear / 2 + 0.35))


def _wings(plane: BackPlane, rng: np.random.Generator, rear: float) -> list[Piece]:
    """Ears beside the head, as wing chairs have them."""
    reach = rng.uniform(1.2, 2.2)
    wing = box(0.5, (plane.top - plane.bottom) * 0.55, reach, 0.2, rounds=2, cells=4)
    at = wing.moved(plane.width / 2 - 0.1, (plane.top - plane.bottom) * 0.72, rear / 2 + reach / 2 - 0.2)
    bent = plane.bent(at)
    return [(bent, "seat"), (bent.mirrored(), "seat")]


def tub_chair(rng: np.random.Generator) -> Built:
    """A wall bent around the seat."""
    seat, low = rng.uniform(3.8, 4.5), rng.uniform(0.8, 2.8)
    size = Size(rng.uniform(5.6, 7.2), rng.uniform(5.4, 6.8), seat, seat + rng.uniform(2.2, 4.5), 1.0)
    thickness = rng.uniform(0.2, 0.8)
    pieces = tub(rng, size, low=low, thickness=-thickness)
    outline = superellipse(size.width - thickness, size.depth - thickness, 2.6)
    thick = rng.uniform(0.7, 1.4)
    share = np.linspace(0, np.pi / 2, 6)
    rim = [(0.9 + 0.1 * np.cos(a), seat - 0.3 + 0.3 * np.sin(a)) for a in share]
    seat_body = turned([(0, seat - thick), (0.97, seat - thick), *rim, (0.5, seat + 0.08), (0, seat + 0.1)], outline)
    pieces.append((seat_body.moved(z=0.1), "back"))
    base = turned([(0, low), (0.98, low), (0.98, seat - thick), (0, seat - thick)], outline)
    pieces.append((base, "seat"))
    kind = choose(rng, {"legs": 0.7, "disc": 0.2, "star": 0.1})
    if kind == "disc":
        pieces += disc(rng, low + 0.1, rng.uniform(1.8, 2.6))
    elif kind == "star":
        pieces += pedestal(rng, low + 0.1, rng.uniform(2.2, 2.8), wheels=False)
    else:
        foot = Footprint(size.width * 0.75, size.depth * 0.75, low + 0.1)
        pieces += legs(rng, foot, "frame", "tapered", splay=rng.uniform(0, 0.2), thickness=0.4, plain=True)
    cover = any_finish(rng, COVERED)
    inner = any_finish(rng, COVERED) if rng.random() < 0.2 else cover
    return pieces, palette(rng, finish(rng, "wood"), seat=cover, back=inner)


# Stools, benches, folding chairs, rocking chairs and ribbons of one bent board.


def stool(rng: np.random.Generator) -> Built:
    """Low or as high as a bar, round or square, sometimes with a low back."""
    bar = rng.random() < 0.6
    height, width = (rng.uniform(6.2, 7.8) if bar else rng.uniform(4.0, 5.0)), rng.uniform(3.1, 4.0)
    size = Size(width, width * rng.uniform(0.9, 1), height, height + rng.uniform(1.5, 3.2), 1.0)
    style: SeatStyle = choose(rng, {"round": 0.5, "padded": 0.3, "board": 0.2})
    board = rng.uniform(0.25, 0.5)
    pieces = seat(rng, style, size.width, size.depth, size.seat, board, 1.0)
    kind = choose(rng, {"legs": 0.6, "disc": 0.25, "star": 0.15})
    if kind == "legs":
        foot = size.foot(board * 0.9, 0.75 if style == "round" else 0.95)
        splay = rng.uniform(0.03, 0.14)
        pieces += legs(rng, foot, "frame", choose(rng, LEG_STYLES), splay=splay, thickness=rng.uniform(0.22, 0.4))
        if bar:
            pieces.append((_foot_ring(size, splay), "metal"))
    elif kind == "disc":
        pieces += disc(rng, size.seat - board, rng.uniform(1.8, 2.3))
    else:
        pieces += pedestal(rng, size.seat - board, rng.uniform(2.0, 2.6), wheels=rng.random() < 0.6)
    if rng.random() < 0.35:
        behind: BackStyle = choose(rng, {"rungs": 0.3, "panel": 0.2, "open": 0.2, "padded": 0.3})
        pieces += back(rng, behind, sample_plane(rng, size), "frame", 0.3)
    cover = any_finish(rng, {"leather": 0.4, "wood": 0.35, "plastic": 0.15, "cloth": 0.1})
    return pieces, palette(rng, any_finish(rng, {"wood": 0.5, "metal": 0.35, "paint": 0.15}), seat=cover, back=cover)


def _foot_ring(size: Size, splay: float) -> Shape:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    height = size.seat * 0.32
    reach = size.width * 0.5 + splay * 0.68 * size.seat
    return tube(np.stack([np.cos(angle) * reach, 0 * angle + height, np.sin(angle) * reach], 1), 0.1, closed=True)


def bench(rng: np.random.Generator) -> Built:
    """Wide and wooden, with or without a back."""
    size = replace(sample_size(rng), width=rng.uniform(9, 14), taper=1.0)
    style: SeatStyle = choose(rng, {"board": 0.4, "slatted": 0.4, "woven": 0.2})
    pieces = seat(rng, style, size.width, size.depth * 0.85, size.seat, rng.uniform(0.2, 0.4), 1.0)
    thickness = rng.uniform(0.35, 0.6)
    pieces += legs(rng, size.foot(0.3, 0.9), "frame", choose(rng, LEG_STYLES), splay=0.0, thickness=thickness)
    if rng.random() < 0.65:
        behind: BackStyle = choose(rng, {"slats": 0.3, "rungs": 0.4, "spindles": 0.3})
        pieces += back(rng, behind, sample_plane(rng, size), "frame", thickness)
        if rng.random() < 0.5:
            pieces += rail_arms(rng, size.width, size.depth, size.seat, "frame", thickness=thickness)
    wood = any_finish(rng, WOODEN)
    return pieces, palette(rng, wood, seat=any_finish(rng, COVERED) if style == "woven" else wood)


def folding(rng: np.random.Generator) -> Built:
    """Crossed legs, a board or slats, a simple back."""
    size = sample_size(rng)
    style: SeatStyle = choose(rng, {"slatted": 0.4, "board": 0.4, "padded": 0.2})
    pieces = seat(rng, style, size.width, size.depth * 0.9, size.seat, 0.2, 1.0)
    pieces += crossed(rng, size.foot(0.25, 1.0), "frame")
    behind: BackStyle = choose(rng, {"rungs": 0.45, "open": 0.35, "panel": 0.2})
    pieces += back(rng, behind, sample_plane(rng, replace(size, taper=1.0)), "frame", rng.uniform(0.22, 0.35))
    frame = any_finish(rng, {"wood": 0.5, "metal": 0.35, "paint": 0.15})
    cover = any_finish(rng, {"wood": 0.4, "plastic": 0.3, "leather": 0.15, "cloth": 0.15})
    return pieces, palette(rng, frame, seat=cover, back=cover)


def rocking(rng: np.random.Generator) -> Built:
    """A wooden chair with arms on curved runners."""
    size = replace(sample_size(rng), top=rng.uniform(9.5, 11.5))
    pieces: list[Piece] = seat(rng, "board", size.width, size.depth, size.seat, 0.35, size.taper)
    pieces += rockers(rng, size.foot(0.3), "frame")
    behind: BackStyle = choose(rng, {"spindles": 0.4, "slats": 0.35, "rungs": 0.25})
    pieces += back(rng, behind, sample_plane(rng, size), "frame", 0.38)
    pieces += rail_arms(rng, size.width * size.taper, size.depth, size.seat, "frame", thickness=0.38)
    wood = any_finish(rng, WOODEN)
    return pieces, palette(rng, wood)


def ribbon_chair(rng: np.random.Generator) -> Built:
    """One bent board, moulded in plastic or plywood."""
    body = finish(rng, "plastic" if rng.random() < 0.65 else "wood")
    return ribbon(rng, sample_size(rng)), palette(rng, body)
