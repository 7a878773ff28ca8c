"""A skirt is found by its hem, and stays whole where legs go apart; trousers and shorts are left alone."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest
from drawn_landmarks import drawn_body

from gfla_cli.geometry.crop import Crop
from gfla_cli.person.pose import MISSING, Pose
from gfla_cli.pipelines.canvas import Canvas
from gfla_cli.pipelines.frame_layers import Layers, SourceFrame
from gfla_cli.pipelines.skirts import Hem, hem_of, with_whole_skirt

SIZE = (256, 256)
WHITE, SKIN, RED = (250, 250, 250), (214, 160, 130), (190, 20, 40)
HIPS_Y, KNEES_Y, HEM_Y = 128, 176, 188
KNEES, ANKLES, WRISTS = [9, 12], [10, 13], [4, 7]


def body(apart=0):
    """Someone who stands; `apart`: pixels by which each foot is farther from the middle. Knees go along by half."""
    points = drawn_body(SIZE, 32.0)
    points[KNEES, 0] += -apart / 2, apart / 2
    points[ANKLES, 0] += -apart, apart
    points[WRISTS, 0] += -20, 20
    return points


def photograph(points, clothes, thick=11):
    """A person with bare legs, over which the polygons of `clothes` are drawn."""
    image = np.full((*SIZE, 3), WHITE, np.uint8)
    cv2.rectangle(image, (100, 50), (156, HIPS_Y), RED, cv2.FILLED)
    for leg in ((8, 9, 10), (11, 12, 13)):
        cv2.polylines(image, [points[list(leg), :2].astype(np.int32)], False, SKIN, thick)
    for outline in clothes:
        cv2.fillPoly(image, [np.int32(outline)], RED)
    return image


def skirt(hem=HEM_Y):
    """It goes from the hips down to `hem`, which is wider than both legs."""
    return [[(100, HIPS_Y), (156, HIPS_Y), (160, hem), (96, hem)]]


def shorts(legs=(112, 144), half=16, hem=HEM_Y):
    """Two legs of cloth from the hips on; with half the distance between both legs they touch."""
    return [[(100, HIPS_Y), (156, HIPS_Y), (156, 140), (100, 140)]] + [
        [(x - half, HIPS_Y), (x + half, HIPS_Y), (x + half, hem), (x - half, hem)] for x in legs
    ]


def shown(image):
    return SourceFrame.shown(image, (image != WHITE).any(axis=-1).astype(np.float32))


def found(points, clothes, thick=11):
    return hem_of(shown(photograph(points, clothes, thick)).cover, Pose(points, SIZE))


def test_the_hem_of_a_skirt_is_found():
    assert found(body(), skirt()) == pytest.approx([1 + (HEM_Y - KNEES_Y) / 48] * 2, abs=0.06)
    assert found(body(), skirt(160)) == pytest.approx([(160 - HIPS_Y) / 48] * 2, abs=0.06)


def test_without_ankles_a_hem_is_found_above_the_knees():
    points = body()
    points[ANKLES[0]] = MISSING
    image = photograph(body(), skirt(156))
    hem = hem_of(shown(image).cover, Pose(points, SIZE))
    assert hem == pytest.approx([(156 - HIPS_Y) / 48] * 2, abs=0.06)


def test_a_hem_is_slanted_by_a_quarter_of_a_leg_at_most():
    steep = [[(100, HIPS_Y), (156, HIPS_Y), (160, 186), (96, 154)]]
    right, left = found(body(), steep)
    assert left - right == pytest.approx(0.25, abs=1e-4)


def test_a_slanted_hem_has_a_height_on_each_leg():
    slanted = [[(100, HIPS_Y), (156, HIPS_Y), (160, 172), (96, 156)]]  # 112 and 144 are the legs
    right, left = found(body(), slanted)
    assert (right, left) == pytest.approx((32 / 48, 40 / 48), abs=0.06)
    assert left - right > 0.1


@pytest.mark.parametrize(
    "clothes",
    [shorts(half=9), shorts(half=9, hem=226), shorts(half=11), [], skirt(226), skirt(140), skirt(148)],
    ids=["shorts", "trousers", "wide shorts", "bare legs", "a dress down to the feet", "a long shirt", "a longer one"],
)
def test_other_clothes_are_no_skirt(clothes):
    assert found(body(), clothes) is None


def test_trousers_that_open_below_the_knees_are_no_skirt():
    """They are closed above, and open below, but as wide there."""
    outer = [(88, HIPS_Y), (168, HIPS_Y), (168, 226), (152, 226), (136, HEM_Y), (120, HEM_Y), (104, 226), (88, 226)]
    assert found(body(), [outer]) is None


def test_legs_that_fill_most_of_what_is_between_them_are_no_end_of_a_skirt():
    points = body()
    thick = [[(x - 8, HEM_Y), (x + 8, HEM_Y), (x + 8, 226), (x - 8, 226)] for x in (114, 142)]
    assert found(points, skirt()) is not None
    assert found(points, skirt() + thick) is None


def test_shorts_of_legs_that_touch_are_no_skirt():
    points = body()
    points[[8, *KNEES[:1], *ANKLES[:1]], 0] += 6
    points[[11, *KNEES[1:], *ANKLES[1:]], 0] -= 6
    assert found(points, shorts((118, 138), 10)) is None


def test_below_a_skirt_legs_that_are_close_tell_too_little():
    points = body()
    for right, skirts in ((119, 0), (117, 1)):
        points[[*KNEES, *ANKLES], 0] = right, 256 - right, right, 256 - right
        assert (found(points, skirt(), thick=5) is not None) == skirts


def test_who_sits_or_crosses_legs_or_lacks_a_joint_wears_no_skirt():
    sits, crosses, lacks = body(), body(), body()
    sits[KNEES, 1] -= 30
    crosses[[*KNEES, *ANKLES], 0] = crosses[[*KNEES[::-1], *ANKLES[::-1]], 0]
    lacks[10] = MISSING
    for points in (sits, crosses, lacks):
        assert found(points, skirt()) is None


def test_where_an_image_ends_is_no_hem():
    assert hem_of(np.ones((190, 256), np.float32), Pose(body(), (190, 256))) is None


def two_legs(points):
    """What a network makes: each leg for itself, which the flow leads to the same place of the source."""
    matte = np.zeros(SIZE, np.float32)
    for leg in ((8, 9, 10), (11, 12, 13)):
        cv2.polylines(matte, [points[list(leg), :2].astype(np.int32)], False, 1.0, 15)
    drawn = np.where(matte[..., None] > 0, np.float32(RED), np.float32(WHITE)) / np.float32(127.5) - 1
    zero = np.zeros((*SIZE, 3), np.float32)
    return Layers(drawn, matte * 0, zero, np.zeros((*SIZE, 2), np.float32), matte)


def made(clothes, target, hidden=0, drawn_at=None):
    """Layers before and after, and the source, whose body stands. `hidden`: pixels of a hole in the source's cover."""
    points = body()
    image = photograph(points, clothes)
    if hidden:
        cv2.circle(image, (128, HEM_Y - 20), hidden, WHITE, cv2.FILLED)
    source, layers = shown(image), two_legs(target)
    if drawn_at is not None:
        cv2.circle(layers.matte, drawn_at, 14, 1.0, cv2.FILLED)
    hem = Hem(1.25, 1.25)
    return layers, with_whole_skirt(layers, source, Pose(points, SIZE), Pose(target, SIZE), hem), source


def changed(before, after):
    """(H, W) bool: where any of the layers differs."""
    return np.any([np.abs(a - b).reshape(*SIZE, -1).max(axis=-1) > 0 for a, b in zip(before, after, strict=True)], 0)


def test_legs_that_go_apart_keep_the_cloth_between_them():
    target = body(apart=40)
    before, after, source = made(skirt(), target)
    assert before.matte[KNEES_Y, 128] == 0
    assert (after.matte[KNEES_Y, 128], after.share[KNEES_Y, 128]) == pytest.approx((1, 1), abs=1e-4)
    x, y = (part[KNEES_Y, 128] for part in after.looked_at())
    assert (x, y) == pytest.approx((128, KNEES_Y), abs=1)
    quarter = 128 - 13  # half the way from the middle to a knee, which is 36 pixels from it, and 16 in the source
    x, y = (part[KNEES_Y, quarter] for part in after.looked_at())
    assert (x, y) == pytest.approx((128 - 13 * 16 / 36, KNEES_Y), abs=1)
    between = after.mixed(source)[KNEES_Y, 101:156]  # up to the legs, without a white rim
    assert np.abs(between - (np.float32(RED) / 127.5 - 1)).max() < 0.02


def test_each_place_follows_one_of_both_flows():
    _, after, _ = made(skirt(), body(apart=40))
    across = np.arange(92, 165)
    of_cloth = (128 + (across - 128) * 16 / 36 - across) / SIZE[1]
    there = after.offset[KNEES_Y, across, 0]
    assert (np.minimum(np.abs(there), np.abs(there - of_cloth)) < 1 / SIZE[1]).all()
    assert (np.abs(there) == 0).sum() > 4


def test_where_two_flows_meet_both_are_drawn():
    """Enlarged, a flow that jumps would lead to places between both, which may be anything."""
    target = body(apart=40)
    points, image = body(), photograph(body(), skirt())
    source, layers = shown(image), two_legs(target)
    layers = layers._replace(share=np.ones(SIZE, np.float32), matte=np.ones(SIZE, np.float32))
    cv2.rectangle(layers.matte, (110, KNEES_Y - 10), (146, KNEES_Y + 8), 0.0, cv2.FILLED)
    after = with_whole_skirt(layers, source, Pose(points, SIZE), Pose(target, SIZE), Hem(1.25, 1.25))
    jumps = np.abs(np.diff(after.offset[KNEES_Y, :, 0])) * SIZE[1] > 6
    assert 1 <= jumps.sum() <= 4
    assert after.share[KNEES_Y, :-1][jumps].max() < 0.1


def test_cloth_ends_at_its_hem_and_between_the_legs():
    before, after, _ = made(skirt(), body(apart=40))
    y, x = np.nonzero(changed(before, after))
    assert (y.min(), y.max()) == (pytest.approx(HIPS_Y + 5, abs=3), pytest.approx(HEM_Y, abs=4))
    assert (x.min(), x.max()) == (pytest.approx(128 - 40, abs=6), pytest.approx(128 + 40, abs=6))


def test_cloth_is_set_where_the_network_leaves_a_gap():
    target = body(apart=40)
    points = body()
    layers, source = two_legs(target), shown(photograph(points, skirt()))
    cv2.rectangle(layers.matte, (90, HIPS_Y), (166, KNEES_Y - 10), 1.0, cv2.FILLED)
    after = with_whole_skirt(layers, source, Pose(points, SIZE), Pose(target, SIZE), Hem(1.25, 1.25))
    y, _ = np.nonzero(changed(layers, after))
    assert KNEES_Y - 22 < y.min() < KNEES_Y - 16
    assert after.matte[KNEES_Y, 128] == pytest.approx(1, abs=1e-4)


def test_where_the_source_shows_its_background_is_no_cloth():
    _, after, _ = made(skirt(), body(apart=40), hidden=5)
    assert after.matte[HEM_Y - 20, 128] == 0
    assert after.matte[HEM_Y - 34, 128] == pytest.approx(1, abs=1e-4)


def test_a_hand_in_front_of_the_skirt_is_no_cloth():
    points = body()
    points[[3, 4], :2] = (96, 120), (128, 160)  # a wrist, beyond which the hand points down
    image = photograph(points, skirt())
    cv2.line(image, (96, 120), (134, 168), SKIN, 9)
    cv2.line(image, (104, 122), (130, 156), (90, 10, 20), 3)  # its shadow beside it
    source, layers = shown(image), two_legs(body(apart=40))
    after = with_whole_skirt(layers, source, Pose(points, SIZE), Pose(body(apart=40), SIZE), Hem(1.25, 1.25))
    middle = after.mixed(source)[155:185, 120:136]
    assert after.matte[155:185, 120:136].min() > 0.9
    assert np.abs(middle - (np.float32(RED) / 127.5 - 1)).max() < 0.15


def test_legs_that_are_close_need_no_cloth():
    target = body()
    target[[8, 11], 0] = 127, 129
    target[KNEES, 0] = 126, 130
    target[ANKLES, 0] = 126, 130
    before, after, _ = made(skirt(), target)
    assert after is before
    source, empty = shown(photograph(body(), skirt())), before._replace(matte=before.matte * 0)
    assert with_whole_skirt(empty, source, Pose(body(), SIZE), Pose(target, SIZE), Hem(1.25, 1.25)) is empty


def test_a_target_with_all_joints_in_one_place_stays_as_it_is():
    target = np.tile(np.array(MISSING, np.float32), (18, 1))
    target[8:14] = 128, 128, 1
    with np.errstate(all="raise"):
        before, after, _ = made(skirt(), target)
        assert hem_of(np.zeros(SIZE, np.float32), Pose(target, SIZE)) is None
    assert after is before


def test_a_hand_that_was_drawn_stays_in_front_of_the_cloth():
    target = body(apart=40)
    target[7, :2] = 128, 165
    before, after, _ = made(skirt(), target, drawn_at=(128, 168))
    assert not changed(before, after)[166:172, 125:131].any()
    assert after.matte[KNEES_Y, 100] == pytest.approx(1, abs=1e-4)


def test_a_hand_that_was_not_drawn_leaves_no_hole():
    target = body(apart=40)
    target[7, :2] = 128, 165
    _, after, _ = made(skirt(), target)
    assert after.matte[146 : HEM_Y - 8, 128].min() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("joint", [8, 9, 13])
def test_a_target_without_a_joint_above_the_hem_stays_as_it_is(joint):
    target = body(apart=40)
    target[joint] = MISSING
    before, after, _ = made(skirt(), target)
    assert after is before


def test_a_short_skirt_needs_no_ankles():
    points, target = body(), body(apart=40)
    source, layers = shown(photograph(points, skirt(160))), two_legs(target)
    target[ANKLES] = MISSING
    after = with_whole_skirt(layers, source, Pose(points, SIZE), Pose(target, SIZE), Hem(0.66, 0.66))
    assert after.matte[155, 128] == pytest.approx(1, abs=1e-4)


def test_legs_that_cross_change_sides_without_a_tear():
    target = body(apart=40)
    target[ANKLES, 0] = target[ANKLES[::-1], 0]
    _, after, source = made(skirt(), target)
    assert np.isfinite(after.offset).all()
    assert after.matte.max() <= 1
    assert after.matte.min() >= 0
    assert np.isfinite(after.mixed(source)).all()


def test_a_leg_far_outside_of_the_image_takes_no_longer():
    target = body(apart=40)
    target[13, :2] = 1e6, 1e6
    _, after, _ = made(skirt(), target)
    assert np.isfinite(after.offset).all()


@pytest.mark.parametrize("background", ["keep", "transparent"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["the same image", "another image"])
def test_a_canvas_knows_the_hem_of_its_subject(background, elsewhere):
    image = photograph(body(), skirt())
    seen = Crop.whole(SIZE, (64, 64))
    target = Crop((0, 0, 250, 250), (64, 64)) if elsewhere else seen
    canvas = partial(Canvas.of, image, seen, target, 256, whole=False, background=background)
    of_subject = canvas(cover=lambda scaled, _: shown(scaled).cover, pose=Pose(body(), SIZE))
    if elsewhere and background == "keep":  # the frame hides all of its background, so nothing is cut out
        assert of_subject.hem is None
    else:
        assert of_subject.hem == pytest.approx((1.25, 1.25), abs=0.08)
    assert canvas(cover=lambda scaled, _: shown(scaled).cover).hem is None
    assert canvas(cover=lambda scaled, _: None, pose=Pose(body(), SIZE)).hem is None
