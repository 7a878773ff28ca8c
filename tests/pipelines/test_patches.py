"""Holes are filled with patches of a source that fit what is around them, and what a guide asks for."""

from __future__ import annotations

import numpy as np
import pytest

from gfla_cli.pipelines.patches import Guide, matched

STRIPES = np.tile(np.float32([[200, 40, 40]] * 3 + [[30, 30, 30]] * 3), (60, 10, 1))  # (60, 60, 3), vertical
CHECKS = np.where((np.indices((60, 60)) // 3).sum(0)[..., None] % 2, np.float32(220), np.float32(60)) * np.ones(3)


@pytest.fixture
def hole():
    there = np.zeros((60, 60), np.bool_)
    there[22:38, 20:41] = True
    return there


def inner(size=(60, 60)):
    usable = np.zeros(size, np.bool_)
    usable[3:-3, 3:-3] = True
    return usable


def seeded():
    return np.random.default_rng(0)


@pytest.mark.parametrize("step", [1, 2])
def test_a_hole_in_stripes_is_filled_with_stripes(hole, step):
    given = np.where(hole[..., None], np.float32(100), STRIPES)
    places, image = matched(given, hole, STRIPES, inner(), start=None, rounds=6, rng=seeded(), step=step)
    np.testing.assert_array_equal(image[~hole], STRIPES[~hole])
    for made in (image, STRIPES[tuple(places)]):  # the places alone tell it, too
        assert np.abs(made - STRIPES)[hole].mean() < 0.15 * np.abs(given - STRIPES)[hole].mean()
    y, x = places[:, hole]
    assert y.min() >= 0 <= x.min()
    assert max(y.max(), x.max()) < 60


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 60), (41, 17), (60, 6)])
def test_a_hole_up_to_the_border_is_filled_wherever_the_steps_end(size, step):
    given, hole = np.zeros((*size, 3), np.float32), np.ones(size, np.bool_)
    bright = np.random.default_rng(1).uniform(100, 200, (30, 33, 3)).astype(np.float32)
    places, image = matched(given, hole, bright, inner((30, 33)), start=None, rounds=1, rng=seeded(), step=step)
    assert image.min() >= 99  # else no patch covers some place
    assert places.min() >= 0
    assert (places.reshape(2, -1).max(axis=1) < (30, 33)).all()


def test_places_where_no_patch_touches_the_hole_are_their_own(hole):
    places, _ = matched(STRIPES, hole, STRIPES, inner(), start=None, rounds=1, rng=seeded(), step=2)
    own = np.indices((60, 60))
    np.testing.assert_array_equal(places[:, :18], own[:, :18])
    np.testing.assert_array_equal(places[:, :, 45:], own[:, :, 45:])


def test_the_guide_decides_which_of_two_sources_is_taken(hole):
    """A blur tells nothing about a pattern, and what is around it is neither of both."""
    source = np.concatenate([STRIPES, CHECKS], axis=1)
    given = np.full((60, 60, 3), 120, np.float32)
    side = np.where(np.arange(120) < 60, 0, 2000)[None, :, None] * np.ones((60, 1, 1))
    for wanted in (0, 2000):
        guide = Guide(np.full((60, 60, 1), wanted, np.float32), side.astype(np.float32))
        places, image = matched(
            given, hole, source, inner((60, 120)), start=None, rounds=3, rng=seeded(), guide=guide, step=2
        )
        assert ((places[1, hole] >= 60) == (wanted > 0)).all()
        assert image[hole].std(axis=0).min() > 30 if wanted else image[hole][:, 0].std() > 30  # not the grey of before


def test_where_no_patch_fits_nothing_becomes_dark(hole):
    """Most patches fit the guide perfectly, so that those of a corner hardly count, but there are no others."""
    flat, wanted = np.full((60, 60, 3), 120, np.float32), np.zeros((60, 60, 1), np.float32)
    wanted[:30, :30] = 1000
    guide = Guide(wanted, np.zeros((60, 60, 1), np.float32))
    _, image = matched(flat, hole, flat, inner(), start=None, rounds=1, rng=seeded(), guide=guide)
    np.testing.assert_allclose(image, flat, atol=0.1)


def test_a_first_guess_that_fits_is_kept(hole):
    given = np.where(hole[..., None], STRIPES.mean((0, 1)), STRIPES)
    start = np.indices((60, 60))
    places, image = matched(given, hole, STRIPES, inner(), start=start, rounds=0, rng=seeded())
    np.testing.assert_array_equal(places, start)
    np.testing.assert_array_equal(image, given)  # without a guide, nothing is mixed before the first round


def test_a_first_guess_that_may_not_be_used_is_replaced(hole):
    usable = inner()
    usable[:, 20:] = False
    places, _ = matched(STRIPES, hole, STRIPES, usable, start=np.indices((60, 60)), rounds=1, rng=seeded())
    assert places[1, hole].max() < 20


def test_the_same_hole_is_filled_the_same_way(hole):
    first, second = (
        matched(CHECKS, hole, STRIPES, inner(), start=None, rounds=2, rng=seeded(), step=2) for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_a_hole_or_without_patches_there_is_nothing(hole):
    few = np.zeros((60, 60), np.bool_)
    few[30:37, 30:38] = True  # 56 patches
    assert matched(STRIPES, hole, STRIPES, few, start=None, rounds=1, rng=seeded()) is None
    assert matched(STRIPES, np.zeros_like(hole), STRIPES, inner(), start=None, rounds=1, rng=seeded()) is None
    border = np.ones((60, 60), np.bool_)
    border[3:-3, 3:-3] = False  # no patch around these lies within the image
    assert matched(STRIPES, hole, STRIPES, border, start=None, rounds=1, rng=seeded()) is None
