"""Random images of synthetic people: views of a character, clips of motion, and talking heads.

Equal states of the random generator give equal results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.errors import UsageError
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.body import sample_expression
from gfla_cli.synth.people.character import Character, sample_character
from gfla_cli.synth.people.posing import PosedCharacter, Talk, pose_character, sample_talk, with_glances
from gfla_cli.synth.people.views import (
    DIRECTIONS,
    MARGINS,
    Crop,
    Direction,
    Shot,
    View,
    aim_camera,
    photograph,
    sample_shot,
)
from gfla_cli.synth.renderer.camera import Camera
from gfla_cli.synth.renderer.procedural import BackgroundKind
from gfla_cli.synth.renderer.render import Scene, sample_scene

_CROPS: Mapping[Crop, float] = {"full": 0.7, "three_quarter": 0.2, "upper": 0.1, "head": 0.0}
_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.45, "grey": 0.17, "gradient": 0.17, "colour": 0.07, "noise": 0.04, "clutter": 0.1,
}  # fmt: skip
_CLIP_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.42, "grey": 0.15, "colour": 0.08, "gradient": 0.15, "noise": 0.06, "clutter": 0.14,
}  # fmt: skip
_PORTRAIT_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.1, "grey": 0.2, "colour": 0.15, "gradient": 0.2, "noise": 0.1, "clutter": 0.25,
}  # fmt: skip
_CLIP_FPS = (10.0, 25.0)  # least and most frames per second of a portrait
_STILLS_FPS = 0.17  # so slow that every still has a pose of its own
_CATALOGUE_SHARE = 0.7  # of poses as in a catalogue; the others are from motion capture
_LARGE_TURN_SHARE = 0.35  # of the portraits
_LARGE_TURN, _USUAL_TURN = (1.5, 2.3), (0.6, 1.2)  # least and most factor on the turns of the head
_JAW_FACTOR = (0.8, 1.6)  # least and most factor on the opening of the jaw
_MAX_TURN = np.radians([22, 42, 20])  # pitch, yaw, roll up to which face detectors work
_MAX_JAW = 0.45  # radians


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Consecutive frames of one character, seen by a fixed camera."""

    frames: tuple[View, ...]
    character: Character
    stills: tuple[View, ...] = ()  # of a talking head: each with a pose and an expression of its own


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Renders random people of a pack."""

    pack: Pack

    def random_views(
        self,
        rng: np.random.Generator,
        count: int,
        size: int = 256,
        *,
        crops: Mapping[Crop, float] = _CROPS,
        directions: Mapping[Direction, float] = DIRECTIONS,
        backgrounds: Mapping[BackgroundKind, float] = _BACKGROUNDS,
        margins: tuple[float, float] = MARGINS,
    ) -> list[View]:
        """Views of one random character in one scene, each with a pose, direction and crop of its own.

        The mappings are shares, which need not add up to one; a name that is left out never occurs. `margins`: least
        and most free border, as a share of what is shown.
        """
        character = sample_character(rng, self.pack)
        scene = sample_scene(rng, size, backgrounds)
        views = []
        for _ in range(count):
            shot = sample_shot(rng, crops=crops, directions=directions, margins=margins)
            views.append(self.random_view(rng, character, scene, shot, catalogue=_CATALOGUE_SHARE))
        return views

    def person_clip(self, rng: np.random.Generator, frames: int = 16, size: int = 256) -> Clip:
        """A whole person in motion, from motion capture at 15 frames per second.

        Raises UsageError if the pack has no motion capture, or no clip of that many frames.
        """
        character = sample_character(rng, self.pack)
        scene = sample_scene(rng, size, _CLIP_BACKGROUNDS)
        poses = self.pack.poses.sample_clip(rng, frames)
        shot = replace(sample_shot(rng, "full"), yaw_deg=rng.normal(0, 35), margin=0.25)
        posed = (pose_character(self.pack, character, pose) for pose in poses)
        return Clip(tuple(_photograph_all(self.pack, character, posed, shot, scene)), character)

    def random_view(
        self, rng: np.random.Generator, character: Character, scene: Scene, shot: Shot, catalogue: float = 0.5
    ) -> View:
        """The character in a random pose, with a random expression. catalogue: see PoseLibrary.sample."""
        return self.view_in_pose(rng, character, scene, shot, self.pack.poses.sample(rng, catalogue))

    def view_in_pose(
        self, rng: np.random.Generator, character: Character, scene: Scene, shot: Shot, pose: Float64Array
    ) -> View:
        """The character in a pose (P,3), with a random expression."""
        expression = sample_expression(rng, self.pack.shapes.expression_units)
        left, right = rng.uniform(0.1, 0.9, 2)
        posed = pose_character(self.pack, character, pose, expression, (left, right))
        camera = aim_camera(self.pack.skeleton, character, posed, shot, len(scene.background))
        return photograph(self.pack, character, posed, camera, scene)


def _photograph_all(
    pack: Pack, character: Character, posed: Iterable[PosedCharacter], shot: Shot, scene: Scene
) -> list[View]:
    """One view per pose, all from the camera that takes the shot of the first pose."""
    camera: Camera | None = None
    views = []
    for one in posed:
        camera = camera or aim_camera(pack.skeleton, character, one, shot, len(scene.background))
        views.append(photograph(pack, character, one, camera, scene))
    return views


def portrait(
    pack: Pack,
    rng: np.random.Generator,
    frames: int,
    stills: int,
    size: int,
    *,
    gestures: bool = False,
    glances: np.random.Generator | None = None,
) -> Clip:
    """A random person who talks, and stills of the same person: head and shoulders, size x size pixels.

    With `gestures`, the frames also have shut eyes and wide open mouths (see `sample_talk`). With a generator
    `glances`, the eyes also jump from one direction to another (see `with_glances`). Raises UsageError if `frames` is
    below 1 or `stills` below 0.
    """
    if frames < 1 or stills < 0:
        raise UsageError(f"a portrait needs at least one frame, got {frames} frames and {stills} stills")
    character = sample_character(rng, pack)
    scene = sample_scene(rng, size, _PORTRAIT_BACKGROUNDS, floor=False)
    shot = Shot(
        crop="head",
        yaw_deg=rng.normal(0, 6),
        pitch_deg=rng.normal(2, 4),
        distance=rng.uniform(11, 24),
        margin=rng.uniform(-0.25, -0.05),
        shift=(rng.normal(0, 0.02), rng.normal(0.01, 0.015)),
    )
    fps = rng.uniform(*_CLIP_FPS)
    talks = [_lively_talk(rng, pack, frames, fps, gestures=gestures)]
    if stills:
        talks.append(_lively_talk(rng, pack, stills, _STILLS_FPS))
    if glances is not None:
        talks = [with_glances(glances, talk, pace) for talk, pace in zip(talks, (fps, _STILLS_FPS), strict=False)]
    posed = (
        pose_character(pack, character, talk.pose(pack.poses, k), talk.expression(k))
        for talk in talks
        for k in range(len(talk.jaw))
    )
    views = _photograph_all(pack, character, posed, shot, scene)
    return Clip(tuple(views[:frames]), character, tuple(views[frames:]))


def _lively_talk(rng: np.random.Generator, pack: Pack, frames: int, fps: float, *, gestures: bool = False) -> Talk:
    """`sample_talk` with its motion scaled by random factors, within the range that face detectors can follow."""
    talk = sample_talk(rng, pack.shapes.expression_units, frames, fps, gestures=gestures)
    turn = rng.uniform(*(_LARGE_TURN if rng.random() < _LARGE_TURN_SHARE else _USUAL_TURN))
    head = _MAX_TURN * np.tanh(talk.head * turn / _MAX_TURN)
    return replace(talk, head=head, jaw=np.minimum(talk.jaw * rng.uniform(*_JAW_FACTOR), _MAX_JAW))
