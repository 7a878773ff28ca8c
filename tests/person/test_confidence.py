"""Confidence: doubtful joints are missing, doubtful people are not chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from keypoints import COCO, SIZE, STANDING, flat, openpose, points, refusal

from gfla_cli.person.body import torso_length
from gfla_cli.person.keypoint_files import pose_json, read_pose, read_poses
from gfla_cli.person.pose import LEAST_CONFIDENCE, Pose, choose_person


def with_a_stray_wrist():
    values = points()
    values[4] = [170, 250, 0.02]
    return values


FORMATS = {
    "openpose": openpose,
    "coco": lambda *people: [{"image_id": "a.jpg", "keypoints": flat(person[COCO])} for person in people],
    "alphapose": lambda *people: [
        {"image_id": "a.jpg", "category_id": 1, "keypoints": flat(person[COCO]), "score": 2.5} for person in people
    ],
    "own": lambda *people: (
        pose_json(*(Pose(points(), SIZE) for _ in people))
        | {"people": [{"points": person.tolist()} for person in people]}
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_joint_below_the_threshold_is_missing_and_said(pose_file, name):
    notes = []
    pose = read_pose(pose_file(FORMATS[name](with_a_stray_wrist())), frame=SIZE, notes=notes)
    assert not pose.present[4]
    assert pose.present.sum() == 17
    assert torso_length(pose) == pytest.approx(torso_length(Pose(points(), SIZE)), rel=0.02)
    assert "1 joints have a confidence below 0.05" in notes[0]


@pytest.mark.parametrize("name", FORMATS)
def test_a_ghost_is_not_the_person(pose_file, name):
    person, unsure, ghost = points(STANDING * 0.8, 0.9), points(STANDING, 0.3), points(STANDING, 0.04)
    path = pose_file(FORMATS[name](ghost, person))
    np.testing.assert_allclose(read_pose(path, frame=SIZE).points[0, :2], STANDING[0] * 0.8, rtol=1e-5)
    path = pose_file(FORMATS[name](unsure, person))
    np.testing.assert_allclose(read_pose(path, frame=SIZE).points[0, :2], STANDING[0] * 0.8, rtol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_person_does_not_spoil_a_file(pose_file, name):
    notes = []
    empty = np.zeros((18, 3))
    people = read_poses(pose_file(FORMATS[name](empty, points())), frame=SIZE, notes=notes)
    assert len(people) == 1
    assert "1 of 2 people have no joints" in notes[0]
    assert "no joint is marked" in refusal(pose_file(FORMATS[name](empty)))
    assert "no joint is marked" in refusal(pose_file(FORMATS[name](points(STANDING, 0.04))))


def test_a_pose_in_python_is_no_exception():
    pose = Pose(with_a_stray_wrist(), SIZE)
    assert not pose.present[4]
    assert Pose(points(STANDING, LEAST_CONFIDENCE), SIZE).present.all()


def test_people_are_ranked_by_size_times_confidence():
    sure, unsure = Pose(points(STANDING * 0.8, 0.9), SIZE), Pose(points(STANDING, 0.3), SIZE)
    assert choose_person([unsure, sure]) is sure
    assert json.dumps(pose_json(sure))
