"""What the parts of one chair share: its proportions, the plane of its back, its finishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gfla_cli.synth.objects.chair_backs import BackPlane
from gfla_cli.synth.objects.chair_legs import Footprint, LegStyle, Piece, Role
from gfla_cli.synth.objects.finishes import Finish, FinishKind, finish
from gfla_cli.synth.renderer.procedural import choose

LEG_STYLES: Mapping[LegStyle, float] = {"square": 0.35, "round": 0.25, "tapered": 0.25, "turned": 0.15}
WOODEN: Mapping[FinishKind, float] = {"wood": 0.7, "paint": 0.3}
COVERED: Mapping[FinishKind, float] = {"cloth": 0.6, "leather": 0.4}

Built = tuple[Sequence[Piece], Mapping[Role, Finish]]


@dataclass(frozen=True, slots=True)
class Size:
    """Proportions of a chair, dm."""

    width: float
    depth: float
    seat: float  # height of its upper side
    top: float  # height of the back
    taper: float  # width of the seat at the back / at the front

    def foot(self, thickness: float, share: float = 0.96) -> Footprint:
        """What the legs carry, under a seat of that thickness."""
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


def palette(
    rng: np.random.Generator, frame: Finish, seat: Finish | None = None, back: Finish | None = None
) -> dict[Role, Finish]:
    """A finish for every role; seat and back are like the frame unless named."""
    return {
        "frame": frame,
        "seat": seat or frame,
        "back": back or frame,
        "metal": finish(rng, "metal"),
        "dark": finish(rng, choose(rng, {"dark": 0.7, "metal": 0.2, "plastic": 0.1})),
    }
