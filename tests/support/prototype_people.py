"""Random scenes of the renderer's prototype, drawn in the same order: equal seeds must give equal images."""

from __future__ import annotations

from dataclasses import replace

from gfla_cli.synth.people.character import sample_character
from gfla_cli.synth.people.people import Clip, sample_talk, view_in_pose
from gfla_cli.synth.people.views import Shot, aim_camera, photograph, pose_character, sample_shot
from gfla_cli.synth.renderer.procedural import background, choose
from gfla_cli.synth.renderer.render import Scene, sample_light, sample_scene

_BACKGROUNDS = {"white": 0.42, "grey": 0.15, "colour": 0.08, "gradient": 0.15, "noise": 0.06, "clutter": 0.14}
_CROPS = {"full": 0.45, "three_quarter": 0.25, "upper": 0.22, "head": 0.08}
_FACE_BACKGROUNDS = ("grey", "colour", "gradient", "noise", "clutter")


def person_pair(pack, rng, size):
    """A character, and two views of it: mostly from the front, and in another pose from anywhere."""
    character = sample_character(rng, pack)
    scene = sample_scene(rng, size, _BACKGROUNDS)
    source = sample_shot(rng, choose(rng, _CROPS))
    target = sample_shot(rng, source.crop if rng.random() < 0.6 else choose(rng, _CROPS))
    if abs(source.yaw_deg) > 120 and rng.random() < 0.6:
        source = replace(source, yaw_deg=rng.normal(0, 20))
    shots = (source, target)
    return character, [view_in_pose(pack, rng, character, scene, shot, pack.poses.sample(rng)) for shot in shots]


def face_clip(pack, rng, frames, size):
    """The head and shoulders of a person who talks to the camera, 25 frames per second."""
    character = sample_character(rng, pack)
    light = sample_light(rng, floor=False)
    scene = Scene(background(rng, size, _FACE_BACKGROUNDS[rng.integers(len(_FACE_BACKGROUNDS))]), light)
    talk = sample_talk(rng, pack.shapes.expression_units, frames, fps=25)
    shot = Shot(
        crop="head",
        yaw_deg=rng.normal(0, 8),
        pitch_deg=rng.normal(2, 3),
        distance=rng.uniform(11, 22),
        margin=rng.uniform(-0.25, 0.12),
        shift=(rng.normal(0, 0.03), rng.normal(0.02, 0.02)),
    )
    posed = [pose_character(pack, character, talk.pose(pack.poses, k), talk.expression(k)) for k in range(frames)]
    camera = aim_camera(pack.skeleton, character, posed[0], shot, size)
    return Clip(tuple(photograph(pack, character, one, camera, scene) for one in posed), character)
