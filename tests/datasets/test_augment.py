"""Augmentation of training images: shaken joints, another light."""

from __future__ import annotations

import numpy as np

from gfla_cli.datasets.augment import relight, shake_points


def test_shaken_joints_stay_in_the_frame_and_missing_ones_missing():
    points = np.full((18, 3), 1, np.float32)
    points[5] = -1, -1, 0
    shaken = shake_points(points, np.random.default_rng(0), 2.0)
    assert shaken[5].tolist() == [-1, -1, 0]
    assert (shaken[shaken[:, 2] > 0, :2] >= 0).all()
    assert np.abs(shaken - points).max() > 0.1


def test_relighting_changes_both_pictures_alike():
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    first, second = relight([image, image], np.random.default_rng(3))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, image)
