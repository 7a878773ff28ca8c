"""Person detection: how the networks are loaded, and which people are found."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pytest
from paths import ANNA, BEN, ROOT, SHARED

from gfla_cli.errors import GflaError
from gfla_cli.io.image import read_image
from gfla_cli.person.detect import _MIRRORED, Person, PersonDetector, _mean, turned, turned_back
from gfla_cli.person.mediapipe import task_module


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


def test_a_detector_that_is_lost_in_a_cycle_holds_nothing_up():
    code = """
import gc
import numpy as np
from gfla_cli.person.detect import PersonDetector
for _ in range(2):
    detector = PersonDetector()
    detector.detect(np.zeros((64, 64, 3), np.uint8))
    detector.itself = detector
    del detector
    gc.collect()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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
from gfla_cli.person.mediapipe import task_module
parts = [task_module("pose_landmarker"), task_module("face_detector"), task_module("face_landmarker")]
assert not {"matplotlib", "sounddevice"} & set(sys.modules)  # what its packages import besides takes half a second
import mediapipe
assert not hasattr(mediapipe, "nonsense")
assert mediapipe.tasks.vision.PoseLandmarker is parts[0].PoseLandmarker
assert mediapipe.Image and mediapipe.tasks.BaseOptions and mediapipe.__version__
from mediapipe.tasks.python.vision import hand_landmarker
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_a_mediapipe_that_does_not_load_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python.vision.hand_landmarker", None)
    with pytest.raises(GflaError, match="mediapipe cannot be loaded"):
        task_module("hand_landmarker")
    assert task_module("pose_landmarker").PoseLandmarker


_EVERY_NETWORK = """
import sys
def forbid(event, details):
    if event.startswith("socket."):
        raise AssertionError((event, details))
sys.addaudithook(forbid)
from gfla_cli.io.image import read_image
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import FaceDetector
from gfla_cli.person.track import BodyTracker, FaceTracker
image = read_image("assets/anna.jpg")
person = PersonDetector()  # no network is closed: that must not print anything at exit
assert person.cover(image, person.detect(image)[0].pose) is not None
assert FaceDetector().detect(image)
trackers = [BodyTracker(), FaceTracker()]
assert all(tracker.track(image) is not None for tracker in trackers for _ in range(3))
"""


def test_the_networks_open_no_socket_and_print_nothing():
    done = subprocess.run([sys.executable, "-c", _EVERY_NETWORK], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_mediapipes_own_code_opens_no_socket(tmp_path):
    log = tmp_path / "calls.txt"
    # 0.10.35 looks up its server about 40 s after the start, which is too long to wait for here.
    trace = ["strace", "-f", "-qq", "-e", "trace=socket,connect,sendto,sendmsg", "-o", str(log)]
    command = [*trace, sys.executable, "-c", "import os; os.getpid()"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    command[-1] = _EVERY_NETWORK
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert not [line for line in log.read_text().splitlines() if "exited" not in line and "SIG" not in line]


def test_the_installed_mediapipe_is_one_that_was_watched_for_a_minute():
    assert version("mediapipe") in ("0.10.14", "0.10.31")


def test_the_bundles_have_their_licence_beside_them():
    folder = ROOT / "gfla_cli" / "person" / "bundles"
    assert "Apache License" in (folder / "LICENSE").read_text()
    notice = (folder / "NOTICE").read_text()
    models = [path.name for path in folder.iterdir() if path.suffix in (".task", ".tflite")]
    assert len(models) == 3
    assert all(name in notice for name in models)


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


def test_the_joints_of_a_moved_image_move_with_it(detector):
    away = []
    for name in (ANNA, BEN, ROOT / "assets" / "cleo.jpg"):
        image = read_image(name)
        (there,) = detector.detect(image)
        for pixels in (3, 7, 11):
            moved = np.roll(image, pixels, axis=1)
            moved[:, :pixels] = moved[:, pixels : pixels + 1]
            (here,) = detector.detect(moved)
            both = there.pose.present & here.pose.present
            noise = (here.pose.points - there.pose.points)[both, :2] - (pixels, 0)
            away.append(np.sqrt(np.square(noise).sum(axis=1).mean()))
    assert np.mean(away) < 1.7  # pixels of people that are 500 pixels high; single looks have 2.1


def test_a_landmark_that_two_looks_see_in_different_places_is_that_of_the_first(detector):
    one = detector.detect(read_image(ANNA))[0].landmarks
    other = one + np.float32([2, -4, 6, 0.5, 8])
    other[28, :2] += 200  # an ankle on the other leg
    mean = _mean(one, other)
    expected = one + np.float32([1, -2, 3, 0, 4])  # visibility is that of the first, too
    expected[28] = one[28]
    np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_a_look_that_takes_left_for_right_moves_nothing(detector):
    one = detector.detect(read_image(ANNA))[0].landmarks
    exchanged = (one + np.float32([2, -4, 6, 0.5, 8]))[_MIRRORED]
    np.testing.assert_array_equal(_mean(one, exchanged), one)


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


def test_people_who_touch_have_covers_of_their_own(detector):
    anna, ben = (read_image(path) for path in (ANNA, BEN))
    both = np.full((640, 700, 3), 235, np.uint8)
    both[:, :480] = anna
    seen = ben.min(axis=2) < 225
    both[:, 220:][seen] = ben[seen]
    left, right = sorted((one.pose for one in detector.detect(both)), key=lambda pose: pose.box[0])
    alone = detector.cover(ben, right.transformed(np.array([[1, 0, -220], [0, 1, 0]]), (640, 480)))
    cover = detector.cover(both, right, [left])
    expected = np.zeros_like(cover)
    expected[:, 220:] = alone
    overlap = np.minimum(cover, expected).sum() / np.maximum(cover, expected).sum()
    assert overlap > 0.85
    other = detector.cover(both, left, [right])
    assert np.minimum(cover, other).sum() < 0.02 * cover.sum()
