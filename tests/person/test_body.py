"""Bodies: which of MediaPipe's landmarks become joints, and how joints are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gfla_cli.person.detect import head_turn_deg, to_openpose
from gfla_cli.person.drawing import draw_pose
from gfla_cli.person.pose import JOINTS, Pose


def somebody(turn_deg=0.0, tilt_deg=0.0):
    """(33, 4) landmarks of a person in a 200x400 (width x height) image, the head turned and tilted."""
    marks = np.full((33, 4), (100.0, 200.0, 0.0, 0.99))
    body = {11: (130, 90), 12: (70, 90), 13: (140, 140), 14: (60, 140), 15: (145, 190), 16: (55, 190),
            23: (120, 200), 24: (80, 200), 25: (120, 290), 26: (80, 290), 27: (120, 380), 28: (80, 380)}  # fmt: skip
    for mark, place in body.items():
        marks[mark, :2] = place
    # Offsets from the middle of the ears: to the person's left, down, towards the camera.
    head = {
        0: (0, 5, 20),
        2: (7, -3, 15),
        5: (-7, -3, 15),
        7: (16, 0, 0),
        8: (-16, 0, 0),
        9: (6, 14, 14),
        10: (-6, 14, 14),
    }
    turn, tilt = math.radians(turn_deg), math.radians(tilt_deg)
    for mark, (left, down, front) in head.items():
        across = left * math.cos(turn) + front * math.sin(turn)
        depth = left * math.sin(turn) - front * math.cos(turn)
        x = across * math.cos(tilt) - down * math.sin(tilt)
        y = across * math.sin(tilt) + down * math.cos(tilt)
        marks[mark, :3] = (100 + x, 50 + y, depth)
    return marks.astype(np.float32)


def face_of(turn_deg, tilt_deg=0.0):
    pose = to_openpose(somebody(turn_deg, tilt_deg), (400, 200))
    return {JOINTS[joint] for joint in (0, 14, 15, 16, 17) if pose.present[joint]}


def test_joints_keep_their_side_and_the_neck_is_between_the_shoulders():
    pose = to_openpose(somebody(), (400, 200))
    assert pose.present.all()
    assert pose.points[1, :2].tolist() == [100, 90]
    assert pose.points[2, :2].tolist() == [70, 90]  # right shoulder: left in the image, seen from the front
    assert pose.points[13, :2].tolist() == [120, 380]


@pytest.mark.parametrize("tilt_deg", [0, 60, -90, 180])
def test_the_face_is_there_as_far_as_it_is_seen(tilt_deg):
    assert face_of(0, tilt_deg) == {"nose", "right eye", "left eye", "right ear", "left ear"}
    assert face_of(50, tilt_deg) == {"nose", "right eye", "left eye", "right ear"}
    assert face_of(95, tilt_deg) == {"nose", "right eye", "right ear"}
    assert face_of(-95, tilt_deg) == {"nose", "left eye", "left ear"}
    assert face_of(140, tilt_deg) == {"right ear"}
    assert face_of(180, tilt_deg) == {"right ear", "left ear"}


@pytest.mark.parametrize("turn_deg", [-170, -90, -30, 0, 45, 120])
def test_the_direction_of_the_head_is_measured(turn_deg):
    assert head_turn_deg(somebody(turn_deg)) == pytest.approx(turn_deg, abs=1)


def test_joints_outside_the_image_are_missing_and_those_on_the_border_are_not():
    marks = somebody()
    marks[27, 1], marks[28, 1] = 404, 420
    pose = to_openpose(marks, (400, 200))
    assert pose.points[13, 1] == 399
    assert not pose.present[10]


def test_hidden_arms_are_there_but_guessed_feet_are_not():
    marks = somebody()
    marks[[15, 16], 3] = 0.01  # wrists behind the back
    marks[[27, 28], 3] = 0.05  # ankles behind a table
    pose = to_openpose(marks, (400, 200))
    assert pose.present[[4, 7]].all()
    assert not pose.present[[10, 13]].any()


def test_a_drawing_leaves_the_image_as_it_was():
    image = np.full((400, 200, 3), 255, np.uint8)
    drawn = draw_pose(image, to_openpose(somebody(), (400, 200)))
    assert (image == 255).all()
    assert drawn.shape == image.shape
    assert (drawn[90, 100] != 255).any()
    assert (drawn[390:, :40] == 255).all()


def test_a_pose_is_drawn_at_the_size_of_the_image_and_its_missing_joints_are_not():
    values = to_openpose(somebody(), (400, 200)).points.copy()
    values[5:] = (-1, -1, 0)
    drawn = draw_pose(np.zeros((800, 400, 3), np.uint8), Pose(values, (400, 200)))
    assert drawn[180, 200].any()
    assert not drawn[500:].any()
    far = Pose(values + np.array([1e6, 0, 0], np.float32), (400, 200))
    draw_pose(np.zeros((80, 40, 3), np.uint8), [far])
