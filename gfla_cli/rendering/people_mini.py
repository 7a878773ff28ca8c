"""A small fixed set of synthetic people: 200 characters to train on and 40 to test with.

Every character has a seed of its own, so the two splits never share one. Files: see benchmark_layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np

from gfla_cli.rendering.backgrounds import BackgroundKind
from gfla_cli.rendering.benchmark_layout import SplitWriter
from gfla_cli.rendering.character import sample_character
from gfla_cli.rendering.framing import Crop, Shot, sample_shot
from gfla_cli.rendering.light import sample_scene
from gfla_cli.rendering.pack import Pack
from gfla_cli.rendering.people import People
from gfla_cli.rendering.views import View

_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.62,
    "grey": 0.14,
    "gradient": 0.14,
    "colour": 0.05,
    "clutter": 0.05,
}
_CLOSER: tuple[Crop, ...] = ("upper", "three_quarter")


def write_people_mini(
    pack_path: Path,
    out: Path,
    *,
    train: int = 200,
    test: int = 40,
    views: int = 5,
    size: int = 256,
    seed: int = 2020,
) -> None:
    """Renders `train` + `test` characters, `views` pictures each, into the folder `out`, overwriting what is there."""
    people = People(Pack.load(pack_path))
    first = 0
    for split, count in (("train", train), ("test", test)):
        writer = SplitWriter(out, split)
        for identity in range(first, first + count):
            album = _sample_views(people, np.random.default_rng([seed, identity]), views, size)
            writer.add(identity, album, lambda names: permutations(names, 2))
        writer.close()
        first += count


def _sample_views(people: People, rng: np.random.Generator, views: int, size: int) -> list[View]:
    """Pictures of one character in one scene."""
    character = sample_character(rng, people.pack)
    scene = sample_scene(rng, size, _BACKGROUNDS)
    shots = _sample_shots(rng, views)
    return [people.snapshot(rng, character, scene, shot, catalogue=0.7) for shot in shots]


def _sample_shots(rng: np.random.Generator, count: int) -> list[Shot]:
    """From the front, one side, the back, between, and closer from the front; then from anywhere."""
    shots = [sample_shot(rng, "full" if rng.random() < 0.7 else "three_quarter") for _ in range(3)]
    shots.append(sample_shot(rng, "full"))
    shots.append(sample_shot(rng, _CLOSER[rng.integers(len(_CLOSER))]))
    shots += [sample_shot(rng) for _ in range(count - len(shots))]
    side = rng.choice([-1, 1])
    yaws_deg = (
        rng.normal(0, 12),
        side * rng.normal(80, 15),
        180 + rng.normal(0, 20),
        side * rng.uniform(-60, 60),
        rng.normal(0, 25),
    )
    shots[: len(yaws_deg)] = [replace(shot, yaw_deg=yaw) for shot, yaw in zip(shots, yaws_deg, strict=False)]
    return shots[:count]
