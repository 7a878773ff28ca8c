"""Results at the photograph's size: pixels move as the flow says, and the background stays what it was."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gfla_cli.geometry.crop import Crop
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines import compositing, mixing
from gfla_cli.pipelines.canvas import Canvas
from gfla_cli.pipelines.compositing import composed
from gfla_cli.pipelines.frame_layers import BODY_STRETCH, HEAD_STRETCH, Layers, SourceFrame
from gfla_cli.pipelines.mixing import Mixed, mixed, on_background
from gfla_cli.pipelines.refinement import HalfCrop, HeadCrop


def layers(share=1.0, offset=(0.0, 0.0), residual=0.0, matte=1.0, drawn=0.0):
    """One frame of a network of 64 pixels, everywhere the same."""
    return Layers(
        np.full((64, 64, 3), drawn, np.float32),
        np.full((64, 64), share, np.float32),
        np.full((64, 64, 3), residual, np.float32),
        np.broadcast_to(np.float32(offset), (64, 64, 2)).copy(),
        np.full((64, 64), matte, np.float32),
    )


WHOLE = (slice(0, 600), slice(0, 600))
FRAME = Crop((0, 0, 600, 600), (64, 64))


def at_full_size(given, photograph, cover=None):
    return mixed(given, photograph, FRAME, FRAME, WHOLE, cover)


@pytest.fixture
def photograph():
    """Fine texture that no image of 64 pixels can hold."""
    return np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)


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


def test_an_arm_whose_flow_misses_that_of_the_source_has_its_colour():
    """The network draws the wall there, as its flow leads to the wall: the arm would be see-through."""
    wall, skin = np.float32([235, 235, 235]), np.float32([220, 170, 150])
    source = np.broadcast_to(wall, (64, 64, 3)).astype(np.uint8)
    source[:, 10:20] = skin
    cover = np.zeros((64, 64), np.float32)
    cover[:, 10:20] = 1
    matte = np.zeros((64, 64), np.float32)
    matte[:, 40:50] = 1  # the arm, which has moved by 30 pixels
    given = layers(share=0.5)._replace(matte=matte, drawn=np.full((64, 64, 3), 235 / 127.5 - 1, np.float32))
    for miss, kept in ((0, 1), (10, 1), (25, 0)):
        given.offset[:] = (-30 + miss) / 64, 0
        made = given.with_definite_outline(SourceFrame.shown(source, cover))
        assert (made.matte[20:44, 42:48].min() > 0.95) == bool(kept)
        if kept and miss:
            np.testing.assert_allclose((made.drawn[32, 45] + 1) * 127.5, skin, atol=3)
            assert made.share[32, 45] < 0.1


def test_a_strip_beside_an_arm_stays_the_fringe_that_it_is():
    """Coloured like the arm, it would make it wider than it is."""
    x = np.arange(64)
    source = np.full((64, 64, 3), 235, np.uint8)
    source[:, 10:20] = 120, 40, 40
    cover = np.tile(np.float32((x >= 10) & (x < 20)), (64, 1))
    drawn = np.where((x >= 40) & (x < 50), np.float32(120), 235)
    given = layers(share=0.0)._replace(
        matte=np.tile(np.float32((x >= 40) & (x < 54)), (64, 1)),
        drawn=np.tile((drawn / 127.5 - 1)[None, :, None], (64, 1, 3)).astype(np.float32),
    )
    given.offset[:] = -30 / 64, 0
    matte = given.with_definite_outline(SourceFrame.shown(source, cover)).matte
    assert matte[20:44, 42:48].min() > 0.9
    assert matte[20:44, 52:54].max() < 0.3


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


def doubted(offset):
    """Layers of a network that would draw most of the image; the offset (x, y) of each place is that of `offset`."""
    y, x = np.mgrid[:64, :64].astype(np.float32)
    moved = np.stack(np.broadcast_arrays(*offset(x, y)), -1).astype(np.float32) / 64
    return layers(share=0.3, residual=0.2)._replace(offset=moved)


def sharpened(given, stretch, **how):
    return given.with_sharp_source(given.moves_rigidly(stretch, **how))


@pytest.mark.parametrize(
    "offset",
    [
        pytest.param(lambda x, y: (0 * x + 9, -4), id="shift"),
        pytest.param(lambda x, y: (0.15 * x, 0.15 * y), id="scale"),
        pytest.param(lambda x, y: (-0.3 * (y - 32), 0.3 * (x - 32)), id="turn"),
    ],
)
def test_what_moves_as_it_is_shows_the_photograph(offset):
    sharp = sharpened(doubted(offset), BODY_STRETCH)
    assert sharp.share.min() > 0.95
    assert np.abs(sharp.residual).max() < 0.02


@pytest.mark.parametrize(
    "offset",
    [
        pytest.param(lambda x, y: (-1.8 * (x - 32), 0), id="mirrored"),
        pytest.param(lambda x, y: (1.6 * x, 0), id="compressed"),
        pytest.param(lambda x, y: (-0.7 * x, 0), id="stretched"),
        pytest.param(lambda x, y: (0, 2.5 * x), id="sheared"),
    ],
)
def test_where_a_flow_folds_or_stretches_the_network_decides(offset):
    given = doubted(offset)
    sharp = sharpened(given, HEAD_STRETCH)
    for ours, theirs in ((sharp.share, given.share), (sharp.residual, given.residual)):
        np.testing.assert_allclose(ours[8:-8, 8:-8], theirs[8:-8, 8:-8], atol=1e-6)


def test_a_limb_that_moves_otherwise_than_what_is_behind_it_stays_sharp():
    """A forearm of 11 pixels before the trunk: flows jump at its edges, which is no stretch of either."""
    given = doubted(lambda x, y: (np.where(abs(x - 30) <= 5, 9, -4) + 0 * y, 0))
    sharp = sharpened(given, BODY_STRETCH)
    assert sharp.share[20:40, 28:33].min() > 0.9
    assert sharp.share[20:40, 42:50].min() > 0.95


@pytest.mark.parametrize("band", [256, 100, 195, 205])
@pytest.mark.parametrize(("moved", "soft"), [(10, True), (0, False)])
def test_the_outline_of_what_has_moved_is_soft_and_has_the_colours_of_the_subject(moved, soft, band, monkeypatch):
    """A red square beside a post, before a white wall. Its edges lie where bands of rows meet, or close to that."""
    monkeypatch.setattr(mixing, "_BAND", band)
    frame = Crop((0, 0, 640, 640), (64, 64))
    red = np.full((640, 640, 3), (200, 30, 30), np.uint8)
    matte = np.zeros((64, 64), np.float32)
    matte[20:40, 20:44] = 1
    matte[10:50, 20:26] = 1
    given = layers(offset=(moved / 64, 0.0))._replace(matte=matte)
    canvas = Canvas(
        source=red,
        scale=Crop.whole(red.shape, red.shape[:2]),
        source_crop=frame,
        place=frame,
        original=red,
        background=np.full_like(red, 255),
        source_cover=np.ones((640, 640), np.float32),
        frames={frame: SourceFrame.shown(np.full((64, 64, 3), (200, 30, 30), np.uint8), np.ones((64, 64), np.float32))},
    )
    shown = composed(canvas, given)
    np.testing.assert_allclose(shown[300, 320], (200, 30, 30), atol=1)
    mixture = (255 - shown[..., 1].astype(float)) / 225  # how much is red
    np.testing.assert_allclose(shown[..., 0], 255 - 55 * mixture, atol=2, err_msg="a colour of neither")
    widths = [int(((line > 0.02) & (line < 0.98)).sum()) for line in (mixture[300], mixture[:, 320])]
    assert (min(widths) > 30) if soft else (max(widths) < 24), widths


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


@pytest.mark.parametrize(
    ("offset", "drawn", "cover", "counts"),
    [
        pytest.param(lambda x, y: (-0.7 * x, 0), "the same", 1, 1.0, id="stretched"),
        pytest.param(lambda x, y: (-1.8 * (x - 32), 0), "the same", 1, 1.0, id="mirrored"),
        pytest.param(lambda x, y: (-0.7 * x, 0), "another colour", 1, 0.0, id="drawn otherwise"),
        pytest.param(lambda x, y: (-0.7 * x, 0), "a shade", 1, 0.0, id="a cuff beside skin"),
        pytest.param(lambda x, y: (-0.7 * x, 0), "the same", 0, 0.0, id="no subject there"),
        pytest.param(lambda x, y: (7 * (x - 32), 0), "the same", 1, 0.0, id="rippled"),
    ],
)
def test_a_turning_hand_shows_the_photograph_where_the_network_drew_the_same_blurred(offset, drawn, cover, counts):
    y, x = np.mgrid[:64, :64].astype(np.float32)
    seen = np.repeat(((x.astype(int) + y.astype(int)) % 2 * 40 + 100)[..., None], 3, axis=2).astype(np.uint8)
    blurred = {"the same": 120 / 127.5 - 1, "a shade": 150 / 127.5 - 1, "another colour": 0.8}[drawn]
    given = doubted(offset)._replace(drawn=np.full((64, 64, 3), blurred, np.float32))
    found = given.moved_as_drawn(SourceFrame.shown(seen, np.full((64, 64), cover, np.float32)))
    np.testing.assert_allclose(found[20:44, 20:44], counts, atol=0.05)


@pytest.mark.parametrize(("drawn", "once"), [("a skirt", 0.0), ("a hand", 1.0)])
def test_of_two_places_that_show_the_same_hand_the_one_without_a_drawn_hand_does_not_count(drawn, once):
    """The source has its hand before its skirt, the result beside it. The flow of the skirt finds the hand, too."""
    skirt, hand = (-0.5, -0.5, -0.5), (0.8, 0.4, 0.2)
    seen = np.full((64, 64, 3), 64, np.uint8)
    seen[28:36, 28:36] = (np.array(hand) + 1) * 127.5
    image = np.full((64, 64, 3), skirt, np.float32)
    image[28:36, 48:56] = hand
    if drawn == "a hand":
        image[28:36, 28:36] = hand
    given = layers()._replace(drawn=image, offset=np.zeros((64, 64, 2), np.float32))
    given.offset[28:36, 48:56, 0] = -20 / 64  # the hand, which was moved by 20 pixels
    counts = given.shown_once(SourceFrame.shown(seen, np.ones((64, 64), np.float32)))
    assert counts[30:34, 50:54].min() > 0.9
    np.testing.assert_allclose(counts[30:34, 30:34], once, atol=0.1)
    assert counts[5:20, 5:60].min() > 0.99


@pytest.mark.parametrize(("width", "share"), [(20, 0.3), (60, 1.0)])
def test_a_head_is_not_made_of_sharp_pieces(width, share):
    """All of it moves as it is, or none of it: a sharp eye in a soft face looks wrong."""
    given = doubted(lambda x, y: (np.where(x < width, 3, -1.9 * (x - width)), 0))
    sharp = sharpened(given, HEAD_STRETCH, as_a_whole=True)
    np.testing.assert_allclose(sharp.share[20:40, 5:8], share, atol=0.02)


def with_ring(ring, stretch=HEAD_STRETCH, **about):
    """What moves by two pixels, drawn so much wider than the source shows it on the right side."""
    x = np.arange(64)
    cover = np.tile(np.float32((x >= 16) & (x < 40)), (64, 1))
    given = doubted(lambda x, y: (0 * x + 2, 0))
    matte = np.tile(np.float32((x >= 14) & (x < 38 + ring)), (64, 1))
    given = given._replace(matte=matte)
    nothing = np.zeros((64, 64, 3), np.uint8)
    rigid = given.moves_rigidly(stretch, **about)
    return given.with_outline_of_source(rigid, SourceFrame.shown(nothing, cover), **about).matte


HEAD, LIMB = {"stretch": HEAD_STRETCH, "as_a_whole": True}, {"stretch": BODY_STRETCH, "as_a_whole": False}


@pytest.mark.parametrize("part", [pytest.param(HEAD, id="head"), pytest.param(LIMB, id="limb")])
def test_a_head_and_a_limb_end_where_those_of_the_source_end(part):
    matte = with_ring(6, **part)
    assert matte[20:40, 16:36].min() > 0.95
    assert matte[20:40, 41:].max() < 0.05


@pytest.mark.parametrize("part", [pytest.param(HEAD, id="head"), pytest.param(LIMB, id="limb")])
def test_a_side_that_the_source_does_not_show_stays(part):
    assert with_ring(20, **part)[20:40, 42:56].min() > 0.95


def test_no_hand_comes_off():
    """A forearm of 7 pixels, of which the source shows 3 where the flow leads: without the rest, its hand comes off."""
    y, x = np.mgrid[:64, :64]
    trunk, hand = (y < 20) & (abs(x - 20) < 14), (y >= 44) & (y < 58) & (abs(x - 17) < 6)
    matte = trunk | hand | ((y >= 20) & (y < 44) & (abs(x - 17) < 4))
    shown = trunk | hand | ((y >= 20) & (y < 44) & (abs(x - 17) < 2))
    given = doubted(lambda x, y: (0 * x + 2, 0))._replace(matte=matte.astype(np.float32))
    source = SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), np.roll(shown, 2, axis=1).astype(np.float32))
    kept = given.with_outline_of_source(given.moves_rigidly(BODY_STRETCH), source, as_a_whole=False)
    np.testing.assert_array_equal(kept.matte[30:], given.matte[30:])


def test_a_limb_beside_another_stays():
    """Two arms that move apart: the flow of each leads beside the other, its own flow does not."""
    x = np.arange(64)
    cover = np.tile(np.float32((x >= 20) & (x < 40)), (64, 1))
    given = doubted(lambda x, y: (np.where(x < 32, 4, -4) + 0 * y, 0))
    given = given._replace(matte=np.tile(np.float32((x >= 16) & (x < 44)), (64, 1)))
    source = SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), cover)
    cut = given.with_outline_of_source(given.moves_rigidly(BODY_STRETCH), source, as_a_whole=False)
    np.testing.assert_array_equal(cut.matte[10:50], given.matte[10:50])


def test_a_leg_behind_another_stays():
    """The network is wrong about the leg behind: its flow leads beside the source's. That is no outline."""
    x = np.arange(64)
    cover = np.tile(np.float32((x >= 10) & (x < 34)), (64, 1))
    given = doubted(lambda x, y: (np.where(x < 34, 0, 14) + 0 * y, 0))
    given = given._replace(matte=np.tile(np.float32((x >= 10) & (x < 39)), (64, 1)))
    source = SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), cover)
    cut = given.with_outline_of_source(given.moves_rigidly(BODY_STRETCH), source, as_a_whole=False)
    np.testing.assert_array_equal(cut.matte[10:50], given.matte[10:50])


def jacket(move):
    """A jacket whose left hem the network cut off by 5 pixels, of a person who moves by `move`; and all of the rest."""
    x = np.arange(64)
    cover = np.tile(np.float32((x >= 16) & (x < 48)), (64, 1))
    given = doubted(lambda x, y: (0 * x + move, 0))
    drawn = np.tile(np.float32((x >= 21 - move) & (x < 48 - move)), (64, 1))
    return given._replace(matte=drawn), SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), cover)


def test_what_the_network_cut_off_from_a_part_that_hardly_moves_stays():
    given, source = jacket(2)
    whole = given.with_rest_of_source(given.moves_rigidly(BODY_STRETCH), source)
    np.testing.assert_array_equal(whole.matte[20:40, :62] > 0.5, source.cover[20:40, 2:] > 0.5)
    hem = (slice(20, 40), slice(14, 18))
    assert whole.share[hem].min() == 1
    np.testing.assert_allclose(whole.offset[hem] * 64, np.broadcast_to((2, 0), (20, 4, 2)), atol=0.05)


def test_what_moves_far_is_not_continued():
    given, source = jacket(9)
    np.testing.assert_array_equal(
        given.with_rest_of_source(given.moves_rigidly(BODY_STRETCH), source).matte, given.matte
    )


def test_a_gap_between_an_arm_and_the_trunk_is_not_filled():
    """The hand is on the hip; the source has the arm closer to the trunk, and no place shows what it has in the gap."""
    given, source = jacket(0)
    given.matte[:] = 1
    given.matte[:, :8] = given.matte[:, 56:] = 0
    given.matte[24:40, 20:26] = 0
    source = source._replace(cover=np.ones_like(source.cover))
    whole = given.with_rest_of_source(given.moves_rigidly(BODY_STRETCH), source)
    np.testing.assert_array_equal(whole.matte[24:40, 20:26], 0)
    assert whole.matte[24:40, 4:8].min() == 1


def test_what_stays_comes_and_goes_slowly():
    """Toes that were there in one frame of a clip and not in the next would flicker."""
    amounts = []
    for moving in (3, 6, 9):  # rows of 64
        given, source = jacket(2)
        given.offset[:moving, :, 0] = 15 / 64
        whole = given.with_rest_of_source(given.moves_rigidly(BODY_STRETCH), source)
        amounts.append(float(whole.matte[40:60, 14:18].mean()))
    assert amounts[0] == 1
    assert 0.2 < amounts[1] < 0.9
    assert amounts[2] < 0.2


def test_what_another_place_shows_is_no_rest():
    """The arm beside the trunk has moved a little; the trunk does not keep it."""
    given, source = jacket(2)
    given.matte[:, 11:13] = 1
    given.offset[:, 11:13, 0] = 4 / 64
    whole = given.with_rest_of_source(given.moves_rigidly(BODY_STRETCH), source)
    np.testing.assert_array_equal(whole.matte[20:40, 14:], given.matte[20:40, 14:])


def test_where_the_flow_jumps_the_network_draws():
    """From one pixel of the network to the next the flow crosses 30 of the source: enlarged, a ripple."""
    photograph = np.tile(np.linspace(0, 255, 600, dtype=np.uint8)[:, None], (600, 1, 3))
    given = doubted(lambda x, y: (np.where(x < 32, 15, -15) + 0 * y, 0))
    source = SourceFrame.of(photograph, np.ones((600, 600), np.float32), FRAME)
    made = given.without_torn_source(source)
    assert made.share[20:40, 31:33].max() < 0.05
    np.testing.assert_allclose(made.share[20:40, 4:24], 0.3, atol=1e-3)

    def at_network_size(layers):
        moved = source.image_at(layers.looked_at())
        return layers.drawn + layers.share[..., None] * (moved - layers.drawn) + layers.residual

    np.testing.assert_allclose(at_network_size(made), at_network_size(given), atol=1e-5)


NOTHING_SEEN = SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.float32))


def drawn_before_grey(matte, subject=(200, 30, 30), wall=128):
    """What a network drew of a subject that its source does not show: mixed with the wall as the matte (64, 64) is."""
    mixture = matte[..., None] * np.float32(subject) + (1 - matte[..., None]) * wall
    return layers(share=0.0)._replace(drawn=(mixture / 127.5 - 1).astype(np.float32), matte=matte.astype(np.float32))


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


def test_what_looks_like_the_wall_beside_the_subject_is_the_wall():
    """A second shoulder: the matte takes it for the subject, but it was drawn in the colour of the wall."""
    matte = np.zeros((64, 64), np.float32)
    matte[:, 20:40] = 1
    given = drawn_before_grey(matte)
    given.matte[20:40, 40:44] = 0.8
    outlined = given.with_definite_outline(NOTHING_SEEN)
    assert outlined.matte[20:40, 41:44].max() < 0.1
    assert outlined.matte[:, 21:39].min() > 0.99


def test_a_subject_that_looks_like_the_wall_everywhere_stays():
    """White shoes on a white floor."""
    matte = np.zeros((64, 64), np.float32)
    matte[20:44, 20:44] = 1
    outlined = drawn_before_grey(matte, subject=(150, 150, 150), wall=128).with_definite_outline(NOTHING_SEEN)
    assert outlined.matte[21:43, 21:43].min() > 0.95


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


@pytest.mark.parametrize(
    ("away", "matte", "least", "most"), [(0, 0.4, 0.6, 1), (18, 0.6, 0, 0.48), (27, 0.6, 0, 0.2), (18, 0.97, 0.8, 1)]
)
def test_the_matte_trusts_the_body(away, matte, least, most):
    """What it doubts is a limb at the joints, and the source's old silhouette far from them."""
    points = np.tile(np.float32([-1, -1, 0]), (18, 1))
    for joint, place in {1: (128, 60), 2: (105, 60), 5: (151, 60), 8: (113, 120), 11: (143, 120), 3: (75, 60)}.items():
        points[joint] = *place, 1
    given = Layers(*(np.repeat(np.repeat(part, 4, 0), 4, 1) for part in layers(matte=matte)))
    found = given.around(Pose(points, (256, 256))).matte[60 + away, 80]
    assert least < found < most


def test_a_body_of_a_face_alone_leaves_the_matte_as_it_is():
    """Nothing tells how far a place is from it: a doubtful matte must not grow everywhere."""
    points = np.tile(np.float32([-1, -1, 0]), (18, 1))
    points[0] = 30, 20, 1
    given = layers(matte=0.2)
    np.testing.assert_array_equal(given.around(Pose(points, (64, 64))).matte, given.matte)


def test_a_head_brings_no_second_shoulder():
    """Its own outline counts where it fills the crop's middle, the body's where it fades into the body."""
    wall, red = (np.broadcast_to(np.uint8(colour), (256, 256, 3)).copy() for colour in ((128,) * 3, (200, 30, 30)))
    frame = Crop((0, 0, 256, 256), (64, 64))
    cover = np.ones((256, 256), np.float32)
    cover[200:, :96] = cover[200:, 160:] = 0
    canvas = Canvas(red, Crop.whole((256, 256), (256, 256)), frame, frame, wall, wall, cover)
    narrow, wide = (np.tile(np.float32((np.arange(64) >= 32 - n) & (np.arange(64) < 32 + n)), (64, 1)) for n in (8, 24))
    points, arms = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    seen = np.zeros((64, 64, 3), np.uint8)
    head = HeadCrop(seen, frame, points, points, arms, Crop((0, 0, 64, 64), (64, 64)))
    shown = composed(canvas, drawn_before_grey(narrow), [(head, drawn_before_grey(wide))])
    different = np.abs(shown.astype(int) - 128).max(axis=-1) > 8
    assert different[128, 60:196].all()  # the head is as wide as its crop says
    assert not different[225:250, 45:90].any()  # the shoulder as the body says


def test_outlines_are_kept_where_they_are_the_head_s_own(monkeypatch):
    """Around it the head fades into the body: there shoulders have the body's outline, which is smoothed."""
    weights = np.tile(np.linspace(1, 0, 64, dtype=np.float32)[:, None], (1, 64))
    monkeypatch.setattr(HeadCrop, "mask", lambda part: weights)
    kept = []
    monkeypatch.setattr(
        Mixed, "with_smooth_outline", lambda self, layers, place, region, heads, hands: kept.append(heads) or self
    )
    wall = np.full((256, 256, 3), 128, np.uint8)
    frame = Crop((0, 0, 256, 256), (64, 64))
    canvas = Canvas(wall, Crop.whole((256, 256), (256, 256)), frame, frame, wall, wall, np.ones((256, 256), np.float32))
    points, arms = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    head = HeadCrop(wall[:64, :64], frame, points, points, arms, Crop((0, 0, 64, 64), (64, 64)))
    composed(canvas, layers(), [(head, layers())])
    assert kept[0][:60].all()
    assert not kept[0][70:].any()


@pytest.fixture
def whole_half(monkeypatch):
    """A half is shown everywhere, and not its hands and feet alone."""
    monkeypatch.setattr(HalfCrop, "mask", lambda part: np.ones(part.place.size, np.float32))


@pytest.mark.usefixtures("whole_half")
def test_a_refined_half_reaches_little_beyond_the_body():
    """From near the network may take a piece of the background for the person."""
    wall, red = (np.broadcast_to(np.uint8(colour), (256, 256, 3)).copy() for colour in ((128,) * 3, (200, 30, 30)))
    frame = Crop((0, 0, 256, 256), (64, 64))
    cover = np.zeros((256, 256), np.float32)
    cover[:, 96:160] = cover[64:192, 8:64] = 1
    canvas = Canvas(red, Crop.whole((256, 256), (256, 256)), frame, frame, wall, wall, cover)
    body, half = np.zeros((2, 64, 64), np.float32)
    body[:, 24:40] = 1
    half[:, 28:36] = 1
    half[16:48, 2:16] = 1
    points, arms = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    seen = np.zeros((64, 64, 3), np.uint8)
    part = HalfCrop(seen, frame, points, points, arms, Crop((0, 0, 64, 64), (64, 64)), "upper", arms)
    shown = composed(canvas, drawn_before_grey(body), [(part, drawn_before_grey(half))])
    different = np.abs(shown.astype(int) - 128).max(axis=-1) > 8
    assert different[120, 116:140].all()
    assert not different[:, :64].any()  # the piece


@pytest.mark.usefixtures("whole_half")
def test_a_lower_half_that_hardly_moves_brings_toes_back_but_no_hand_that_moved_away():
    """The hand hung beside the hip, and is now where the lower half does not see it."""
    wall, red = (np.broadcast_to(np.uint8(colour), (256, 256, 3)).copy() for colour in ((128,) * 3, (200, 30, 30)))
    frame = Crop((0, 0, 256, 256), (64, 64))
    cover = np.zeros((256, 256), np.float32)
    cover[:, 96:160] = cover[88:136, 160:184] = cover[200:240, 160:184] = 1
    canvas = Canvas(red, Crop.whole((256, 256), (256, 256)), frame, frame, wall, wall, cover)
    matte = np.zeros((64, 64), np.float32)
    matte[:, 24:40] = 1
    body = drawn_before_grey(matte)
    body.offset[..., 1] = -0.12  # it moves, so that only the half brings something back
    points, nothing = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    seen = np.zeros((64, 64, 3), np.uint8)
    arm = np.float32([[[43, 14], [43, 36]]])
    shown = []
    for source_limbs in (nothing, arm):
        part = HalfCrop(seen, frame, points, points, nothing, Crop.whole((64, 64)), "lower", source_limbs)
        image = composed(canvas, body, [(part, drawn_before_grey(matte))])
        different = np.abs(image.astype(int) - 128).max(axis=-1) > 8
        shown.append((different[100:124, 163:172].mean(), different[212:228, 163:172].mean()))
    (hand, toes), (hidden, kept) = shown
    assert min(hand, toes, kept) > 0.9
    assert hidden < 0.1


@pytest.mark.usefixtures("whole_half")
def test_a_body_has_whole_hands_beneath_its_upper_half(monkeypatch):
    """A half fades before a thigh, and the same hand has to be there."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    frame = Crop((0, 0, 256, 256), (64, 64))
    canvas = Canvas(grey, Crop.whole((256, 256), (256, 256)), frame, frame, grey, grey, np.ones((256, 256), np.float32))
    points, limbs = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    part = HalfCrop(grey[:64, :64], frame, points, points, limbs, Crop((0, 0, 64, 64), (64, 64)), "upper", limbs)
    seen = []
    monkeypatch.setattr(compositing, "with_whole_hands", lambda layers, _, *poses: seen.append(poses) or layers)
    poses = Pose.of(points, (64, 64)), Pose.of(points, (64, 64))
    made = drawn_before_grey(np.ones((64, 64), np.float32))
    composed(canvas, made, [(part, made)], poses=poses)
    assert len(seen) == 2
    assert poses in seen


def test_a_soft_outline_of_a_half_that_reaches_beyond_the_body_has_the_colours_of_the_subject(monkeypatch):
    """All is red, for the body and for its half, which is 5 pixels of the body's frame wider."""
    monkeypatch.setattr(HalfCrop, "mask", lambda part: np.tile(np.linspace(0, 1, 64, dtype=np.float32)[:, None], 64))
    red = np.full((640, 640, 3), (200, 30, 30), np.uint8)
    frame = Crop((0, 0, 640, 640), (64, 64))
    narrow, wide = np.zeros((2, 64, 64), np.float32)
    narrow[:, 20:40] = wide[:, 15:45] = 1
    given = layers(offset=(10 / 64, 0.0))._replace(drawn=red[:64, :64] / np.float32(127.5) - 1)
    points, limbs = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    part = HalfCrop(red[:64, :64], frame, points, points, limbs, Crop((0, 0, 64, 64), (64, 64)), "upper", limbs)
    whole = Crop.whole(red.shape, red.shape[:2])
    canvas = Canvas(red, whole, frame, frame, red, np.full_like(red, 255), np.ones((640, 640), np.float32))
    shown = composed(canvas, given._replace(matte=narrow), [(part, given._replace(matte=wide))])
    mixture = (255 - shown[..., 1].astype(float)) / 225  # how much is red
    assert (mixture[500, :180] > 0.1).any()
    np.testing.assert_allclose(shown[..., 0], 255 - 55 * mixture, atol=2, err_msg="a colour of neither")


def test_what_stays_where_it_is_needs_no_second_look():
    """There the source's own pixels are shown already. Its outline belongs to it, a part that moves does not."""
    matte = np.zeros((64, 64), np.float32)
    matte[:, 20:48] = 1
    given = layers(share=1.0)._replace(matte=matte)
    given.offset[:, 36:, 0] = 12 / 64
    unmoved = given.unmoved()
    assert unmoved[20:44, 16:32].min() > 0.9
    assert unmoved[20:44, 38:].max() < 0.1
    assert unmoved[20:44, :10].max() < 0.1
    assert given._replace(share=np.zeros((64, 64), np.float32)).unmoved().max() == 0  # drawn, not the source's


@pytest.mark.usefixtures("whole_half")
def test_a_refined_half_is_not_seen_where_nothing_moves():
    wall, red = (np.broadcast_to(np.uint8(colour), (256, 256, 3)).copy() for colour in ((128,) * 3, (200, 30, 30)))
    frame = Crop((0, 0, 256, 256), (64, 64))
    cover = np.zeros((256, 256), np.float32)
    cover[:, 64:192] = 1
    canvas = Canvas(red, Crop.whole((256, 256), (256, 256)), frame, frame, wall, wall, cover)
    matte = np.zeros((64, 64), np.float32)
    matte[:, 16:48] = 1
    points, limbs = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    part = HalfCrop(red[:64, :64], frame, points, points, limbs, Crop((0, 0, 64, 64), (64, 64)), "upper", limbs)
    narrow = drawn_before_grey(np.where(np.arange(64) < 24, 0, matte).astype(np.float32))
    for way, same in ((0, True), (16, False)):
        body = drawn_before_grey(matte)
        body.offset[..., 0] = way / 64
        alone, both = (composed(canvas, body, parts) for parts in ([], [(part, narrow)]))
        different = np.abs(alone[100:150].astype(int) - both[100:150]).max(axis=-1) > 8
        assert (different.mean() < 0.01) == same


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


def half_in_the_middle(monkeypatch, weight):
    """A half of a body of 64 pixels, twice as large, of a source of 256 pixels. It is seen as its weight says."""
    monkeypatch.setattr(HalfCrop, "mask", lambda part: np.full(part.place.size, weight, np.float32))
    points, limbs = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    place, source_crop = Crop((16, 16, 48, 48), (64, 64)), Crop((64, 64, 192, 192), (64, 64))
    return HalfCrop(np.zeros((64, 64, 3), np.uint8), source_crop, points, points, limbs, place, "upper", limbs)


def lines_shown(monkeypatch, further, weight=0.5):
    """Columns of what is black: a line of the source that the body moves, and by `further` pixels its half."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    source = grey.copy()
    source[:, 120:132] = 0
    frame = Crop((0, 0, 256, 256), (64, 64))
    cover = np.ones((256, 256), np.float32)
    canvas = Canvas(source, Crop.whole((256, 256), (256, 256)), frame, frame, grey, grey, cover)
    part = half_in_the_middle(monkeypatch, weight)
    body, half = layers(offset=(10 / 64, 0.0)), layers(offset=((20 + 2 * further) / 64, 0.0))
    image = composed(canvas, body, [(part, half)])
    return np.flatnonzero(image[128, :, 1] < 10), image[128, :, 1]


def test_between_a_half_and_its_body_a_line_is_seen_once(monkeypatch):
    """Both flows are mixed. A mixture of both images would show two lines, each of them half as dark."""
    black, _ = lines_shown(monkeypatch, further=1)
    assert 10 <= len(black) <= 14
    assert black.mean() == pytest.approx(125.5 - 40 - 2, abs=1.5)  # half way between both


def test_a_half_of_full_weight_is_where_it_says_and_one_of_none_changes_nothing(monkeypatch):
    assert lines_shown(monkeypatch, further=1, weight=1)[0].mean() == pytest.approx(125.5 - 44, abs=0.6)
    assert lines_shown(monkeypatch, further=1, weight=0)[0].mean() == pytest.approx(125.5 - 40, abs=0.1)


def test_between_a_half_and_its_body_no_third_place_is_shown(monkeypatch):
    """Flows that differ by much show two things. Half way between them is a third one."""
    _, brightness = lines_shown(monkeypatch, further=8)
    assert brightness[125 - 40 - 16 - 3 : 125 - 40 - 16 + 4].min() > 110


def test_a_part_lies_over_those_before_it(monkeypatch):
    """The last one is seen where both are, and the earlier one where the last one fades."""
    monkeypatch.setattr(compositing, "_sharp_body", lambda layers, *_: layers)
    monkeypatch.setattr(compositing, "_sharp_head", lambda layers, _: layers)
    wall = np.full((256, 256, 3), 128, np.uint8)
    frame, everywhere = Crop((0, 0, 256, 256), (64, 64)), np.ones((64, 64), np.float32)
    canvas = Canvas(wall, Crop.whole((256, 256), (256, 256)), frame, frame, wall, wall, np.ones((256, 256), np.float32))
    points, limbs = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    body, first, last = (drawn_before_grey(everywhere, colour) for colour in colours)
    seen, places = np.zeros((64, 64, 3), np.uint8), (Crop(box, (64, 64)) for box in ((0, 0, 64, 64), (16, 16, 48, 48)))
    heads = [HeadCrop(seen, frame, points, points, limbs, place) for place in places]
    shown = composed(canvas, body, list(zip(heads, (first, last), strict=True))).astype(int)
    for place, colour in ((4, colours[0]), (60, colours[1]), (128, colours[2])):
        assert np.abs(shown[128 if place > 4 else 4, place] - colour).max() < 8


def with_half(monkeypatch, body, half, weight, source, cover):
    """What a body shows with `half_in_the_middle`, in the middle of it. Layers are mixed as they are given."""
    monkeypatch.setattr(compositing, "_sharp_body", lambda layers, *_: layers)
    frame, wall = Crop((0, 0, 256, 256), (64, 64)), np.zeros((256, 256, 3), np.uint8)
    canvas = Canvas(source, Crop.whole((256, 256), (256, 256)), frame, frame, wall, wall, cover)
    return composed(canvas, body, [(half_in_the_middle(monkeypatch, weight), half)])[96:160, 96:160].astype(int)


def test_a_torn_flow_that_is_not_shown_tears_no_other(monkeypatch):
    """Half of it is what the body drew, and half the photograph, which stays where it is."""
    source = np.zeros((256, 256, 3), np.uint8)
    source[:, ::2] = 240  # no image of 64 pixels shows these lines
    torn = np.random.default_rng(0).normal(0, 0.05, (64, 64, 2)).astype(np.float32)
    body, half = layers(share=0.0)._replace(offset=torn), layers(offset=(8 / 64, 0.0))
    shown = with_half(monkeypatch, body, half, 0.5, source, np.ones((256, 256), np.float32))
    assert np.abs(shown[:, ::2] - 184).mean() < 12
    assert np.abs(shown[:, 1::2] - 64).mean() < 12


def test_what_the_network_drew_beneath_the_source_is_not_seen(monkeypatch):
    """The body shows the source alone, and the half what it drew. Half of both is no third colour."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    shown = with_half(
        monkeypatch,
        layers(drawn=1.0, offset=(8 / 64, 0.0)),
        layers(share=0.0, offset=(16 / 64, 0.0)),
        0.5,
        grey,
        np.ones((256, 256), np.float32),
    )
    assert np.abs(shown - 128).max() < 4


def test_a_foot_that_the_matte_doubts_stays_where_its_half_is_hardly_seen(monkeypatch):
    """What the flow finds in the source is the subject, though the matte alone has no outline there."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    body, half = layers(share=0.7, matte=0.5), layers(matte=0.0)
    shown = with_half(monkeypatch, body, half, 0.05, grey, np.ones((256, 256), np.float32))
    assert shown.min() > 120


def test_a_foot_of_the_source_that_a_half_doubts_does_not_stay(monkeypatch):
    """The body has left its place, and the flow of the half still finds it there."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    body, half = layers(share=0.0, matte=0.5), layers(share=0.5, matte=0.5)
    body.matte[:, :20] = half.matte[:, :8] = 1
    shown = with_half(monkeypatch, body, half, 0.8, grey, np.ones((256, 256), np.float32))
    assert (shown > 100).mean() < 0.1


def test_a_body_shows_what_lies_beyond_the_source_of_its_half(monkeypatch):
    source = np.full((256, 256, 3), (30, 200, 30), np.uint8)
    source[:, 192:] = 30, 30, 200
    body = layers(offset=(92 / 256, 0.0))
    shown = with_half(monkeypatch, body, layers(), 0.3, source, np.ones((256, 256), np.float32))
    assert np.abs(shown[:, 4:] - (30, 30, 200)).mean() < 4


def test_a_head_in_a_frame_with_a_background_of_its_own_has_no_sudden_end():
    """Its surroundings differ from those of the body, and are seen."""
    matte = np.zeros((64, 64), np.float32)
    matte[24:40, 24:40] = 1
    body, head = (layers(share=0.0, drawn=drawn)._replace(matte=matte) for drawn in (0.0, 0.8))
    grey, frame = np.full((256, 256, 3), 128, np.uint8), Crop((0, 0, 256, 256), (64, 64))
    canvas = Canvas(grey, Crop.whole((256, 256), (256, 256)), frame, frame, grey, grey)
    points, limbs = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    part = HeadCrop(np.zeros((64, 64, 3), np.uint8), frame, points, points, limbs, Crop((0, 0, 64, 64), (64, 64)))
    shown = composed(canvas, body, [(part, head)]).astype(int)
    assert shown.max() > 220
    assert np.abs(np.diff(shown[128], axis=0))[:80].max() < 8


def test_frames_of_a_clip_share_what_they_need_of_the_source(photograph):
    canvas = Canvas.of(
        photograph, FRAME, FRAME, "source", whole=True, cover=lambda image, crop: np.ones((600, 600), np.float32)
    )
    first = canvas.frame_of(FRAME)
    assert first.image.shape == (64, 64, 3)
    assert (first.cover == 1).all()
    assert canvas.frame_of(Crop(FRAME.box, FRAME.size)) is first
    bare = Canvas.of(photograph, FRAME, FRAME, "source", whole=True, cover=lambda image, crop: None)
    assert bare.frame_of(FRAME) is None


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


@pytest.mark.parametrize(("background", "changes"), [("keep", False), ("white", True), ("transparent", True)])
def test_edges_keep_their_detail_before_their_own_background(monkeypatch, photograph, background, changes):
    called = []
    monkeypatch.setattr(Mixed, "without_fringe", lambda self, place: called.append(place) or self)
    cover = np.ones((600, 600), np.float32)
    canvas = Canvas.of(
        photograph, FRAME, FRAME, "source", whole=True, cover=lambda image, crop: cover, background=background
    )
    composed(canvas, layers())
    assert bool(called) == changes


def test_a_frame_stands_before_its_background(photograph):
    frame = Mixed(np.full((600, 600, 3), 200, np.uint8), np.full((600, 600), 0.5, np.float32))
    expected = (photograph.astype(np.float64) + 200) / 2
    assert np.abs(on_background(frame, photograph) - expected).max() <= 1
