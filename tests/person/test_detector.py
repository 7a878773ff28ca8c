"""Person detection: how the networks are loaded, and which people are found."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from paths import ROOT, SHARED

from gfla_cli.errors import GflaError
from gfla_cli.io.image import read_image
from gfla_cli.person.detect import Person, PersonDetector, turned, turned_back
from gfla_cli.person.mediapipe import solution


@pytest.fixture(scope="module")
def detector():
    with PersonDetector() as one:
        yield one


def test_no_person_is_found_where_there_is_none(detector):
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
import gfla_cli.person.detect as module
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
from gfla_cli.person.mediapipe import solution
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
    folder = SHARED / "people-mini"
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


def test_points_of_a_turned_image_are_turned_back():
    image = np.zeros((3, 5, 3), np.uint8)
    image[2, 1] = 255
    for turns in range(4):
        (y,), (x,) = np.nonzero(turned(image, turns)[..., 0])
        point = np.array([[x + 0.5, y + 0.5, 7]], np.float32)
        np.testing.assert_array_equal(turned_back(point, turns, image.shape), [[1.5, 2.5, 7]])


@pytest.mark.parametrize("name", ["anna", "ben", "cleo"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_lying_people_and_people_upside_down_are_seen_as_upright_ones(detector, name, turns):
    image = read_image(ROOT / "assets" / f"{name}.jpg")
    (upright,) = detector.detect(image)
    (person,) = detector.detect(turned(image, turns))
    back = turned_back(np.add(person.landmarks, (0.5, 0.5, 0, 0, 0)), turns, image.shape)[:, :2] - 0.5
    assert np.linalg.norm(back - upright.landmarks[:, :2], axis=1).max() < 0.02 * image.shape[0]
    np.testing.assert_array_equal(person.pose.present, upright.pose.present)
