"""Measures on rendered people, of whom the truth is known, where gfla takes joints and outlines to be.

    python tests/support/measured_people.py [PAIRS]

Random people A and B are rendered in two poses. MediaPipe finds the joints of A in the first image, and those of B in
the second. The truth of `aligned` is A in the pose of B, from the same side; that of the cover are the pixels of A in
the first image; that of skirts are the clothes of A. Needs the pack of people beside the checkout.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import typer
from paths import SHARED

from gfla_cli.arrays import BoolArray, ByteArray, Float64Array
from gfla_cli.person.body import anchor
from gfla_cli.person.body_motion import aligned
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.pose import Pose, choose_person
from gfla_cli.pipelines.skirts import hem_of
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.character import Character, sample_character
from gfla_cli.synth.people.views import Direction, Shot, View, aim_camera, photograph, pose_character, sample_shot
from gfla_cli.synth.renderer.procedural import BackgroundKind
from gfla_cli.synth.renderer.render import Scene, sample_scene

_SIDE = 512
_OUTLINE = 8  # pixels
_FIRST_SEED = 1000  # the weights of bones come from the seeds 0 to 119
_DIRECTIONS: dict[Direction, float] = {"front": 0.6, "three_quarter": 0.25, "side": 0.05, "back": 0.1}
_BACKGROUNDS: dict[BackgroundKind, float] = {"white": 0.5, "grey": 0.2, "gradient": 0.3}


def main() -> None:
    """Prints the mean errors."""
    pack = Pack.load(SHARED / "humans")
    found = []
    with PersonDetector() as detector:
        for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 120):
            one = _measured(pack, detector, _FIRST_SEED + number)
            if one is not None:
                found.append(one)
    torsos, bones = np.nanmean(np.stack([one.joints for one in found]), axis=(0, 2))
    wears, sees = (np.array([getattr(one, name) for one in found]) for name in ("wears_skirt", "sees_skirt"))
    typer.echo(f"{len(found)} pairs of rendered people")
    typer.echo(f"joints, mean distance in torsos: {torsos:.3f} by torso lengths alone, {bones:.3f} by the build")
    cover = np.mean([one.cover for one in found])
    typer.echo(f"cover, mean error within {_OUTLINE} pixels of the outline: {cover:.4f}")
    found_skirts = f"{(wears & sees).sum()} of {wears.sum()} found"
    typer.echo(f"skirts: {found_skirts}, {(sees & ~wears).sum()} other clothes taken for one")


class _Measured(NamedTuple):
    joints: Float64Array  # (2, 18) distances without and with depths, in torsos
    cover: float  # error within some pixels of the outline
    wears_skirt: bool
    sees_skirt: bool


def _measured(pack: Pack, detector: PersonDetector, seed: int) -> _Measured | None:
    """None: no person is found."""
    rng = np.random.default_rng(seed)
    people = [sample_character(rng, pack) for _ in range(2)]
    poses = [pack.poses.sample(rng, 0.8) for _ in range(2)]
    shots = [sample_shot(rng, "full", directions=_DIRECTIONS) for _ in range(2)]
    scene = sample_scene(rng, _SIDE, _BACKGROUNDS)
    source, scale = _photograph(pack, people[0], poses[0], shots[0], scene)
    driver, _ = _photograph(pack, people[1], poses[1], shots[1], scene)
    view, other_scale = _photograph(pack, people[0], poses[1], shots[1], scene)
    found = [detector.detect(one.image) for one in (source, driver)]
    if not all(found):
        return None
    own, other = (choose_person(people).pose for people in found)
    points = np.column_stack([view.keypoints[:, :2] * scale / other_scale, view.keypoints[:, 0] >= 0])
    truth = Pose(points.astype(np.float32), (_SIDE, _SIDE))
    torso = np.linalg.norm(truth.points[1, :2] - truth.points[[8, 11], :2].mean(axis=0))
    without = [replace(pose, depths=None) for pose in (other, own)]
    made = [aligned(*without), aligned(other, own)]
    places = [pose.points[:, :2] - anchor(pose, feet=True) for pose in (truth, *made)]
    apart = np.linalg.norm(np.stack(places[1:]) - places[0], axis=2) / torso
    cover = detector.cover(source.image, own)
    outline = _outline(source.mask)
    seen = np.zeros(source.mask.shape, np.float32) if cover is None else cover
    wrong = np.abs(seen - source.mask / 255)[outline]
    joints = np.where(truth.present & made[0].present, apart, np.nan)
    return _Measured(joints, float(wrong.mean()), people[0].wears_skirt, hem_of(seen, own) is not None)


def _outline(mask: ByteArray) -> BoolArray:
    around = np.ones((2 * _OUTLINE + 1, 2 * _OUTLINE + 1), np.uint8)
    return np.asarray(cv2.dilate(mask, around) != cv2.erode(mask, around))


def _photograph(pack: Pack, person: Character, pose: Float64Array, shot: Shot, scene: Scene) -> tuple[View, float]:
    """An image, and the pixels of a decimetre in it."""
    posed = pose_character(pack, person, pose)
    camera = aim_camera(pack.skeleton, person, posed, shot, _SIDE)
    return photograph(pack, person, posed, camera, scene), camera.scale_px


if __name__ == "__main__":
    main()
