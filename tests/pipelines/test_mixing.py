"""One frame at the photograph's size: pixels move as the flow says, and its outline is clean."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from generated_frames import FRAME, NOTHING_SEEN, drawn_before_grey, layers

from gfla_cli.geometry.crop import Crop
from gfla_cli.pipelines import mixing
from gfla_cli.pipelines.frame_layers import Layers, SourceFrame
from gfla_cli.pipelines.mixing import Mixed, mixed, on_background

WHOLE = (slice(0, 600), slice(0, 600))


def at_full_size(given, photograph, cover=None):
    return mixed(given, photograph, FRAME, FRAME, WHOLE, cover)


def test_what_did_not_move_is_the_photograph_itself(photograph):
    np.testing.assert_array_equal(at_full_size(layers(), photograph).image, photograph)


def test_pixels_move_by_whole_pixels_as_they_are(photograph):
    made = at_full_size(layers(offset=(12 / 600, -30 / 600)), photograph).image
    difference = made[30:, :588].astype(int) - photograph[:-30, 12:]
    assert np.abs(difference).max() <= 1


def test_a_frame_anywhere_in_the_photograph_leaves_still_pixels_as_they_are(photograph):
    crop = Crop((-37.3, 101.7, 411.2, 550.2), (64, 64))
    region = crop.region(photograph.shape)
    made = mixed(layers(), photograph, crop, crop, region).image
    np.testing.assert_array_equal(made, photograph[region])


def test_a_frame_may_lie_elsewhere_in_the_result(photograph):
    there, here = Crop((100, 200, 300, 400), (64, 64)), Crop((10, 20, 210, 220), (64, 64))
    made = mixed(layers(), photograph, there, here, here.region((400, 400))).image
    np.testing.assert_array_equal(made, photograph[200:400, 100:300])


def test_a_share_mixes_the_moved_and_the_drawn_image(photograph):
    made = at_full_size(layers(share=0.25, drawn=-1.0, residual=0.1), photograph).image
    expected = 0.25 * photograph.astype(np.float64) + 0.1 * 127.5
    assert np.abs(made - expected.clip(0, 255)).max() <= 1


def test_bands_leave_no_seams(photograph, monkeypatch):
    rng = np.random.default_rng(1)
    uneven = Layers(
        rng.uniform(-1, 1, (64, 64, 3)).astype(np.float32),
        rng.uniform(0, 1, (64, 64)).astype(np.float32),
        rng.uniform(-0.1, 0.1, (64, 64, 3)).astype(np.float32),
        rng.uniform(-0.05, 0.05, (32, 32, 2)).astype(np.float32),
        rng.uniform(0, 1, (64, 64)).astype(np.float32),
    )
    whole = at_full_size(uneven, photograph)
    monkeypatch.setattr(mixing, "_BAND", 37)
    banded = at_full_size(uneven, photograph)
    difference = np.abs(whole.image.astype(int) - banded.image)
    assert difference.max() <= 8  # OpenCV rounds places to 1/32 pixel
    assert difference.mean() < 0.05
    np.testing.assert_allclose(whole.cover, banded.cover, atol=2e-3)


def test_the_edge_of_the_source_sharpens_the_edge_of_the_result(photograph):
    edge = np.zeros((600, 600), np.float32)
    edge[:, 300:] = 1
    cover = at_full_size(layers(matte=0.5), photograph, edge).cover
    np.testing.assert_allclose(cover, edge, atol=1e-5)
    half = at_full_size(layers(matte=0.6, share=0.5), photograph, edge).cover
    np.testing.assert_allclose(half, 0.9 * edge, atol=1e-5)  # 0.3 and 0.8, from 0.35 to 0.85


def hole_in_a_shirt(offset):
    """A red shirt before a grey wall; one spot of it looks at the wall beside it. The layers, and what they show."""
    source = np.full((64, 64, 3), 128, np.uint8)
    source[:, 20:44] = 200, 30, 30
    cover = np.zeros((64, 64), np.float32)
    cover[:, 20:44] = 1
    given = Layers(
        np.where(cover[..., None] > 0, np.float32(source), 128).astype(np.float32) / 127.5 - 1,
        np.ones((64, 64), np.float32),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64, 2), np.float32),
        cover.copy(),
    )
    given.offset[28:36, 28:36] = offset
    crop = Crop((0, 0, 64, 64), (64, 64))
    filled = given.with_definite_outline(SourceFrame.of(source, cover, crop))
    return given, filled, mixed(filled, source, crop, crop, (slice(0, 64), slice(0, 64)), cover)


def test_the_wall_does_not_show_through_the_person():
    _, _, made = hole_in_a_shirt((20 / 64, 0))
    assert made.cover[26:38, 26:38].min() > 0.95
    np.testing.assert_allclose(made.image[32, 32], (200, 30, 30), atol=3)
    np.testing.assert_allclose(made.image[:, 24], np.broadcast_to((200, 30, 30), (64, 3)), atol=3)


@pytest.mark.parametrize("offset", [(0, 0), (4 / 64, 0)])
def test_what_shows_the_person_stays_as_it_is(offset):
    given, filled, made = hole_in_a_shirt(offset)
    np.testing.assert_array_equal(filled.share[:, 23:41], given.share[:, 23:41])
    np.testing.assert_allclose(made.image[:, 22:42], np.broadcast_to((200, 30, 30), (64, 20, 3)), atol=1)
    np.testing.assert_allclose(made.cover, given.matte, atol=1e-5)


@pytest.mark.parametrize(("matte", "cover"), [(0.35, 0), (0.6, 0.5), (0.85, 1)])
def test_what_the_matte_doubts_is_one_or_the_other(photograph, matte, cover):
    """Anything between would be a ghost where the source stood."""
    np.testing.assert_allclose(at_full_size(layers(matte=matte), photograph).cover, cover, atol=1e-5)


def red_subject(cover):
    """(N, N, 3) red where a cover is 1, else white."""
    return np.where(cover[..., None] > 0.99, np.uint8((200, 30, 30)), np.uint8(255))


def smoothed(cover, *, moved=10, heads=None, hands=None):
    """A cover (N, N) of a red subject before a white wall, in front of which a frame of 64 pixels was generated."""
    place = Crop.whole(cover.shape, (64, 64))
    matte = cv2.resize(cover, (64, 64), interpolation=cv2.INTER_AREA)
    given = layers(offset=(moved / 64, 0.0))._replace(matte=matte)
    heads = np.zeros(cover.shape, np.bool_) if heads is None else heads
    hands = np.zeros((64, 64), np.float32) if hands is None else hands
    everywhere = slice(0, len(cover)), slice(0, len(cover))
    return Mixed(red_subject(cover), cover).with_smooth_outline(given, place, everywhere, heads, hands)


ROWS = np.arange(640)
# A subject whose right side is ragged: waves of 4 pixels of the frame, 1.5 pixels deep
RAGGED = np.float32((np.arange(640) > 150) & (np.arange(640) < (400 + 15 * np.sin(ROWS * 2 * np.pi / 40))[:, None]))


def outline(cover):
    """The place of the right side in each row in the middle, in pixels."""
    return (cover > 0.5)[100:540].sum(axis=1)


def test_a_ragged_outline_of_what_has_moved_becomes_smooth():
    made = smoothed(RAGGED)
    assert np.ptp(outline(RAGGED)) == 30
    assert np.ptp(outline(made.cover)) < 6
    assert abs(outline(made.cover).mean() - outline(RAGGED).mean()) < 3  # no thinner, and no thicker
    shown = made.image[100:540][made.cover[100:540] > 0.5]
    assert np.abs(shown - np.float32((200, 30, 30))).max() < 8  # also where the wall was


def test_bands_leave_no_seams_in_a_smooth_outline(monkeypatch):
    whole = smoothed(RAGGED)
    monkeypatch.setattr(mixing, "_BAND", 37)
    banded = smoothed(RAGGED)
    np.testing.assert_allclose(banded.cover, whole.cover, atol=0.02)
    np.testing.assert_allclose(banded.image.astype(int), whole.image, atol=4)


@pytest.mark.parametrize("kept", [{"moved": 0}, {"heads": np.ones((640, 640), np.bool_)}], ids=["at rest", "a head"])
def test_an_outline_at_rest_and_that_of_a_refined_head_keep_their_detail(kept):
    made = smoothed(RAGGED, **kept)
    assert np.ptp(outline(made.cover)) > 24  # a head's becomes softer
    np.testing.assert_array_equal(made.image, red_subject(RAGGED))


@pytest.mark.parametrize("near", [True, False])
def test_fingers_stay_near_hands_alone(near):
    """Elsewhere such a comb of 2 pixels of the frame is a ragged outline."""
    comb = np.float32((np.arange(640) > 150) & (np.arange(640) < 350 + 80 * (ROWS[:, None] % 50 < 20)))
    made = smoothed(comb, hands=np.full((64, 64), float(near), np.float32))
    fingers = made.cover[200:400, 420] > 0.5
    assert fingers.any() == near


@pytest.mark.parametrize(
    ("rows", "open_below", "stays"),
    [
        pytest.param(400, True, True, id="between legs"),
        pytest.param(150, False, True, id="beside an arm"),
        pytest.param(40, True, False, id="a notch"),
        pytest.param(20, False, False, id="a hole"),
    ],
)
def test_narrow_gaps_stay_open_but_notches_and_holes_are_filled(rows, open_below, stays):
    subject = np.zeros((640, 640), np.float32)
    subject[50 : 200 + rows if open_below else 600, 150:400] = 1
    subject[200 : 200 + rows, 270:290] = 0  # 2 pixels of the frame
    made = smoothed(subject)
    there = 200 + rows // 2, 280
    assert (made.cover[there] < 0.5) == stays
    np.testing.assert_allclose(made.image[there], 255 if stays else (200, 30, 30), atol=8)


@pytest.mark.parametrize("value", [0, 1])
def test_a_subject_that_is_nowhere_or_everywhere_stays_as_it_is(value):
    """Without an outline, nothing has a distance from it. The frame is a little larger than the network's."""
    cover = np.full((100, 100), value, np.float32)
    with np.errstate(over="raise"):
        np.testing.assert_array_equal(smoothed(cover).cover, cover)


def composed_at_rest(given, cover=None):
    """The layers before a white background, and their cover."""
    made = at_full_size(given, np.zeros((600, 600, 3), np.uint8), np.zeros((600, 600), np.float32))
    return made.without_wisps(FRAME)


def test_a_fringe_of_the_network_becomes_an_edge_of_the_subjects_colour():
    """The matte falls from 1 to 0 over 8 of 64 pixels; at pixel 43 it is 0.56."""
    x = np.arange(64, dtype=np.float32)
    matte = np.tile(((47.5 - x) / 8).clip(0, 1) * ((x - 15.5) / 8).clip(0, 1), (64, 1))
    made = composed_at_rest(drawn_before_grey(matte).with_definite_outline(NOTHING_SEEN))
    row = made.cover[300]
    right = np.flatnonzero(row > 0.5)[-1] * 64 / 600
    assert 41.5 < right < 44
    assert ((row > 0.1) & (row < 0.9)).sum() < 60  # of 120 that the two edges of the network's matte have
    shown = made.image[300][row > 0.1]
    np.testing.assert_allclose(shown, np.broadcast_to((200, 30, 30), shown.shape), atol=45)
    fringe = at_full_size(drawn_before_grey(matte), np.zeros((600, 600, 3), np.uint8)).image[300][row > 0.1]
    assert np.abs(fringe.astype(int) - (200, 30, 30)).max() > 55  # as the network drew it


def test_a_wisp_far_from_the_body_leaves_no_trace():
    matte = np.zeros((64, 64), np.float32)
    matte[:, 20:40] = 1
    matte[10:50, 54:56] = 1  # the outline of an arm that has moved away
    matte[56:60, 50:54] = 1  # a small piece
    made = composed_at_rest(drawn_before_grey(matte))
    assert made.cover[:, 450:].max() < 0.01
    assert made.cover[20:580, 200:370].min() > 0.99


def test_a_hand_that_is_thin_stays():
    matte = np.zeros((64, 64), np.float32)
    matte[:, 20:40] = 1
    matte[30:36, 40:56] = 1
    made = composed_at_rest(drawn_before_grey(matte))
    assert made.cover[295:325, 380:510].min() > 0.99


def test_a_person_of_a_few_pixels_keeps_its_limbs():
    cover = np.zeros((16, 16), np.float32)
    cover[2:14, 7:9] = 1
    assert (
        Mixed(np.zeros((16, 16, 3), np.uint8), cover).without_wisps(Crop((0, 0, 16, 16), (256, 256))).cover == cover
    ).all()


@pytest.mark.parametrize(("way", "white"), [(12, False), (0, True)], ids=["moved", "at rest"])
def test_background_that_came_along_is_no_fleck_on_clothes(way, white):
    """The source has a gap beside an arm. Where nothing moves, the network may know better than the cut-out."""
    source = np.full((600, 600, 3), (200, 30, 30), np.uint8)
    cover = np.ones((600, 600), np.float32)
    source[:, 290:310], cover[:, 290:310] = 255, 0
    given = layers(share=0.3, offset=(way / 64, 0.0))
    given.drawn[:] = source[0, 0] / np.float32(127.5) - 1
    shown = mixed(given, source, FRAME, FRAME, WHOLE, cover).image[300]
    gap = round(300 - way * 600 / 64)
    assert (shown[gap, 1] > 80) == white
    assert np.abs(shown[gap - 40].astype(int) - source[0, 0]).max() < 3


def red_before_green():
    """A red person with a dark spot, whose soft edge is mixed with a green wall."""
    x = np.arange(300, dtype=np.float32)
    cover = np.tile(((x - 90) / 10).clip(0, 1) * ((210 - x) / 10).clip(0, 1), (300, 1))
    image = cover[..., None] * np.float32([200, 30, 30]) + (1 - cover[..., None]) * np.float32([0, 200, 0])
    image[140:160, 140:160] = 20
    return Mixed(image.astype(np.uint8), cover)


def test_a_person_before_another_background_brings_no_colour_of_the_old_one():
    before = red_before_green()
    after = before.without_fringe(FRAME)
    assert before.image[50, 95, 1] > 100
    np.testing.assert_allclose(after.image[50, 92:208], np.broadcast_to((200, 30, 30), (116, 3)), atol=4)
    np.testing.assert_array_equal(after.image[:, 130:170], before.image[:, 130:170])  # the spot stays
    np.testing.assert_array_equal(after.cover, before.cover)


def test_a_doubtful_spot_within_a_person_is_no_edge():
    before = red_before_green()
    before.cover[145:150, 145:150] = 0.5
    after = before.without_fringe(FRAME)
    np.testing.assert_array_equal(after.image[:, 130:170], before.image[:, 130:170])


def test_before_another_background_a_frame_that_shows_nothing_of_the_person_is_no_error():
    """It lies in the image, but what the image holds of it is beside the person."""
    nothing = Mixed(np.zeros((600, 600, 3), np.uint8), np.zeros((600, 600), np.float32))
    assert nothing.without_fringe(FRAME) is nothing


def test_a_frame_stands_before_its_background(photograph):
    frame = Mixed(np.full((600, 600, 3), 200, np.uint8), np.full((600, 600), 0.5, np.float32))
    expected = (photograph.astype(np.float64) + 200) / 2
    assert np.abs(on_background(frame, photograph) - expected).max() <= 1
