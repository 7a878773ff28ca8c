"""The maps of a body that networks are given."""

from __future__ import annotations

import numpy as np
from drawn_landmarks import drawn_body

from gfla_cli.conditioning.structure import CHANNELS, body_structure, heatmaps, skeleton
from gfla_cli.person import pose


def test_body_structure_is_17_heat_maps_and_a_coloured_skeleton():
    points = drawn_body()
    structure = body_structure(points, (64, 64), 2.0)
    assert structure.shape == (CHANNELS, 64, 64)
    np.testing.assert_array_equal(structure[0], heatmaps(points[:1], (64, 64), 2.0)[0])
    np.testing.assert_array_equal(structure[1], heatmaps(points[2:3], (64, 64), 2.0)[0])  # the neck is left out
    assert structure.min() >= 0
    assert structure.max() <= 1
    assert structure[17:, 38, 28].max() > 0.5  # the right thigh
    assert (structure[17:, 2, 2] == 0).all()


def test_limbs_of_missing_joints_are_not_drawn_and_the_neck_follows_from_the_shoulders():
    points = drawn_body()
    points[9] = pose.MISSING
    drawn = skeleton(points, (64, 64))
    assert (drawn[38, 28] == 0).all()
    assert (body_structure(points, (64, 64))[8] == 0).all()
    without_neck = drawn_body()
    without_neck[1] = pose.MISSING
    np.testing.assert_array_equal(skeleton(without_neck, (64, 64)), skeleton(drawn_body(), (64, 64)))
