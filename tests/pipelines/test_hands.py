"""Hands move as a whole, and a hidden one is the mirrored other one; whatever else stays as the network made it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn_landmarks import drawn_body

from gfla_cli.person.pose import MISSING, Pose
from gfla_cli.pipelines import hands
from gfla_cli.pipelines.frame_layers import Layers, SourceFrame
from gfla_cli.pipelines.hands import hand_areas, with_whole_hands

SIZE = (256, 256)
WHITE, SKIN, BLUE = (250, 250, 250), (214, 160, 130), (40, 60, 160)
RIGHT, LEFT = (3, 4), (6, 7)  # elbow and wrist


def body():
    """Arms hang, and the hands lie before the legs, up to 30 pixels below the wrists."""
    points = drawn_body(SIZE, 32.0)
    points[[14, 15], 0] = 118, 138
    return points


def source(points, *, bare=(RIGHT,), sleeveless=(), sides=(88, 168)):
    """`sides` of the clothes, x."""
    image = np.full((*SIZE, 3), WHITE, np.uint8)
    cv2.rectangle(image, (sides[0], 50), (sides[1], 230), BLUE, cv2.FILLED)
    cv2.circle(image, (128, 32), 18, SKIN, cv2.FILLED)
    for elbow, wrist in (RIGHT, LEFT):
        x, y = points[wrist, :2].astype(int).tolist()
        if (elbow, wrist) in sleeveless:
            cv2.line(image, points[elbow, :2].astype(int).tolist(), (x, y), SKIN, 15)
        if (elbow, wrist) in bare:
            cv2.line(image, (x, y + 2), (x, y + 26), SKIN, 15)
    cover = (image != WHITE).any(axis=-1).astype(np.float32)
    return SourceFrame.shown(image, cover)


def drawn():
    """What a network made: blue clothes everywhere, where the source has them."""
    plain = np.zeros(SIZE, np.float32)
    blue = np.broadcast_to(np.float32(BLUE) / 127.5 - 1, (*SIZE, 3)).copy()
    return Layers(blue, plain, np.zeros((*SIZE, 3), np.float32), np.zeros((*SIZE, 2), np.float32), plain + 1)


def raised(points, depths=None):
    """The left forearm lies before the trunk."""
    points = points.copy()
    points[7, :2] = 130, 96
    return Pose(points, SIZE, depths)


def aside():
    """The left forearm hangs beside the body."""
    points = body()
    points[[6, 7], 0] += 40
    return points


def result(found, beyond, target):
    """The layers, and the share of skin around a place so many pixels beyond the left wrist of the target."""
    layers = with_whole_hands(drawn(), found, Pose(body(), SIZE), target)
    image = ((layers.mixed(found) + 1) * 127.5).astype(int)
    way = target.points[7, :2] - target.points[6, :2]
    x, y = (target.points[7, :2] + beyond * way / np.hypot(*way)).astype(int)
    near = image[y - 2 : y + 3, x - 2 : x + 3]
    return layers, float((np.abs(near - SKIN).max(axis=-1) < 12).mean())


def test_a_hidden_hand_is_the_other_one():
    layers, skin = result(source(body()), 14, raised(body()))
    assert skin == 1
    assert result(source(body()), -12, raised(body()))[1] == 0, "the sleeve stays"
    outside = np.ones(SIZE, bool)
    outside[60:130, 85:150] = False
    for before, after in zip(drawn(), layers, strict=True):
        np.testing.assert_array_equal(before[outside], after[outside])


def test_it_is_mirrored():
    """A thumb that points inwards, to the trunk, does so on the other side."""
    found = source(body())
    x, y = body()[4, :2].astype(int).tolist()
    cv2.line(found.image, (x, y + 12), (x + 10, y + 16), SKIN, 5)  # the right hand's thumb, towards the trunk
    layers = with_whole_hands(drawn(), found, Pose(body(), SIZE), Pose(aside(), SIZE))
    x, y = aside()[7, :2].astype(int).tolist()
    row = layers.share[y + 15]
    assert row[x - 9] > 0.5, "towards the trunk"
    assert row[x + 9] < 0.1


def test_a_hand_that_is_seen_moves_as_it_is():
    found = source(body(), bare=(LEFT,))
    x, y = body()[7, :2].astype(int).tolist()
    cv2.line(found.image, (x, y + 12), (x - 10, y + 16), SKIN, 5)  # its thumb, towards the trunk
    layers = with_whole_hands(drawn(), found, Pose(body(), SIZE), Pose(aside(), SIZE))
    row = layers.share[y + 15]
    assert row[x + 40] > 0.9
    assert row[x + 40 - 9] > 0.5, "the thumb is on the same side"
    assert row[x + 40 + 9] < 0.1
    np.testing.assert_allclose(layers.offset[y + 15, x + 40] * SIZE[1], (-40, 0), atol=0.01)


def test_a_hand_that_rests_stays_as_the_network_made_it():
    """The left one is seen, the right one stays in its pocket."""
    points = body()
    points[[3, 4, 6, 7], 0] += 4  # a detector's noise
    layers = drawn()
    assert with_whole_hands(layers, source(body(), bare=(LEFT,)), Pose(body(), SIZE), Pose(points, SIZE)) is layers


def test_a_hand_before_a_bare_thigh_is_left_to_the_network():
    found = source(body(), bare=(LEFT,))
    found.image[125:230, 135:168] = SKIN
    layers = drawn()
    assert with_whole_hands(layers, found, Pose(body(), SIZE), raised(body())) is layers


def test_a_bare_forearm_comes_with_its_hand():
    found = source(body(), sleeveless=(RIGHT,))
    assert result(found, 14, raised(body()))[1] == 1
    assert result(found, -14, raised(body()))[1] == 1
    assert result(source(body(), sleeveless=(RIGHT, LEFT)), -14, raised(body()))[1] == 0, "the source shows this one"


@pytest.mark.parametrize(
    ("bare", "missing"),
    [((), ()), ((RIGHT,), (0,)), ((RIGHT,), (14,)), ((RIGHT,), (4,)), ((RIGHT,), (6,))],
    ids=["gloves", "no nose", "one eye", "the other wrist is missing", "no elbow"],
)
def test_nothing_changes_without_a_bare_other_hand_and_a_face(bare, missing):
    points = body()
    points[list(missing)] = MISSING
    layers = drawn()
    found = source(body(), bare=bare)
    assert with_whole_hands(layers, found, Pose(points, SIZE), raised(body())) is layers


def test_a_target_without_that_arm_changes_nothing():
    points = body()
    points[7] = MISSING
    layers = drawn()
    assert with_whole_hands(layers, source(body()), Pose(body(), SIZE), Pose(points, SIZE)) is layers


@pytest.mark.parametrize(("depth", "shown"), [(-30.0, True), (30.0, False), (0.0, False)])
def test_a_hand_behind_the_trunk_of_the_target_is_not_shown(depth, shown):
    depths = np.zeros(18, np.float32)
    depths[7] = depth
    assert (result(source(body()), 14, raised(body(), depths))[1] == 1) is shown


def test_a_hand_that_points_away_is_hidden_by_its_arm():
    points = body()
    points[[6, 7], :2] = (190, 80), (210, 90)
    depths = np.zeros(18, np.float32)
    depths[7] = 30
    assert result(source(body()), 14, Pose(points, SIZE, depths))[1] == 0


def test_a_hand_beside_the_trunk_is_shown_at_any_depth():
    points = body()
    points[[6, 7], :2] = (190, 80), (220, 100)
    depths = np.full(18, 30.0, np.float32)
    depths[list((8, 11))] = 0
    assert result(source(body()), 14, Pose(points, SIZE, depths))[1] == 1


def test_hands_beyond_the_frame_are_no_error():
    points = body()
    points[[6, 7], :2] = (250, 100), (320, 100)
    layers = with_whole_hands(drawn(), source(body()), Pose(body(), SIZE), Pose(points, SIZE))
    assert all(np.isfinite(part).all() for part in layers)


def test_a_hand_whose_forearm_points_at_the_camera_is_left_to_the_network():
    """Such a forearm does not tell where its hand points."""
    points = body()
    points[7, :2] = points[6, :2] + (0, 8)
    layers = drawn()
    assert with_whole_hands(layers, source(points, bare=(LEFT,)), Pose(points, SIZE), Pose(aside(), SIZE)) is layers


def test_clasped_hands_are_left_to_the_network():
    points = body()
    points[[4, 7], :2] = (121, 110), (135, 110)
    found = source(points, bare=())
    cv2.circle(found.image, (128, 118), 15, SKIN, cv2.FILLED)
    layers = drawn()
    assert with_whole_hands(layers, found, Pose(points, SIZE), Pose(aside(), SIZE)) is layers


def test_a_hand_before_the_other_bare_forearm_is_left_to_the_network():
    points = body()
    points[[3, 4, 6, 7], :2] = (112, 84), (112, 144), (166, 94), (140, 110)
    found = source(points, bare=(), sleeveless=(RIGHT, LEFT))
    cv2.line(found.image, (140, 110), (118, 123), SKIN, 15)
    target = aside()
    target[4] = MISSING
    layers = drawn()
    assert with_whole_hands(layers, found, Pose(points, SIZE), Pose(target, SIZE)) is layers


def test_a_hand_comes_without_the_other_one_that_it_points_at():
    points = body()
    points[[3, 4, 6, 7], :2] = (90, 110), (121, 110), (180, 110), (150, 110)
    found = source(points, bare=())
    cv2.line(found.image, (121, 110), (150, 110), SKIN, 12)
    target = aside()
    target[4] = MISSING
    share = with_whole_hands(drawn(), found, Pose(points, SIZE), Pose(target, SIZE)).share
    x, y = target[7, :2].astype(int)
    assert share[y + 10, x] > 0.9
    assert share[y + 24, x] < 0.1


@pytest.mark.parametrize("free", [True, False], ids=["before the background", "before the body"])
def test_a_drawn_hand_that_points_elsewhere_goes_before_the_background(free):
    x, y = aside()[7, :2].astype(int).tolist()
    found, layers = source(body(), bare=()), drawn()
    cv2.line(found.image, (160, 120), (160, 148), SKIN, 9)
    if free:
        layers.matte[:] = 0
        cv2.line(layers.matte, (x, y - 32), (x, y), 1.0, 13)
        cv2.line(layers.matte, (x, y), (x + 14, y + 20), 1.0, 12)
    matte = with_whole_hands(layers, found, Pose(body(), SIZE), Pose(aside(), SIZE)).matte
    assert matte[y - 32 : y + 26, x].min() > 0.9
    np.testing.assert_allclose(matte[y + 19, x + 11], 0 if free else 1, atol=0.1)


def test_a_bare_knee_below_a_hand_is_no_skin_beside_it():
    found = source(body(), bare=(LEFT,))
    found.image[161:230, 135:168] = SKIN
    assert result(found, 14, raised(body()))[1] == 1


def test_an_upper_arm_behind_a_hand_that_points_at_the_camera_stays():
    """Before the background, with a forearm of 8 pixels of the target."""
    points = body()
    points[[6, 7], :2] = (200, 150), (200, 142)
    found, layers = source(body(), bare=()), drawn()
    cv2.line(found.image, (160, 120), (160, 148), SKIN, 9)
    layers.matte[:] = 0
    cv2.line(layers.matte, (200, 150), (214, 122), 1.0, 12)
    changed = with_whole_hands(layers, found, Pose(body(), SIZE), Pose(points, SIZE))
    assert changed is not layers
    np.testing.assert_array_less(layers.matte - 0.01, changed.matte)


def test_a_hand_that_fills_the_frame_is_no_error():
    hand = hands._Hand.of(Pose(body(), SIZE), LEFT)
    skin = np.ones(SIZE, np.float32)
    placed = hands._Placed(hand, hand, None, weight=1, mirrored=False, forearm=False)
    layers = hands._with_hand(drawn(), source(body()), skin, placed, 800.0, free=0)
    assert (layers.share > 0).sum() > 32_766


def test_a_torso_of_any_length_is_no_error():
    points = body()
    points[[8, 11], 1] = 60_000
    with_whole_hands(drawn(), source(points), Pose(points, SIZE), right_arm_raised())


def copied(found):
    """What a network makes that copies the source as it is: also a hand of it that is elsewhere in the target."""
    return drawn()._replace(share=np.ones(SIZE, np.float32), matte=found.cover)


def skin_in(layers, found, rows, columns):
    image = ((layers.mixed(found) + 1) * 127.5).astype(int)[rows[0] : rows[1], columns[0] : columns[1]]
    return float((np.abs(image - SKIN).max(axis=-1) < 40).mean())


def old_hand(points):
    """Rows and columns where the right hand of the source lies."""
    x, y = points[4, :2].astype(int).tolist()
    return (y + 2, y + 26), (x - 5, x + 6)


def right_arm_raised():
    """The right forearm lies before the chest."""
    points = body()
    points[4, :2] = 126, 90
    return Pose(points, SIZE)


def test_a_scrap_of_a_hand_that_moved_takes_the_colour_of_the_clothes():
    found = source(body(), sides=(60, 190))
    before = copied(found)
    assert skin_in(before, found, *old_hand(body())) > 0.9
    after = with_whole_hands(before, found, Pose(body(), SIZE), right_arm_raised())
    assert skin_in(after, found, *old_hand(body())) == 0
    image = ((after.mixed(found) + 1) * 127.5)[old_hand(body())[0][0] : old_hand(body())[0][1]]
    assert np.abs(image[:, 100] - BLUE).max() < 12
    assert skin_in(after, found, (20, 44), (116, 140)) > 0.9, "the face"


def test_a_scrap_near_the_other_hand_goes_too():
    """The left hand rests beside the place where the right one was."""
    points, raised_arm = body(), right_arm_raised().points.copy()
    points[[6, 7], :2] = raised_arm[[6, 7], :2] = (140, 88), (130, 120)
    found = source(points, sides=(60, 190), bare=(RIGHT, LEFT))
    after = with_whole_hands(copied(found), found, Pose(points, SIZE), Pose(raised_arm, SIZE))
    assert skin_in(after, found, *old_hand(points)) == 0
    assert skin_in(after, found, (124, 140), (126, 135)) > 0.9


def test_where_the_target_has_that_hand_it_stays():
    found = source(body())
    before = copied(found)
    assert with_whole_hands(before, found, Pose(body(), SIZE), Pose(body(), SIZE)) is before


def test_a_bare_thigh_beside_a_hand_that_moved_stays():
    found = source(body(), sides=(60, 190))
    found.image[130:180, 88:128] = SKIN
    after = with_whole_hands(copied(found), found, Pose(body(), SIZE), right_arm_raised())
    assert skin_in(after, found, (135, 175), (92, 124)) > 0.95


def test_a_face_to_which_a_forearm_points_stays():
    """A hand behind the head, or at the chin."""
    points = body()
    points[[6, 7], :2] = (140, 100), (130, 62)
    found = source(body(), bare=(), sides=(60, 190))
    cv2.circle(found.image, (128, 34), 27, (60, 40, 30), cv2.FILLED)
    cv2.ellipse(found.image, (128, 36), (12, 16), 0, 0, 360, SKIN, cv2.FILLED)
    found.cover[:62] = (found.image[:62] != WHITE).any(axis=-1)
    after = with_whole_hands(copied(found), found, Pose(points, SIZE), Pose(body(), SIZE))
    assert skin_in(after, found, (26, 46), (120, 136)) == 1


def test_a_pattern_of_the_colour_of_skin_beside_a_hand_stays():
    found = source(body(), bare=(), sides=(60, 190))
    for y in range(70, 220, 14):
        for x in range(62, 182, 14):
            found.image[y : y + 8, x : x + 8] = SKIN
    before = copied(found)
    after = with_whole_hands(before, found, Pose(body(), SIZE), right_arm_raised())
    rows, columns = old_hand(body())
    assert skin_in(after, found, rows, columns) == skin_in(before, found, rows, columns)


def test_a_piece_of_a_hand_before_the_background_takes_no_colour_of_clothes():
    """The network draws a hand beside the new place of the whole one."""
    found = source(body())
    before = copied(found)
    rows, columns = old_hand(body())
    alone = np.zeros(SIZE, np.float32)
    alone[rows[0] : rows[1], columns[0] - 2 : columns[1] + 2] = 1
    alone[50:100, 88:168] = 1
    after = with_whole_hands(before._replace(matte=alone), found, Pose(body(), SIZE), right_arm_raised())
    assert skin_in(after, found, rows, columns) > 0.9


def test_hidden_colours_stay_as_they_were_drawn():
    """Where all is kept, and nothing of it is drawn. Enlarged, these colours show at the border of such places."""
    found = source(body())
    before, kept = copied(found), np.ones((10, 10), np.float32)
    after = before.with_drawn(np.zeros((10, 10, 3), np.float32), kept, (slice(0, 10), slice(0, 10)))
    np.testing.assert_array_equal(after.drawn, before.drawn)
    none = before.with_drawn(np.zeros((10, 10, 3), np.float32), 0 * kept, (slice(0, 10), slice(0, 10)))
    np.testing.assert_allclose(none.mixed(found)[:10, :10], 0, atol=1e-6)


@pytest.mark.parametrize(("clothes", "gone"), [((30, 160, 60), True), ((46, 66, 166), False)], ids=["unlike", "alike"])
def test_clothes_that_hide_a_hand_do_not_come_along(clothes, gone):
    """The left hand is in a pocket, and before the chest in the target. The flow moves the pocket there."""
    points, target = body(), raised(body())
    found = source(points, sides=(60, 196))
    x, y = points[7, :2].astype(int).tolist()
    found.image[y - 4 : y + 40, x - 16 : x + 17] = clothes
    here, there = (slice(int(v) - 12, int(v) + 13) for v in target.points[7, 1::-1])
    before = copied(found)
    before.offset[here, there] = (points[7, :2] + (0, 12) - target.points[7, :2]) / SIZE[1]

    def share(layers):
        image = ((layers.mixed(found) + 1) * 127.5)[here, there]
        return float((np.abs(image - clothes).max(axis=-1) < 5).mean())

    after = with_whole_hands(before, found, Pose(points, SIZE), target)
    assert share(before) > 0.9
    assert (share(after) < 0.1) == gone
    assert skin_in(after, found, (here.start, here.stop), (there.start, there.stop)) > 0.2, "the hand"


def test_the_sleeve_of_a_hidden_hand_ends_at_the_wrist():
    """It moves with the forearm, and has another colour than the trunk."""
    points, target, green = body(), raised(body()), (30, 160, 60)
    found = source(points, sides=(60, 196))
    ends, ends_there = points[list(LEFT), :2], target.points[list(LEFT), :2]
    cv2.line(found.image, *ends.astype(int).tolist(), green, 15)
    before = copied(found)
    turned = cv2.estimateAffinePartial2D(ends_there, ends)[0]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    places = np.dstack([x, y]) @ turned[:, :2].T + turned[:, 2]
    there = np.zeros(SIZE, np.float32)
    cv2.line(there, *ends_there.astype(int).tolist(), 1.0, 21)
    moved = there[..., None] * (places - np.dstack([x, y])) / SIZE[1]
    before = before._replace(offset=moved.astype(np.float32))
    after = with_whole_hands(before, found, Pose(points, SIZE), target)
    way = (ends_there[1] - ends_there[0]) / np.hypot(*(ends_there[1] - ends_there[0]))
    for back in (8, 14, 20):
        column, row = np.rint(ends_there[1] - back * way).astype(int)
        shown = ((after.mixed(found) + 1) * 127.5)[row, column]
        assert np.abs(shown - green).max() < 30, back


def test_the_areas_of_hands_lie_beyond_the_wrists():
    points = np.tile(np.float32([-1, -1, 0]), (18, 1))
    points[[1, 2, 5, 8, 11]] = [[32, 10, 1], [26, 10, 1], [38, 10, 1], [28, 34, 1], [36, 34, 1]]
    points[[3, 4]] = [[14, 10, 1], [14, 22, 1]]
    areas = hand_areas(Pose(points, (64, 64)), (64, 64))
    assert areas[26, 14] == 1
    assert areas[12, 14] == 0
    assert areas[:, 40:].max() == 0  # an arm without joints
