"""Keypoint files: every format gives the same 18 joints, and every mistake is named."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gfla_cli.errors import DetectionError, LandmarkError, UsageError
from gfla_cli.landmarks.files import is_pose_file, read_pose, read_poses, write_pose, write_poses
from gfla_cli.landmarks.pose import FACE, JOINTS, LIMBS, MIRRORED, Pose

# Somebody standing in a 176x256 (width x height) picture: x, y of our 18 joints.
STANDING = np.array(
    [
        [88, 30], [88, 55], [70, 56], [62, 88], [58, 118], [106, 56], [114, 88], [118, 118], [77, 115],
        [76, 170], [75, 228], [99, 115], [100, 170], [101, 228], [84, 26], [92, 26], [79, 28], [97, 28],
    ],
    np.float32,
)  # fmt: skip
SIZE = (256, 176)
COCO = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]  # our index of each of COCO's 17


def points(places=STANDING, confidence=0.5):
    return np.concatenate([places, np.full((len(places), 1), confidence, np.float32)], axis=1)


def flat(values):
    return [float(value) for value in np.asarray(values).ravel()]


def openpose(*people):
    return {"version": 1.3, "people": [{"pose_keypoints_2d": flat(person)} for person in people]}


def table(names_and_places, header="name:keypoints_y:keypoints_x"):
    rows = [header] if header else []
    for name, places in names_and_places:
        lists = [[round(float(value)) for value in places[:, axis]] for axis in (1, 0)]
        rows.append(f"{name}: {lists[0]}: {lists[1]}")
    return "\n".join(rows) + "\n"


@pytest.fixture
def write(tmp_path):
    def to_file(content, name="poses.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return to_file


def refusal(path, **options):
    with pytest.raises(LandmarkError) as caught:
        read_pose(path, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


# --- formats -----------------------------------------------------------------------------------------------------


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


def test_openpose_18_is_our_order(write):
    pose = read_pose(write(openpose(points())), frame=SIZE)
    np.testing.assert_array_equal(pose.points, points())


def test_openpose_25_loses_the_middle_of_the_hips_and_the_feet(write):
    ours = points()
    body_25 = np.concatenate([ours[:8], [[88, 115, 0.9]], ours[8:], np.tile([75, 240, 0.9], (6, 1))])
    np.testing.assert_array_equal(read_pose(write(openpose(body_25)), frame=SIZE).points, ours)


def test_openpose_writes_missing_joints_as_zeros(write):
    values = points()
    values[4] = 0
    pose = read_pose(write(openpose(values)), frame=SIZE)
    assert pose.points[4].tolist() == [-1, -1, 0]
    assert pose.present.sum() == 17


@pytest.mark.parametrize("wrap", ["list", "single", "nested", "annotations"])
def test_coco_17_gets_a_neck_between_the_shoulders(write, wrap):
    values = points()[COCO]
    person = {"image_id": 7, "keypoints": values.tolist() if wrap == "nested" else flat(values)}
    image = {"id": 7, "file_name": "a.jpg", "height": 256, "width": 176}
    content = {"annotations": [person], "images": [image]} if wrap == "annotations" else [person]
    pose = read_pose(write(person if wrap == "single" else content), frame=SIZE)
    np.testing.assert_array_equal(np.delete(pose.points, 1, axis=0), np.delete(points(), 1, axis=0))
    assert pose.points[1].tolist() == [88, 56, 0.5]
    assert pose.size == SIZE


def test_coco_without_a_shoulder_has_no_neck(write):
    values = points()[COCO]
    values[6] = 0  # right shoulder
    pose = read_pose(write([{"keypoints": flat(values)}]), frame=SIZE)
    assert not pose.present[1]
    assert not pose.present[2]


def test_coco_annotations_keep_hidden_joints_of_the_body_but_not_of_the_face(write):
    values = points()[COCO]
    values[:, 2] = 2
    values[[3, 9], 2] = 1  # left ear and left wrist, hidden
    pose = read_pose(write([{"keypoints": flat(values)}]), frame=SIZE)
    assert not pose.present[17]
    assert pose.points[7, 2] == 0.5


def test_coco_pictures_are_chosen_by_name(write):
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 256, "width": 176} for n in (1, 2)]
    people = [{"image_id": n, "keypoints": flat(points(STANDING + n)[COCO])} for n in (1, 2)]
    path = write({"images": images, "annotations": people})
    assert read_pose(f"{path}#2.jpg").points[0, 0] == 90
    assert "2 pictures" in refusal(path)


@pytest.mark.parametrize("header", ["name:keypoints_y:keypoints_x", None])
def test_the_papers_table_has_y_first(write, header):
    path = write(table([("a.jpg", STANDING)], header), "poses.csv")
    pose = read_pose(path)
    np.testing.assert_array_equal(pose.points[:, :2], STANDING)
    assert pose.size == SIZE


def test_a_header_that_says_x_first_is_believed(write):
    text = table([("a.jpg", STANDING[:, ::-1])], "name:keypoints_x:keypoints_y")
    np.testing.assert_array_equal(read_pose(write(text, "poses.csv")).points[:, :2], STANDING)


def test_table_rows_are_chosen_by_name_with_or_without_suffix(write):
    path = write(table([(f"{n}.jpg", STANDING + n) for n in range(3)]), "poses.csv")
    assert read_pose(f"{path}#2.jpg").points[0, 0] == 90
    assert read_pose(f"{path}#1").points[0, 0] == 89
    assert [pose.points[0, 0] for pose in read_poses(path)] == [88, 89, 90]
    assert "3 pictures" in refusal(path)
    with pytest.raises(LandmarkError) as caught:
        read_pose(f"{path}#22.jpg")
    assert "2.jpg" in caught.value.hint


def test_a_file_name_with_a_hash_is_a_file_name(write):
    path = write(table([("a.jpg", STANDING)]), "poses#2.csv")
    assert read_pose(path).points[0, 0] == 88


def test_minus_one_is_missing_in_the_table(write):
    places = STANDING.copy()
    places[[4, 7]] = -1
    pose = read_pose(write(table([("a.jpg", places)]), "poses.csv"))
    assert np.flatnonzero(~pose.present).tolist() == [4, 7]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_spreadsheet_programs_may_have_saved_the_file(tmp_path, encoding, ending):
    for name, text in (("a.csv", table([("ä.jpg", STANDING)])), ("a.json", json.dumps(openpose(points())))):
        (tmp_path / name).write_bytes(text.replace("\n", ending).encode(encoding))
        np.testing.assert_array_equal(read_pose(tmp_path / name, frame=SIZE).points[:, :2], STANDING)


def test_pose_files_are_known_by_their_names():
    assert is_pose_file("a.json")
    assert is_pose_file("a.CSV#photo.jpg")
    assert not is_pose_file("a.jpg")
    assert not is_pose_file("folder")


# --- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "whose"), [(16, "MPII"), (17, "COCO"), (33, "MediaPipe"), (5, "5 points")])
def test_a_wrong_number_of_joints_says_whose_it_is(write, count, whose):
    message = refusal(write(openpose(np.full((count, 3), 50))))
    assert f"{count} points" in message
    assert whose in message
    assert "18 points" in refusal(write([{"keypoints": flat(points())}]))


def test_exchanged_axes_are_recognised_by_the_frame(write):
    message = refusal(write(openpose(points(STANDING[:, ::-1]))), frame=SIZE)
    assert "x and y change places" in message
    text = table([("a.jpg", STANDING[:, ::-1])])
    assert "x and y change places" in refusal(write(text, "a.csv"), frame=SIZE)


def test_a_lying_body_is_only_doubted(write):
    notes = []
    read_pose(write(openpose(points(STANDING[:, ::-1]))), notes=notes)
    read_pose(write(openpose(points(STANDING[:, ::-1])), "b.json"), frame=(176, 256), notes=notes)
    assert sum("lies on its side" in note for note in notes) == 2
    notes.clear()
    read_pose(write(openpose(points())), frame=SIZE, notes=notes)
    assert notes == []


def test_coordinates_between_0_and_1_are_scaled_when_the_size_is_known(write):
    path = write(openpose(points(STANDING / [176, 256])))
    notes = []
    np.testing.assert_allclose(read_pose(path, frame=SIZE, notes=notes).points[:, :2], STANDING, atol=0.001)
    assert "multiplied" in notes[0]
    assert "between 0 and 1" in refusal(path)
    assert "between -1 and 1" in refusal(write(openpose(points(STANDING / [88, 128] - 1))), frame=SIZE)


def test_the_size_may_come_with_an_openpose_file(write):
    content = openpose(points(STANDING / [176, 256])) | {"canvas_height": 256, "canvas_width": 176}
    assert read_pose(write([content])).size == SIZE


def test_joints_of_a_larger_picture_are_refused_with_the_ratio(write):
    assert "4.5 times too large" in refusal(write(openpose(points(STANDING * 5))), frame=SIZE)


def test_joints_a_little_outside_are_kept_and_noted(write):
    notes = []
    pose = read_pose(write(openpose(points(STANDING + np.array([0, 60])))), frame=SIZE, notes=notes)
    assert pose.present.all()
    assert "2 of 18 joints lie outside" in notes[0]


def test_a_tiny_body_is_doubted(write):
    notes = []
    read_pose(write(openpose(points(STANDING / 10 + 3))), frame=(720, 1280), notes=notes)
    assert "right size" in notes[0]


def test_a_guessed_frame_is_said(write):
    notes = []
    pose = read_pose(write(openpose(points(STANDING * 3))), notes=notes)
    assert "no size of the picture" in notes[0]
    assert np.all(pose.points[:, :2] < [pose.size[1], pose.size[0]])


@pytest.mark.parametrize("bad", ["nan", math.nan, math.inf, None, True, [1], 10**400])
def test_what_is_no_number_is_shown(write, bad):
    values = flat(points())
    values[3] = bad
    assert "number" in refusal(write({"people": [{"pose_keypoints_2d": values}]}))


def test_bad_rows_of_a_table_are_named_by_line(write):
    good = table([("a.jpg", STANDING)])
    assert "line 2" in refusal(write(good.replace("30", "30.x"), "a.csv"))
    assert "line 2" in refusal(write(good.replace("30", "nan"), "a.csv"))
    assert "19 and 18" in refusal(write(good.replace("30,", "30, 30,"), "a.csv"))
    assert "line 3" in refusal(write(good + "b.jpg: [1, 2", "a.csv"))


def test_json_of_something_else_is_named(write):
    assert "'name'" in refusal(write({"name": "package", "version": "1"}))
    assert "no person" in refusal(write({"people": []}))
    assert "no person" in refusal(write([]))
    assert "pose_keypoints_2d" in refusal(write({"people": [{"face_keypoints_2d": []}]}))
    assert "line 1" in refusal(write('{"people": [{"pose_key'))
    assert "no keypoints" in refusal(write([1, 2, 3]))
    assert "not a keypoint file" in refusal(write("name,x,y\n"))
    assert "empty" in refusal(write(" \n"))
    assert "no program" in refusal(write("[" * 200_000))
    assert "not one joint" in refusal(write(openpose(np.zeros((18, 3)))))


def test_own_files_of_a_newer_version_or_without_size_are_refused(write):
    own = {"format": "gfla-pose", "version": 1, "size": [256, 176], "points": points().tolist()}
    assert read_pose(write(own)).size == SIZE
    assert "version 2" in refusal(write(own | {"version": 2}))
    for size in (None, [0, 176], [256], "256x176", [1e9, 1]):
        assert "size" in refusal(write(own | {"size": size}))


def test_files_that_cannot_be_read_are_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "missing.json")
    assert "folder" in refusal(tmp_path)
    (tmp_path / "photo.json").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xff")
    assert "not a text file" in refusal(tmp_path / "photo.json")


def test_huge_files_are_refused_before_they_are_read(tmp_path):
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(60_000_000)  # sparse: takes no space
    assert "60 MB" in refusal(tmp_path / "huge.json")


def test_several_people_are_chosen_from(write):
    path = write(openpose(points(STANDING * 0.3 + [100, 0]), points(STANDING * 0.6)))
    notes = []
    assert read_pose(path, frame=SIZE, notes=notes).points[0, 0] == pytest.approx(88 * 0.6)
    assert "2 people found" in notes[0]
    assert read_pose(path, frame=SIZE, person="right").points[0, 0] == pytest.approx(126.4)
    with pytest.raises(DetectionError, match="person 3"):
        read_pose(path, frame=SIZE, person=3)


def test_poses_are_written_as_json_only_and_not_over_others(tmp_path):
    pose = Pose(points(), SIZE)
    with pytest.raises(UsageError):
        write_pose(tmp_path / "a.csv", pose)
    write_pose(tmp_path / "a.json", pose)
    with pytest.raises(UsageError):
        write_pose(tmp_path / "a.json", pose)
    write_pose(tmp_path / "a.json", pose, overwrite=True)


# --- Pose --------------------------------------------------------------------------------------------------------


def test_missing_joints_look_the_same_everywhere():
    values = points()
    values[3] = [7, 9, 0]
    pose = Pose(values, SIZE)
    for changed in (pose, pose.scaled((512, 512)), pose.mirrored().mirrored(), pose.transformed(np.eye(2, 3), SIZE)):
        assert changed.points[3].tolist() == [-1, -1, 0]
    with pytest.raises(ValueError, match="read-only"):
        pose.points[0] = 0


def test_a_pose_can_be_stretched_moved_and_mirrored():
    pose = Pose(points(), SIZE)
    assert pose.scaled((512, 88)).points[0].tolist() == [44, 60, 0.5]
    assert pose.transformed([[2, 0, 10], [0, 1, -5]], (300, 400)).points[0].tolist() == [186, 25, 0.5]
    mirrored = pose.mirrored()
    assert mirrored.points[2].tolist() == [175 - 106, 56, 0.5]  # the left shoulder is the right one now
    np.testing.assert_array_equal(mirrored.mirrored().points, pose.points)
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
