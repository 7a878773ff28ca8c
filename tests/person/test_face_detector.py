"""Face detection in images and tracking in videos."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from drawn_landmarks import mirrored_face
from paths import ANNA, ROOT

from gfla_cli.errors import DetectionError, UsageError
from gfla_cli.io.image import read_image
from gfla_cli.person.detect import turned, turned_back
from gfla_cli.person.detect_face import Face, FaceDetector, no_face
from gfla_cli.person.face import (
    eye_openings,
    face_size,
    mouth_opening,
)
from gfla_cli.person.track import FaceTracker


@pytest.fixture(scope="module")
def detector():
    with FaceDetector() as one:
        yield one


@pytest.fixture(scope="module")
def portrait():
    """A rendered head, (256, 256, 3), from the images that the README uses."""
    return read_image(ANNA)[0:256, 150:406].copy()


def test_faces_are_found_largest_first(detector, portrait):
    import cv2

    assert detector.detect(np.full((300, 300, 3), 200, np.uint8)) == []
    scene = np.full((400, 800, 3), 128, np.uint8)
    scene[:256, 400:656] = portrait
    scene[:384, :384] = cv2.resize(portrait, (384, 384))
    large, small = detector.detect(scene)
    assert large.box[2] < 384 < small.box[0]
    assert face_size(large.points) == pytest.approx(1.5 * face_size(small.points), rel=0.1)
    expected = (small.points[:, :2] - (400, 0) + 0.5) * 1.5 - 0.5
    apart = np.linalg.norm(expected - large.points[:, :2], axis=1).mean()
    assert apart < 0.03 * face_size(large.points)


def test_the_points_lie_where_their_names_say(detector, portrait):
    (face,) = detector.detect(portrait)
    assert face.mesh.shape == (478, 3)
    assert face.points.dtype == np.float32
    x, y, z = face.points.T
    assert x[0] < x[36] < x[39] < x[42] < x[45] < x[16]  # the person's right is left in the image
    assert y[19] < y[37] < y[41] < y[30] < y[51] < y[57] < y[8]
    assert z[30] < z[0]
    assert x[48] < x[60] <= x[62] <= x[64] < x[54]
    assert min(eye_openings(face.points)) > 0.15
    assert mouth_opening(face.points) < 0.2


def test_the_mirrored_image_gives_the_mirrored_face(detector, portrait):
    (face,) = detector.detect(portrait)
    (other,) = detector.detect(np.ascontiguousarray(portrait[:, ::-1]))
    apart = np.linalg.norm(mirrored_face(other.points, 256)[:, :2] - face.points[:, :2], axis=1)
    assert apart.mean() < 0.03 * face_size(face.points)


def test_a_face_is_followed_while_it_moves_and_found_again_after_it_was_gone(portrait):
    nothing = np.full((360, 640, 3), 128, np.uint8)
    with FaceTracker() as tracker:
        assert tracker.track(nothing) is None
        still = FaceDetector().detect(portrait)[0].points[:, :2]
        for step in range(12):
            left, top = 20 + 25 * step, 4 * step
            frame = nothing.copy()
            frame[top : top + 256, left : left + 256] = portrait
            face = tracker.track(frame)
            assert face is not None
            error = np.linalg.norm(face.points[:, :2] - (left, top) - still, axis=1).mean()
            assert error < 0.06 * face_size(face.points)
        assert tracker.track(nothing) is None
        assert tracker.track(frame) is not None


def test_the_face_that_was_chosen_is_the_one_followed(portrait):
    frame = np.full((256, 640, 3), 128, np.uint8)
    frame[:, :256] = frame[:, 384:] = portrait
    notes = []
    with FaceTracker("right", notes=notes) as tracker:
        for _ in range(3):
            face = tracker.track(frame)
            assert face is not None
            assert face.box[0] > 384
    assert notes == []
    with FaceTracker(where="clip.mp4", notes=notes) as tracker:
        tracker.track(frame)
        tracker.track(frame)
    assert len(notes) == 1
    assert notes[0].startswith("clip.mp4: 2 people")
    with FaceTracker(3) as tracker, pytest.raises(DetectionError, match="3 was asked for"):
        tracker.track(frame)
    with FaceTracker("tallest") as tracker, pytest.raises(UsageError, match="tallest"):
        tracker.track(frame)


def test_looking_at_faces_says_nothing_and_needs_no_import_before():
    code = (
        "import sys; from gfla_cli.person.detect_face import FaceDetector;"
        "from gfla_cli.person.track import FaceTracker;"
        "loaded = 'mediapipe' in sys.modules; from gfla_cli.io.image import read_image;"
        "picture = read_image('assets/anna.jpg')[:256, 150:406].copy();"
        "found = len(FaceDetector().detect(picture)), FaceTracker().track(picture) is not None;"
        "sys.exit(0 if not loaded and found == (1, True) else 3)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_arrays_that_are_no_images_raise_value_errors(detector):
    for wrong in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32), np.zeros((9, 9, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            detector.detect(wrong)
    assert "60 px" in no_face("x.png").hint
    assert Face(np.zeros((478, 3), np.float32)).box == (0, 0, 0, 0)


@pytest.mark.shared
def test_paintings_and_videos_have_faces(detector, shared):
    from gfla_cli.io.video import read_frames

    for name in ("s3.jpg", "s9.jpg"):
        (face,) = detector.detect(read_image(shared / "media" / name))
        assert mouth_opening(face.points) < 0.03
        assert min(eye_openings(face.points)) > 0.25
    with FaceTracker() as tracker, read_frames(shared / "media" / "d18.mp4", trim=(2.2, 5)) as frames:
        faces = [tracker.track(frame) for frame in frames]
    mouths = [mouth_opening(face.points) for face in faces]
    assert min(mouths) < 0.02
    assert max(mouths) > 0.25
    assert min(min(eye_openings(face.points)) for face in faces) < 0.12  # he blinks


@pytest.mark.parametrize("name", ["anna", "ben", "cleo", "eve"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_faces_are_found_in_turned_images_and_the_right_way_round(detector, name, turns):
    image = read_image(ROOT / "assets" / f"{name}.jpg")
    (upright,) = detector.detect(image)
    (face,) = detector.detect(turned(image, turns))
    back = turned_back(np.add(face.points, (0.5, 0.5, 0)), turns, image.shape) - (0.5, 0.5, 0)
    assert np.linalg.norm(back[:, :2] - upright.points[:, :2], axis=1).max() < 0.1 * face_size(upright.points)
