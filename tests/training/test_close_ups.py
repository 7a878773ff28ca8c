"""Heads, eyes and mouths cut out of pictures for the losses: where the points are, at one size, differentiable."""

import pytest
import torch
from drawn_landmarks import drawn_face

from gfla_cli.training.batch import SIDE, close_up, feature_boxes, head_boxes
from gfla_cli.training.recipe import recipe
from gfla_cli.training.tasks.pose import PoseTask


def joints(**known):
    points = torch.full((1, 18, 3), -1.0)
    points[..., 2] = 0
    for name, place in known.items():
        points[0, {"nose": 0, "neck": 1, "left_ear": 17, "right_ear": 16}[name]] = torch.tensor([*place, 1.0])
    return points


def test_the_box_is_around_the_joints_of_the_face_and_grows_with_them():
    near = head_boxes(joints(nose=(100, 60), neck=(100, 100)), (256, 256))[0]
    far = head_boxes(joints(nose=(100, 60), neck=(100, 80)), (256, 256))[0]
    assert near[:2].tolist() == [100, 60]
    assert near[2] == 80
    assert far[2] == 40


def test_a_back_is_placed_by_its_ears_and_a_missing_face_above_the_neck():
    ears = head_boxes(joints(left_ear=(90, 50), right_ear=(110, 54), neck=(100, 90)), (256, 256))[0]
    assert ears[:2].tolist() == [100, 52]
    above = head_boxes(joints(neck=(100, 90)), (256, 256))[0]
    assert above[0] == 100
    assert 20 < above[1] < 90
    nobody = head_boxes(joints(), (256, 128))[0]
    assert nobody[:2].tolist() == [64, 128]


def test_a_cut_at_its_own_size_is_the_picture():
    picture = torch.rand(2, 3, 96, 128)
    boxes = torch.tensor([[40.0, 48.0, SIDE], [64.0, 40.0, SIDE]])
    cuts = close_up(boxes, picture)
    torch.testing.assert_close(cuts[0], picture[0, :, 16:80, 8:72], atol=1e-5, rtol=0)
    torch.testing.assert_close(cuts[1], picture[1, :, 8:72, 32:96], atol=1e-5, rtol=0)


def test_gradients_reach_the_head_and_nothing_else():
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    close_up(torch.tensor([[32.0, 16.0, 20.0]]), picture).sum().backward()
    touched = picture.grad[0, 0].nonzero()
    assert touched[:, 0].min() >= 5
    assert touched[:, 0].max() <= 27
    assert touched[:, 1].min() >= 21
    assert touched[:, 1].max() <= 43


def test_eyes_and_mouth_are_framed_whatever_they_do():
    face = torch.from_numpy(drawn_face()).float() + 100
    eyes, mouth = feature_boxes(face)
    for box, points in ((eyes, face[36:48]), (mouth, face[48:68])):
        assert ((points - box[:2]).abs() < box[2] / 2).all()
    assert eyes[1] < mouth[1]
    opened = face.clone()
    opened[54:60, 1] += 60  # the lower lip falls
    assert feature_boxes(opened)[1, 2] > 60
    assert feature_boxes(torch.zeros(2, 3, 68, 2))[..., 2].min() > 0  # however small a face is


@pytest.mark.parametrize(("dataset", "expected"), [("people", {"image", "close_up", "joints"}), ("fashion", {"image"})])
def test_heads_and_poses_have_critics_if_the_recipe_asks_for_them(dataset, expected):
    plan = recipe(dataset)
    assert set(PoseTask(plan, lambda stage: None, None).discriminators()) == expected
    assert any(stage.weights.close_up for stage in plan.stages) == ("close_up" in expected)
    assert any(stage.weights.joints for stage in plan.stages) == ("joints" in expected)
