"""Poses: 18 joints of one person, moved, mirrored and cut, and the choice of one among several."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from keypoints import SIZE, STANDING, points

from gfla_cli.errors import DetectionError, LandmarkError, UsageError
from gfla_cli.geometry.crop import Crop
from gfla_cli.person.pose import FACE, JOINTS, LIMBS, MIRRORED, Pose, choose_person


def mirrored(pose):
    return pose.cropped(replace(Crop.whole(pose.size), flip=True))


def test_missing_joints_look_the_same_everywhere():
    values = points()
    values[3] = [7, 9, 0]
    pose = Pose(values, SIZE)
    for changed in (pose, pose.scaled((512, 512)), mirrored(mirrored(pose)), pose.transformed(np.eye(2, 3), SIZE)):
        assert changed.points[3].tolist() == [-1, -1, 0]
    with pytest.raises(ValueError, match="read-only"):
        pose.points[0] = 0


def test_a_pose_can_be_resized_moved_and_mirrored():
    pose = Pose(points(), SIZE)
    assert pose.scaled((512, 88)).points[0].tolist() == [43.75, 60.5, 0.5]
    assert pose.transformed([[2, 0, 10], [0, 1, -5]], (300, 400)).points[0].tolist() == [186, 25, 0.5]
    other = mirrored(pose)
    assert other.points[2].tolist() == [175 - 106, 56, 0.5]  # the left shoulder is the right one now
    np.testing.assert_array_equal(mirrored(other).points, pose.points)
    assert pose.box == (58, 26, 118, 228)


def test_strays_are_dropped_and_near_strays_moved_to_the_border():
    places = STANDING.copy()
    places[10], places[13] = [75, 258], [101, 270]
    pose = Pose(points(places), SIZE).within_frame()
    assert pose.points[10].tolist() == [75, 255, 0.5]
    assert not pose.present[13]


def test_poses_that_cannot_be_are_refused():
    values = points()
    for bad in (values[:17], values * np.nan, np.concatenate([values[:, :2], np.full((18, 1), 2)], axis=1)):
        with pytest.raises(LandmarkError):
            Pose(bad, SIZE)
    with pytest.raises(LandmarkError):
        Pose(values, (0, 176))


def test_the_names_of_joints_belong_together():
    assert [JOINTS[joint].replace("left", "right") for joint in MIRRORED] == [
        name.replace("left", "right") for name in JOINTS
    ]
    assert {joint for limb in LIMBS for joint in limb} == set(range(18))
    assert [JOINTS[joint] for joint in FACE] == ["nose", "right eye", "left eye", "right ear", "left ear"]


def people_at(*places):
    """Poses of the given (left, height)."""
    return [Pose(points(STANDING / 256 * height + [left, 0]), (1000, 1000)) for left, height in places]


def test_the_largest_is_taken_and_the_choice_is_said():
    people, notes = people_at((500, 200), (100, 300), (800, 100)), []
    assert choose_person(people, where="a.jpg", notes=notes) is people[1]
    assert notes == ["a.jpg: 3 people found, took the largest; --person left|right|N picks another"]


def test_people_are_counted_from_the_left():
    people, notes = people_at((500, 200), (100, 300), (800, 100)), []
    assert choose_person(people, "left", notes=notes) is people[1]
    assert choose_person(people, "right", notes=notes) is people[2]
    assert [choose_person(people, number, notes=notes) for number in (1, "2", 3)] == [people[1], people[0], people[2]]
    assert notes == []


def test_a_missing_person_is_an_error_with_a_hint():
    with pytest.raises(DetectionError, match=r"a\.jpg: no person") as caught:
        choose_person([], where="a.jpg")
    assert caught.value.hint
    with pytest.raises(DetectionError, match="person 2 was asked for, 1 person was found"):
        choose_person(people_at((0, 100)), 2)
    for which in ("tallest", 0, "-1", "²"):
        with pytest.raises(UsageError):
            choose_person(people_at((0, 100)), which)


def test_depths_follow_what_happens_to_the_image():
    points = np.tile(np.array([[40.0, 60.0, 1.0]], np.float32), (18, 1))
    depths = np.arange(18, dtype=np.float32)
    pose = Pose(points, (100, 200), depths)
    np.testing.assert_allclose(pose.scaled((200, 400)).depths, 2 * depths, rtol=1e-6)
    np.testing.assert_allclose(pose.transformed([[0, -3, 5], [3, 0, 7]], (300, 300)).depths, 3 * depths, rtol=1e-6)
    assert mirrored(pose).depths[2] == 5  # the right shoulder is the left one
    assert pose.within_frame().depths is not None
    assert Pose(points, (100, 200)).scaled((50, 50)).depths is None
    assert np.isnan(Pose(points, (100, 200)).deep_points[:, 3]).all()
    again = Pose.of(pose.deep_points, pose.size)
    np.testing.assert_array_equal(again.depths, depths)
    with pytest.raises(LandmarkError, match="finite"):
        Pose(points, (100, 200), np.full(18, np.nan))
