"""Talking heads to train face animation on: a clip of somebody, and stills of the same before the same camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gfla_cli.errors import UsageError
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.character import Character, sample_character
from gfla_cli.synth.people.posing import Posed, Talk, bend, sample_talk
from gfla_cli.synth.people.views import Shot, View, frame, photograph
from gfla_cli.synth.renderer.procedural import BackgroundKind, background
from gfla_cli.synth.renderer.render import Scene, sample_light

_BACKGROUNDS: dict[BackgroundKind, float] = {
    "white": 0.1,
    "grey": 0.2,
    "colour": 0.15,
    "gradient": 0.2,
    "noise": 0.1,
    "clutter": 0.25,
}
_STILLS_FPS = 0.17  # so far apart in time that each still has a pose of its own
_TURNED = 0.35  # share of clips in which the head turns far
_FAR, _USUAL = (1.5, 2.3), (0.6, 1.2)  # times the head motion of somebody who talks
_LOUD = (0.8, 1.6)  # times the opening of the jaw
_MOST_TURN = np.radians([22, 42, 20])  # pitch, yaw, roll: what a face detector still takes for a face
_WIDEST_JAW = 0.45  # radians
_FPS = (10.0, 25.0)


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """What was filmed of one character."""

    frames: tuple[View, ...]  # consecutive
    stills: tuple[View, ...]  # in any order; each with a pose and an expression of its own
    character: Character


def portrait(
    pack: Pack, rng: np.random.Generator, frames: int, stills: int, size: int, *, gestures: bool = False
) -> Portrait:
    """Somebody who talks, head and shoulders, in pictures of size x size; a pure function of the generator's state.

    With `gestures` the frames have shut eyes and wide open mouths, too (`sample_talk`).
    """
    if frames < 1 or stills < 0:
        raise UsageError(f"a portrait has a frame or more, got {frames} and {stills} stills")
    character = sample_character(rng, pack)
    kinds, shares = zip(*_BACKGROUNDS.items(), strict=True)
    kind = kinds[rng.choice(len(kinds), p=shares)]
    scene = Scene(background(rng, size, kind), sample_light(rng, floor=False))
    shot = Shot(
        crop="head",
        yaw_deg=rng.normal(0, 6),
        pitch_deg=rng.normal(2, 4),
        distance=rng.uniform(11, 24),
        margin=rng.uniform(-0.25, -0.05),
        shift=(rng.normal(0, 0.02), rng.normal(0.01, 0.015)),
    )
    moments = [*_poses(pack, character, _talk(rng, pack, frames, rng.uniform(*_FPS), gestures=gestures))]
    moments += _poses(pack, character, _talk(rng, pack, stills, _STILLS_FPS)) if stills else []
    camera = frame(pack.skeleton, character, moments[0], shot, size)
    views = [photograph(pack, character, moment, camera, scene) for moment in moments]
    return Portrait(tuple(views[:frames]), tuple(views[frames:]), character)


def _talk(rng: np.random.Generator, pack: Pack, frames: int, fps: float, *, gestures: bool = False) -> Talk:
    """Livelier than `sample_talk` by a random factor, within what a detector can still follow."""
    talk = sample_talk(rng, pack.shapes.expression_units, frames, fps, gestures=gestures)
    turn = rng.uniform(*(_FAR if rng.random() < _TURNED else _USUAL))
    head = _MOST_TURN * np.tanh(talk.head * turn / _MOST_TURN)
    return replace(talk, head=head, jaw=np.minimum(talk.jaw * rng.uniform(*_LOUD), _WIDEST_JAW))


def _poses(pack: Pack, character: Character, talk: Talk) -> list[Posed]:
    return [bend(pack, character, talk.pose(pack.poses, k), talk.expression(k)) for k in range(len(talk.jaw))]
