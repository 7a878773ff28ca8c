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


def post(left):
    """A black post on white, 20 pixels wide."""
    picture = np.full((200, 200, 3), 255, np.uint8)
    picture[:, left : left + 20] = 0
    return picture


def middle_of_post(row):
    dark = 255.0 - row[..., 0]
    return float((dark * np.arange(len(dark))).sum() / dark.sum())


def moved(x, y, side=32):
    """Offsets of a frame of 100 pixels that moves by so many pixels."""
    return np.full((side, side, 2), (-x / 100, -y / 100), np.float32)


def test_what_goes_on_outside_of_the_crop_moves_along():
    crop, still = Crop((50, 60, 150, 160), (32, 32)), post(90)
    paster = Paster(still, crop)
    around = paster.moved_along(moved(6, 0), np.ones((32, 32), np.float32))
    pasted = paster.set_in(post(96)[60:160, 50:150], around)
    places = [middle_of_post(row) for row in pasted]
    assert np.abs(np.diff(places)).max() < 0.6  # no step at the border of the crop
    assert abs(places[110] - places[20] - 6) < 0.1
    np.testing.assert_array_equal(pasted[:25], still[:25])  # out of reach
    np.testing.assert_array_equal(still, post(90))
    broken = [middle_of_post(row) for row in paster.set_in(post(96)[60:160, 50:150])]
    assert np.abs(np.diff(broken)).max() > 1.5


@pytest.mark.parametrize("pixels", [0, 0.1])
def test_nothing_is_resampled_where_nothing_moves(pixels):
    picture = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    paster = Paster(picture, Crop((50, 60, 150, 160), (32, 32)))
    around = paster.moved_along(moved(pixels, pixels), np.ones((32, 32), np.float32))
    np.testing.assert_array_equal(around, picture)


def test_a_motion_that_is_not_sure_hardly_moves_what_is_around():
    picture, offset, sure = post(90), moved(0, 0), np.ones((32, 32), np.float32)
    offset[:, ::2], sure[:, ::2] = moved(30, 0)[:, ::2], 0
    around = Paster(picture, Crop((50, 60, 150, 160), (32, 32))).moved_along(offset, sure)
    assert max(abs(middle_of_post(row) - 99.5) for row in around) < 2


@pytest.mark.parametrize(("box", "far"), [((0, 0, 200, 200), 0), ((-20, 40, 120, 230), 0), ((150, 150, 260, 260), 100)])
def test_a_crop_may_reach_beyond_the_image(box, far):
    around = Paster(post(90), Crop(box, (32, 32))).moved_along(moved(9, -5), np.ones((32, 32), np.float32))
    assert around.shape == (200, 200, 3)
    np.testing.assert_array_equal(around[:far], post(90)[:far])
    assert set(np.unique(around[:, :80])) == {255}  # and the white beside the post stays white
