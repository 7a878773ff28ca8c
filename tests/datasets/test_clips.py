"""Clips to train on: cut, mirrored, with what is known of each frame; and rendered ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_landmarks import drawn_body, drawn_face, with_open_mouth

from gfla_cli.datasets.augment import as_detected_face
from gfla_cli.datasets.rendered_clips import (
    BodyClips,
    ClipFrames,
    FaceClips,
    MotionPlan,
    PortraitPlan,
    RenderedClips,
    _invented,
    _openings,
    clip_correspondences,
    sample_frames,
)
from gfla_cli.datasets.sample import Correspondence
from gfla_cli.geometry.crop import Crop
from gfla_cli.person import pose
from gfla_cli.person.face import EYES, MIRRORED, face_size
from gfla_cli.synth.people.people import sample_talk, with_glances


def drawn_clip(points, frames=3, side=64):
    rng = np.random.default_rng(0)
    surfaces = np.full((frames, side // 2, side // 2, 3), np.nan, np.float32)
    surfaces[:, 8:24, 8:24] = rng.normal(0, 3, (16, 16, 3))
    images = rng.integers(0, 255, (frames, side, side, 3), dtype=np.uint8)
    return ClipFrames(images, np.zeros((frames, side, side), np.uint8), np.stack([points] * frames), surfaces)


def test_a_clip_is_cut_with_its_points_and_surfaces():
    points = np.zeros((68, 2), np.float32)
    points[0] = 16, 24
    clip = drawn_clip(points)
    cut = clip.cropped(Crop((16, 24, 48, 56), (32, 32)))
    assert cut.images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(cut.images, clip.images[:, 24:56, 16:48])
    np.testing.assert_allclose(cut.points[0, 0], 0, atol=1e-5)
    assert cut.surfaces.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(cut.surfaces[0, 0, 0], clip.surfaces[0, 12, 8])


@pytest.mark.parametrize(("points", "order"), [(drawn_face(), MIRRORED), (drawn_body(), pose.MIRRORED)])
def test_a_clip_in_a_mirror_twice_is_the_clip(points, order):
    points = points.astype(np.float32)
    if points.shape[1] == 3:
        points[4] = pose.MISSING
    clip = drawn_clip(points)
    mirror = replace(Crop.whole((64, 64)), flip=True)
    twice = clip.cropped(mirror, order).cropped(mirror, order)
    np.testing.assert_array_equal(twice.images, clip.images)
    np.testing.assert_allclose(twice.points, clip.points, atol=1e-4)
    np.testing.assert_array_equal(twice.surfaces, clip.surfaces)
    if points.shape[1] == 3:
        assert clip.cropped(mirror, order).points[0, 7].tolist() == list(pose.MISSING)


def test_the_frame_before_the_first_is_the_reference():
    clip = drawn_clip(drawn_body(), frames=4)
    to_previous, to_reference = clip_correspondences(clip.surfaces, 8, 0.3)
    assert to_previous.offset.shape == to_reference.offset.shape == (3, 2, 8, 8)
    np.testing.assert_array_equal(to_previous.offset[0], to_reference.offset[0])


def test_rendered_landmarks_move_a_little_and_the_same_way_on_both_sides():
    face = drawn_face().astype(np.float32)
    mirror = np.array([-1, 1])
    moved = as_detected_face(face)
    shift = np.linalg.norm(moved - face, axis=1) / face_size(face)
    assert 0.001 < shift.mean() < 0.05
    mirrored = (face * mirror)[list(MIRRORED)]
    np.testing.assert_allclose(as_detected_face(mirrored), (moved * mirror)[list(MIRRORED)], atol=0.5)
    np.testing.assert_array_equal(as_detected_face(face, 0.0), face)


def test_frames_are_taken_at_any_pace_that_fits_and_in_both_directions():
    rng = np.random.default_rng(0)
    taken = [sample_frames(30, 12, rng) for _ in range(200)]
    steps = {tuple(set(np.diff(numbers).tolist())) for numbers in taken}
    assert steps == {(1,), (2,), (-1,), (-2,)}
    flat = [number for numbers in taken for number in numbers]
    assert (min(flat), max(flat)) == (0, 29)
    assert sorted(sample_frames(30, 30, rng)) == list(range(30))
    assert len(sample_frames(3, 1, rng)) == 1


def test_what_lips_hid_is_invented_and_not_taken_from_lips():
    face = (with_open_mouth(drawn_face(), 30) * 0.5 + (64, 50)).astype(np.float32)
    mouth, tooth, cheek = (24, 16), (24, 15), (20, 8)  # rows and columns of 4 pixels
    visible = np.full((1, 32, 32), -1, np.float32)
    visible[0][tooth] = 1  # it was to be seen
    known = Correspondence(np.ones((2, 32, 32), np.float32), np.full((1, 32, 32), 0.5, np.float32), visible)
    made = _invented(known, _openings(face, 128, 32))
    assert [made.visible[0][place] for place in (mouth, tooth, cheek)] == [0, 1, -1]
    assert [made.weight[0][place] for place in (mouth, tooth, cheek)] == [0, 0.5, 0.5]
    assert (made.visible == 0).sum() < 60  # eyes and mouth alone


def test_gestures_are_eyes_that_stay_shut_and_a_mouth_wide_open():
    plain, lively = (
        [
            sample_talk(np.random.default_rng(seed), ("smile", "frown", "wink"), 50, 25, gestures=on)
            for seed in range(30)
        ]
        for on in (False, True)
    )
    for name, level in (("blink", 0.6), ("jaw", 0.25)):
        usual, more = (np.mean([getattr(talk, name) > level for talk in talks]) for talks in (plain, lively))
        assert usual < 0.15 < 0.25 < more < 0.6
    blinks = np.concatenate([talk.blink for talk in lively])
    assert (blinks.min(), blinks.max()) == (0, 1)
    np.testing.assert_array_equal(plain[0].head, lively[0].head)


def test_glances_hold_a_direction_and_jump_to_the_next():
    talks = [sample_talk(np.random.default_rng(seed), ("smile", "frown", "wink"), 80, 25) for seed in range(12)]
    lively = [with_glances(np.random.default_rng(seed), talk, 25) for seed, talk in enumerate(talks)]
    for talk, other in zip(talks, lively, strict=True):
        np.testing.assert_array_equal(other.head, talk.head)
        assert (other.blink >= talk.blink).all()
    steadied = np.concatenate(
        [np.stack([talk.gaze[:, 0] - 0.3 * talk.head[:, 1], talk.gaze[:, 1]], 1) for talk in lively]
    )
    assert 20 < np.degrees(np.abs(steadied[:, 0]).max()) <= 25.01
    assert np.degrees(np.abs(steadied[:, 1]).max()) <= 14.01
    steps = np.degrees(np.concatenate([np.abs(np.diff(talk.gaze[:, 0])) for talk in lively]))
    before = np.degrees(np.concatenate([np.abs(np.diff(talk.gaze[:, 0])) for talk in talks]))
    assert before.max() < 8 < 15 < steps.max()  # degrees in a frame
    assert np.median(steps) < 1


def test_caches_from_before_glances_stay_valid(tmp_path):
    plain, lively = (RenderedClips(tmp_path, tmp_path, PortraitPlan(glances=glances)) for glances in (False, True))
    assert plain.cache.folder.name == "portraits-600x30-de920b25"  # another digest would render everything again
    assert lively.cache.folder != plain.cache.folder
    plan = PortraitPlan()
    old, new = (plan.points({"points": np.ones((count, 2), np.float16)}) for count in (68, 70))
    assert old.shape == new.shape == (70, 2)
    assert np.isnan(old[68:]).all()
    assert (old[:68] == 1).all()
    assert (new == 1).all()


@pytest.mark.shared
def test_rendered_faces_talk_and_are_known_exactly(shared, tmp_path):
    clips = FaceClips(
        shared / "humans", tmp_path, PortraitPlan(clips=1, frames=3, stills=1, size=96), frames=3, size=64, grid=16
    )
    sample = clips[0]
    assert sample.images.shape == (4, 64, 64, 3)
    assert sample.points.shape == (4, 70, 2)
    for eye, iris in zip(EYES, (68, 69), strict=True):
        corners = sample.points[:, [eye[0], eye[3]]]
        assert (
            np.linalg.norm(corners - sample.points[:, iris, None], axis=2) < 1.2 * np.ptp(corners, axis=1).max()
        ).all()
    assert sample.to_previous.offset.shape == (3, 2, 16, 16)
    assert (sample.to_previous.visible == 1).mean() > 0.5
    assert (sample.masks > 0).mean() > 0.2
    inside = sample.points[1].round().astype(int).clip(0, 63)
    assert (sample.masks[1][inside[:, 1], inside[:, 0]] > 0).mean() > 0.9
    np.testing.assert_array_equal(clips[0].images, sample.images)


@pytest.mark.shared
def test_rendered_bodies_keep_the_joints_that_they_hide_themselves(shared, tmp_path):
    clips = BodyClips(shared / "humans", tmp_path, MotionPlan(clips=1, frames=3, size=96), frames=3, size=64, grid=16)
    sample = clips[0]
    assert sample.images.shape == (4, 64, 64, 3)
    assert sample.edges.shape == (4, 0, 0)
    body = [joint for joint in range(18) if joint not in pose.FACE]
    present = sample.points[:, body, 2] > 0
    assert present.mean() > 0.9  # a detector names them too; now and then one is lost
    assert (present == (sample.points[:, body, 0] >= 0)).all()
