"""Finding people: which of MediaPipe's landmarks become joints, where is looked, who is chosen, and what is found."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gfla_cli.errors import DetectionError, GflaError, UsageError
from gfla_cli.landmarks.body import head_turn_deg, to_openpose
from gfla_cli.landmarks.detector import Person, PersonDetector
from gfla_cli.landmarks.drawing import draw_pose
from gfla_cli.landmarks.pose import JOINTS, Pose, choose_person
from gfla_cli.landmarks.solutions import solution
from gfla_cli.landmarks.windows import Window, around, around_body_of, squares, whole
from gfla_cli.media.image import read_image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def detector():
    with PersonDetector() as one:
        yield one


def somebody(turn_deg=0.0, tilt_deg=0.0):
    """(33, 4) landmarks of a person in a 200x400 (width x height) picture, the head turned and tilted."""
    marks = np.full((33, 4), (100.0, 200.0, 0.0, 0.99))
    body = {11: (130, 90), 12: (70, 90), 13: (140, 140), 14: (60, 140), 15: (145, 190), 16: (55, 190),
            23: (120, 200), 24: (80, 200), 25: (120, 290), 26: (80, 290), 27: (120, 380), 28: (80, 380)}  # fmt: skip
    for mark, place in body.items():
        marks[mark, :2] = place
    # Offsets from the middle of the ears: to the person's left, down, towards the camera.
    head = {
        0: (0, 5, 20),
        2: (7, -3, 15),
        5: (-7, -3, 15),
        7: (16, 0, 0),
        8: (-16, 0, 0),
        9: (6, 14, 14),
        10: (-6, 14, 14),
    }
    turn, tilt = math.radians(turn_deg), math.radians(tilt_deg)
    for mark, (left, down, front) in head.items():
        across = left * math.cos(turn) + front * math.sin(turn)
        depth = left * math.sin(turn) - front * math.cos(turn)
        x = across * math.cos(tilt) - down * math.sin(tilt)
        y = across * math.sin(tilt) + down * math.cos(tilt)
        marks[mark, :3] = (100 + x, 50 + y, depth)
    return marks.astype(np.float32)


def face_of(turn_deg, tilt_deg=0.0):
    pose = to_openpose(somebody(turn_deg, tilt_deg), (400, 200))
    return {JOINTS[joint] for joint in (0, 14, 15, 16, 17) if pose.present[joint]}


# --- from landmarks to joints ------------------------------------------------------------------------------------


def test_joints_keep_their_side_and_the_neck_is_between_the_shoulders():
    pose = to_openpose(somebody(), (400, 200))
    assert pose.present.all()
    assert pose.points[1, :2].tolist() == [100, 90]
    assert pose.points[2, :2].tolist() == [70, 90]  # right shoulder: left in the picture, seen from the front
    assert pose.points[13, :2].tolist() == [120, 380]


@pytest.mark.parametrize("tilt_deg", [0, 60, -90, 180])
def test_the_face_is_there_as_far_as_it_is_seen(tilt_deg):
    assert face_of(0, tilt_deg) == {"nose", "right eye", "left eye", "right ear", "left ear"}
    assert face_of(50, tilt_deg) == {"nose", "right eye", "left eye", "right ear"}
    assert face_of(95, tilt_deg) == {"nose", "right eye", "right ear"}
    assert face_of(-95, tilt_deg) == {"nose", "left eye", "left ear"}
    assert face_of(140, tilt_deg) == {"right ear"}
    assert face_of(180, tilt_deg) == {"right ear", "left ear"}


@pytest.mark.parametrize("turn_deg", [-170, -90, -30, 0, 45, 120])
def test_the_direction_of_the_head_is_measured(turn_deg):
    assert head_turn_deg(somebody(turn_deg)) == pytest.approx(turn_deg, abs=1)


def test_joints_outside_the_picture_are_missing_and_those_on_the_border_are_not():
    marks = somebody()
    marks[27, 1], marks[28, 1] = 404, 420
    pose = to_openpose(marks, (400, 200))
    assert pose.points[13, 1] == 399
    assert not pose.present[10]


def test_hidden_arms_are_there_but_guessed_feet_are_not():
    marks = somebody()
    marks[[15, 16], 3] = 0.01  # wrists behind the back
    marks[[27, 28], 3] = 0.05  # ankles behind a table
    pose = to_openpose(marks, (400, 200))
    assert pose.present[[4, 7]].all()
    assert not pose.present[[10, 13]].any()


# --- where to look -----------------------------------------------------------------------------------------------


def test_a_window_beyond_the_picture_is_padded_and_keeps_the_place():
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:50, 10:20] = 255
    pixels, factor = Window(-100, -60, 240, 240).cut(image, 120)
    assert (pixels.shape, factor) == ((120, 120, 3), 0.5)
    assert (pixels[0] == 128).all()
    y, x = np.argwhere(pixels[..., 0] == 255).mean(axis=0)
    assert ((x + 0.5) / factor - 100, (y + 0.5) / factor - 60) == (15, 45)


def test_small_windows_are_not_enlarged():
    image = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
    pixels, factor = whole(image).cut(image, 512)
    assert factor == 1
    np.testing.assert_array_equal(pixels, image)


@pytest.mark.parametrize("size", [(720, 1280), (400, 3000), (500, 500), (1280, 720)])
def test_squares_cover_the_picture_and_overlap(size):
    side = min(size)
    starts = [window.left + window.top for window in squares(np.zeros((*size, 3), np.uint8), side)]
    assert starts[0] == 0
    assert starts[-1] == max(size) - side
    assert all(second - first <= side / 2 + 1 for first, second in pairwise(starts))


def test_windows_enclose_what_they_are_made_for():
    window = around((10, 20, 30, 120), 0.1)
    assert window == Window(-40, 10, 120, 120)
    body = around_body_of((95, 50, 115, 70), 10)
    assert body.width == body.height == 200
    assert body.left + body.width / 2 == 105
    assert body.top < 50


# --- who ---------------------------------------------------------------------------------------------------------


def people_at(*places):
    """Poses of the given (left, height)."""
    unit = somebody()[:18, :2] / 400
    points = [np.concatenate([unit * height + [left, 0], np.full((18, 1), 0.9)], axis=1) for left, height in places]
    return [Pose(values, (1000, 1000)) for values in points]


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


def test_nobody_and_nobody_more_are_errors_with_a_hint():
    with pytest.raises(DetectionError, match=r"a\.jpg: no person") as caught:
        choose_person([], where="a.jpg")
    assert caught.value.hint
    with pytest.raises(DetectionError, match="person 2 was asked for, 1 person was found"):
        choose_person(people_at((0, 100)), 2)
    for which in ("tallest", 0, "-1", "²"):
        with pytest.raises(UsageError):
            choose_person(people_at((0, 100)), which)


# --- drawing -----------------------------------------------------------------------------------------------------


def test_a_drawing_leaves_the_picture_as_it_was():
    image = np.full((400, 200, 3), 255, np.uint8)
    drawn = draw_pose(image, to_openpose(somebody(), (400, 200)))
    assert (image == 255).all()
    assert drawn.shape == image.shape
    assert (drawn[90, 100] != 255).any()
    assert (drawn[390:, :40] == 255).all()


def test_a_pose_is_drawn_at_the_size_of_the_picture_and_its_missing_joints_are_not():
    values = to_openpose(somebody(), (400, 200)).points.copy()
    values[5:] = (-1, -1, 0)
    drawn = draw_pose(np.zeros((800, 400, 3), np.uint8), Pose(values, (400, 200)))
    assert drawn[180, 200].any()
    assert not drawn[500:].any()
    far = Pose(values + np.array([1e6, 0, 0], np.float32), (400, 200))
    draw_pose(np.zeros((80, 40, 3), np.uint8), [far])


# --- the networks ------------------------------------------------------------------------------------------------


def test_nobody_is_found_where_nobody_is(detector):
    rng = np.random.default_rng(0)
    blobs = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(40, axis=0).repeat(40, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in (np.zeros((64, 64, 3), np.uint8), np.full((300, 900, 3), 255, np.uint8), blobs):
            assert detector.detect(image) == []


def test_a_detector_can_be_closed_and_used_again():
    detector = PersonDetector()
    for _ in range(2):
        assert detector.detect(np.zeros((32, 32, 3), np.uint8)) == []
        detector.close()
    detector.close()


def test_only_rgb_bytes_are_looked_at(detector):
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            detector.detect(wrong)


def test_importing_the_detector_loads_no_networks_and_using_it_is_silent():
    code = """
import sys
import gfla_cli.landmarks.detector as module
assert not {"mediapipe", "torch", "cv2"} & set(sys.modules)
import numpy as np
with module.PersonDetector() as detector:
    detector.detect(np.zeros((64, 64, 3), np.uint8))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_mediapipe_is_loaded_in_parts_and_still_whole_for_others():
    code = """
import sys
from gfla_cli.landmarks.solutions import solution
parts = [solution("pose"), solution("face_detection"), solution("face_mesh")]
assert "matplotlib" not in sys.modules  # what its package imports besides takes half a second
import mediapipe
assert not hasattr(mediapipe, "nonsense")
assert mediapipe.solutions.pose is parts[0]
assert mediapipe.solutions.drawing_utils and mediapipe.tasks.vision and mediapipe.__version__
from mediapipe.python.solutions import hands
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_a_mediapipe_that_does_not_load_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.hands", None)
    with pytest.raises(GflaError, match="mediapipe cannot be loaded"):
        solution("hands")
    assert solution("pose").Pose


@pytest.fixture(scope="module")
def rendered():
    """Three rendered people, whole body: front view, and the joints that the renderer knows."""
    folder = ROOT.parent / "shared" / "people-mini"
    rows = (folder / "fasion-annotation-test.csv").read_text().splitlines()
    found = []
    for row in rows[1::5][:3]:
        name, y, x = row.split(":")
        truth = np.array([[int(value) for value in part.strip(" []").split(",")] for part in (x, y)]).T
        found.append((read_image(folder / "test" / name), truth))
    return found


def torso(truth):
    return float(np.linalg.norm(truth[1] - (truth[8] + truth[11]) / 2))


def centre(person: Person):
    return person.landmarks[[11, 12, 23, 24], :2].mean(axis=0)


@pytest.mark.shared
def test_rendered_people_are_found_where_they_were_rendered(detector, rendered):
    for image, truth in rendered:
        (person,) = detector.detect(image)
        both = person.pose.present & (truth[:, 0] >= 0)
        assert both.sum() >= 14
        away = np.linalg.norm(person.pose.points[both, :2] - truth[both], axis=1)
        assert np.median(away) < 0.08 * torso(truth)
        assert away.max() < 0.4 * torso(truth)


@pytest.mark.shared
def test_everybody_in_a_row_is_found_largest_first(detector, rendered):
    (one, _), (two, _), (three, _) = rendered
    canvas = np.full((300, 900, 3), 200, np.uint8)
    canvas[40:296, :256], canvas[40:296, 300:556], canvas[40:296, 620:876] = one, two, three
    people = detector.detect(canvas)
    assert [round(centre(person)[0] // 300) for person in sorted(people, key=lambda p: p.box[0])] == [0, 1, 2]
    heights = [person.box[3] - person.box[1] for person in people]
    assert heights[0] == max(heights)


@pytest.mark.shared
@pytest.mark.parametrize("size", [(900, 900), (720, 1280)])
def test_small_people_are_found_and_measured_closely(detector, rendered, size):
    image, truth = rendered[0]
    canvas = np.full((*size, 3), image[0, 0], np.uint8)
    canvas[300:556, 420:676] = image
    (person,) = detector.detect(canvas)
    both = person.pose.present & (truth[:, 0] >= 0)
    away = np.linalg.norm(person.pose.points[both, :2] - [420, 300] - truth[both], axis=1)
    assert np.median(away) < 0.1 * torso(truth)


@pytest.mark.shared
def test_the_same_person_is_found_at_every_scale(detector, rendered):
    import cv2

    image, _ = rendered[1]
    (small,) = detector.detect(image)
    (large,) = detector.detect(cv2.resize(image, (3072, 3072), interpolation=cv2.INTER_CUBIC))
    same = small.pose.present & large.pose.present
    np.testing.assert_allclose(large.pose.points[same, :2] / 12, small.pose.points[same, :2], atol=8)
    assert large.pose.size == (3072, 3072)
