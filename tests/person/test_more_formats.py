"""Keypoint JSON of further programs gives the same 18 joints."""

from __future__ import annotations

import numpy as np
import pytest
from keypoints import COCO, SIZE, STANDING, flat, points, refusal

from gfla_cli.person.keypoint_files import read_pose

OURS_OF_MEDIAPIPE = {0: 0, 12: 2, 14: 3, 16: 4, 11: 5, 13: 6, 15: 7, 24: 8, 26: 9, 28: 10, 23: 11, 25: 12, 27: 13}
OURS_OF_MEDIAPIPE |= {5: 14, 2: 15, 8: 16, 7: 17}


def longer(count):
    return np.concatenate([points()[COCO], np.tile([50, 60, 0.5], (count - 17, 1))])


def mediapipe():
    shares = STANDING / [SIZE[1], SIZE[0]]
    marks = [{"x": 0.5, "y": 0.5, "z": 0.0, "visibility": 0.5} for _ in range(33)]
    for theirs, ours in OURS_OF_MEDIAPIPE.items():
        marks[theirs] |= {"x": float(shares[ours, 0]), "y": float(shares[ours, 1])}
    return marks


def mmpose():
    return {"keypoints": points()[COCO][:, :2].tolist(), "keypoint_scores": [0.5] * 17, "bbox": [[0, 0, 1, 1]]}


def ultralytics():
    x, y, visible = points()[COCO].T.tolist()
    return {"name": "person", "class": 0, "box": {}, "keypoints": {"x": x, "y": y, "visible": visible}}


DWPOSE = (STANDING / [SIZE[1], SIZE[0]]).tolist()
FORMATS = {
    "halpe 26": [{"image_id": "a.jpg", "keypoints": flat(longer(26))}],
    "whole body": [{"image_id": "a.jpg", "keypoints": flat(longer(133))}],
    "mmpose image": [mmpose()],
    "mmpose video": {"meta_info": {}, "instance_info": [{"frame_id": 1, "instances": [mmpose()]}]},
    "ultralytics": [ultralytics()],
    "mediapipe": mediapipe(),
    "mediapipe people": [mediapipe()],
    "mediapipe landmarks": {"pose_landmarks": mediapipe()},
    "dwpose": {"bodies": DWPOSE, "body_scores": [[0.5] * 18], "hands": []},
    "dwpose candidates": {"bodies": {"candidate": DWPOSE, "subset": [[0.5] * 18]}},
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_joints_come_out(pose_file, name):
    pose = read_pose(pose_file(FORMATS[name]), frame=SIZE)
    np.testing.assert_allclose(np.delete(pose.points, 1, axis=0), np.delete(points(), 1, axis=0), atol=0.001)
    assert pose.present[1]


def test_dwpose_may_list_indices(pose_file):
    subset = [*range(17), -1]
    pose = read_pose(pose_file({"bodies": {"candidate": DWPOSE, "subset": [subset]}}), frame=SIZE)
    np.testing.assert_allclose(pose.points[:17, :2], STANDING[:17], atol=0.001)
    assert not pose.present[17]


@pytest.mark.parametrize(
    "broken",
    [
        [{"keypoints": {"x": [1], "y": [1, 2]}}],
        [{"keypoints": [[1, 2]], "keypoint_scores": [1, 1]}],
        [{"keypoints": [1, 2], "keypoint_scores": [1, 1]}],
        {"instance_info": []},
        {"bodies": {}},
        {"bodies": [[0, 0]], "body_scores": [[1]]},
        [{"x": 1, "y": 2}],
        {"pose_landmarks": [1]},
    ],
)
def test_damaged_files_of_these_programs_are_named(pose_file, broken):
    assert refusal(pose_file(broken), frame=SIZE)
