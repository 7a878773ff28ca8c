"""Windows of a picture in which people are looked for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gfla_cli.person.mediapipe import Window, around, around_body_of, squares, whole


def test_a_window_beyond_the_picture_is_padded_and_keeps_the_place():
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:50, 10:20] = 255
    pixels, factor = Window(-100, -60, 240, 240).cut(image, 120)
    assert (pixels.shape, factor) == ((120, 120, 3), 0.5)
    assert (pixels[0] == 128).all()
    y, x = np.argwhere(pixels[..., 0] == 255).mean(axis=0)
    assert ((x + 0.5) / factor - 100, (y + 0.5) / factor - 60) == (15, 45)


def test_small_windows_are_not_enlarged():
    image = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
    pixels, factor = whole(image).cut(image, 512)
    assert factor == 1
    np.testing.assert_array_equal(pixels, image)


@pytest.mark.parametrize("size", [(720, 1280), (400, 3000), (500, 500), (1280, 720)])
def test_squares_cover_the_picture_and_overlap(size):
    side = min(size)
    starts = [window.left + window.top for window in squares(np.zeros((*size, 3), np.uint8), side)]
    assert starts[0] == 0
    assert starts[-1] == max(size) - side
    assert all(second - first <= side / 2 + 1 for first, second in pairwise(starts))


def test_windows_enclose_what_they_are_made_for():
    window = around((10, 20, 30, 120), 0.1)
    assert window == Window(-40, 10, 120, 120)
    body = around_body_of((95, 50, 115, 70), 10)
    assert body.width == body.height == 200
    assert body.left + body.width / 2 == 105
    assert body.top < 50
