"""Random images of synthetic people: views of a character, clips of motion, and talking heads.

Equal states of the random generator give equal results. Angles are radians, times seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.errors import UsageError
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.body import Expression, PoseLibrary, sample_expression
from gfla_cli.synth.people.character import Character, sample_character
from gfla_cli.synth.people.views import (
    DIRECTIONS,
    MARGINS,
    Crop,
    Direction,
    PosedCharacter,
    Shot,
    View,
    aim_camera,
    photograph,
    pose_character,
    sample_shot,
)
from gfla_cli.synth.renderer.camera import Camera
from gfla_cli.synth.renderer.procedural import BackgroundKind, choose
from gfla_cli.synth.renderer.render import Scene, sample_scene

_CROPS: Mapping[Crop, float] = {"full": 0.7, "three_quarter": 0.2, "upper": 0.1, "head": 0.0}
_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.45, "grey": 0.17, "gradient": 0.17, "colour": 0.07, "noise": 0.04, "clutter": 0.1,
}  # fmt: skip
_CLIP_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.42, "grey": 0.15, "colour": 0.08, "gradient": 0.15, "noise": 0.06, "clutter": 0.14,
}  # fmt: skip
_CATALOGUE_SHARE = 0.7  # of poses as in a catalogue; the others are from motion capture


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Consecutive frames of one character, seen by a fixed camera."""

    frames: tuple[View, ...]
    character: Character
    stills: tuple[View, ...] = ()  # of a talking head: each with a pose and an expression of its own


def random_views(
    pack: Pack,
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
    character = sample_character(rng, pack)
    scene = sample_scene(rng, size, backgrounds)
    views = []
    for _ in range(count):
        shot = sample_shot(rng, choose(rng, crops), directions=directions, margins=margins)
        views.append(view_in_pose(pack, rng, character, scene, shot, pack.poses.sample(rng, _CATALOGUE_SHARE)))
    return views


def view_in_pose(
    pack: Pack, rng: np.random.Generator, character: Character, scene: Scene, shot: Shot, pose: Float64Array
) -> View:
    """The character in a pose (P,3), with a random expression."""
    expression = sample_expression(rng, pack.shapes.expression_units)
    left, right = rng.uniform(0.1, 0.9, 2)
    posed = pose_character(pack, character, pose, expression, (left, right))
    camera = aim_camera(pack.skeleton, character, posed, shot, len(scene.background))
    return photograph(pack, character, posed, camera, scene)


def person_clip(pack: Pack, rng: np.random.Generator, frames: int = 16, size: int = 256) -> Clip:
    """A whole person in motion, from motion capture at 15 frames per second.

    Raises UsageError if the pack has no motion capture, or no clip of that many frames.
    """
    character = sample_character(rng, pack)
    scene = sample_scene(rng, size, _CLIP_BACKGROUNDS)
    poses = pack.poses.sample_clip(rng, frames)
    shot = replace(sample_shot(rng, "full"), yaw_deg=rng.normal(0, 35), margin=0.25)
    posed = (pose_character(pack, character, pose) for pose in poses)
    return Clip(tuple(_photograph_all(pack, character, posed, shot, scene)), character)


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


# Talking heads:
_PORTRAIT_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.1, "grey": 0.2, "colour": 0.15, "gradient": 0.2, "noise": 0.1, "clutter": 0.25,
}  # fmt: skip
_CLIP_FPS = (10.0, 25.0)  # least and most frames per second of a portrait
_STILLS_FPS = 0.17  # so slow that every still has a pose of its own
_LARGE_TURN_SHARE = 0.35  # of the portraits
_LARGE_TURN, _USUAL_TURN = (1.5, 2.3), (0.6, 1.2)  # least and most factor on the turns of the head
_JAW_FACTOR = (0.8, 1.6)  # least and most factor on the opening of the jaw
_MAX_TURN = np.radians([22, 42, 20])  # pitch, yaw, roll up to which face detectors work
_MAX_JAW = 0.45  # radians
_MOUTH_UNITS = (
    *("mouth-corner-puller", "mouth-protusion", "mouth-parling", "mouth-retraction", "mouth-depression"),
    *("mouth-upward-retraction", "mouth-pursing"),
)
_ONSET = 0.15  # seconds in which a held gesture comes and goes
_FARTHEST_GAZE = np.radians((25, 14))  # yaw and pitch of a glance
_STRAIGHT = 0.35  # share of the glances that come back to the front
_JUMP = 0.04  # seconds that the eyes take for a new direction
_HELD_GAZE = (0.15, 1.6)  # seconds that they keep one
_STEADIED = 0.3  # share of a turn of the head by which the eyes turn back
_LIDS_UP, _LIDS_DOWN = 0.9, 0.35  # of "opened-up" and "closure" of the upper lids at the farthest pitch
_HEAD_SHARES = (("neck01", 0.25), ("neck02", 0.2), ("head", 0.55))  # of a turn of the head


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


@dataclass(frozen=True, slots=True, eq=False)
class Talk:
    """The motion of a talking head: F frames."""

    head: Float64Array  # (F,3) pitch, yaw, roll, radians
    jaw: Float64Array  # (F,) opening, radians, 0 = closed
    mouth: dict[str, Float64Array]  # name of an expression unit, mostly of the mouth -> weights (F,)
    blink: Float64Array  # (F,) 1 = closed
    brow: Float64Array  # (F,) > 0 = raised, < 0 = lowered
    gaze: Float64Array  # (F,2) yaw, pitch, radians
    mood: Expression  # the expression under all motion

    def expression(self, frame: int) -> Expression:
        """The expression at a frame."""
        units = dict(self.mood.units)
        for unit, weight in self.mouth.items():
            units[unit] = self.mood.units.get(unit, 0) * 0.5 + weight[frame]
        for side in ("left", "right"):
            units[f"eye-{side}-closure"] = self.blink[frame]
            units[f"eyebrows-{side}-up"] = max(self.brow[frame], 0)
            units[f"eyebrows-{side}-down"] = max(-self.brow[frame], 0)
        yaw, pitch = self.gaze[frame]
        steadied = yaw - self.head[frame, 1] * _STEADIED  # the eyes partly stay on the camera while the head turns
        return Expression(units, self.mood.jaw * 0.3 + self.jaw[frame], (steadied, pitch))

    def pose(self, poses: PoseLibrary, frame: int) -> Float64Array:
        """The pose at a frame, (P,3): the body stands still, neck and head share the rotation."""
        pose = poses.standing()
        for name, share in _HEAD_SHARES:
            pose[poses.index[name]] += share * self.head[frame]
        return pose


def sample_talk(
    rng: np.random.Generator, units: tuple[str, ...], frames: int, fps: float, *, gestures: bool = False
) -> Talk:
    """The random motion of a person who talks, nods, looks around and blinks. units: names of the expression units.

    With `gestures`, the eyes also stay shut and the mouth stays wide open for a while, again and again: rare in talk,
    but important in videos.
    """
    time = np.arange(frames) / fps

    def wave(amplitude: float, slowest: float, fastest: float) -> Float64Array:
        """A smooth random signal (F,) of about this amplitude, with frequencies in this range in Hz."""
        signal = np.zeros(frames)
        for _ in range(3):
            height, frequency, phase = rng.normal(), rng.uniform(slowest, fastest), rng.uniform(0, 6.3)
            signal += amplitude / 1.6 * height * np.sin(2 * np.pi * frequency * time + phase)
        return signal

    pitch = rng.normal(0, 3) + wave(4, 0.2, 0.9)
    yaw = rng.normal(0, 12) + wave(9, 0.15, 0.7)
    head = np.radians(np.stack([pitch, yaw, wave(3.5, 0.15, 0.6)], 1))
    loudness = np.clip(0.8 + wave(0.5, 0.1, 0.4), 0, 1) * (rng.random() < 0.85)
    jaw = np.clip(0.05 + np.abs(wave(0.2, 2, 4.5)), 0, 0.36) * loudness
    liveliness = 0.3 + 0.7 * loudness
    mouth = {u: np.clip(wave(0.38, 1.0, 3.0), 0, 0.6) * liveliness for u in _MOUTH_UNITS if rng.random() < 0.8}
    blink = _blinks(rng, time)
    if gestures:
        blink = np.maximum(blink, _held(rng, time) * rng.uniform(0.6, 1.1))
        jaw = np.maximum(jaw, _held(rng, time) * rng.uniform(0.2, 0.42))
    return Talk(
        head=head,
        jaw=jaw,
        mouth=mouth,
        blink=np.minimum(blink, 1),
        brow=np.clip(wave(0.5, 0.2, 0.8) + 0.2, -0.35, 0.9),
        gaze=np.stack([wave(0.12, 0.2, 0.8), wave(0.06, 0.2, 0.8)], 1),
        mood=sample_expression(rng, units, 0.6),
    )


def with_glances(rng: np.random.Generator, talk: Talk, fps: float) -> Talk:
    """The same motion with eyes that also jump from one direction to another and hold it for a while.

    Upper lids follow the eyes up and down. In the head, the eyes turn no further than `_FARTHEST_GAZE`.
    """
    time = np.arange(len(talk.gaze)) / fps
    glances = np.zeros_like(talk.gaze)
    begin, before = -rng.uniform(0, _HELD_GAZE[1]), np.zeros(2)
    while begin <= time[-1]:
        straight = rng.random() < _STRAIGHT
        goal = rng.normal(0, 0.03, 2) if straight else rng.uniform(-1, 1, 2) * _FARTHEST_GAZE
        done = np.clip((time - begin) / _JUMP, 0, 1)[:, None]
        glances = np.where(done > 0, before + done * (goal - before), glances)
        begin, before = begin + rng.uniform(*_HELD_GAZE), goal
    back = np.stack([talk.head[:, 1] * _STEADIED, np.zeros_like(time)], 1)
    gaze = np.clip(talk.gaze * 0.5 + glances - back, -_FARTHEST_GAZE, _FARTHEST_GAZE)
    up = gaze[:, 1] / _FARTHEST_GAZE[1]
    mouth = talk.mouth | {f"eye-{side}-opened-up": _LIDS_UP * up.clip(0) for side in ("left", "right")}
    return replace(talk, gaze=gaze + back, blink=np.maximum(talk.blink, _LIDS_DOWN * (-up).clip(0)), mouth=mouth)


def _blinks(rng: np.random.Generator, time: Float64Array) -> Float64Array:
    """The closure of the eyes (F,), 0..1: a blink every few seconds."""
    closed = np.zeros(len(time))
    moment = rng.uniform(0, 3)
    while moment < time[-1] + 0.3:
        closed = np.maximum(closed, np.clip(1.25 - np.abs(time - moment) / 0.11, 0, 1))
        moment += rng.uniform(0.8, 4)
    return closed


def _held(rng: np.random.Generator, time: Float64Array) -> Float64Array:
    """The strength (F,), 0..1, of a gesture that is held for a while, again and again."""
    done = np.zeros(len(time))
    begin = rng.uniform(-0.5, 1)
    while begin < time[-1]:
        end = begin + rng.uniform(0.15, 0.9)
        done = np.maximum(done, np.clip(1 - np.maximum(begin - time, time - end) / _ONSET, 0, 1))
        begin = end + rng.uniform(0.3, 1.4)
    return done
