"""The frame around a face, of one image and of a whole clip."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_landmarks import drawn_face

from gfla_cli.person.face import cropped_face, face_crop


def test_the_face_fills_half_of_its_frame_and_all_points_are_inside():
    face = drawn_face() + np.array([300, 260])
    frame = face_crop(face)
    left, top, right, bottom = frame.box
    assert right - left == bottom - top
    inside = cropped_face(face, frame)
    assert (inside > 5).all()
    assert (inside < 250).all()
    assert np.ptp(inside[:17, 0]) == pytest.approx(128, abs=25)


def test_a_clip_has_one_frame_that_holds_every_face():
    clip = np.array([drawn_face(depth=True) + np.array([300 + 6 * step, 260, 0]) for step in range(40)])
    frame = face_crop(clip)
    assert frame.box[2] - frame.box[0] > 434  # the way, and the face
    for face in clip:
        inside = cropped_face(face, frame)[:, :2]
        assert (inside > 0).all()
        assert (inside < 256).all()
    still = face_crop(clip[:1])
    assert still.box[2] - still.box[0] < 400


def test_a_frame_stays_inside_the_image_when_it_shall():
    face = drawn_face() + np.array([120, 150])
    frame = face_crop(face, inside=(300, 280))
    left, top, right, bottom = frame.box
    assert left >= 0
    assert top >= 0
    assert right <= 280
    assert bottom <= 300
    assert right - left == bottom - top
    assert frame.image(np.zeros((300, 280, 3), np.uint8)).shape == (256, 256, 3)


def test_points_and_pixels_of_a_frame_belong_together():
    image = np.zeros((200, 300, 3), np.uint8)
    image[96:105, 146:155] = 255  # its middle is (150, 100)
    frame = face_crop(drawn_face() * 0.3 + (150, 100))
    seen = frame.image(image)[..., 0].astype(float)
    rows, columns = np.mgrid[:256, :256]
    middle = (seen * columns).sum() / seen.sum(), (seen * rows).sum() / seen.sum()
    np.testing.assert_allclose(frame.points(np.array([[150.0, 100.0]]))[0], middle, atol=0.05)
