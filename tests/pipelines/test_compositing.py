"""Frames and their refined parts, set together in front of a background."""

from __future__ import annotations

import numpy as np
import pytest
from generated_frames import FRAME, drawn_before_grey, layers

from gfla_cli.geometry.crop import Crop
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines import compositing, mixing
from gfla_cli.pipelines.canvas import Canvas
from gfla_cli.pipelines.compositing import composed
from gfla_cli.pipelines.frame_layers import SourceFrame
from gfla_cli.pipelines.mixing import Mixed
from gfla_cli.pipelines.refinement import HalfCrop, HeadCrop
from gfla_cli.pipelines.skirts import Hem


@pytest.mark.parametrize("band", [256, 100, 195, 205])
@pytest.mark.parametrize(("moved", "size"), [(10, 64), (10, 128), (10, 640), (0, 640)])
def test_the_outline_of_what_has_moved_is_as_sharp_as_a_photograph_and_has_the_colours_of_the_subject(
    moved, size, band, monkeypatch
):
    """A red square beside a post, before a white wall. Its edges lie where bands of rows meet, or close to that."""
    monkeypatch.setattr(mixing, "_BAND", band * size // 640)
    frame = Crop((0, 0, size, size), (64, 64))
    red = np.full((size, size, 3), (200, 30, 30), np.uint8)
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
        source_cover=np.ones((size, size), np.float32),
        frames={frame: SourceFrame.shown(np.full((64, 64, 3), (200, 30, 30), np.uint8), np.ones((64, 64), np.float32))},
    )
    shown = composed(canvas, given)
    middle, column = round(0.47 * size), size // 2
    np.testing.assert_allclose(shown[middle, column], (200, 30, 30), atol=1)
    mixture = (255 - shown[..., 1].astype(float)) / 225  # how much is red
    np.testing.assert_allclose(shown[..., 0], 255 - 55 * mixture, atol=2, err_msg="a colour of neither")
    widths = [int(((line > 0.02) & (line < 0.98)).sum()) / 2 for line in (mixture[middle], mixture[:, column])]
    pixel = size / 64  # of the network's frame
    assert (max(widths) <= min(4, 2 * pixel)) if moved else (max(widths) < 1.2 * pixel), widths


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


def test_a_head_has_no_scalloped_outline():
    """A matte may have the pattern of transposed convolutions."""
    wall, red = (np.broadcast_to(np.uint8(colour), (256, 256, 3)).copy() for colour in ((128,) * 3, (200, 30, 30)))
    frame = Crop((0, 0, 256, 256), (64, 64))
    canvas = Canvas(red, Crop.whole((256, 256), (256, 256)), frame, frame, wall, wall, np.ones((256, 256), np.float32))
    points, arms = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    head = HeadCrop(wall[:64, :64], frame, points, points, arms, Crop((0, 0, 64, 64), (64, 64)))
    edge = 20 + 1.5 * np.cos(np.arange(64) * np.pi / 2)
    made = drawn_before_grey((np.arange(64) + 0.5 - edge[:, None]).clip(0, 1).astype(np.float32))
    shown = composed(canvas, made, [(head, made)])
    outline = np.argmax(shown[100:160, :, 1] < 80, axis=1)  # pixels of the canvas, four for one of the frame
    assert np.ptp(outline) <= 4  # 12 in the matte


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
@pytest.mark.parametrize("hem", [None, Hem(0.9, 0.9)])
def test_a_skirt_is_set_into_a_body_and_its_half_by_whole_legs(monkeypatch, hem):
    """The poses of a half end where its crop cuts them, so heights on their legs are others."""
    grey = np.full((256, 256, 3), 128, np.uint8)
    frame = Crop((0, 0, 256, 256), (64, 64))
    cover = np.ones((256, 256), np.float32)
    canvas = Canvas(grey, Crop.whole((256, 256), (256, 256)), frame, frame, grey, grey, cover, hem=hem)
    cut, nothing = np.tile(np.float32([-1, -1, 0, 0]), (18, 1)), np.zeros((0, 2, 2), np.float32)
    part = HalfCrop(grey[:64, :64], frame, cut, cut, nothing, Crop((0, 16, 32, 48), (64, 64)), "upper", nothing)
    points = np.float32([[8, 2 * joint, 1] for joint in range(18)])
    seen = []
    monkeypatch.setattr(compositing, "with_whole_skirt", lambda layers, _, *how: seen.append(how) or layers)
    made = drawn_before_grey(np.ones((64, 64), np.float32))
    composed(
        canvas, made, [(part, made)], poses=(Pose(points, (64, 64)), Pose(points + np.float32((4, 0, 0)), (64, 64)))
    )
    if hem is None:
        assert seen == []
        return
    knees = sorted((tuple(source.points[9, :2]), tuple(target.points[9, :2]), one) for source, target, one in seen)
    in_half = tuple(2 * (np.float32((8, 18)) + 0.5 - (0, 16)) - 0.5)
    assert knees == [((8, 18), (12, 18), hem), (in_half, (in_half[0] + 8, in_half[1]), hem)]


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
