"""Faces: the 68 points, finding and following them, calming them, moving one face as another moves, and their maps."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gfla_cli.errors import DetectionError, UsageError
from gfla_cli.landmarks.face_detector import Face, FaceDetector, no_face
from gfla_cli.landmarks.face_framing import face_frame, in_frame, in_picture
from gfla_cli.landmarks.face_motion import FaceMotion, best_reference, fit_similarity
from gfla_cli.landmarks.face_points import (
    EYES,
    LIPS,
    MESH_POINTS,
    MIRRORED,
    eye_openings,
    face_box,
    face_size,
    from_mesh,
    mirrored,
    mouth_opening,
)
from gfla_cli.landmarks.face_tracker import FaceTracker
from gfla_cli.landmarks.smoothing import OneEuro, Smoothing
from gfla_cli.media.image import read_image
from gfla_cli.structure.face import CURVES, background_edges, face_structure, part_labels

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def fixture(golden):
    """Landmarks in 256ths of the frame, and the 16 channels that belong to them."""
    stored = golden("face_structure")
    landmarks = stored["landmarks"] * (256 / stored["frame"])
    edges, labels = stored["edges_and_labels"].astype(np.float32)
    distances = stored["distances_255"].astype(np.float32) / 255
    return landmarks, np.concatenate([edges[None], distances, labels[None]])


def drawn_face(depth=False):
    """(68, 2) or (68, 3): a face from the front, 200 px wide, mouth closed, by hand."""
    jaw = [(-100 * np.cos(t), 130 * np.sin(t)) for t in np.linspace(0, np.pi, 17)]
    heights = (-42, -50, -52, -50, -46)
    brows = [(-x, y) for x, y in zip((75, 62, 48, 34, 22), heights, strict=True)]
    brows += [(x, y) for x, y in zip((22, 34, 48, 62, 75), reversed(heights), strict=True)]
    nose = [(0, -25), (0, -8), (0, 9), (0, 26), (-18, 38), (-9, 41), (0, 43), (9, 41), (18, 38)]
    eye = [(-18, 0), (-7, -6), (7, -6), (18, 0), (7, 6), (-7, 6)]
    eyes = [(x + middle, y - 22) for middle in (-45, 45) for x, y in eye]
    upper = [(-35, 75), (-22, 69), (-9, 66), (0, 68), (9, 66), (22, 69), (35, 75)]
    lower = [(22, 83), (9, 87), (0, 88), (-9, 87), (-22, 83)]
    inner = [(-30, 75), (-12, 75), (0, 75), (12, 75), (30, 75), (12, 76), (0, 76), (-12, 76)]
    points = np.array(jaw + brows + nose + eyes + upper + lower + inner, np.float64)
    x, y = points.T
    z = -np.sqrt(np.maximum(0, 110**2 - x**2 - (0.7 * y) ** 2))  # a ball, nearer in the middle
    z[27:36] -= (8, 14, 22, 30, 12, 14, 16, 14, 12)
    return np.stack([x, y, z], axis=1) if depth else points


def turned(points, yaw_deg, roll_deg=0.0):
    """(68, 3) after the head turned."""
    yaw, roll = np.radians([yaw_deg, roll_deg])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return points @ (about_z @ about_y).T


def with_open_mouth(points, gap):
    opened = points.copy()
    opened[[*range(55, 60), *range(65, 68)], 1] += gap
    opened[4:13, 1] += gap
    return opened


def with_closed_eyes(points, openness=0.0):
    shut = points.copy()
    for eye in EYES:
        for upper, lower in ((eye[1], eye[5]), (eye[2], eye[4])):
            shut[upper] = shut[lower] + openness * (points[upper] - points[lower])
    return shut


# --- the 68 points -----------------------------------------------------------------------------------------------


def test_the_table_names_68_points_of_the_mesh():
    assert len(set(MESH_POINTS)) == 68
    assert min(MESH_POINTS) >= 0
    assert max(MESH_POINTS) < 468  # also without irises
    assert from_mesh(np.arange(478 * 3, dtype=np.float32).reshape(478, 3)).shape == (68, 3)


def test_mirroring_twice_changes_nothing_and_once_swaps_the_sides():
    face = drawn_face().astype(np.float32) + 200
    assert [MIRRORED[point] for point in MIRRORED] == list(range(68))
    np.testing.assert_allclose(mirrored(mirrored(face, 401), 401), face, rtol=1e-6)
    np.testing.assert_allclose(mirrored(face, 401), face, atol=1e-4)  # it is symmetrical


def test_openings_are_measured_in_face_sizes():
    face = drawn_face()
    assert face_size(face) == pytest.approx(200, rel=0.15)
    assert eye_openings(face) == pytest.approx((1 / 3, 1 / 3))
    assert max(eye_openings(with_closed_eyes(face))) < 0.01
    assert mouth_opening(with_open_mouth(face, 30)) > 0.12 > 0.02 > mouth_opening(face)
    assert eye_openings(3 * face) == pytest.approx(eye_openings(face))
    assert mouth_opening(3 * face) == pytest.approx(mouth_opening(face))


# --- finding -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector():
    with FaceDetector() as one:
        yield one


@pytest.fixture(scope="module")
def portrait():
    """A rendered head, (256, 256, 3), from the pictures that the README uses."""
    return read_image(ROOT / "assets" / "anna.jpg")[0:256, 150:406].copy()


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
    assert x[0] < x[36] < x[39] < x[42] < x[45] < x[16]  # the person's right is left in the picture
    assert y[19] < y[37] < y[41] < y[30] < y[51] < y[57] < y[8]
    assert z[30] < z[0]
    assert x[48] < x[60] <= x[62] <= x[64] < x[54]
    assert min(eye_openings(face.points)) > 0.15
    assert mouth_opening(face.points) < 0.2


def test_the_mirrored_picture_gives_the_mirrored_face(detector, portrait):
    (face,) = detector.detect(portrait)
    (other,) = detector.detect(np.ascontiguousarray(portrait[:, ::-1]))
    apart = np.linalg.norm(mirrored(other.points, 256)[:, :2] - face.points[:, :2], axis=1)
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
        "import sys; from gfla_cli.landmarks.face_detector import FaceDetector;"
        "from gfla_cli.landmarks.face_tracker import FaceTracker;"
        "loaded = 'mediapipe' in sys.modules; from gfla_cli.media.image import read_image;"
        "picture = read_image('assets/anna.jpg')[:256, 150:406].copy();"
        "found = len(FaceDetector().detect(picture)), FaceTracker().track(picture) is not None;"
        "sys.exit(0 if not loaded and found == (1, True) else 3)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_no_picture_is_a_mistake_of_ours(detector):
    for wrong in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32), np.zeros((9, 9, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            detector.detect(wrong)
    assert "60 px" in no_face("x.png").hint
    assert Face(np.zeros((478, 3), np.float32)).box == (0, 0, 0, 0)


@pytest.mark.shared
def test_paintings_and_films_have_faces(detector, shared):
    from gfla_cli.media.video import read_frames

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


# --- calming -----------------------------------------------------------------------------------------------------


def smoothed(track, size=200.0, fps=30, **settings):
    smooth = OneEuro(fps, Smoothing(**settings))
    return np.array([smooth(points, size) for points in track])


def test_a_still_face_stops_trembling():
    face = drawn_face(depth=True)
    noise = np.random.default_rng(0).normal(0, 0.0017 * 200, (90, 68, 3))  # what MediaPipe's points do
    raw, calm = face + noise, smoothed(face + noise)

    def tremble(track):
        return np.abs(np.diff(track[10:], axis=0)).mean()

    assert tremble(calm) < 0.4 * tremble(raw)
    assert np.abs(calm[30:].mean(axis=0) - face).max() < 0.25  # and stays where it is


@pytest.mark.parametrize(("speed", "frames"), [(0.2, 0.8), (1.0, 0.35), (3.0, 0.2)])
def test_a_moving_face_lags_less_than_a_frame(speed, frames):
    way = np.clip(np.arange(60) / 30 - 0.5, 0, None) * speed * 200  # sizes a second
    track = drawn_face() + np.stack([way, 0 * way], axis=1)[:, None]
    lag = (track - smoothed(track))[45, :, 0] / (speed * 200 / 30)
    assert lag.max() < frames


def test_a_blink_is_not_smoothed_away():
    depth = np.zeros(30)
    depth[12:18] = (0.5, 1, 1, 1, 0.5, 0)
    track = np.array([with_closed_eyes(drawn_face(), 1 - part) for part in depth])
    assert min(min(eye_openings(face)) for face in smoothed(track)) < 0.06


def test_smoothing_does_not_depend_on_the_size_of_the_picture():
    track = np.cumsum(np.random.default_rng(1).normal(0, 1, (40, 68, 2)), axis=0)
    np.testing.assert_allclose(smoothed(track * 7, size=7 * 50), 7 * smoothed(track, size=50), rtol=1e-4)


def test_smoothing_starts_anew_after_a_cut_and_bridges_missing_frames():
    smooth = OneEuro(30)
    first, second = drawn_face(), drawn_face() + 300
    np.testing.assert_allclose(smooth(first, 200), first, rtol=1e-6)
    smooth.reset()
    np.testing.assert_allclose(smooth(second, 200), second, rtol=1e-6)
    after_one, after_many = OneEuro(30), OneEuro(30)
    for one in (after_one, after_many):
        one(first, 200)
    near, far = after_one(first + 5, 200), after_many(first + 5, 200, missing=20)
    assert np.abs(far - first - 5).mean() < np.abs(near - first - 5).mean()
    with pytest.raises(UsageError):
        Smoothing(still_hz=0)


# --- moving ------------------------------------------------------------------------------------------------------


def other_face(depth=False):
    """A narrower, longer face with narrow eyes, elsewhere and larger."""
    face = drawn_face(depth)
    face[:, 0] *= 0.85
    face[6:11, 1] += 12
    face = with_closed_eyes(face, 0.6)
    face *= 1.7
    face[:, :2] += (400, 300)
    return face


@pytest.mark.parametrize("depth", [False, True])
def test_a_driver_who_does_nothing_leaves_the_source_as_it_is(depth):
    source, driver = other_face(depth), drawn_face(depth)
    np.testing.assert_allclose(FaceMotion(source, driver)(driver), source[:, :2], atol=1e-3)


@pytest.mark.parametrize("depth", [False, True])
def test_the_head_moves_and_the_face_keeps_its_shape(depth):
    source, driver = other_face(depth), drawn_face(depth)
    angle = np.radians(12)
    rotation = np.eye(driver.shape[1])
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    moved = driver @ rotation.T * 1.1
    moved[:, :2] += (30, -10)
    result = FaceMotion(source, driver)(moved)
    shape = fit_similarity(source[:, :2], result.astype(np.float64))
    assert shape.scale == pytest.approx(1.1, rel=1e-3)
    np.testing.assert_allclose(shape.rotation, rotation[:2, :2], atol=1e-3)
    np.testing.assert_allclose(shape(source[:, :2]), result, atol=0.05)
    ratio = face_size(source) / face_size(driver)
    nose = np.array([30, -10]) + (driver[33] @ rotation.T * 1.1 - driver[33])[:2]
    np.testing.assert_allclose((result[33] - source[33, :2]) / ratio, nose, atol=2)


def test_a_turned_head_turns_the_source():
    source, driver = other_face(depth=True), drawn_face(depth=True)
    middle = source[[27, 33]].mean(axis=0)
    expected = turned(source - middle, 20) + middle
    result = FaceMotion(source, driver)(turned(driver, 20))
    fitted = fit_similarity(result.astype(np.float64), expected[:, :2])
    assert np.linalg.norm(fitted(result) - expected[:, :2], axis=1).mean() < 0.03 * face_size(source)
    flat = FaceMotion(source[:, :2], driver)(turned(driver, 20))
    fitted = fit_similarity(flat.astype(np.float64), expected[:, :2])
    assert np.linalg.norm(fitted(flat) - expected[:, :2], axis=1).mean() < 0.06 * face_size(source)


@pytest.mark.parametrize("depth", [False, True])
def test_the_mouth_opens_in_proportion_and_nothing_else_moves(depth):
    source, driver = other_face(depth), drawn_face(depth)
    motion = FaceMotion(source, driver)
    for gap in (10, 25, 40):
        result = motion(with_open_mouth(driver, gap))
        assert mouth_opening(result) == pytest.approx(mouth_opening(with_open_mouth(driver, gap)), rel=0.25)
        np.testing.assert_allclose(result[17:48], source[17:48, :2], atol=0.01)
        np.testing.assert_allclose(result[49:54], source[49:54, :2], atol=0.01)


@pytest.mark.parametrize(("openness", "part"), [(0.0, 0), (0.08, 0), (0.2, 0.474), (1 / 3, 1), (0.45, 1.46)])
def test_eyes_close_in_proportion_however_wide_they_are(openness, part):
    source, driver = other_face(), drawn_face()  # 0.6 times as open as the driver's, which are open by 1/3
    result = FaceMotion(source, driver)(with_closed_eyes(driver, 3 * openness))
    # Closed eyes, found by MediaPipe, still measure 0.08.
    assert eye_openings(result) == pytest.approx([part * own for own in eye_openings(source)], abs=0.02)
    for eye in EYES:  # the lids never cross
        assert (result[[eye[1], eye[2]], 1] <= result[[eye[5], eye[4]], 1] + 1e-3).all()


def test_a_reference_with_an_open_mouth_does_not_turn_the_lips_inside_out():
    source, driver = other_face(), drawn_face()
    result = FaceMotion(source, with_open_mouth(driver, 30))(driver)
    for upper, lower in LIPS:
        assert result[upper, 1] <= result[lower, 1] + 1e-3


def test_the_most_similar_frame_is_the_reference():
    driver = drawn_face(depth=True)
    film = [
        with_open_mouth(driver, 30),
        with_closed_eyes(driver),
        turned(driver, 35),
        turned(driver, 3),
        with_open_mouth(turned(driver, -30), 20),
    ]
    assert best_reference(other_face(), film) == 3
    assert best_reference(with_open_mouth(driver, 28), film) == 0
    assert best_reference(turned(driver, 30), film) == 2


def test_absolute_motion_takes_the_shape_of_the_driver():
    source, driver = other_face(), drawn_face()
    result = FaceMotion(source, driver, absolute=True)(driver)
    assert fit_similarity(driver, result.astype(np.float64)).scale == pytest.approx(face_size(source) / 200, rel=0.15)
    np.testing.assert_allclose(result[27:36].mean(axis=0), source[27:36].mean(axis=0), atol=8)
    opened = with_open_mouth(source, 40) + np.array([5, 6])  # the same person: nothing is changed
    np.testing.assert_allclose(FaceMotion(source, source, absolute=True)(opened), opened, atol=1e-3)


def test_a_few_wrong_points_do_not_move_the_head():
    start = drawn_face(depth=True)[27:48]
    end = turned(start, 10, 5) * 1.2 + 7
    end[[3, 11]] += 40
    fitted = fit_similarity(start, end)
    exact = fit_similarity(start, turned(start, 10, 5) * 1.2 + 7)
    assert fitted.scale == pytest.approx(1.2, rel=0.03)
    assert exact.scale == pytest.approx(1.2, rel=1e-6)
    np.testing.assert_allclose(exact.undo(exact(start)), start, atol=1e-6)
    flipped = fit_similarity(start, start * (-1, 1, 1))
    assert np.linalg.det(flipped.rotation) == pytest.approx(1)


def test_faces_of_other_shapes_are_a_mistake_of_ours():
    with pytest.raises(ValueError, match="68"):
        FaceMotion(drawn_face()[:60], drawn_face())
    with pytest.raises(ValueError, match="68"):
        FaceMotion(drawn_face(depth=True), drawn_face(depth=True))(drawn_face())


# --- framing -----------------------------------------------------------------------------------------------------


def test_the_face_fills_half_of_its_frame_and_all_points_are_inside():
    face = drawn_face() + np.array([300, 260])
    frame = face_frame(face)
    left, top, right, bottom = frame.box
    assert right - left == bottom - top
    inside = in_frame(frame, face)
    assert (inside > 5).all()
    assert (inside < 250).all()
    assert np.ptp(inside[:17, 0]) == pytest.approx(128, abs=25)
    np.testing.assert_allclose(in_picture(frame, inside), face, atol=1e-3)


def test_a_clip_has_one_frame_that_holds_every_face():
    clip = np.array([drawn_face(depth=True) + np.array([300 + 6 * step, 260, 0]) for step in range(40)])
    frame = face_frame(clip)
    assert frame.box[2] - frame.box[0] > 434  # the way, and the face
    for face in clip:
        inside = in_frame(frame, face)[:, :2]
        assert (inside > 0).all()
        assert (inside < 256).all()
    still = face_frame(clip[:1])
    assert still.box[2] - still.box[0] < 400


def test_a_frame_stays_inside_the_picture_when_it_shall():
    face = drawn_face() + np.array([120, 150])
    frame = face_frame(face, inside=(300, 280))
    left, top, right, bottom = frame.box
    assert left >= 0
    assert top >= 0
    assert right <= 280
    assert bottom <= 300
    assert right - left == bottom - top
    assert frame.crop(np.zeros((300, 280, 3), np.uint8)).shape == (256, 256, 3)


def test_points_and_pixels_of_a_frame_belong_together():
    image = np.zeros((200, 300, 3), np.uint8)
    image[96:105, 146:155] = 255  # its middle is (150, 100)
    frame = face_frame(drawn_face() * 0.3 + (150, 100))
    seen = frame.crop(image)[..., 0].astype(float)
    rows, columns = np.mgrid[:256, :256]
    middle = (seen * columns).sum() / seen.sum(), (seen * rows).sum() / seen.sum()
    np.testing.assert_allclose(in_frame(frame, np.array([[150.0, 100.0]]))[0], middle, atol=0.3)


# --- structure ---------------------------------------------------------------------------------------------------


def test_the_maps_agree_with_those_of_the_released_models(fixture):
    landmarks, expected = fixture
    structure = face_structure(landmarks)
    assert structure.shape == (16, 256, 256)
    assert structure.dtype == np.float32
    assert np.abs(structure - expected)[:15].mean(axis=(1, 2)).max() < 0.005
    assert np.abs(structure[15] - expected[15]).mean() < 0.01
    near_border = np.zeros((256, 256), bool)
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        near_border |= np.roll(expected[15], shift, (0, 1)) != expected[15]
    assert (structure[15] == expected[15])[~near_border].all()


def test_channels_are_in_their_ranges(fixture):
    structure = face_structure(fixture[0])
    assert set(np.unique(structure[0])) == {0, 1}
    assert structure[1:15].min() == 0
    assert structure[1:15].max() <= 1
    assert set(np.unique(structure[15])) == set(range(7))
    for channel in range(1, 15):  # a distance is zero on its own curve and somewhere on the edge map only
        assert (structure[0][structure[channel] == 0]).any()
    assert len(CURVES) == 14


@pytest.mark.parametrize("size", [(128, 128), (512, 512), (256, 256)])
def test_a_face_has_the_same_maps_at_every_size(fixture, size):
    landmarks, _ = fixture
    scale = size[0] / 256
    reference, other = face_structure(landmarks), face_structure(landmarks * scale, size)
    step = size[0] / 64
    places = (np.arange(64) * step + step / 2).astype(int)
    at = np.ix_(range(1, 15), places, places)
    small = np.ix_(range(1, 15), *(((places + 0.5) / scale).astype(int),) * 2)
    assert np.abs(other[at] - reference[small]).mean() < 0.01


def test_a_face_beyond_the_border_or_of_a_point_has_maps(fixture):
    landmarks, _ = fixture
    right, left_above, far = landmarks + np.array([180, 0]), landmarks - np.array([300, 300]), landmarks * 1e7
    for strange in (right, left_above, far, landmarks * 0 + 30, landmarks * 0.02):
        structure = face_structure(strange)
        assert np.isfinite(structure).all()
        for channel in range(1, 15):
            assert structure[channel].min() == 0  # every curve is somewhere, if only at the border
    assert face_structure(landmarks * (1, 0.5), (128, 256)).shape == (16, 128, 256)


def test_a_mouth_wide_open_throws_no_pixels_about():
    face = with_open_mouth(drawn_face(), 60)
    face[48:68, 0] *= 0.75  # round: the corners are hairpins
    for tilt in np.linspace(-8, 8, 9):
        points = fit_similarity(drawn_face(), turned(drawn_face(depth=True), 0, tilt)[:, :2])(face) * 0.6 + (128, 110)
        structure = face_structure(points)
        lips = structure[11:15].min(axis=0) * 255 * 3
        rows, columns = np.nonzero((lips == 0) & (structure[0] > 0))
        left, top, right, bottom = face_box(points[48:68])
        slack = 9
        assert columns.min() > left - slack
        assert columns.max() < right + slack
        assert rows.min() > top - slack
        assert rows.max() < bottom + slack


def test_background_edges_leave_the_face_out(fixture):
    landmarks, _ = fixture
    image = np.full((256, 256, 3), 60, np.uint8)
    image[:, 20:] = 200  # an edge beside the face, and one across it
    image[150:] = 90
    edges = background_edges(image, landmarks)
    face = part_labels(landmarks, (256, 256)) > 0
    assert edges.dtype == np.bool_
    assert not edges[face].any()
    assert edges[:100, 18:22].any(axis=1).all()
    structure = face_structure(landmarks, background=edges)
    assert structure[0][edges].all()
    assert structure[0].sum() > face_structure(landmarks)[0].sum()


def test_landmarks_that_are_none_are_a_mistake_of_ours():
    for wrong in (np.zeros((67, 2)), np.zeros((68, 3)), np.full((68, 2), np.nan)):
        with pytest.raises(ValueError, match="68"):
            face_structure(wrong)


def test_the_maps_of_a_frame_take_milliseconds(fixture):
    landmarks, _ = fixture
    times = []
    for _ in range(30):
        started = time.perf_counter()
        face_structure(landmarks)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.008  # 2.6 ms on one core of the machine it was written on
