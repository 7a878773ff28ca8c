"""A flow that leads a little beside the subject of its source leads into it."""

from __future__ import annotations

import numpy as np
import pytest
from generated_frames import layers

from gfla_cli.pipelines.frame_layers import SourceFrame
from gfla_cli.pipelines.subject_flow import with_flow_into_subject, without_filled_gaps

WALL, SKIN = np.float32([235, 235, 235]), np.float32([220, 170, 150])


def moved_arm(width, miss, *, share=0.5, drawn=WALL):
    """An arm 10 pixels wide that moved by 30, and is `width` pixels wide now; its flow is off by `miss` pixels."""
    source = np.broadcast_to(WALL, (64, 64, 3)).astype(np.uint8)
    source[:, 10:20] = SKIN
    cover, matte = np.zeros((2, 64, 64), np.float32)
    cover[:, 10:20] = 1
    matte[:, 40 : 40 + width] = 1
    drawn = np.broadcast_to(drawn / np.float32(127.5) - 1, (64, 64, 3)).astype(np.float32)
    offset = np.broadcast_to(np.float32([(-30 + miss) / 64, 0]), (64, 64, 2)).copy()
    return layers(share=share)._replace(matte=matte, drawn=drawn, offset=offset), SourceFrame.shown(source, cover)


@pytest.mark.parametrize("miss", [8, 10, 12])
def test_an_arm_whose_flow_misses_that_of_the_source_has_its_colour(miss):
    """The network draws the wall there, as its flow leads to the wall: the arm would be see-through."""
    given, source = moved_arm(10, miss)
    made = with_flow_into_subject(given, source).with_definite_outline(source)
    assert made.matte[20:44, 42:48].min() > 0.95
    np.testing.assert_allclose((made.mixed(source)[32, 43:48] + 1) * 127.5, np.tile(SKIN, (5, 1)), atol=3)


def test_a_flow_that_misses_by_far_stays():
    """What is so far away is another part of the subject."""
    given, source = moved_arm(10, 25)
    np.testing.assert_array_equal(with_flow_into_subject(given, source).offset, given.offset)


def test_what_was_drawn_otherwise_stays_where_the_flow_misses():
    """It is no mixture of the arm and the wall, such as a sleeve."""
    given, source = moved_arm(10, 10)
    given.drawn[:, 40:50] = np.float32([30, 60, 160]) / 127.5 - 1
    made = with_flow_into_subject(given, source)
    np.testing.assert_array_equal(made.drawn, given.drawn)


def test_an_arm_that_became_wider_comes_from_all_of_the_source_s():
    given, source = moved_arm(20, 0)
    x, _ = with_flow_into_subject(given, source).looked_at()
    row = x[32, 40:60]
    assert (np.diff(row) > -0.05).all(), "no part is shown twice"
    np.testing.assert_allclose(row, np.linspace(10, 17, 20), atol=1.5)  # and not all up to the edge, and the edge alone


@pytest.mark.parametrize(("width", "changed"), [(14, False), (20, True)])
def test_the_flow_of_a_narrow_strip_beside_an_arm_stays(width, changed):
    """Networks draw limbs a little too thick. Filled with skin, they would be fat."""
    given, source = moved_arm(width, 0)
    assert (np.abs(with_flow_into_subject(given, source).offset - given.offset).max() > 0.03) == changed


def test_a_narrow_band_inside_of_an_arm_whose_flow_leads_to_the_wall_shows_the_arm():
    given, source = moved_arm(20, -5, share=1.0)  # all of it comes from the arm's left half,
    given.offset[..., 0] = (15 - np.arange(64)) / 64
    given.offset[:, 49:52, 0] += 8 / 64  # but for a band
    shown = (with_flow_into_subject(given, source).mixed(source)[32, 42:58] + 1) * 127.5
    np.testing.assert_allclose(shown, np.tile(SKIN, (16, 1)), atol=3)
    assert (given.mixed(source)[32, 50, 2] + 1) * 127.5 > 230


def test_a_gap_between_two_legs_stays():
    """The network took it for a part of the subject."""
    given, source = moved_arm(26, 0)
    cover = source.cover.copy()
    cover[:, 26:36] = 1
    twice = SourceFrame.shown(source.image, cover)
    np.testing.assert_array_equal(with_flow_into_subject(given, twice).offset, given.offset)
    cover[:, 26:36] = 0
    once = SourceFrame.shown(source.image, cover)
    assert np.abs(with_flow_into_subject(given, once).offset - given.offset).max() > 0.03


TROUSERS = np.float32([40, 50, 90])


@pytest.mark.parametrize(
    ("drawn", "legs", "stays"),
    [
        pytest.param(WALL, TROUSERS, False, id="the background"),
        pytest.param(TROUSERS, TROUSERS, True, id="trousers"),
        pytest.param(WALL, WALL - 8, True, id="trousers as white as the wall"),
    ],
)
def test_a_gap_between_legs_that_was_drawn_as_background_is_one(drawn, legs, stays):
    source = np.broadcast_to(WALL, (64, 64, 3)).astype(np.uint8)
    cover, matte = np.zeros((2, 64, 64), np.float32)
    for columns in (slice(16, 28), slice(36, 48)):
        source[:, columns], cover[:, columns] = legs, 1
    matte[:, 16:48] = 1
    made = np.broadcast_to(WALL, (64, 64, 3)).copy()
    made[:, 16:48] = legs
    made[:, 28:36] = drawn
    given = layers(share=0.3)._replace(matte=matte, drawn=(made / 127.5 - 1).astype(np.float32))
    found = without_filled_gaps(given, SourceFrame.shown(source, cover)).matte
    assert (found[:, 30:34].min() > 0.95) == (found[:, 30:34].max() > 0.05) == stays
    for columns in (slice(16, 26), slice(38, 48)):
        np.testing.assert_allclose(found[:, columns], 1, atol=0.05)
    np.testing.assert_allclose(found[:, :14], 0)


@pytest.mark.parametrize(("moved", "changed"), [(0, False), (0.8, False), (12, True)])
def test_a_wall_that_did_not_move_stays(moved, changed):
    """The network took it for a part of the subject: it shows no limb that has moved."""
    given, source = moved_arm(20, 0)
    given.matte[:] = np.roll(given.matte, round(moved) - 26, axis=1)
    given.offset[:] = -moved / 64, 0
    assert (np.abs(with_flow_into_subject(given, source).offset - given.offset).max() > 0.03) == changed
