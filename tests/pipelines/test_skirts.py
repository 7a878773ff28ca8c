"""A skirt is found by its hem, and stays whole where legs go apart; trousers and shorts are left alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn_landmarks import drawn_body

from gfla_cli.person.pose import MISSING, Pose
from gfla_cli.pipelines.frame_layers import Layers, SourceFrame
from gfla_cli.pipelines.skirts import hem_of, with_whole_skirt

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


def photograph(points, clothes):
    """A person with bare legs, over which the polygons of `clothes` are drawn."""
    image = np.full((*SIZE, 3), WHITE, np.uint8)
    cv2.rectangle(image, (100, 50), (156, HIPS_Y), RED, cv2.FILLED)
    for leg in ((8, 9, 10), (11, 12, 13)):
        cv2.polylines(image, [points[list(leg), :2].astype(np.int32)], False, SKIN, 11)
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


def found(points, clothes):
    return hem_of(shown(photograph(points, clothes)).cover, Pose(points, SIZE))


def test_the_hem_of_a_skirt_is_found():
    assert found(body(), skirt()) == pytest.approx(1 + (HEM_Y - KNEES_Y) / 48, abs=0.06)
    assert found(body(), skirt(160)) == pytest.approx((160 - HIPS_Y) / 48, abs=0.06)


@pytest.mark.parametrize(
    "clothes",
    [shorts(half=9), shorts(half=9, hem=226), shorts(half=11), [], skirt(226), skirt(140)],
    ids=["shorts", "trousers", "wide shorts", "bare legs", "a dress down to the feet", "a long shirt"],
)
def test_other_clothes_are_no_skirt(clothes):
    assert found(body(), clothes) is None


def test_shorts_of_legs_that_touch_are_no_skirt():
    points = body()
    points[[8, *KNEES[:1], *ANKLES[:1]], 0] += 6
    points[[11, *KNEES[1:], *ANKLES[1:]], 0] -= 6
    assert found(points, shorts((118, 138), 10)) is None


def test_who_sits_or_crosses_legs_or_lacks_a_joint_wears_no_skirt():
    sits, crosses, lacks = body(), body(), body()
    sits[KNEES, 1] -= 30
    crosses[KNEES, 0] = crosses[KNEES[::-1], 0]
    lacks[10] = MISSING
    for points in (sits, crosses, lacks):
        assert found(points, skirt()) is None


def two_legs(points):
    """What a network makes: each leg for itself, which the flow leads to the same place of the source."""
    matte = np.zeros(SIZE, np.float32)
    for leg in ((8, 9, 10), (11, 12, 13)):
        cv2.polylines(matte, [points[list(leg), :2].astype(np.int32)], False, 1.0, 15)
    drawn = np.where(matte[..., None] > 0, np.float32(RED), np.float32(WHITE)) / np.float32(127.5) - 1
    zero = np.zeros((*SIZE, 3), np.float32)
    return Layers(drawn, matte * 0, zero, np.zeros((*SIZE, 2), np.float32), matte)


def made(clothes, target):
    points = body()
    source = shown(photograph(points, clothes))
    layers = two_legs(target)
    return layers, with_whole_skirt(layers, source, Pose(points, SIZE), Pose(target, SIZE)), source


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
    assert np.abs(after.mixed(source)[KNEES_Y, 128] - (np.float32(RED) / 127.5 - 1)).max() < 0.02


def test_cloth_ends_at_its_hem_and_between_the_legs():
    target = body(apart=40)
    before, after, _ = made(skirt(), target)
    changed = np.zeros(SIZE, np.uint8)
    for part, other in zip(before, after, strict=True):
        changed |= (np.abs(part - other).reshape(*SIZE, -1).max(axis=-1) > 0).astype(np.uint8)
    y, x = np.nonzero(changed)
    assert (y.min(), y.max()) == (pytest.approx(HIPS_Y + 5, abs=3), pytest.approx(HEM_Y, abs=4))
    assert (x.min(), x.max()) == (pytest.approx(128 - 40, abs=6), pytest.approx(128 + 40, abs=6))


def test_trousers_stay_trousers():
    before, after, _ = made(shorts(half=9, hem=226), body(apart=40))
    assert after is before


def test_legs_that_are_close_need_no_cloth():
    target = body()
    target[[8, 11], 0] = 127, 129
    target[KNEES, 0] = 126, 130
    target[ANKLES, 0] = 126, 130
    before, after, _ = made(skirt(), target)
    assert after is before


def test_a_hand_stays_in_front_of_the_cloth():
    target = body(apart=40)
    target[7, :2] = 128, 165
    before, after, _ = made(skirt(), target)
    assert after.matte[170, 128] == before.matte[170, 128] == 0
    assert after.matte[KNEES_Y, 100] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("joint", [8, 9, 13])
def test_a_target_without_a_joint_of_a_leg_stays_as_it_is(joint):
    target = body(apart=40)
    target[joint] = MISSING
    before, after, _ = made(skirt(), target)
    assert after is before


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
