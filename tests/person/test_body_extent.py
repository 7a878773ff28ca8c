"""How far a body reaches in an image, and how bodies are kept inside of theirs."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_landmarks import drawn_body

from gfla_cli.person.body import (
    body_box,
    body_extent,
    body_reach,
    distance_from_body,
    fit_into_image,
    fitted_into_image,
    image_limits,
    torso_length,
    with_cut_part,
)
from gfla_cli.person.pose import MISSING, Pose

SIZE = (700, 400)


def body(x=0.0, y=0.0, without=()):
    points = drawn_body((640, 640), 32.0)
    points[:, :2] += (x - 120, y)
    points[list(without)] = MISSING
    return Pose(points, SIZE)


def boxes(poses, matrix):
    return np.array([body_extent(pose.transformed(matrix, pose.size)) for pose in poses])


def test_bodies_that_fit_stay_where_they_are():
    assert fit_into_image([body(), body(10)], body()) is None
    pose = body()
    assert fitted_into_image(pose, body()) is pose


def test_one_map_keeps_all_poses_inside():
    poses = [body(), body(y=-90), body(90)]
    matrix = fit_into_image(poses, body())
    first, last = image_limits(body())
    moved = boxes(poses, matrix)
    assert (moved[:, :2] >= first - 0.5).all()
    assert (moved[:, 2:] <= last + 0.5).all()
    assert 0.8 <= matrix[0, 0] <= 1
    np.testing.assert_allclose(matrix[:, :2], matrix[0, 0] * np.eye(2))


def test_one_who_walks_too_far_begins_inside():
    poses = [body(), body(2000)]
    matrix = fit_into_image(poses, body())
    start, end = boxes(poses, np.eye(2, 3) if matrix is None else matrix)
    assert start[0] >= -0.5
    assert start[2] <= 400.5
    assert end[0] > 400


@pytest.mark.parametrize("missing", [(10, 13)])
def test_bodies_without_feet_are_not_moved(missing):
    assert fit_into_image([body(y=-90, without=missing)], body()) is None
    assert fit_into_image([body(y=-90)], body(without=missing)) is None


def test_a_body_reaches_its_joints_and_not_the_far_floor():
    pose = body()
    reach = body_reach(pose, SIZE)
    assert reach.shape == SIZE
    assert (reach.min(), reach.max()) == (0, 1)
    for x, y in pose.points[pose.present, :2].round().astype(int):
        assert reach[y, x] == 1
    left, _, right, bottom = (round(side) for side in body_box(pose))
    assert (reach[:, :5] == 0).all()
    assert (reach[:, -5:] == 0).all()
    ankles = pose.points[[10, 13], :2]
    between = ankles.mean(axis=0).round().astype(int)
    assert reach[between[1], between[0]] == 1  # a skirt
    assert 0 < left < right < 400
    assert bottom < 700


def test_a_body_far_outside_of_its_image_reaches_nothing_and_without_joints_everything():
    assert (body_reach(body(9000), SIZE) == 0).all()
    nobody = Pose(np.tile(np.array(MISSING, np.float32), (18, 1)), SIZE)
    assert (body_reach(nobody, SIZE) == 1).all()


def test_distance_from_a_body_is_measured_in_torsos():
    pose = body()
    distance = distance_from_body(pose, SIZE)
    assert distance.shape == SIZE
    for joint in (2, 3, 4, 5, 8, 9, 10, 11):
        x, y = pose.points[joint, :2].round().astype(int)
        assert distance[y, x] < 0.03
    x, y = pose.points[10, :2].round().astype(int)
    assert distance[y, x - 40] == pytest.approx(40 / torso_length(pose), abs=0.1)
    assert distance.max() > 1


def test_a_hand_is_near_the_body():
    """It reaches beyond the last joint of the arm."""
    pose = body()
    elbow, wrist = pose.points[3, :2], pose.points[4, :2]
    hand = wrist + (wrist - elbow) * (0.2 * torso_length(pose) / np.linalg.norm(wrist - elbow))
    x, y = hand.round().astype(int)
    assert distance_from_body(pose, SIZE)[y, x] < 0.03


def test_far_from_a_body_outside_of_the_image_and_near_one_without_joints():
    assert (distance_from_body(body(9000), SIZE) > 2).all()
    nobody = Pose(np.tile(np.array(MISSING, np.float32), (18, 1)), SIZE)
    assert (distance_from_body(nobody, SIZE) == 0).all()


def test_a_cut_body_goes_on_to_the_border_of_its_image():
    pose = Pose(body(without=(9, 10, 12, 13)).points, (450, 400))
    whole = with_cut_part(pose)
    torso, hips = torso_length(pose), pose.points[[8, 11], :2]
    np.testing.assert_allclose(
        whole.points[[9, 12], :2], np.minimum(hips + np.array([0, 0.87 * torso]), [400, 450]), atol=0.5
    )
    assert torso_length(whole) == pytest.approx(torso, rel=0.01)
    np.testing.assert_allclose(whole.points[[10, 13], :2], np.column_stack([hips[:, 0], [450, 450]]), atol=0.5)
    assert distance_from_body(whole, SIZE)[445, round(float(hips[0, 0]))] < 0.03
    assert distance_from_body(pose, SIZE)[445, round(float(hips[0, 0]))] > 0.3


def test_a_portrait_goes_on_below_its_shoulders_and_a_whole_body_stays():
    portrait = body(without=(3, 4, 6, 7, 8, 9, 10, 11, 12, 13))
    whole = with_cut_part(portrait)
    assert whole.present[[8, 11]].all()
    np.testing.assert_allclose(whole.points[[8, 11], 0], portrait.points[[2, 5], 0])
    assert with_cut_part(pose := body()) is pose
    pose = body(without=(10,))
    assert with_cut_part(pose) is pose  # the other foot is there
