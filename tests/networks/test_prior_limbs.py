"""Flow prior "limbs": exact for translation and scaling, plausible for bent limbs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import tiny

from gfla_cli.conditioning.structure import heatmaps
from gfla_cli.config import preset
from gfla_cli.errors import ConfigError
from gfla_cli.networks.flow import FlowEstimator
from gfla_cli.networks.priors import PRIOR_STRIDE
from gfla_cli.networks.priors.limbs import limb_flow

RIGHT_ELBOW, RIGHT_WRIST = 3, 4
STANDING = np.array(
    [[64, 20], [64, 34], [50, 34], [46, 52], [44, 70], [78, 34], [82, 52], [84, 70], [56, 68], [55, 90], [54, 112],
     [72, 68], [73, 90], [74, 112], [61, 17], [67, 17], [57, 19], [71, 19]], np.float32,
)  # fmt: skip
SIZE = (128, 128)


def maps(*poses, size=SIZE):
    return torch.from_numpy(np.stack([heatmaps(pose, size, 3.0) for pose in poses]))


def at(flow, place):
    x, y = (int(v // PRIOR_STRIDE) for v in place)
    return flow[:, y, x].numpy()


def test_translation_and_scaling_are_found_everywhere():
    target = np.trunc(STANDING * 0.75 + (30, 5))
    flow = limb_flow(maps(STANDING), maps(target))[0]
    assert flow.shape == (2, 64, 64)
    for joint in range(18):
        centre = target[joint] // PRIOR_STRIDE * PRIOR_STRIDE + 0.5  # of the cell that holds the joint
        moved = (centre - (30, 5)) / 0.75 - centre
        np.testing.assert_allclose(at(flow, target[joint]), moved, atol=1.5)


def test_a_bent_arm_comes_from_the_straight_one():
    target = STANDING.copy()
    target[RIGHT_WRIST] = target[RIGHT_ELBOW] + (-18, 0)  # held away from the body, at a right angle
    flow = limb_flow(maps(STANDING), maps(target))[0]
    middle = (target[RIGHT_ELBOW] + target[RIGHT_WRIST]) / 2
    np.testing.assert_allclose(middle + at(flow, middle), (STANDING[RIGHT_ELBOW] + STANDING[RIGHT_WRIST]) / 2, atol=2.5)
    np.testing.assert_allclose(at(flow, STANDING[10]), 0, atol=0.3)  # the leg stays


def test_a_back_is_the_front_with_left_and_right_exchanged():
    back = STANDING.copy()
    back[:, 0] = 127 - back[:, 0]
    flow = limb_flow(maps(STANDING), maps(back))[0]
    shoulder = back[2] + (-4, 8)  # on the trunk, near the right shoulder
    assert (shoulder + at(flow, shoulder))[0] < 60  # the right shoulder is on the left of the source


def test_the_head_rotates_with_the_joints_of_the_face():
    """A head that only moved would be 4 px off at these places."""
    angle, hips = 0.5, STANDING[[8, 11]].mean(axis=0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    flow = limb_flow(maps(STANDING), maps((STANDING - hips) @ turn.T + hips))[0]
    for origin in ([57, 14], [71, 14]):
        place = (np.float32(origin) - hips) @ turn.T + hips
        np.testing.assert_allclose(place + at(flow, place), origin, atol=1.5)


def test_the_flow_is_zero_on_the_background_and_without_joints():
    flow = limb_flow(maps(STANDING), maps(STANDING + np.array([6, 0])))[0]
    np.testing.assert_allclose(at(flow, (4, 4)), 0, atol=1e-3)
    nothing = np.full_like(STANDING, -1)
    for source, target in ((STANDING, nothing), (nothing, STANDING), (nothing, nothing)):
        assert limb_flow(maps(source), maps(target)).abs().max() == 0


@pytest.mark.parametrize("lost", [[1], [8, 11], [0, 14, 15, 16, 17], [2, 5], list(range(2, 18)), list(range(1, 14))])
def test_missing_joints_give_finite_offsets(lost):
    pose = STANDING.copy()
    pose[lost] = -1
    flow = limb_flow(maps(pose, STANDING), maps(STANDING, pose))
    assert flow.isfinite().all()
    assert flow.abs().max() < 40


def test_samples_of_a_batch_are_independent_also_on_oblong_frames():
    size = (128, 96)
    left, right = STANDING - (20, 0), STANDING - (12, 4)
    together = limb_flow(maps(left, right, size=size), maps(right, right, size=size))
    assert together.shape == (2, 2, 64, 48)
    torch.testing.assert_close(together[:1], limb_flow(maps(left, size=size), maps(right, size=size)))


@pytest.mark.parametrize("reduction", [1, 2])
def test_an_estimator_with_zero_corrections_gives_the_prior_at_every_level(reduction):
    config = tiny(image_size=(128, 128), flow_reduction=reduction, flow_prior="limbs")
    estimator = FlowEstimator(config, 3 + 2 * 18).eval()
    for head in estimator.offset_head.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    source, target = maps(STANDING), maps(np.trunc(STANDING * 0.75 + (30, 5)))
    with torch.inference_mode():
        levels = estimator([torch.rand(1, 3, *SIZE), source, target])
    assert [level[0].offset.shape[-1] for level in levels] == [16, 32, 64]
    guess = limb_flow(source, target)
    for (flow,), stride in zip(levels, (8, 4, 2), strict=True):
        expected = F.avg_pool2d(guess, stride // PRIOR_STRIDE) / stride
        inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
        assert expected.abs().max() > 1
        assert (flow.offset - expected)[inside].abs().mean() < 0.1 * expected.abs().max()


def test_other_than_pose_models_with_18_joints_are_refused():
    with pytest.raises(ConfigError, match="18 joints"):
        replace(preset("face"), flow_prior="limbs")
    with pytest.raises(ConfigError, match="flow_prior"):
        replace(preset("pose-people"), flow_prior="wings")
