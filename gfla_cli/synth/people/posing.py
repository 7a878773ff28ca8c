"""Posing a character, and the motion of a talking head.

Lengths are decimetres (dm), angles radians, times seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array
from gfla_cli.errors import UsageError
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.body import Expression, PoseLibrary, sample_expression
from gfla_cli.synth.people.character import Character
from gfla_cli.synth.people.mesh import linear_blend_skinning, vertex_normals
from gfla_cli.synth.renderer.camera import rotation_matrix

RELAXED = (0.5, 0.5)  # curl of the left and right fingers, 0 = straight, 1 = fist
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


@dataclass(frozen=True, slots=True, eq=False)
class PosedCharacter:
    """A character in a pose: n vertices, of which the first V are those of the base mesh."""

    vertices: Float32Array  # (n,3)
    normals: Float32Array  # (n,3) unit length
    joints: Float64Array  # (B,3)
    head: Float64Array  # (3,3) rotation of the head from its rest position


def pose_character(
    pack: Pack,
    character: Character,
    pose: Float64Array | None = None,
    expression: Expression | None = None,
    curl: tuple[float, float] = RELAXED,
) -> PosedCharacter:
    """Bends a character into a pose by linear blend skinning.

    pose: local axis-angle (P,3) for the bones of the pack's pose library; None = at rest. expression: None = neutral.
    curl: of the left and right fingers, 0 = straight, 1 = fist.
    """
    expression = expression or Expression()
    base = character.body.vertices
    weights = np.array([expression.units.get(unit, 0.0) for unit in pack.shapes.expression_units], np.float32)
    if weights.any():
        base = base.copy()
        base[pack.shapes.expression_vertices] += (weights @ character.expression_basis).reshape(-1, 3)
    binding, skeleton = character.binding, pack.skeleton

    turn = np.zeros((len(skeleton.parent), 3))
    if pose is not None:
        turn[pack.poses.bones] = pose
    turn[skeleton.index["jaw"], 0] = expression.jaw
    for side, amount in zip("LR", curl, strict=True):
        yaw, pitch = expression.gaze
        turn[skeleton.index[f"eye.{side}"], :2] = -pitch, yaw
        _curl_fingers(turn, character.joints, skeleton.index, side, amount)

    rotation, joints = skeleton.forward_kinematics(rotation_matrix(turn), character.joints)
    shift = joints - np.einsum("ijk,ik->ij", rotation, character.joints)
    vertices = linear_blend_skinning(binding.vertices_on(base), binding.bone, binding.weight, rotation, shift)
    normals = vertex_normals(vertices, character.mesh.triangles)
    return PosedCharacter(vertices, normals, joints, rotation[skeleton.index["head"]])


def _curl_fingers(turn: Float64Array, joints: Float64Array, bone: Mapping[str, int], side: str, amount: float) -> None:
    """Adds to turn (B,3): rotations of four fingers around the line of the knuckles. joints: (B,3) at rest."""

    def joint(finger: int, link: int) -> Float64Array:
        at: Float64Array = joints[bone[f"finger{finger}-{link}.{side}"]]
        return at

    knuckles = joint(5, 1) - joint(2, 1)
    knuckles /= np.linalg.norm(knuckles)
    if np.cross(knuckles, joint(3, 2) - joint(3, 1))[1] > 0:  # with this sign a positive angle closes the hand
        knuckles = -knuckles
    for finger in range(2, 6):
        for link in (1, 2, 3):
            angle = amount * (0.22 + 0.05 * finger + (0.22 if link > 1 else 0))
            turn[bone[f"finger{finger}-{link}.{side}"]] = knuckles * angle


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
    but important in videos. Raises UsageError if `frames` is below 1 or `fps` is not positive.
    """
    if frames < 1 or fps <= 0:
        raise UsageError(f"a clip needs at least one frame and a positive frame rate, got {frames} at {fps}")
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
