"""Chairs out of nothing: dining, metal, shell, office and folding chairs, armchairs, sofas, stools, benches.

    chair = sample_chair(rng)
    view = photograph_object(chair, azimuth_deg=40, elevation_deg=10, light=sample_object_light(rng))

Every chair is a pure function of its generator. Decimetres until the chair is brought to its frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from gfla_cli.synth.objects.chair_backs import BackStyle, back
from gfla_cli.synth.objects.chair_frame import COVERED, LEG_STYLES, WOODEN, Built, palette, sample_plane, sample_size
from gfla_cli.synth.objects.chair_legs import cantilever, disc, legs, pedestal, rounded, sled, wires
from gfla_cli.synth.objects.chair_seats import (
    SeatStyle,
    armchair,
    bench,
    bucket,
    folding,
    office_arms,
    rail_arms,
    ribbon_chair,
    rocking,
    seat,
    sofa,
    stool,
    tub_chair,
)
from gfla_cli.synth.objects.finishes import any_finish, finish
from gfla_cli.synth.objects.objects import SolidObject, solid
from gfla_cli.synth.objects.shapes import tube
from gfla_cli.synth.renderer.procedural import choose

Family = Literal[
    "dining", "metal", "shell", "office", "armchair", "sofa", "stool", "bench", "folding", "rocking", "tub", "ribbon"
]
_NEAREST, _FARTHEST = 18.0, 40.0  # of the camera, in tenths of the frame


def sample_chair(rng: np.random.Generator, family: Family | None = None) -> SolidObject:
    """A random chair, of one family or of any."""
    if family is None:
        family = choose(rng, {name: share for name, (share, _) in _FAMILIES.items()})
    pieces, finishes = _FAMILIES[family][1](rng)
    distance = float(np.exp(rng.uniform(np.log(_NEAREST), np.log(_FARTHEST))))
    fill = rng.uniform(0.8, 0.92)
    return solid([(shape, finishes[role]) for shape, role in pieces], fill=fill, distance=distance)


def _dining(rng: np.random.Generator) -> Built:
    """Wood: four legs, any seat, any back."""
    size = sample_size(rng)
    wood = any_finish(rng, WOODEN)
    thickness, board = rng.uniform(0.28, 0.5), rng.uniform(0.2, 0.5)
    style: SeatStyle = choose(rng, {"padded": 0.33, "board": 0.25, "woven": 0.22, "shaped": 0.15, "slatted": 0.05})
    pieces = seat(rng, style, size.width, size.depth, size.seat, board, size.taper)
    splay = rng.choice([0, 0, 0.06, 0.14])
    pieces += legs(rng, size.foot(board * 0.7), "frame", choose(rng, LEG_STYLES), splay=splay, thickness=thickness)
    kinds: Mapping[BackStyle, float] = {
        "slats": 0.17, "rungs": 0.17, "panel": 0.12, "spindles": 0.1, "hoop": 0.09, "cross": 0.08, "splat": 0.08,
        "open": 0.04, "padded": 0.08, "cane": 0.04, "shield": 0.03,
    }  # fmt: skip
    kind = choose(rng, kinds)
    pieces += back(rng, kind, sample_plane(rng, size), "frame", thickness)
    if rng.random() < 0.22:
        pieces += rail_arms(rng, size.width * size.taper, size.depth, size.seat, "frame", thickness=thickness)
    cover = any_finish(rng, COVERED)
    behind = finish(rng, "cane") if kind == "cane" else cover if kind in ("padded", "shield") else wood
    return pieces, palette(rng, wood, seat=cover if style in ("padded", "woven") else wood, back=behind)


def _metal(rng: np.random.Generator) -> Built:
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
    return pieces, palette(rng, body, back=finish(rng, "cane") if behind == "cane" else body)


def _shell(rng: np.random.Generator) -> Built:
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
    return pieces, palette(rng, finish(rng, "wood"), seat=shell, back=shell)


def _office(rng: np.random.Generator) -> Built:
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
    return pieces, palette(rng, cover, back=finish(rng, "mesh") if kind == "net" else cover)


_FAMILIES: Mapping[Family, tuple[float, Callable[[np.random.Generator], Built]]] = {  # share of all, how to build it
    "dining": (0.27, _dining),
    "metal": (0.13, _metal),
    "shell": (0.11, _shell),
    "office": (0.13, _office),
    "armchair": (0.11, armchair),
    "sofa": (0.06, sofa),
    "stool": (0.06, stool),
    "bench": (0.02, bench),
    "folding": (0.03, folding),
    "rocking": (0.02, rocking),
    "tub": (0.04, tub_chair),
    "ribbon": (0.02, ribbon_chair),
}
FAMILIES = tuple(_FAMILIES)
