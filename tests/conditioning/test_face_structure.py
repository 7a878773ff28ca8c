"""The maps of a face that networks are given: those of the released models, at every size, whatever the face does."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_landmarks import drawn_face, turned, with_closed_eyes, with_open_mouth

from gfla_cli.conditioning.face_map import CURVES, background_edges, face_structure, part_labels
from gfla_cli.geometry.crop import box_of
from gfla_cli.person.face import EYES
from gfla_cli.person.retarget import fit_similarity


@pytest.fixture
def released(golden):
    """Landmarks in 256ths of the frame, and the 16 channels that belong to them."""
    stored = golden("face_structure")
    landmarks = stored["landmarks"] * (256 / stored["frame"])
    edges, labels = stored["edges_and_labels"].astype(np.float32)
    distances = stored["distances_255"].astype(np.float32) / 255
    return landmarks, np.concatenate([edges[None], distances, labels[None]])


def test_the_maps_agree_with_those_of_the_released_models(released):
    landmarks, expected = released
    structure = face_structure(landmarks)
    assert structure.shape == (16, 256, 256)
    assert structure.dtype == np.float32
    assert np.abs(structure - expected)[:15].mean(axis=(1, 2)).max() < 0.005
    assert np.abs(structure[15] - expected[15]).mean() < 0.01
    near_border = np.zeros((256, 256), bool)
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        near_border |= np.roll(expected[15], shift, (0, 1)) != expected[15]
    assert (structure[15] == expected[15])[~near_border].all()


def test_channels_are_in_their_ranges(released):
    structure = face_structure(released[0])
    assert set(np.unique(structure[0])) == {0, 1}
    assert structure[1:15].min() == 0
    assert structure[1:15].max() <= 1
    assert set(np.unique(structure[15])) == set(range(7))
    for channel in range(1, 15):  # a distance is zero on its own curve and somewhere on the edge map only
        assert (structure[0][structure[channel] == 0]).any()
    assert len(CURVES) == 14


@pytest.mark.parametrize("size", [(128, 128), (512, 512), (256, 256)])
def test_a_face_has_the_same_maps_at_every_size(released, size):
    landmarks, _ = released
    scale = size[0] / 256
    reference, other = face_structure(landmarks), face_structure(landmarks * scale, size)
    step = size[0] / 64
    places = (np.arange(64) * step + step / 2).astype(int)
    at = np.ix_(range(1, 15), places, places)
    small = np.ix_(range(1, 15), *(((places + 0.5) / scale).astype(int),) * 2)
    assert np.abs(other[at] - reference[small]).mean() < 0.01


def test_a_face_beyond_the_border_or_of_a_point_has_maps(released):
    landmarks, _ = released
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
        left, top, right, bottom = box_of(points[48:68])
        slack = 9
        assert columns.min() > left - slack
        assert columns.max() < right + slack
        assert rows.min() > top - slack
        assert rows.max() < bottom + slack


def test_background_edges_leave_the_face_out(released):
    landmarks, _ = released
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


def with_irises(landmarks, x=0.0, y=0.0):
    middles = np.array([landmarks[list(eye)].mean(axis=0) for eye in EYES])
    return np.concatenate([landmarks, middles + np.array([x, y])])


def test_irises_are_one_more_channel_and_change_no_other(released):
    landmarks = released[0]
    plain, seen = face_structure(landmarks), face_structure(with_irises(landmarks, 2.5, -1), channels=17)
    assert seen.shape == (17, 256, 256)
    np.testing.assert_array_equal(seen[:16], plain)
    assert face_structure(with_irises(landmarks)).shape == (16, 256, 256)
    for eye, iris in zip(EYES, with_irises(landmarks, 2.5, -1)[68:], strict=True):
        width = np.linalg.norm(landmarks[eye[0]] - landmarks[eye[3]])
        rows, columns = np.indices((256, 256))
        disc = seen[16] * (np.hypot(columns - iris[0], rows - iris[1]) < width)
        middle = (disc * columns).sum() / disc.sum(), (disc * rows).sum() / disc.sum()
        np.testing.assert_allclose(middle, iris, atol=0.1)
        assert 0.05 < disc.sum() / width**2 < 0.11
    assert 0.9 < seen[16].max() <= 1


def test_eyes_that_are_shut_or_unknown_have_no_iris():
    face = drawn_face() * 0.55 + (128, 110)
    for wrong in (face, with_irises(face, np.nan), with_irises(with_closed_eyes(face)), with_irises(face, 1000)):
        assert face_structure(wrong, channels=17)[16].max() == 0
    ajar = with_irises(with_closed_eyes(face, 0.3))
    assert 0 < face_structure(ajar, channels=17)[16].max() < 0.95


def test_landmarks_that_are_none_are_a_mistake_of_ours():
    for wrong in (np.zeros((67, 2)), np.zeros((68, 3)), np.full((68, 2), np.nan)):
        with pytest.raises(ValueError, match="68"):
            face_structure(wrong)
