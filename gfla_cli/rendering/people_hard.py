"""A fixed test set of what pose transfer finds hard: busy clothes, backs, crossed arms, seats and half bodies.

Its characters have seeds that neither `people_mini` nor training uses. Files: see benchmark_layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float64Array
from gfla_cli.rendering.backgrounds import BackgroundKind
from gfla_cli.rendering.benchmark_layout import SplitWriter
from gfla_cli.rendering.character import Character, sample_character
from gfla_cli.rendering.framing import Shot, sample_shot
from gfla_cli.rendering.light import Scene, sample_scene
from gfla_cli.rendering.pack import Pack
from gfla_cli.rendering.people import People
from gfla_cli.rendering.views import View

_BACKGROUNDS: Mapping[BackgroundKind, float] = {"white": 0.4, "grey": 0.2, "gradient": 0.2, "clutter": 0.2}
_ARMS = ("arms_crossed", "behind_head", "thinking", "both_hips", "hand_on_chest", "phone")
_SEATS = ("sit", "sit_crossed", "mh_sit01", "knee_up")
_BUSY = 12.5  # mean difference, of 255, of a person from itself blurred; one outfit in four has more
_MOST_TRIALS = 60


def write_people_hard(pack_path: Path, out: Path, *, characters: int = 40, size: int = 256, seed: int = 2021) -> None:
    """Renders 5 pictures of every character into the folder `out`, overwriting what is there.

    The pairs lead from the character as in a catalogue to its back, its arms before the body, its seat and its upper
    half, and back from each.
    """
    people = People(Pack.load(pack_path))
    writer = SplitWriter(out, "test")
    for identity in range(characters):
        views = _views(people, np.random.default_rng([seed, identity]), size)
        writer.add(identity, views, _from_and_to_the_first)
    writer.close()


def _from_and_to_the_first(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for other in names[1:]:
        yield names[0], other
        yield other, names[0]


def _views(people: People, rng: np.random.Generator, size: int) -> list[View]:
    scene = sample_scene(rng, size, _BACKGROUNDS)
    character = _busy_character(people, rng, scene)
    poses = people.pack.poses

    def view(shot: Shot, pose: Float64Array) -> View:
        return people.portray(rng, character, scene, shot, pose)

    return [
        view(sample_shot(rng, "full", directions={"front": 1}), poses.sample(rng, catalogue=1)),
        view(sample_shot(rng, "full", directions={"back": 1}), poses.sample(rng)),
        view(sample_shot(rng, "full", directions={"front": 0.7, "three_quarter": 0.3}), poses.sample_still(rng, _ARMS)),
        view(sample_shot(rng, "full"), poses.sample_still(rng, _SEATS)),
        view(sample_shot(rng, "upper"), poses.sample(rng)),
    ]


def _busy_character(people: People, rng: np.random.Generator, scene: Scene) -> Character:
    """Somebody in a pattern: characters are drawn until one has enough contrast within the outline."""
    shot = Shot("full", yaw_deg=0.0, distance=45.0)
    for _ in range(_MOST_TRIALS):
        character = sample_character(rng, people.pack)
        seen = people.portray(rng, character, scene, shot, people.pack.poses.standing())
        if busyness(seen.image, seen.mask) > _BUSY:
            return character
    return character


def busyness(image: ByteArray, mask: ByteArray) -> float:
    """Mean absolute difference of a person (H,W,3) from itself blurred, 0..255, outline left out."""
    inside = cv2.erode((mask > 250).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    if not inside.any():
        return 0.0
    difference = np.abs(image.astype(np.float32) - cv2.GaussianBlur(image, (0, 0), 3).astype(np.float32))
    return float(difference[inside].mean())
