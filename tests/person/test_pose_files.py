"""Keypoint files: every format gives the same 18 joints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from keypoints import COCO, SIZE, STANDING, flat, openpose, points, refusal, table

from gfla_cli.errors import DetectionError, LandmarkError, UsageError
from gfla_cli.io.image import write_image
from gfla_cli.person.keypoint_files import is_pose_file, read_pose, read_poses, split_row, write_pose, write_poses
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.pose_jobs import plan_transfers


def test_our_own_file_gives_back_exactly_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    pose = Pose(points(rng.uniform(0, 176, (18, 2)).astype(np.float32), 1 / 3), SIZE)
    write_pose(tmp_path / "a.json", pose)
    again = read_pose(tmp_path / "a.json")
    np.testing.assert_array_equal(again.points, pose.points)
    assert again.size == SIZE
    assert json.loads((tmp_path / "a.json").read_text())["format"] == "gfla-pose"


def test_our_own_file_holds_several_people(tmp_path):
    left, right = Pose(points(STANDING * 0.4), SIZE), Pose(points(STANDING * 0.5 + [80, 0]), SIZE)
    write_poses(tmp_path / "a.json", [left, right])
    assert len(read_poses(tmp_path / "a.json")) == 2
    np.testing.assert_array_equal(read_pose(tmp_path / "a.json", person="left").points, left.points)
    np.testing.assert_array_equal(read_pose(tmp_path / "a.json", person=2).points, right.points)


def test_openpose_18_is_our_order(pose_file):
    pose = read_pose(pose_file(openpose(points())), frame=SIZE)
    np.testing.assert_array_equal(pose.points, points())


def test_openpose_25_loses_the_middle_of_the_hips_and_the_feet(pose_file):
    ours = points()
    body_25 = np.concatenate([ours[:8], [[88, 115, 0.9]], ours[8:], np.tile([75, 240, 0.9], (6, 1))])
    np.testing.assert_array_equal(read_pose(pose_file(openpose(body_25)), frame=SIZE).points, ours)


def test_openpose_writes_missing_joints_as_zeros(pose_file):
    values = points()
    values[4] = 0
    pose = read_pose(pose_file(openpose(values)), frame=SIZE)
    assert pose.points[4].tolist() == [-1, -1, 0]
    assert pose.present.sum() == 17


@pytest.mark.parametrize("wrap", ["list", "single", "nested", "annotations"])
def test_coco_17_gets_a_neck_between_the_shoulders(pose_file, wrap):
    values = points()[COCO]
    person = {"image_id": 7, "keypoints": values.tolist() if wrap == "nested" else flat(values)}
    image = {"id": 7, "file_name": "a.jpg", "height": 256, "width": 176}
    content = {"annotations": [person], "images": [image]} if wrap == "annotations" else [person]
    pose = read_pose(pose_file(person if wrap == "single" else content), frame=SIZE)
    np.testing.assert_array_equal(np.delete(pose.points, 1, axis=0), np.delete(points(), 1, axis=0))
    assert pose.points[1].tolist() == [88, 56, 0.5]
    assert pose.size == SIZE


def test_coco_without_a_shoulder_has_no_neck(pose_file):
    values = points()[COCO]
    values[6] = 0  # right shoulder
    pose = read_pose(pose_file([{"keypoints": flat(values)}]), frame=SIZE)
    assert not pose.present[1]
    assert not pose.present[2]


def test_coco_annotations_keep_hidden_joints_of_the_body_but_not_of_the_face(pose_file):
    values = points()[COCO]
    values[:, 2] = 2
    values[[3, 9], 2] = 1  # left ear and left wrist, hidden
    pose = read_pose(pose_file([{"keypoints": flat(values)}]), frame=SIZE)
    assert not pose.present[17]
    assert pose.points[7, 2] == 0.5


def test_coco_images_are_chosen_by_name(pose_file):
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 256, "width": 176} for n in (1, 2)]
    people = [{"image_id": n, "keypoints": flat(points(STANDING + n)[COCO])} for n in (1, 2)]
    path = pose_file({"images": images, "annotations": people})
    assert read_pose(f"{path}#2.jpg").points[0, 0] == 90
    assert "2 images" in refusal(path)


@pytest.mark.parametrize("header", ["name:keypoints_y:keypoints_x", None])
def test_the_papers_table_has_y_first(pose_file, header):
    path = pose_file(table([("a.jpg", STANDING)], header), "poses.csv")
    pose = read_pose(path)
    np.testing.assert_array_equal(pose.points[:, :2], STANDING)
    assert pose.size == SIZE


def test_a_header_that_says_x_first_is_believed(pose_file):
    text = table([("a.jpg", STANDING[:, ::-1])], "name:keypoints_x:keypoints_y")
    np.testing.assert_array_equal(read_pose(pose_file(text, "poses.csv")).points[:, :2], STANDING)


def test_table_rows_are_chosen_by_name_with_or_without_suffix(pose_file):
    path = pose_file(table([(f"{n}.jpg", STANDING + n) for n in range(3)]), "poses.csv")
    assert read_pose(f"{path}#2.jpg").points[0, 0] == 90
    assert read_pose(f"{path}#1").points[0, 0] == 89
    assert [pose.points[0, 0] for pose in read_poses(path)] == [88, 89, 90]
    assert "3 images" in refusal(path)
    with pytest.raises(LandmarkError) as caught:
        read_pose(f"{path}#22.jpg")
    assert "2.jpg" in caught.value.hint


def test_a_file_name_with_a_hash_is_a_file_name(pose_file):
    path = pose_file(table([("a.jpg", STANDING)]), "poses#2.csv")
    assert read_pose(path).points[0, 0] == 88


def test_minus_one_is_missing_in_the_table(pose_file):
    places = STANDING.copy()
    places[[4, 7]] = -1
    pose = read_pose(pose_file(table([("a.jpg", places)]), "poses.csv"))
    assert np.flatnonzero(~pose.present).tolist() == [4, 7]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_spreadsheet_programs_may_have_saved_the_file(tmp_path, encoding, ending):
    for name, text in (("a.csv", table([("ä.jpg", STANDING)])), ("a.json", json.dumps(openpose(points())))):
        (tmp_path / name).write_bytes(text.replace("\n", ending).encode(encoding))
        np.testing.assert_array_equal(read_pose(tmp_path / name, frame=SIZE).points[:, :2], STANDING)


def test_several_people_are_chosen_from(pose_file):
    path = pose_file(openpose(points(STANDING * 0.3 + [100, 0]), points(STANDING * 0.6)))
    notes = []
    assert read_pose(path, frame=SIZE, notes=notes).points[0, 0] == pytest.approx(88 * 0.6)
    assert "2 people found" in notes[0]
    assert read_pose(path, frame=SIZE, person="right").points[0, 0] == pytest.approx(126.4)
    with pytest.raises(DetectionError, match="person 3"):
        read_pose(path, frame=SIZE, person=3)


def test_pose_files_are_known_by_their_names():
    assert is_pose_file("a.json")
    assert is_pose_file("a.CSV#photo.jpg")
    assert not is_pose_file("a.jpg")
    assert not is_pose_file("folder")


def test_poses_are_written_as_json_only_and_not_over_others(tmp_path):
    pose = Pose(points(), SIZE)
    with pytest.raises(UsageError):
        write_pose(tmp_path / "a.csv", pose)
    write_pose(tmp_path / "a.json", pose)
    with pytest.raises(UsageError):
        write_pose(tmp_path / "a.json", pose)
    write_pose(tmp_path / "a.json", pose, overwrite=True)


@pytest.mark.parametrize("name", ["poses#2.csv", "#poses.csv", "c#/poses.csv"])
def test_names_may_hold_the_mark_that_divides_file_and_image(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(table([("a#1.jpg", STANDING), ("b.jpg", STANDING)]))
    assert split_row(file) == (file, None)
    assert split_row(f"{file}#a#1.jpg") == (file, "a#1.jpg")
    assert is_pose_file(f"{file}#a#1.jpg")
    np.testing.assert_array_equal(read_pose(f"{file}#b.jpg", frame=SIZE).points[:, :2], STANDING)


def test_an_image_may_have_any_name(tmp_path):
    assert split_row("b#1.jpg") == (Path("b#1.jpg"), None)
    assert not is_pose_file("b#1.jpg")
    folder = tmp_path / "c#"
    folder.mkdir()
    for name in ("x#1.png", "y#1.png"):
        write_image(folder / name, np.zeros((64, 64, 3), np.uint8))
    (job,) = plan_transfers(folder / "x#1.png", str(folder / "y#1.png"), tmp_path / "out.png", overwrite=False)
    assert job.pose == str(folder / "y#1.png")
    several = plan_transfers(folder / "x#1.png", str(folder), tmp_path / "out", overwrite=False)
    assert [one.output.name for one in several] == ["x#1--x#1.png", "x#1--y#1.png"]
