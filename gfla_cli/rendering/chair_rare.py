"""Stools, benches, folding chairs, rocking chairs and ribbons of one bent board."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gfla_cli.rendering.chair_backs import BackStyle, back
from gfla_cli.rendering.chair_frame import COVERED, LEG_STYLES, WOODEN, Built, Size, palette, sample_plane, sample_size
from gfla_cli.rendering.chair_legs import Piece, crossed, disc, legs, pedestal, rockers
from gfla_cli.rendering.chair_seats import SeatStyle, rail_arms, seat
from gfla_cli.rendering.chair_shells import ribbon
from gfla_cli.rendering.chance import choose
from gfla_cli.rendering.finishes import any_finish, finish
from gfla_cli.rendering.shapes import Shape, tube


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
