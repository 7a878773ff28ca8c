"""A rendered frame pasted back: where it came from, without a rim, and the rest of the image as it was."""

from __future__ import annotations

import numpy as np
import pytest

from gfla_cli.geometry.crop import Crop
from gfla_cli.geometry.paste import Paster


@pytest.mark.parametrize("box", [(10, 20, 74, 84), (-20, -10, 44, 54), (60, 60, 140, 140)])
def test_a_frame_goes_back_where_it_came_from(box):
    picture = np.full((100, 120, 3), 50, np.uint8)
    pasted = Paster(picture, Crop(box, (32, 32)))(np.full((32, 32, 3), 200, np.uint8))
    left, top, right, bottom = box
    outside = np.ones((100, 120), bool)
    outside[max(top, 0) : bottom, max(left, 0) : right] = False
    assert (pasted[outside] == 50).all()
    middle = min((top + bottom) // 2, 90)
    assert (pasted[middle, min((left + right) // 2, 110)] == 200).all()
    assert abs(int(pasted[middle, max(left, 1), 0]) - (200 if left < 0 else 50)) < 25
    assert (picture == 50).all()
    same = Paster(picture, Crop(box, (32, 32)))(np.full((32, 32, 3), 50, np.uint8))
    np.testing.assert_array_equal(same, picture)


def test_a_frame_whose_tones_are_off_leaves_no_rectangle():
    rng = np.random.default_rng(0)
    picture = np.full((160, 160, 3), 250, np.uint8)
    picture[60:100, 60:100] = rng.integers(0, 120, (40, 40, 3))
    frame = (picture[20:140, 20:140].astype(int) - [14, 10, 6]).clip(0).astype(np.uint8)
    pasted = Paster(picture, Crop((20, 20, 140, 140), (120, 120)))(frame)
    around = np.ones((160, 160), bool)
    around[58:102, 58:102] = False
    assert np.abs(pasted.astype(int) - picture)[around].max() <= 3
    assert np.abs(pasted.astype(int) - picture)[62:98, 62:98].mean() < 4
