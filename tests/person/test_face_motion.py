"""One face moved as another moves, and keeping its own shape."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_landmarks import drawn_face, turned, with_closed_eyes, with_open_mouth

from gfla_cli.person.face import (
    EYES,
    LIPS,
    eye_openings,
    face_size,
    mouth_opening,
)
from gfla_cli.person.retarget import FaceMotion, best_reference, fit_similarity


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
    for source, number in ((other_face(), 3), (with_open_mouth(driver, 28), 0), (turned(driver, 30), 2)):
        np.testing.assert_allclose(best_reference(source, film), film[number], atol=1e-4)


def test_a_reference_hardly_changes_with_the_noise_of_landmarks():
    """Frames that look alike are in many places. Which one is most like the source is chance."""
    rng = np.random.default_rng(0)
    driver = drawn_face(depth=True)
    film = [driver + np.float32([12 * k, 5 * k, 0]) for k in range(6)]
    noisy = [[face + rng.normal(0, 0.05, face.shape).astype(np.float32) for face in film] for _ in range(8)]
    found = np.array([best_reference(other_face(), frames) for frames in noisy])
    assert np.abs(found - found.mean(axis=0)).max() < 3  # one frame alone: up to 40
    assert abs(face_size(best_reference(other_face(), film)) - face_size(driver)) < 1e-3


def test_heads_that_are_tilted_to_both_sides_give_a_reference_of_their_size():
    driver = drawn_face()
    middle = driver.mean(axis=0)
    film = []
    for angle in np.deg2rad([-15, 0, 15]):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        film.append(((driver - middle) @ turn.T + middle).astype(np.float32))
    found = best_reference(driver, film)
    assert abs(face_size(found) / face_size(driver) - 1) < 1e-4
    np.testing.assert_allclose(found, driver, atol=0.01 * face_size(driver))


def test_a_reference_has_eyes_and_irises_of_the_same_frames():
    """Landmarks files leave out irises that are unknown. Such frames are elsewhere in the image, too."""
    driver = drawn_face()
    irises = driver[[37, 43]] + np.float32([1, 2])
    unknown = np.full((2, 2), np.nan, np.float32)
    seeing, blind, short = np.concatenate([driver, irises]), np.concatenate([driver, unknown]) + 40, driver - 30
    for film in ([seeing], [seeing, blind], [short, seeing], [blind, short, seeing]):
        np.testing.assert_allclose(best_reference(driver, film), seeing, atol=1e-4)
    np.testing.assert_allclose(best_reference(driver, [blind, short]), driver + 5, atol=1e-4)


def test_absolute_motion_takes_the_shape_of_the_driver():
    source, driver = other_face(), drawn_face()
    result = FaceMotion(source, driver, absolute=True)(driver)
    assert fit_similarity(driver, result.astype(np.float64)).scale == pytest.approx(face_size(source) / 200, rel=0.15)
    np.testing.assert_allclose(result[27:36].mean(axis=0), source[27:36].mean(axis=0), atol=8)
    opened = with_open_mouth(source, 40) + np.array([5, 6])  # the same person: nothing is changed
    np.testing.assert_allclose(FaceMotion(source, source, absolute=True)(opened), opened, atol=1e-3)


def looking(face, along, across):
    """The face with irises this far from the middles of its eyes, in eye widths; as deep as the corners."""
    irises = []
    for eye in EYES:
        width = np.linalg.norm(face[eye[3]] - face[eye[0]])
        irises.append((face[eye[0]] + face[eye[3]]) / 2)
        irises[-1][:2] += width * np.array([along, across])
    return np.concatenate([face, irises])


def gaze(points):
    """(2, 2) along and across each eye, in eye widths, for eyes that are level."""
    return np.array(
        [(points[68 + k, :2] - points[[eye[0], eye[3]], :2].mean(axis=0)) / np.ptp(points[[eye[0], eye[3]], 0])
         for k, eye in enumerate(EYES)]
    )  # fmt: skip


@pytest.mark.parametrize("depth", [False, True])
def test_irises_move_as_those_of_the_driver(depth):
    source, driver = looking(other_face(depth), 0.05, 0.02), looking(drawn_face(depth), 0.1, -0.02)
    motion = FaceMotion(source, driver)
    np.testing.assert_allclose(motion(driver), source[:, :2], atol=1e-3)
    moved = motion(looking(drawn_face(depth), 0.25, 0.05))
    assert moved.shape == (70, 2)
    # Across, the axes of both faces lean differently in depth.
    np.testing.assert_allclose(gaze(moved), [[0.2, 0.09]] * 2, atol=0.015 if depth else 1e-3)
    np.testing.assert_allclose(moved[:68], source[:68, :2], atol=1e-3)
    aside = motion(looking(drawn_face(depth), -0.6, 0.6))
    np.testing.assert_allclose(gaze(aside), [[-0.36, 0.2]] * 2, atol=0.04)  # no further: they stay in the eyes


def test_unknown_irises_of_the_driver_leave_the_gaze_of_the_source():
    source, driver = looking(other_face(), 0.15, 0.02), drawn_face()
    unknown = looking(drawn_face(), np.nan, np.nan)
    for reference, now in ((driver, driver), (unknown, looking(driver, 0.2, 0)), (looking(driver, 0.2, 0), driver)):
        result = FaceMotion(source, reference)(now + np.array([9.0, 4.0]))
        np.testing.assert_allclose(gaze(result), [[0.15, 0.02]] * 2, atol=1e-3)
    absolute = FaceMotion(source, driver, absolute=True)
    np.testing.assert_allclose(gaze(absolute(driver)), [[0.15, 0.02]] * 2, atol=1e-3)
    np.testing.assert_allclose(gaze(absolute(looking(driver, -0.2, 0.1))), [[-0.2, 0.1]] * 2, atol=1e-3)
    assert FaceMotion(source[:68], looking(driver, 0, 0))(looking(driver, 0.2, 0)).shape == (68, 2)


@pytest.mark.filterwarnings("error")
def test_irises_are_finite_for_an_eye_without_a_width():
    source, driver = looking(drawn_face(), 0.15, 0.02), looking(drawn_face(), 0.1, 0)
    driver[36:42] = driver[36]
    assert np.isfinite(FaceMotion(source, driver)(driver)).all()


def test_a_turned_head_does_not_turn_the_eyes_in_it():
    source, driver = looking(other_face(depth=True), 0, 0), looking(drawn_face(depth=True), 0, 0)
    result = FaceMotion(source, driver)(turned(driver, 20))
    np.testing.assert_allclose(gaze(result)[:, 0], 0, atol=0.02)


def test_an_eye_that_is_shut_does_not_say_where_the_other_looks():
    source, driver = looking(other_face(), 0, 0), looking(drawn_face(), 0, 0)
    winking = looking(drawn_face(), 0.2, 0)
    for upper, lower in ((37, 41), (38, 40)):
        winking[upper] = winking[lower]
    winking[68] += 10
    assert gaze(FaceMotion(source, driver)(winking))[1] == pytest.approx([0.2, 0], abs=0.02)


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
