"""Armchairs, sofas and tub chairs."""

from __future__ import annotations

import numpy as np

from gfla_cli.rendering import rotations
from gfla_cli.rendering.chair_backs import BackPlane
from gfla_cli.rendering.chair_frame import COVERED, Built, Size, palette
from gfla_cli.rendering.chair_legs import Footprint, LegStyle, Piece, disc, legs, pedestal
from gfla_cli.rendering.chair_seats import box_arms, cushion, superellipse
from gfla_cli.rendering.chair_shells import tub
from gfla_cli.rendering.chance import choose
from gfla_cli.rendering.finishes import any_finish, finish
from gfla_cli.rendering.shapes import Shape, box, turned


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
    standing = cushion(width, 0.9, height, radius=0.35, bulge=0.25).turned(rotations.to_matrix([np.pi / 2, 0, 0]))
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
