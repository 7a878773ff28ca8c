"""Random images of synthetic people: albums of views, clips and portraits. One generator state, one result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.errors import UsageError
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.body import sample_expression
from gfla_cli.synth.people.character import Character, sample_character
from gfla_cli.synth.people.posing import PosedCharacter, Talk, pose_character, sample_talk
from gfla_cli.synth.people.views import (
    CROPS,
    DIRECTIONS,
    MARGINS,
    Crop,
    Direction,
    Shot,
    View,
    frame,
    photograph,
    sample_shot,
)
from gfla_cli.synth.renderer.camera import Camera
from gfla_cli.synth.renderer.procedural import BACKGROUNDS, BackgroundKind, background, check_shares
from gfla_cli.synth.renderer.render import Scene, sample_light, sample_scene

_CLIP_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.42,
    "grey": 0.15,
    "colour": 0.08,
    "gradient": 0.15,
    "noise": 0.06,
    "clutter": 0.14,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlbumMix:
    """What the pictures of albums show, and how often. Shares need not add up to one; what is left out never occurs."""

    crops: Mapping[Crop, float] = field(
        default_factory=lambda: {"full": 0.7, "three_quarter": 0.2, "upper": 0.1, "head": 0.0}
    )
    directions: Mapping[Direction, float] = field(default_factory=lambda: DIRECTIONS)
    margins: tuple[float, float] = MARGINS  # least and most of the free border around them, shares of what is shown
    catalogue: float = 0.7  # share of poses as in a catalogue; the others are from motion capture
    backgrounds: Mapping[BackgroundKind, float] = field(
        default_factory=lambda: {
            "white": 0.45,
            "grey": 0.17,
            "gradient": 0.17,
            "colour": 0.07,
            "noise": 0.04,
            "clutter": 0.1,
        }
    )

    def __post_init__(self) -> None:
        check_shares("crop", self.crops, CROPS)
        check_shares("direction", self.directions, DIRECTIONS)
        check_shares("background", self.backgrounds, BACKGROUNDS)
        if not 0 <= self.margins[0] <= self.margins[1] <= 10:  # NaN: neither
            raise UsageError(f"margins go from a least to a most of 0 to 10, got {self.margins}")
        if not 0 <= self.catalogue <= 1:
            raise UsageError(f"the share of catalogue poses lies between 0 and 1, got {self.catalogue}")


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Consecutive frames of one character before a fixed camera."""

    frames: tuple[View, ...]
    character: Character


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The people of a pack, photographed at random."""

    pack: Pack

    def album(self, rng: np.random.Generator, views: int, size: int = 256, mix: AlbumMix | None = None) -> list[View]:
        """Views of one random character in one scene, each with a pose, direction and crop of its own."""
        mix = mix or AlbumMix()
        character = sample_character(rng, self.pack)
        scene = sample_scene(rng, size, mix.backgrounds)
        album = []
        for _ in range(views):
            shot = sample_shot(rng, crops=mix.crops, directions=mix.directions, margins=mix.margins)
            album.append(self.snapshot(rng, character, scene, shot, mix.catalogue))
        return album

    def person_clip(self, rng: np.random.Generator, frames: int = 16, size: int = 256) -> Clip:
        """A whole person in motion: a stretch of motion capture, 15 frames per second."""
        character = sample_character(rng, self.pack)
        scene = sample_scene(rng, size, _CLIP_BACKGROUNDS)
        poses = self.pack.poses.sample_clip(rng, frames)
        shot = replace(sample_shot(rng, "full"), yaw_deg=rng.normal(0, 35), margin=0.25)
        posed = (pose_character(self.pack, character, pose) for pose in poses)
        return self._clip(character, posed, shot, scene, size)

    def snapshot(
        self, rng: np.random.Generator, character: Character, scene: Scene, shot: Shot, catalogue: float = 0.5
    ) -> View:
        """The character in a random pose, with a random expression. catalogue: see PoseLibrary.sample."""
        return self.portray(rng, character, scene, shot, self.pack.poses.sample(rng, catalogue))

    def portray(
        self, rng: np.random.Generator, character: Character, scene: Scene, shot: Shot, pose: Float64Array
    ) -> View:
        """The character in a pose (P,3), with a random expression."""
        expression = sample_expression(rng, self.pack.shapes.expression_units)
        left, right = rng.uniform(0.1, 0.9, 2)
        posed = pose_character(self.pack, character, pose, expression, (left, right))
        camera = frame(self.pack.skeleton, character, posed, shot, len(scene.background))
        return photograph(self.pack, character, posed, camera, scene)

    def _clip(self, character: Character, posed: Iterable[PosedCharacter], shot: Shot, scene: Scene, size: int) -> Clip:
        """All poses before the camera that takes the shot of the first."""
        camera: Camera | None = None
        views = []
        for moment in posed:
            camera = camera or frame(self.pack.skeleton, character, moment, shot, size)
            views.append(photograph(self.pack, character, moment, camera, scene))
        return Clip(tuple(views), character)


_PORTRAIT_BACKGROUNDS: dict[BackgroundKind, float] = {
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
    kinds, shares = zip(*_PORTRAIT_BACKGROUNDS.items(), strict=True)
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


def _poses(pack: Pack, character: Character, talk: Talk) -> list[PosedCharacter]:
    return [pose_character(pack, character, talk.pose(pack.poses, k), talk.expression(k)) for k in range(len(talk.jaw))]
