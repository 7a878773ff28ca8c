"""Where the network looks, and how a pose is fitted to another body."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_landmarks import STANDING, drawn_body

from gfla_cli.errors import DetectionError
from gfla_cli.person.body import (
    anchor,
    are_cut_off,
    body_box,
    body_crop,
    body_extent,
    fitted_into_image,
    image_limits,
    torso_length,
    with_legs_of,
)
from gfla_cli.person.body_motion import aligned
from gfla_cli.person.pose import MISSING, Pose

SIZE = (480, 400)


def person(*, missing=(), scale=1.0, shift=(0, 0), size=SIZE):
    points = np.concatenate([STANDING[:, :2] * scale + shift, np.ones((18, 1))], axis=1).astype(np.float32)
    points[list(missing)] = MISSING
    return Pose(points, size)


LEGS = (9, 10, 12, 13)


def test_the_torso_is_measured_through_any_visible_segment():
    assert torso_length(person()) == pytest.approx(100, rel=0.1)
    assert torso_length(person(missing=(8, 11, *LEGS))) == pytest.approx(100, rel=0.1)
    assert torso_length(person(missing=range(1, 18))) == 0


def test_the_body_box_reaches_from_the_crown_to_the_soles():
    left, top, right, bottom = body_box(person())
    assert top < 38
    assert bottom > 380
    assert (left, right) == (pytest.approx(138, abs=1), pytest.approx(262, abs=1))


def test_a_body_without_ankles_ends_with_the_image():
    assert body_box(person(missing=LEGS))[3] == SIZE[0]


def test_the_frame_centres_a_whole_body_and_leaves_a_margin():
    frame = body_crop([person()], (256, 256), 1.0)
    points = person().cropped(frame).within_frame().points
    assert points[1, 0] == pytest.approx(128, abs=1)
    assert 10 < points[14, 1] < 40
    assert 215 < points[10, 1] < 245


def test_a_cut_body_keeps_its_cut_at_the_lower_border():
    frame = body_crop([person(missing=LEGS)], (256, 256), 1.0)
    assert frame.box[3] == SIZE[0]


def test_the_frame_has_the_aspect_of_the_model():
    left, top, right, bottom = body_crop([person()], (128, 64), 0.5).box
    assert (right - left) / (bottom - top) == pytest.approx(0.5)


def test_an_aligned_pose_has_the_size_and_the_ground_of_the_source():
    target = person(scale=0.4, shift=(30, 10), size=(300, 300))
    moved = aligned(target, person())
    np.testing.assert_allclose(moved.points, person().points, atol=0.5)


def test_a_half_body_is_aligned_by_the_neck():
    target = person(scale=0.5, shift=(50, 20), missing=LEGS, size=(130, 300))
    moved = aligned(target, person())
    np.testing.assert_allclose(moved.points[1, :2], [200, 100], atol=1)
    assert not moved.present[list(LEGS)].any()
    assert moved.size[0] < SIZE[0]  # the frame will end where the target's image did


def test_the_frame_of_a_raised_arm_holds_the_hand():
    reaching = person().points.copy()
    reaching[4, :2] = 120, -60
    frame = body_crop([person(), Pose(reaching, SIZE)], (256, 256), 1.0)
    assert Pose(reaching, SIZE).cropped(frame).within_frame().present[4]


def test_a_head_that_leans_forward_and_is_whole_is_not_cut():
    """Above the neck a head would reach further than the image."""
    leaning = person().points.copy()
    leaning[:, 1] -= 33
    leaning[[0, 14, 15, 16, 17], 1] += 25  # the nose is 38 pixels below the image's border
    first, _ = image_limits(Pose(leaning, SIZE))
    assert first[1] == 0
    upright = leaning.copy()
    upright[[0, 14, 15, 16, 17], 1] -= 25
    assert image_limits(Pose(upright, SIZE))[0][1] < -5


@pytest.mark.parametrize("far", [1e5, 3e38])
def test_joints_that_are_impossibly_far_apart_are_refused(far):
    points = person().points.copy()
    points[4, :2] = far, far
    with pytest.raises(DetectionError, match="ask for a frame"):
        body_crop([Pose(points, SIZE)], (256, 256), 1.0)


def standing(scale=1.0, shift=(0.0, 0.0), size=(400, 300)):
    points = drawn_body((256, 256), 32.0)
    points[:, :2] = points[:, :2] * scale + shift
    return Pose(points, size)


def test_a_pose_that_fits_into_the_image_stays_as_it_is():
    pose = standing(shift=(20, 100))
    assert fitted_into_image(pose, pose) is pose


@pytest.mark.parametrize("shift", [(0, -60), (-80, 60), (140, 60), (0, 200)])
def test_a_pose_that_would_leave_the_image_is_moved_into_it(shift):
    source, pose = standing(shift=(20, 100)), standing(shift=shift)
    left, top, right, bottom = body_extent(fitted_into_image(pose, source))
    assert min(left, top) > -1
    assert right < 301
    assert bottom < 401


def test_a_pose_that_is_too_tall_gets_smaller_but_not_tiny():
    source = standing(shift=(20, 100))
    height = lambda pose: body_extent(pose)[3] - body_extent(pose)[1]  # noqa: E731
    tall = standing(scale=400 / height(source) * 1.1, shift=(0, -20))
    fitted = fitted_into_image(tall, source)
    assert body_extent(fitted)[1] > -1
    assert 0.85 < height(fitted) / height(tall) < 0.95
    giant = standing(scale=2 * 400 / height(source))
    assert height(fitted_into_image(giant, source)) / height(giant) == pytest.approx(0.8, abs=0.01)


def test_a_source_that_its_image_cuts_may_be_cut_in_the_new_pose():
    source, pose = standing(shift=(20, -40)), standing(shift=(20, -30))
    assert body_extent(source)[1] < -20
    assert fitted_into_image(pose, source) is pose


def without(pose, *joints):
    points = pose.points.copy()
    points[list(joints)] = MISSING
    return Pose(points, pose.size)


@pytest.mark.parametrize("missing", [(10, 13), (9, 10, 12, 13), (8, 9, 10, 11, 12, 13)])
def test_a_pose_without_feet_stands_on_the_legs_of_the_source(missing):
    source = standing(shift=(20, 100))
    bent = standing(shift=(35, 90)).points.copy()
    bent[4, :2] += 30  # a wrist
    pose = Pose(bent, source.size)
    whole = with_legs_of(without(pose, *missing), source)
    assert whole.present.all()
    np.testing.assert_allclose(anchor(whole, feet=True), anchor(source, feet=True), atol=1e-3)
    legs = [8, 9, 10, 11, 12, 13]
    np.testing.assert_allclose(whole.points[legs, :2], source.points[legs, :2], atol=1e-3)
    np.testing.assert_allclose(whole.points[4, :2] - whole.points[1, :2], bent[4, :2] - bent[1, :2], atol=1e-3)


def test_legs_that_no_image_shows_are_not_invented():
    source = standing(shift=(20, 100))
    half = without(source, 10, 13)
    assert with_legs_of(half, half) is half
    assert with_legs_of(source, source) is source
    head = without(source, *range(1, 14))
    assert with_legs_of(head, source) is head


def test_completed_legs_have_depths_where_the_pose_has_them():
    source = standing(shift=(20, 100))
    deep = Pose(source.points, source.size, np.arange(18, dtype=np.float32))
    half = without(source, 9, 10, 12, 13)
    whole = with_legs_of(Pose(half.points, half.size, np.full(18, 5, np.float32)), deep)
    np.testing.assert_allclose(whole.depths[[8, 9, 10]], [5, 6, 7])


def test_the_extent_of_a_body_holds_fingers_and_toes():
    torso, body = torso_length(person()), person()
    _, _, _, bottom = body_extent(body)
    assert bottom == pytest.approx(body.points[[10, 13], 1].max() + 0.5 + 0.34 * torso)
    raised = body.points.copy()
    raised[[3, 4], :2] = (150, 60), (140, 10)
    fingers = np.array((140, 10)) + 0.5 + 0.28 * torso * np.array((-10, -50)) / np.hypot(10, 50)
    assert body_extent(Pose(raised, SIZE))[1] == pytest.approx(fingers[1], abs=0.1)


@pytest.mark.parametrize(("start", "end", "beyond"), [(3, 4, 0.28), (9, 10, 0.34)], ids=["fingers", "toes"])
def test_the_extent_of_a_body_holds_hands_and_feet_that_point_sideways(start, end, beyond):
    points = person().points.copy()
    points[[start, end], :2] = (100, 120), (30, 120)
    body = Pose(points, SIZE)
    assert body_extent(body)[0] == pytest.approx(30.5 - beyond * torso_length(body), abs=0.1)


def test_a_raised_hand_stays_inside_of_the_image():
    source, reaching = standing(shift=(20, 100)), standing(shift=(20, 100)).points.copy()
    reaching[[3, 4], :2] = reaching[1, :2] + ((-30, -50), (-30, -100))  # 4 pixels above the image
    fitted = fitted_into_image(Pose(reaching, source.size), source)
    way = fitted.points[4, :2] - fitted.points[3, :2]
    hand = fitted.points[4, :2] + 0.28 * torso_length(fitted) * way / np.linalg.norm(way)
    assert hand[1] > -1
    assert not are_cut_off([fitted], source)


def test_who_does_not_fit_even_if_smaller_is_cut_off():
    source = standing(shift=(20, 100))
    assert not are_cut_off([source], source)
    giant = fitted_into_image(standing(scale=2.5), source)
    assert are_cut_off([giant], source)


def test_below_a_source_without_feet_nothing_is_cut_off():
    source = without(standing(shift=(20, 100)), *LEGS)
    long, wide = standing(shift=(20, 100)).points.copy(), standing(shift=(20, 100)).points.copy()
    long[[9, 10, 12, 13], 1] += source.size[0]
    wide[[3, 4], :2] = wide[2, :2] - ((50, 0), (150, 0))
    assert are_cut_off([Pose(points, source.size) for points in (long, wide)], source).tolist() == [False, True]


@pytest.mark.parametrize(("beyond", "cut"), [(0.1, False), (0.2, True)])
def test_a_little_that_is_beyond_the_image_is_not_cut_off(beyond, cut):
    source = standing(shift=(20, 100))
    moved = source.points.copy()
    moved[:, 0] += source.size[1] - body_extent(source)[2] + beyond * torso_length(source)
    assert are_cut_off([Pose(moved, source.size)], source).tolist() == [cut]


def test_a_pose_without_a_neck_has_the_place_of_one_with_it():
    pose = person()
    for box in (body_box, body_extent):
        assert box(without(pose, 1)) == pytest.approx(box(pose), abs=2)
