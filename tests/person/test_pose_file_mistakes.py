"""Keypoint files with mistakes: doubted, mended where that is safe, and else named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keypoints import SIZE, STANDING, flat, openpose, points, refusal, table

from gfla_cli.person.keypoint_files import read_pose


@pytest.mark.parametrize(("count", "whose"), [(16, "MPII"), (17, "COCO"), (33, "MediaPipe"), (5, "5 points")])
def test_a_wrong_number_of_joints_says_whose_it_is(pose_file, count, whose):
    message = refusal(pose_file(openpose(np.full((count, 3), 50))))
    assert f"{count} points" in message
    assert whose in message
    assert "18 points" in refusal(pose_file([{"keypoints": flat(points())}]))


def test_exchanged_axes_are_recognised_by_the_frame(pose_file):
    message = refusal(pose_file(openpose(points(STANDING[:, ::-1]))), frame=SIZE)
    assert "x and y change places" in message
    text = table([("a.jpg", STANDING[:, ::-1])])
    assert "x and y change places" in refusal(pose_file(text, "a.csv"), frame=SIZE)


def test_a_lying_body_is_only_doubted(pose_file):
    notes = []
    read_pose(pose_file(openpose(points(STANDING[:, ::-1]))), notes=notes)
    read_pose(pose_file(openpose(points(STANDING[:, ::-1])), "b.json"), frame=(176, 256), notes=notes)
    assert sum("lies on its side" in note for note in notes) == 2
    notes.clear()
    read_pose(pose_file(openpose(points())), frame=SIZE, notes=notes)
    assert notes == []


def test_coordinates_between_0_and_1_are_scaled_when_the_size_is_known(pose_file):
    path = pose_file(openpose(points(STANDING / [176, 256])))
    notes = []
    np.testing.assert_allclose(read_pose(path, frame=SIZE, notes=notes).points[:, :2], STANDING, atol=0.001)
    assert "multiplied" in notes[0]
    assert "between 0 and 1" in refusal(path)
    assert "between -1 and 1" in refusal(pose_file(openpose(points(STANDING / [88, 128] - 1))), frame=SIZE)


def test_the_size_may_come_with_an_openpose_file(pose_file):
    content = openpose(points(STANDING / [176, 256])) | {"canvas_height": 256, "canvas_width": 176}
    assert read_pose(pose_file([content])).size == SIZE


def test_joints_of_a_larger_image_are_refused_with_the_ratio(pose_file):
    assert "4.5 times too large" in refusal(pose_file(openpose(points(STANDING * 5))), frame=SIZE)


def test_joints_a_little_outside_are_kept_and_noted(pose_file):
    notes = []
    pose = read_pose(pose_file(openpose(points(STANDING + np.array([0, 60])))), frame=SIZE, notes=notes)
    assert pose.present.all()
    assert "2 of 18 joints lie outside" in notes[0]


def test_a_tiny_body_is_doubted(pose_file):
    notes = []
    read_pose(pose_file(openpose(points(STANDING / 10 + 3))), frame=(720, 1280), notes=notes)
    assert "right size" in notes[0]


def test_a_guessed_frame_is_said(pose_file):
    notes = []
    pose = read_pose(pose_file(openpose(points(STANDING * 3))), notes=notes)
    assert "no size of the image" in notes[0]
    assert np.all(pose.points[:, :2] < [pose.size[1], pose.size[0]])


@pytest.mark.parametrize("bad", ["nan", math.nan, math.inf, None, True, [1], 10**400])
def test_what_is_no_number_is_shown(pose_file, bad):
    values = flat(points())
    values[3] = bad
    assert "number" in refusal(pose_file({"people": [{"pose_keypoints_2d": values}]}))


def test_bad_rows_of_a_table_are_named_by_line(pose_file):
    good = table([("a.jpg", STANDING)])
    assert "line 2" in refusal(pose_file(good.replace("30", "30.x"), "a.csv"))
    assert "line 2" in refusal(pose_file(good.replace("30", "nan"), "a.csv"))
    assert "19 and 18" in refusal(pose_file(good.replace("30,", "30, 30,"), "a.csv"))
    assert "line 3" in refusal(pose_file(good + "b.jpg: [1, 2", "a.csv"))


def test_json_of_something_else_is_named(pose_file):
    assert "'name'" in refusal(pose_file({"name": "package", "version": "1"}))
    assert "no person" in refusal(pose_file({"people": []}))
    assert "no person" in refusal(pose_file([]))
    assert "pose_keypoints_2d" in refusal(pose_file({"people": [{"face_keypoints_2d": []}]}))
    assert "line 1" in refusal(pose_file('{"people": [{"pose_key'))
    assert "no keypoints" in refusal(pose_file([1, 2, 3]))
    assert "not a keypoint file" in refusal(pose_file("name,x,y\n"))
    assert "empty" in refusal(pose_file(" \n"))
    assert "unusable JSON" in refusal(pose_file("[" * 200_000))
    assert "no joint is marked" in refusal(pose_file(openpose(np.zeros((18, 3)))))


def test_own_files_of_a_newer_version_or_without_size_are_refused(pose_file):
    own = {"format": "gfla-pose", "version": 1, "size": [256, 176], "points": points().tolist()}
    assert read_pose(pose_file(own)).size == SIZE
    assert "version 2" in refusal(pose_file(own | {"version": 2}))
    for size in (None, [0, 176], [256], "256x176", [1e9, 1]):
        assert "size" in refusal(pose_file(own | {"size": size}))


def test_files_that_cannot_be_read_are_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "missing.json")
    assert "cannot be read" in refusal(tmp_path / f"{'n' * 300}.json")
    assert "folder" in refusal(tmp_path)
    (tmp_path / "photo.json").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xff")
    assert "not a text file" in refusal(tmp_path / "photo.json")


def test_huge_files_are_refused_before_they_are_read(tmp_path):
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(60_000_000)  # sparse: takes no space
    assert "60 MB" in refusal(tmp_path / "huge.json")
