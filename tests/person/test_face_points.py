"""The points of a face: which they are, which mirrors which, and what is open."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_landmarks import drawn_face, mirrored_face, with_closed_eyes, with_open_mouth

from gfla_cli.person.face import (
    MESH_POINTS,
    MIRRORED,
    eye_openings,
    face_crop,
    face_size,
    from_mesh,
    known_irises,
    mirrored,
    mouth_opening,
    with_irises,
)


def test_the_table_names_68_points_of_the_mesh():
    assert len(set(MESH_POINTS)) == 68
    assert min(MESH_POINTS) >= 0
    assert max(MESH_POINTS) < 468  # also without irises
    assert from_mesh(np.arange(478 * 3, dtype=np.float32).reshape(478, 3)).shape == (70, 3)
    assert from_mesh(np.zeros((468, 3), np.float32)).shape == (68, 3)


def test_irises_are_the_middles_of_their_five_points_of_the_mesh():
    mesh = np.random.default_rng(0).normal(0, 50, (478, 3)).astype(np.float32)
    right, left = known_irises(from_mesh(mesh))
    np.testing.assert_allclose(right, mesh[468:473].mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(left, mesh[473:478].mean(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(from_mesh(mesh)[:68], from_mesh(mesh[:468]))


def test_measures_and_crops_do_not_depend_on_irises():
    face = drawn_face() * 2 + 300
    for irises in ([[290, 260], [310, 262]], np.full((2, 2), np.nan)):
        seen = np.concatenate([face, irises])
        assert face_size(seen) == face_size(face)
        assert face_crop(seen) == face_crop(face)
        assert eye_openings(seen) == eye_openings(face)
    assert known_irises(seen) is known_irises(face) is None
    padded = with_irises(np.stack([face, face]))
    assert padded.shape == (2, 70, 2)
    assert np.isnan(padded[:, 68:]).all()
    assert with_irises(padded) is padded
    assert mirrored(68) == MIRRORED
    assert mirrored(70)[68:] == (69, 68)


def test_mirroring_twice_changes_nothing_and_once_swaps_the_sides():
    face = drawn_face().astype(np.float32) + 200
    assert [MIRRORED[point] for point in MIRRORED] == list(range(68))
    np.testing.assert_allclose(mirrored_face(mirrored_face(face, 401), 401), face, rtol=1e-6)
    np.testing.assert_allclose(mirrored_face(face, 401), face, atol=1e-4)  # it is symmetrical


def test_openings_are_measured_in_face_sizes():
    face = drawn_face()
    assert face_size(face) == pytest.approx(200, rel=0.15)
    assert eye_openings(face) == pytest.approx((1 / 3, 1 / 3))
    assert max(eye_openings(with_closed_eyes(face))) < 0.01
    assert mouth_opening(with_open_mouth(face, 30)) > 0.12 > 0.02 > mouth_opening(face)
    assert eye_openings(3 * face) == pytest.approx(eye_openings(face))
    assert mouth_opening(3 * face) == pytest.approx(mouth_opening(face))
