"""What a network draws inside of a body gets the source's texture; heads, hands and small things stay as drawn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from keypoints import SIZE, STANDING, points

from gfla_cli.geometry.crop import Crop
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.canvas import Canvas
from gfla_cli.pipelines.compositing import composed
from gfla_cli.pipelines.frame_layers import Layers, SourceFrame
from gfla_cli.pipelines.hands import hand_areas
from gfla_cli.pipelines.texture import with_texture

POSES = Pose(points(), SIZE), Pose(points(), SIZE)
RED, DARK, BLUE = (170, 60, 60), (40, 30, 30), (40, 60, 160)
HIDDEN = slice(70, 104), slice(74, 102)  # rows and columns of the shirt that the source does not show
SHIRT, SLEEVE = (slice(56, 120), slice(52, 124)), (slice(60, 112), slice(134, 158))


def dressed(finer):
    """A shirt with stripes and blue trousers, at `finer` pixels for one of the network's frame: image and cover."""
    image, cover = np.full((*SIZE, 3), 230, np.uint8), np.zeros(SIZE, np.float32)
    image[10:56, 64:112] = 220, 180, 150
    image[120:240, 64:112] = BLUE
    image = cv2.resize(image, None, fx=finer, fy=finer, interpolation=cv2.INTER_NEAREST)
    for part in (SHIRT, SLEEVE):
        rows, columns = (slice(side.start * finer, side.stop * finer) for side in part)
        stripes = np.where((np.arange(rows.stop - rows.start) // 3 % 2)[:, None], np.uint8(RED), np.uint8(DARK))
        image[rows, columns] = stripes[:, None]
    cover[10:240, 64:112] = cover[SHIRT] = cover[SLEEVE] = 1
    return image, cv2.resize(cover, None, fx=finer, fy=finer, interpolation=cv2.INTER_NEAREST)


def made(finer=1, share=0.0, colour=None):
    """Layers of a person who stands still; where the shirt is hidden, they show a mean colour."""
    image, cover = dressed(finer)
    drawn = image / np.float32(127.5) - 1
    hidden = tuple(slice(part.start * finer, part.stop * finer) for part in HIDDEN)
    drawn[hidden] = (np.mean([RED, DARK], axis=0) if colour is None else np.float32(colour)) / 127.5 - 1
    shares = np.ones(cover.shape, np.float32)
    shares[hidden] = share
    nothing = np.zeros((*cover.shape, 3), np.float32)
    given = Layers(drawn.astype(np.float32), shares, nothing, nothing[..., :2].copy(), cover)
    return given, SourceFrame.shown(image, cover), hidden


def shown(layers, source):
    return (layers.mixed(source) + 1) * 127.5


@pytest.mark.parametrize("finer", [1, 2])
def test_a_hidden_part_of_a_shirt_gets_its_stripes(finer):
    given, source, hidden = made(finer)
    filled = with_texture(given, source, POSES)
    assert filled.matte[hidden].mean() > 0.7
    before, after = (np.abs(shown(layers, source) - source.image)[hidden].mean() for layers in (given, filled))
    assert after < 0.5 * before, (after, before)
    outside = np.ones(given.matte.shape, np.bool_)
    grown = tuple(slice(part.start - 8 * finer, part.stop + 8 * finer) for part in hidden)
    outside[grown] = False
    assert filled.matte[outside].max() == 0


def test_patches_come_from_the_photograph_itself_only_where_they_do_not_change():
    """Between two patches the flow jumps: enlarged, that would be a smear of all that lies between them."""
    given, source, _ = made(2)
    filled = with_texture(given, source, POSES)
    own = filled.share > 0
    assert set(np.unique(filled.share)) == {0, 1}
    assert own.sum() > 0.3 * (filled.matte > 0.5).sum()
    for axis in (0, 1):
        jump = (np.diff(filled.offset, axis=axis) != 0).any(axis=2)
        before, after = (own.take(range(*ends), axis) for ends in ((0, jump.shape[axis]), (1, jump.shape[axis] + 1)))
        assert not (jump & (before | after)).any()
    y, x = np.nonzero(own)
    at_x, at_y = (place[y, x] for place in filled.looked_at())
    assert source.cover[np.rint(at_y).astype(int), np.rint(at_x).astype(int)].min() == 1


def test_trousers_are_no_patches_of_a_sleeve():
    """They are as smooth as the blur of a sleeve without stripes around it, but their colour does not fit."""
    given, source, _ = made(share=1)
    given.drawn[SLEEVE] = np.mean([RED, DARK], axis=0) / 127.5 - 1
    given.share[SLEEVE] = 0
    filled = with_texture(given, source, POSES)
    inside = tuple(slice(part.start + 4, part.stop - 4) for part in SLEEVE)
    result = shown(filled, source)[inside]
    assert filled.matte[inside].mean() > 0.7
    assert (result[..., 2] > result[..., 0] + 20).mean() < 0.02
    assert result[..., 0].std() > 0.5 * source.image[inside][..., 0].std()  # stripes


def test_heads_and_bare_hands_are_left_alone():
    given, source, _ = made()
    everything = given._replace(share=np.zeros_like(given.share))
    skin = np.float32((220, 180, 150)) / 127.5 - 1
    wrists = STANDING[[4, 7]].astype(int)
    for x, y in wrists:
        everything.drawn[y - 8 : y, x - 4 : x + 5] = skin
    filled = with_texture(everything, source, POSES)
    assert filled.matte[70:100, 80:96].min() > 0
    nose = STANDING[0].astype(int)
    assert filled.matte[nose[1] - 10 : nose[1] + 10, nose[0] - 10 : nose[0] + 10].max() == 0
    for x, y in wrists:
        assert filled.matte[y - 8 : y, x - 4 : x + 5].max() < 0.1


def test_cloth_beside_a_hand_gets_texture():
    given, source, _ = made(share=1)
    given.share[120:142, 66:84] = 0  # trousers
    area = hand_areas(POSES[1], SIZE) > 0
    area[:, :69] = area[:, 81:] = area[:123] = area[139:] = False
    assert area.sum() > 10
    assert with_texture(given, source, POSES).matte[area].mean() > 0.7


def test_a_small_thing_that_the_source_does_not_have_there_stays_as_drawn():
    given, source, _ = made()
    given.drawn[80:92, 80:92] = np.float32((230, 220, 40)) / 127.5 - 1
    filled = with_texture(given, source, POSES)
    assert filled.matte[83:89, 83:89].max() < 0.1
    assert filled.matte[96:102, 80:96].mean() > 0.5


def test_a_gap_that_the_network_doubts_is_no_white_spot():
    given, source, _ = made()
    gap = slice(84, 92), slice(82, 92)
    given.drawn[gap] = 0.9
    given = given._replace(matte=given.matte.copy())
    given.matte[gap] = 0.7
    filled = with_texture(given, source, POSES)
    assert filled.matte[gap].mean() > 0.9
    assert (shown(filled, source)[gap].max(axis=(0, 1)) < np.array(RED) + 20).all()  # the spot has 242


@pytest.mark.parametrize("finer", [1, 2])
def test_a_strap_that_the_source_shows_between_drawn_places_stays(finer):
    given, source, (rows, columns) = made(finer)
    middle = (rows.start + rows.stop) // 2
    given.share[middle - 3 * finer : middle + 3 * finer, columns] = 1
    filled = with_texture(given, source, POSES)
    assert filled.matte[middle - finer : middle + finer, columns].max() < 0.1
    for drawn in (slice(rows.start, middle - 6 * finer), slice(middle + 6 * finer, rows.stop)):
        assert filled.matte[drawn, columns].mean() > 0.5


def test_there_may_be_nothing_to_do():
    given, source, _ = made(share=0.8)
    assert with_texture(given, source, POSES) is None  # all is moved
    given, source, _ = made()
    away = Pose(points(confidence=0), SIZE)
    for poses in ((away, POSES[1]), (POSES[0], away)):
        assert with_texture(given, source, poses) is None
    nobody = SourceFrame.shown(source.image, np.zeros_like(source.cover))
    assert with_texture(given, nobody, POSES) is None
    tiny = given.share.copy()
    tiny[:] = 1
    tiny[80:83, 80:83] = 0
    assert with_texture(given._replace(share=tiny), source, POSES) is None


def test_the_same_body_gets_the_same_texture():
    first, second = (with_texture(*made()[:2], POSES) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_result_at_the_size_of_the_photograph_gets_it_if_it_is_asked_for():
    photograph, cover = dressed(4)
    frame, noise = Crop.whole(cover.shape, SIZE), np.random.default_rng(0).normal(0, 0.1, (*SIZE, 2))
    given, _, hidden = made()
    given.offset[hidden] = noise[hidden]  # a torn flow: the source would show a ripple
    background = np.full_like(photograph, 230)
    scale = Crop.whole(cover.shape, cover.shape)
    canvas = Canvas(photograph, scale, frame, frame, photograph, background, cover)
    plain, textured = (composed(canvas, given, poses=POSES, single=how).astype(int) for how in (False, True))
    there = tuple(slice(4 * part.start, 4 * part.stop) for part in HIDDEN)
    before, after = (np.abs(image - photograph)[there].mean() for image in (plain, textured))
    assert after < 0.6 * before, (after, before)
    edge = np.abs(np.diff(textured[there], axis=0)).max(axis=(1, 2))
    assert edge.max() > 0.8 * (RED[0] - DARK[0])  # stripes as sharp as those of the photograph
    plain[tuple(slice(part.start - 40, part.stop + 40) for part in there)] = 0
    textured[tuple(slice(part.start - 40, part.stop + 40) for part in there)] = 0
    np.testing.assert_array_equal(plain, textured)
