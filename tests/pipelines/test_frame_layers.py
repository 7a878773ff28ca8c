"""Layers of a generated frame get one outline, and the source's own pixels where they move as they are."""

from __future__ import annotations

import numpy as np
import pytest
from generated_frames import FRAME, NOTHING_SEEN, drawn_before_grey, layers

from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.frame_layers import BODY_STRETCH, HEAD_STRETCH, Layers, SourceFrame, body_without_pattern


@pytest.mark.parametrize("period", [2, 4])
def test_what_was_drawn_of_a_body_has_no_pattern_of_four_pixels(period):
    wave = np.cos(np.arange(64) * 2 * np.pi / period).astype(np.float32)
    smooth = np.linspace(-0.5, 0.5, 64, dtype=np.float32)[None, :, None].repeat(3, axis=2)
    given = layers(share=0.25, residual=0.1, drawn=0.0)
    for pattern in (wave, wave[:, None], wave * wave[:, None]):
        drawn = given._replace(drawn=(smooth + 0.2 * pattern[..., None] + given.drawn).astype(np.float32))
        image = drawn.mixed(NOTHING_SEEN).transpose(2, 0, 1)
        image, clean = body_without_pattern(image, drawn)
        inside = slice(4, -4), slice(4, -4)
        np.testing.assert_allclose(clean.drawn[inside], (smooth + given.drawn)[inside], atol=1e-5)
        np.testing.assert_allclose(image.transpose(1, 2, 0), clean.mixed(NOTHING_SEEN), atol=1e-5)
        assert all(np.array_equal(a, b) for a, b in zip(drawn[1:], clean[1:], strict=True))


@pytest.mark.parametrize("period", [2, 4])
def test_an_even_outline_has_no_pattern_of_four_pixels(period):
    wave = np.cos(np.arange(64) * 2 * np.pi / period).astype(np.float32)
    smooth = np.tile(np.linspace(0.2, 0.8, 64, dtype=np.float32), (64, 1))
    given = layers()._replace(matte=smooth + 0.1 * wave[:, None])
    even = given.with_even_outline()
    np.testing.assert_allclose(even.matte[4:-4, 4:-4], smooth[4:-4, 4:-4], atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(given[:4], even[:4], strict=True))


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


def test_no_soft_edge_is_left_of_a_ring_around_hair():
    x = np.arange(64)
    given = doubted(lambda x, y: (0 * x + 2, 0))
    given = given._replace(matte=np.tile(np.interp(x, (38, 43, 48), (0.9, 0.6, 0.2)).astype(np.float32), (64, 1)))
    given.matte[:, 48:] = 0
    source = SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), np.tile(np.float32(x < 40), (64, 1)))
    matte = given.with_outline_of_source(given.moves_rigidly(HEAD_STRETCH), source, as_a_whole=True).matte
    assert matte[10:50, :36].min() > 0.85
    assert matte[10:50, 41:].max() < 0.05


def test_a_ring_within_the_hair_leaves_no_hole():
    """The network drew hair beyond the ring, which has another flow."""
    x = np.arange(64)
    given = doubted(lambda x, y: (np.where(x < 46, 2, -18) + 0 * y, 0))
    given = given._replace(matte=np.tile(np.float32((x >= 8) & (x < 56)), (64, 1)))
    given.matte[:8] = given.matte[56:] = 0
    cover = np.tile(np.float32(x < 40), (64, 1))
    cover[:16] = cover[48:] = x < 60  # above and below, there is no ring
    source = SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), cover)
    matte = given.with_outline_of_source(given.moves_rigidly(HEAD_STRETCH), source, as_a_whole=True).matte
    assert matte[20:44, 40:44].min() > 0.95


@pytest.mark.parametrize("part", [pytest.param(HEAD, id="a head"), pytest.param(LIMB, id="a hand")])
def test_no_hand_or_head_comes_off(part):
    """A forearm of 7 pixels, of which the source shows 3 where the flow leads: without the rest, its hand comes off."""
    y, x = np.mgrid[:64, :64]
    trunk, hand = (y < 20) & (abs(x - 20) < 14), (y >= 44) & (y < 58) & (abs(x - 17) < 6)
    matte = trunk | hand | ((y >= 20) & (y < 44) & (abs(x - 17) < 4))
    shown = trunk | hand | ((y >= 20) & (y < 44) & (abs(x - 17) < 2))
    given = doubted(lambda x, y: (0 * x + 2, 0))._replace(matte=matte.astype(np.float32))
    source = SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), np.roll(shown, 2, axis=1).astype(np.float32))
    rigid = given.moves_rigidly(part["stretch"])
    kept = given.with_outline_of_source(rigid, source, as_a_whole=part["as_a_whole"])
    np.testing.assert_array_equal(kept.matte[30:], given.matte[30:])


def test_hair_beside_a_ring_that_is_cut_does_not_keep_it():
    """Slender pieces of a ring are left where it is cut. They are no neck, unless in the lower half."""
    y, x = np.mgrid[:64, :64]
    head = (y > 14) & (y < 40) & (abs(x - 30) < 12)
    ring, outer = (abs(np.hypot(y - 26, x - 30) - r) < 2.5 for r in (14, 19))
    matte = head | ((ring | outer) & (y < 26))
    given = doubted(lambda x, y: (0 * x + 2, 0))._replace(matte=matte.astype(np.float32))
    given.offset[outer & ~head, 0] = 12 / 64  # another flow, so that it is not cut
    source = SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), np.roll(head, 2, axis=1).astype(np.float32))
    cut = given.with_outline_of_source(given.moves_rigidly(HEAD_STRETCH), source, as_a_whole=True)
    assert cut.matte[ring & ~head & (y < 20)].mean() < 0.3


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
