"""Random chairs, built procedurally: twelve families, from dining chairs to sofas.

    chair = sample_chair(rng)
    view = photograph_object(chair, azimuth_deg=40, elevation_deg=10, light=sample_object_light(rng))

Every chair is a pure function of its random generator; keep the order of the draws, as data sets depend on seeds.
Lengths are decimetres (dm), y is up, the front is +z; `build_object` scales the chair to its final size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from gfla_cli.synth.objects.chair_backs import BackPlane, BackStyle, back, sample_plane
from gfla_cli.synth.objects.chair_legs import (
    Footprint,
    LegStyle,
    Piece,
    Role,
    Size,
    cantilever,
    crossed,
    disc,
    legs,
    mirrored_pair,
    pedestal,
    rockers,
    rounded,
    sample_size,
    sled,
    wires,
)
from gfla_cli.synth.objects.chair_seats import (
    SeatStyle,
    box_arms,
    bucket,
    cushion,
    office_arms,
    rail_arms,
    ribbon,
    seat,
    superellipse,
    tub,
)
from gfla_cli.synth.objects.finishes import Finish, FinishKind, any_finish, finish
from gfla_cli.synth.objects.objects import SolidObject, build_object
from gfla_cli.synth.objects.shapes import box, lathe, tube
from gfla_cli.synth.renderer.camera import rotation_matrix
from gfla_cli.synth.renderer.procedural import choose

Family = Literal[
    "dining", "metal", "shell", "office", "armchair", "sofa", "stool", "bench", "folding", "rocking", "tub", "ribbon"
]
_LEG_STYLES: Mapping[LegStyle, float] = {"square": 0.35, "round": 0.25, "tapered": 0.25, "turned": 0.15}
_WOODEN: Mapping[FinishKind, float] = {"wood": 0.7, "paint": 0.3}
_COVERED: Mapping[FinishKind, float] = {"cloth": 0.6, "leather": 0.4}

_Built = tuple[Sequence[Piece], Mapping[Role, Finish]]
_MIN_DISTANCE, _MAX_DISTANCE = 18.0, 40.0  # of the camera, in units of length (objects.FRAME)


def sample_chair(rng: np.random.Generator, family: Family | None = None) -> SolidObject:
    """A random chair. family: None draws one by its share."""
    if family is None:
        family = choose(rng, {name: share for name, (share, _) in _FAMILIES.items()})
    pieces, finishes = _FAMILIES[family][1](rng)
    distance = float(np.exp(rng.uniform(np.log(_MIN_DISTANCE), np.log(_MAX_DISTANCE))))
    fill = rng.uniform(0.8, 0.92)
    return build_object([(shape, finishes[role]) for shape, role in pieces], fill=fill, distance=distance)


def _palette(
    rng: np.random.Generator, frame: Finish, seat: Finish | None = None, back: Finish | None = None
) -> dict[Role, Finish]:
    """A finish for every role; seat and back are like the frame by default."""
    return {
        "frame": frame,
        "seat": seat or frame,
        "back": back or frame,
        "metal": finish(rng, "metal"),
        "dark": finish(rng, choose(rng, {"dark": 0.7, "metal": 0.2, "plastic": 0.1})),
    }


def _dining(rng: np.random.Generator) -> _Built:
    """Wood: four legs, any seat, any back."""
    size = sample_size(rng)
    wood = any_finish(rng, _WOODEN)
    thickness, board = rng.uniform(0.28, 0.5), rng.uniform(0.2, 0.5)
    style: SeatStyle = choose(rng, {"padded": 0.33, "board": 0.25, "woven": 0.22, "shaped": 0.15, "slatted": 0.05})
    pieces = seat(rng, style, size.width, size.depth, size.seat, board, size.taper)
    splay = rng.choice([0, 0, 0.06, 0.14])
    pieces += legs(rng, size.foot(board * 0.7), "frame", choose(rng, _LEG_STYLES), splay=splay, thickness=thickness)
    kinds: Mapping[BackStyle, float] = {
        "slats": 0.17, "rungs": 0.17, "panel": 0.12, "spindles": 0.1, "hoop": 0.09, "cross": 0.08, "splat": 0.08,
        "open": 0.04, "padded": 0.08, "cane": 0.04, "shield": 0.03,
    }  # fmt: skip
    kind = choose(rng, kinds)
    pieces += back(rng, kind, sample_plane(rng, size), "frame", thickness)
    if rng.random() < 0.22:
        pieces += rail_arms(rng, size.width * size.taper, size.depth, size.seat, "frame", thickness=thickness)
    cover = any_finish(rng, _COVERED)
    behind = finish(rng, "cane") if kind == "cane" else cover if kind in ("padded", "shield") else wood
    return pieces, _palette(rng, wood, seat=cover if style in ("padded", "woven") else wood, back=behind)


def _metal(rng: np.random.Generator) -> _Built:
    """Bent tube or straight steel legs with boards, plastic or padding."""
    size = sample_size(rng)
    board = rng.uniform(0.15, 0.4)
    style: SeatStyle = choose(rng, {"padded": 0.4, "board": 0.3, "shaped": 0.3})
    pieces = seat(rng, style, size.width, size.depth, size.seat, board, size.taper)
    foot = size.foot(board + 0.05, 1.0)
    kind = choose(rng, {"legs": 0.4, "sled": 0.28, "cantilever": 0.22, "wires": 0.1})
    if kind == "legs":
        slim = rng.uniform(0.18, 0.3)
        pieces += legs(rng, foot, "metal", "round", splay=rng.uniform(0, 0.15), thickness=slim)
    else:
        pieces += {"sled": sled, "cantilever": cantilever, "wires": wires}[kind](rng, foot)
    kinds: Mapping[BackStyle, float] = {
        "open": 0.3, "padded": 0.25, "panel": 0.2, "rungs": 0.1, "slats": 0.08, "cane": 0.07,
    }  # fmt: skip
    behind = choose(rng, kinds)
    pieces += back(rng, behind, sample_plane(rng, size), "metal", rng.uniform(0.22, 0.32))
    if rng.random() < 0.25:
        pieces += rail_arms(rng, size.width, size.depth, size.seat, "metal", thickness=0.28)
    body = any_finish(rng, {"plastic": 0.4, "wood": 0.3, "leather": 0.15, "cloth": 0.15})
    return pieces, _palette(rng, body, back=finish(rng, "cane") if behind == "cane" else body)


def _shell(rng: np.random.Generator) -> _Built:
    """One moulded shell on dowels, wires, a sled, a column or a star."""
    size = sample_size(rng)
    pieces = bucket(rng, size)
    foot = size.foot(0.25, 0.58)
    kind = choose(rng, {"dowels": 0.35, "wires": 0.2, "sled": 0.12, "star": 0.13, "disc": 0.1, "legs": 0.1})
    if kind == "dowels":
        pieces += legs(rng, foot, "frame", "tapered", splay=rng.uniform(0.12, 0.24), thickness=rng.uniform(0.28, 0.42))
    elif kind == "legs":
        slim = rng.uniform(0.18, 0.25)
        pieces += legs(rng, foot, "metal", "round", splay=rng.uniform(0.05, 0.2), thickness=slim)
    elif kind == "star":
        pieces += pedestal(rng, foot.height, rng.uniform(2.2, 2.8), wheels=rng.random() < 0.5)
    elif kind == "disc":
        pieces += disc(rng, foot.height, rng.uniform(1.9, 2.5))
    else:
        pieces += {"wires": wires, "sled": sled}[kind](rng, foot)
    shell = any_finish(rng, {"plastic": 0.62, "wood": 0.14, "cloth": 0.14, "leather": 0.1})
    return pieces, _palette(rng, finish(rng, "wood"), seat=shell, back=shell)


def _office(rng: np.random.Generator) -> _Built:
    """A swivel chair on a star of five."""
    size = sample_size(rng)
    thick = rng.uniform(0.5, 0.9)
    pieces = seat(rng, "padded", size.width, size.depth, size.seat, thick, rng.uniform(0.88, 1))
    pieces += pedestal(rng, size.seat - thick - 0.15, rng.uniform(2.5, 3.3), wheels=rng.random() < 0.85)
    kind: BackStyle = choose(rng, {"padded": 0.55, "net": 0.3, "panel": 0.05, "rungs": 0.1})
    plane = sample_plane(rng, size, gap=rng.uniform(0.2, 1.0))
    pieces += back(rng, kind, plane, "dark", rng.uniform(0.25, 0.4))
    under, behind = size.seat - thick * 0.8, float(plane.at(0, 0.3)[2]) - 0.35
    spine = rounded([(0, under, -0.5), (0, under, behind), (0, plane.bottom + 1.2, behind)], 0.5)
    pieces.append((tube(spine, rng.uniform(0.14, 0.3), sides=8, flat=0.6), "dark"))
    if rng.random() < 0.62:
        pieces += office_arms(rng, size.width, size.seat)
    if rng.random() < 0.25:
        pieces.append((plane.board(0, 1.18, rng.uniform(0.5, 0.7), 0.2, 0.45, 0.2), "seat"))
        pieces.append((plane.bar([0, 0], [0.9, 1.15], 0.1), "dark"))
    cover = any_finish(rng, {"leather": 0.5, "cloth": 0.5})
    return pieces, _palette(rng, cover, back=finish(rng, "mesh") if kind == "net" else cover)


def _armchair(rng: np.random.Generator) -> _Built:
    """One place between thick arms."""
    return _upholstered(rng, rng.uniform(5.0, 6.5), 1)


def _sofa(rng: np.random.Generator) -> _Built:
    """Two or three places."""
    places = int(rng.choice([2, 3], p=[0.65, 0.35]))
    return _upholstered(rng, places * rng.uniform(5.2, 6.4), places)


def _upholstered(rng: np.random.Generator, width: float, places: int) -> _Built:
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
        if loose:  # a pillow leans against the back
            height = (plane.top - seat) * 0.95
            flat = cushion(share * 0.97, 0.9, height, radius=0.35, bulge=0.25)
            standing = flat.rotated(rotation_matrix([np.pi / 2, 0, 0]))
            leaning = plane.bent(standing.moved(x, seat - plane.bottom + height / 2, rear / 2 + 0.35))
            pieces.append((leaning, "back"))
    if rng.random() < 0.2 and places == 1:  # a wing chair: wings at the height of the head
        reach, upwards = rng.uniform(1.2, 2.2), plane.top - plane.bottom
        wing = box(0.5, upwards * 0.55, reach, 0.2, rounds=2, cells=4)
        at = wing.moved(plane.width / 2 - 0.1, upwards * 0.72, rear / 2 + reach / 2 - 0.2)
        pieces += mirrored_pair(plane.bent(at), "seat")
    if arms:
        pieces += box_arms(rng, width, depth * 0.98, low * 0.9, seat)
    foot = Footprint(width + (1.0 if arms else 0.0), depth, low + 0.1)
    style: LegStyle = choose(rng, {"square": 0.4, "tapered": 0.6})
    pieces += legs(rng, foot, "frame", style, splay=0.08, thickness=rng.uniform(0.35, 0.6), plain=True)
    cover = any_finish(rng, _COVERED)
    cushions = any_finish(rng, _COVERED) if rng.random() < 0.25 else cover
    feet = any_finish(rng, {"wood": 0.7, "metal": 0.3})
    return pieces, _palette(rng, feet, seat=cover, back=cushions)


def _tub(rng: np.random.Generator) -> _Built:
    """A wall bent around the seat."""
    seat, low = rng.uniform(3.8, 4.5), rng.uniform(0.8, 2.8)
    size = Size(rng.uniform(5.6, 7.2), rng.uniform(5.4, 6.8), seat, seat + rng.uniform(2.2, 4.5), 1.0)
    thickness = rng.uniform(0.2, 0.8)
    pieces = tub(rng, size, low=low, thickness=-thickness)
    outline = superellipse(size.width - thickness, size.depth - thickness, 2.6)
    thick = rng.uniform(0.7, 1.4)
    share = np.linspace(0, np.pi / 2, 6)
    rim = [(0.9 + 0.1 * np.cos(a), seat - 0.3 + 0.3 * np.sin(a)) for a in share]
    seat_body = lathe([(0, seat - thick), (0.97, seat - thick), *rim, (0.5, seat + 0.08), (0, seat + 0.1)], outline)
    pieces.append((seat_body.moved(z=0.1), "back"))
    base = lathe([(0, low), (0.98, low), (0.98, seat - thick), (0, seat - thick)], outline)
    pieces.append((base, "seat"))
    kind = choose(rng, {"legs": 0.7, "disc": 0.2, "star": 0.1})
    if kind == "disc":
        pieces += disc(rng, low + 0.1, rng.uniform(1.8, 2.6))
    elif kind == "star":
        pieces += pedestal(rng, low + 0.1, rng.uniform(2.2, 2.8), wheels=False)
    else:
        foot = Footprint(size.width * 0.75, size.depth * 0.75, low + 0.1)
        pieces += legs(rng, foot, "frame", "tapered", splay=rng.uniform(0, 0.2), thickness=0.4, plain=True)
    cover = any_finish(rng, _COVERED)
    inner = any_finish(rng, _COVERED) if rng.random() < 0.2 else cover
    return pieces, _palette(rng, finish(rng, "wood"), seat=cover, back=inner)


def _stool(rng: np.random.Generator) -> _Built:
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
        pieces += legs(rng, foot, "frame", choose(rng, _LEG_STYLES), splay=splay, thickness=rng.uniform(0.22, 0.4))
        if bar:  # a ring for the feet
            angle, ring_height = np.linspace(0, 2 * np.pi, 24, endpoint=False), size.seat * 0.32
            reach = size.width * 0.5 + splay * 0.68 * size.seat
            path = np.stack([np.cos(angle) * reach, 0 * angle + ring_height, np.sin(angle) * reach], 1)
            pieces.append((tube(path, 0.1, closed=True), "metal"))
    elif kind == "disc":
        pieces += disc(rng, size.seat - board, rng.uniform(1.8, 2.3))
    else:
        pieces += pedestal(rng, size.seat - board, rng.uniform(2.0, 2.6), wheels=rng.random() < 0.6)
    if rng.random() < 0.35:
        behind: BackStyle = choose(rng, {"rungs": 0.3, "panel": 0.2, "open": 0.2, "padded": 0.3})
        pieces += back(rng, behind, sample_plane(rng, size), "frame", 0.3)
    cover = any_finish(rng, {"leather": 0.4, "wood": 0.35, "plastic": 0.15, "cloth": 0.1})
    return pieces, _palette(rng, any_finish(rng, {"wood": 0.5, "metal": 0.35, "paint": 0.15}), seat=cover, back=cover)


def _bench(rng: np.random.Generator) -> _Built:
    """Wide and wooden, with or without a back."""
    size = replace(sample_size(rng), width=rng.uniform(9, 14), taper=1.0)
    style: SeatStyle = choose(rng, {"board": 0.4, "slatted": 0.4, "woven": 0.2})
    pieces = seat(rng, style, size.width, size.depth * 0.85, size.seat, rng.uniform(0.2, 0.4), 1.0)
    thickness = rng.uniform(0.35, 0.6)
    pieces += legs(rng, size.foot(0.3, 0.9), "frame", choose(rng, _LEG_STYLES), splay=0.0, thickness=thickness)
    if rng.random() < 0.65:
        behind: BackStyle = choose(rng, {"slats": 0.3, "rungs": 0.4, "spindles": 0.3})
        pieces += back(rng, behind, sample_plane(rng, size), "frame", thickness)
        if rng.random() < 0.5:
            pieces += rail_arms(rng, size.width, size.depth, size.seat, "frame", thickness=thickness)
    wood = any_finish(rng, _WOODEN)
    return pieces, _palette(rng, wood, seat=any_finish(rng, _COVERED) if style == "woven" else wood)


def _folding(rng: np.random.Generator) -> _Built:
    """Crossed legs, a board or slats, a simple back."""
    size = sample_size(rng)
    style: SeatStyle = choose(rng, {"slatted": 0.4, "board": 0.4, "padded": 0.2})
    pieces = seat(rng, style, size.width, size.depth * 0.9, size.seat, 0.2, 1.0)
    pieces += crossed(rng, size.foot(0.25, 1.0))
    behind: BackStyle = choose(rng, {"rungs": 0.45, "open": 0.35, "panel": 0.2})
    pieces += back(rng, behind, sample_plane(rng, replace(size, taper=1.0)), "frame", rng.uniform(0.22, 0.35))
    frame = any_finish(rng, {"wood": 0.5, "metal": 0.35, "paint": 0.15})
    cover = any_finish(rng, {"wood": 0.4, "plastic": 0.3, "leather": 0.15, "cloth": 0.15})
    return pieces, _palette(rng, frame, seat=cover, back=cover)


def _rocking(rng: np.random.Generator) -> _Built:
    """A wooden chair with arms on curved runners."""
    size = replace(sample_size(rng), top=rng.uniform(9.5, 11.5))
    pieces: list[Piece] = seat(rng, "board", size.width, size.depth, size.seat, 0.35, size.taper)
    pieces += rockers(rng, size.foot(0.3))
    behind: BackStyle = choose(rng, {"spindles": 0.4, "slats": 0.35, "rungs": 0.25})
    pieces += back(rng, behind, sample_plane(rng, size), "frame", 0.38)
    pieces += rail_arms(rng, size.width * size.taper, size.depth, size.seat, "frame", thickness=0.38)
    wood = any_finish(rng, _WOODEN)
    return pieces, _palette(rng, wood)


def _ribbon(rng: np.random.Generator) -> _Built:
    """One bent board, moulded in plastic or plywood."""
    body = finish(rng, "plastic" if rng.random() < 0.65 else "wood")
    return ribbon(rng, sample_size(rng)), _palette(rng, body)


_FAMILIES: Mapping[Family, tuple[float, Callable[[np.random.Generator], _Built]]] = {  # share of all, how to build it
    "dining": (0.27, _dining),
    "metal": (0.13, _metal),
    "shell": (0.11, _shell),
    "office": (0.13, _office),
    "armchair": (0.11, _armchair),
    "sofa": (0.06, _sofa),
    "stool": (0.06, _stool),
    "bench": (0.02, _bench),
    "folding": (0.03, _folding),
    "rocking": (0.02, _rocking),
    "tub": (0.04, _tub),
    "ribbon": (0.02, _ribbon),
}
