"""Training pictures made more various: mirrored, shaken, in another light."""

from __future__ import annotations

import numpy as np

from gfla_cli.datasets.augment import mirror_points, relight, shake_points


def test_mirroring_twice_gives_the_same_joints():
    points = np.random.default_rng(0).uniform(0, 64, (18, 3)).astype(np.float32)
    points[3] = -1, -1, 0
    np.testing.assert_allclose(mirror_points(mirror_points(points, 64), 64), points, atol=1e-5)
    assert mirror_points(points, 64)[6].tolist() == [-1, -1, 0]  # the right elbow is missing, so its mirror is


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
