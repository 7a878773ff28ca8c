"""A pose of another person gets the size and the build of the source's body."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_landmarks import STANDING

from gfla_cli.person.body import torso_length
from gfla_cli.person.body_motion import BodyMotion, Build, aligned
from gfla_cli.person.pose import MISSING, Pose

SIZE = (480, 400)
UPPER, LEGS = [0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17], [9, 10, 12, 13]


def pose(places=STANDING, *, missing=(), depths=True, size=SIZE):
    points = np.column_stack([places[:, :2], np.ones(18)]).astype(np.float32)
    points[list(missing)] = MISSING
    return Pose(points, size, places[:, 2] if depths else None)


def built(shoulders=1.0, hips=1.0, trunk=1.0, scale=1.0):
    """Another body in the same pose."""
    places = STANDING.copy()
    places[UPPER, 1] += (trunk - 1) * -100
    for right, left, factor in ((2, 5, shoulders), (8, 11, hips)):
        width = places[left, 0] - places[right, 0]
        places[[right, right + 1, right + 2], 0] -= (factor - 1) * width / 2
        places[[left, left + 1, left + 2], 0] += (factor - 1) * width / 2
    return places * scale


def turned(places, degrees):
    """Turned around the line through the neck."""
    angle = np.radians(degrees)
    x, depth = places[:, 0] - 200, places[:, 2]
    return np.column_stack(
        [200 + x * np.cos(angle) + depth * np.sin(angle), places[:, 1], depth * np.cos(angle) - x * np.sin(angle)]
    ).astype(np.float32)


def width(pose, right, left):
    return float(np.linalg.norm(np.subtract(*pose.deep_points[[right, left]][:, [0, 1, 3]])))


def test_a_body_keeps_its_own_pose_to_the_bit():
    moved = aligned(pose(), pose())
    np.testing.assert_array_equal(moved.points, pose().points)
    np.testing.assert_array_equal(moved.depths, pose().depths)


def test_the_source_keeps_its_shoulders_and_hips():
    moved = aligned(pose(built(1.3, 1.2, scale=0.5)), pose())
    assert width(moved, 2, 5) == pytest.approx(76, rel=0.03)
    assert width(moved, 8, 11) == pytest.approx(46, rel=0.03)
    assert width(moved, 2, 3) == pytest.approx(width(pose(), 2, 3), rel=0.03)  # arms are as long as before
    assert moved.points[10, 1] == pytest.approx(380, abs=1)  # on the same ground


def test_half_of_a_difference_of_trunks_counts_since_detectors_err_by_as_much():
    build = Build.of(pose(), [pose(built(trunk=1.2))])
    assert 1.04 < 1 / build.trunk < 1.12
    given = build.given_to(pose(built(trunk=1.2)))
    assert given.points[1, 1] == pytest.approx(200 - build.trunk * 120, abs=0.01)
    np.testing.assert_array_equal(given.points[LEGS, 1], pose().points[LEGS, 1])
    np.testing.assert_allclose(given.points[14:, 1] - given.points[1, 1], STANDING[14:, 1] - 100, atol=1e-3)


@pytest.mark.parametrize("degrees", [70, 110])
def test_widths_that_are_mostly_depth_are_not_measured(degrees):
    build = Build.of(pose(), [pose(turned(built(1.3, 1.2), degrees))])
    assert (build.shoulders, build.hips) == (1.0, 1.0)


def test_a_turned_pose_is_as_large_as_one_from_the_front():
    front, side = (Build.of(pose(), [pose(turned(built(scale=0.5), degrees))]) for degrees in (0, 80))
    assert front.scale == pytest.approx(2, rel=0.01)
    assert side.scale == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("missing", [LEGS, [*LEGS, 8, 11], [10, 13]])
def test_only_what_both_bodies_show_decides_the_size(missing):
    half = pose(built(1.1, scale=0.5), missing=missing)
    assert Build.of(pose(), [half]).scale == pytest.approx(2, rel=0.08)
    assert Build.of(half, [pose()]).scale == pytest.approx(0.5, rel=0.08)


def test_without_depths_the_torsos_decide_and_widths_stay():
    other = pose(built(1.3, 1.2, scale=0.5), depths=False)
    build = Build.of(pose(), [other])
    assert (build.trunk, build.shoulders, build.hips) == (1, 1, 1)
    assert build.scale == pytest.approx(torso_length(pose()) / torso_length(other))
    assert aligned(other, pose()).depths is None


def test_a_missing_hip_or_shoulder_moves_nothing_else():
    build = Build.of(pose(), [pose(built(1.3, 1.2, 1.2))])
    whole = build.given_to(pose(built(1.3, 1.2, 1.2)))
    for joint, others in ((8, [0, 1, 2, 5, 6, 7]), (5, [0, 1, 2, 3, 4])):
        part = build.given_to(pose(built(1.3, 1.2, 1.2), missing=[joint]))
        np.testing.assert_allclose(part.points[others], whole.points[others], atol=3)  # of a trunk of 120


def test_hands_that_touch_stay_together():
    clapping, akimbo = built(1.3, 1.3), built(1.0, 1.3)
    clapping[[4, 7], :2] = (198, 150), (202, 150)
    akimbo[[4, 7], :2] = akimbo[[8, 11], :2] + ((-5, -5), (5, -5))
    together = Build.of(pose(), [pose(built(1.3, 1.3))]).given_to(pose(clapping))
    assert np.linalg.norm(together.points[7, :2] - together.points[4, :2]) == pytest.approx(4, abs=1)
    resting = Build.of(pose(), [pose(built(1.0, 1.3))]).given_to(pose(akimbo))
    np.testing.assert_allclose(resting.points[[4, 7], :2] - resting.points[[8, 11], :2], ((-5, -5), (5, -5)), atol=1)


def test_wrong_depths_do_not_change_the_size():
    wild = STANDING.copy()
    wild[:, 2] = np.random.default_rng(0).normal(0, 1000, 18)
    assert Build.of(pose(), [pose(wild)]).scale == pytest.approx(1, rel=0.05)


def test_poses_without_depths_are_given_the_build_that_others_told():
    wide = built(1.3, 1.2)
    motion = BodyMotion(pose(), [pose(wide, depths=False), pose(wide), pose(wide)])
    np.testing.assert_allclose(motion(pose(wide, depths=False)).points, motion(pose(wide)).points, atol=1e-3)


def test_a_driver_without_feet_meets_the_source_at_the_neck():
    driving = [pose(built(trunk=1.3, scale=0.5), missing=LEGS)]
    moved = BodyMotion(pose(), driving)(driving[0])
    np.testing.assert_allclose(moved.points[1, :2], (200, 100), atol=1)


def test_factors_have_limits():
    build = Build.of(pose(), [pose(built(1.6, 0.6))])
    assert (build.shoulders, build.hips) == (0.7, 1.4)


@pytest.mark.parametrize("missing", [range(18), range(1, 18), [*range(14)], [2, 8], [5, 11], [1]])
def test_bodies_with_few_joints_are_moved_as_they_are(missing):
    few = pose(built(1.3), missing=missing)
    for moved in (aligned(few, pose()), aligned(pose(), few)):
        assert np.isfinite(moved.points).all()
    np.testing.assert_array_equal(aligned(few, pose()).present, few.present)


def test_all_joints_in_one_place_give_finite_numbers():
    point = pose(np.full((18, 3), 7, np.float32))
    assert Build.of(pose(), [point]).scale == 1
    assert np.isfinite(aligned(point, pose()).points).all()


def test_a_driver_is_measured_on_its_most_frontal_poses():
    wide = built(1.3, 1.2, scale=2.0)
    driving = [pose(turned(wide, degrees)) for degrees in (80, 60, 5, 40)]
    moved = BodyMotion(pose(), driving)(pose(wide))
    assert width(moved, 2, 5) == pytest.approx(76, rel=0.05)
    assert width(moved, 8, 11) == pytest.approx(46, rel=0.05)
    kept = BodyMotion(pose(), driving, absolute=True)(pose(wide))
    assert width(kept, 2, 5) == pytest.approx(1.3 * 2 * 76)
