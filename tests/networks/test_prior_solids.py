"""Flow prior "solids": occlusion by depth, visibility, body maps, and the network's choice among candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import fresh, tiny

from gfla_cli.conditioning.structure import JOINTS, MIDDLE, joint_map_batch, joint_maps
from gfla_cli.config import preset
from gfla_cli.errors import ConfigError
from gfla_cli.losses.flow import choice_loss
from gfla_cli.networks.flow import Choice, FlowEstimator
from gfla_cli.networks.priors import PRIOR_STRIDE
from gfla_cli.networks.priors.body import body_shape, trunk_length
from gfla_cli.networks.priors.limbs import limb_flow
from gfla_cli.networks.priors.solids import BODY_CHANNELS, SOLIDS, compute_body_prior
from gfla_cli.ops.warp import upsample

RIGHT_ELBOW, RIGHT_WRIST, NEAR, COVERED = 3, 4, 3, 4
STANDING = np.array(
    [[64, 20], [64, 34], [50, 34], [46, 52], [44, 70], [78, 34], [82, 52], [84, 70], [56, 68], [55, 90], [54, 112],
     [72, 68], [73, 90], [74, 112], [61, 17], [67, 17], [57, 19], [71, 19]], np.float32,
)  # fmt: skip
DEPTH = np.array([-9, 0, 0, 0, -6, 0, 0, -6, 1, 0, 2, 1, 0, 2, -8, -8, -2, -2], np.float32)  # looks into the camera
SIZE = (128, 128)


def posed(place=STANDING, depth=DEPTH):
    """(18, 4) points."""
    return np.column_stack([place, np.ones(18), depth]).astype(np.float32)


def maps(*poses):
    return torch.from_numpy(np.stack([joint_maps(pose, SIZE, 3.0) for pose in poses]))


def at(values, place):
    x, y = (int(v // PRIOR_STRIDE) for v in place)
    return values[:, y, x].numpy()


def arm_on_the_belly(depth):
    """The right forearm across the trunk, so deep before it, or behind."""
    place, deep = STANDING.copy(), DEPTH.copy()
    place[RIGHT_WRIST], deep[RIGHT_ELBOW], deep[RIGHT_WRIST] = (64, 58), depth / 2, depth
    return posed(place, deep)


def test_a_cut_thigh_makes_no_body_thinner():
    shape, _ = body_shape(torch.device("cpu"))
    present = torch.ones(1, JOINTS)
    present[0, [10, 13]] = 0

    def trunk(place):
        return float(trunk_length(torch.from_numpy(posed(place)[None][:, :, [0, 1, 3]]), present, shape))

    cut = STANDING.copy()
    cut[[9, 12]] += 0.7 * (cut[[8, 11]] - cut[[9, 12]])  # the knees
    assert 0.98 < trunk(cut) / trunk(STANDING) < 1.1


def test_numpy_and_torch_draw_the_same_pose_maps():
    one, other = posed(), posed(STANDING * 0.9, DEPTH * 1.5)
    other[5, 3] = np.nan
    other[7] = -1, -1, 0, 3
    drawn = joint_map_batch(torch.from_numpy(np.stack([one, other])), SIZE, 3.0)
    np.testing.assert_allclose(drawn.numpy(), maps(one, other).numpy(), atol=1e-6)
    assert drawn[0, JOINTS + 1].max() == pytest.approx(MIDDLE)  # the neck
    assert drawn[1, JOINTS + 5].max() == 0  # unknown
    unknown = joint_map_batch(torch.from_numpy(one[None, :, :3]), SIZE, 3.0)
    assert unknown[:, JOINTS:].abs().max() == 0
    np.testing.assert_array_equal(unknown[:, :JOINTS], drawn[:1, :JOINTS])


def test_equal_poses_have_zero_flow():
    prior = compute_body_prior(maps(posed()), maps(posed()))
    assert prior.flow().shape == (1, 2, 64, 64)
    assert prior.candidates.shape == (1, SOLIDS, 2, 64, 64)
    assert prior.target.shape == (1, BODY_CHANNELS, 64, 64)
    assert prior.flow().abs().max() < 0.1
    body = prior.target[:, COVERED:] > 0.9
    assert 300 < body.sum() < 1500
    assert prior.visibility[body].mean() > 0.9


def test_translation_and_scaling_are_found():
    target = posed(np.trunc(STANDING * 0.75 + (30, 5)), DEPTH * 0.75)
    prior = compute_body_prior(maps(posed()), maps(target))
    for joint in (1, 3, 4, 8, 9, 12):
        centre = target[joint, :2] // PRIOR_STRIDE * PRIOR_STRIDE + 0.5
        np.testing.assert_allclose(at(prior.flow()[0], centre), (centre - (30, 5)) / 0.75 - centre, atol=2)


def test_depth_decides_whether_arm_or_trunk_is_in_front():
    wrist = np.array([62.0, 58.0])
    before, behind = (compute_body_prior(maps(posed()), maps(arm_on_the_belly(depth))) for depth in (-20, 20))
    assert at(before.target[0], wrist)[NEAR] > at(behind.target[0], wrist)[NEAR] + 0.1
    hanging = STANDING[RIGHT_WRIST] * 0.9 + STANDING[RIGHT_ELBOW] * 0.1
    np.testing.assert_allclose(wrist + at(before.flow()[0], wrist), hanging, atol=5)  # of the arm
    np.testing.assert_allclose(at(behind.flow()[0], wrist), 0, atol=2)  # of the trunk, which stays


def detoured(source, target):
    """The flow from `source` to `target`, the steps around arms, and what stays wrong, at each place of the grid."""
    prior = compute_body_prior(maps(source), maps(target))
    flow = prior.flow()
    step, wrong = prior.detour(flow)
    return flow[0], step[0], wrong[0, 0]


def test_a_hand_that_was_before_the_trunk_does_not_stay_there():
    wrist = np.array([64.0, 58.0])
    flow, step, wrong = detoured(arm_on_the_belly(-20), posed())
    assert np.abs(at(flow, wrist)).max() < 2  # the trunk stays, so the flow looks for it under the hand
    assert np.linalg.norm(at(step, wrist)) > 8
    before = compute_body_prior(maps(arm_on_the_belly(-20)), maps(arm_on_the_belly(-20)))
    assert at(before.arms[0, 0], wrist)[0] > 0.9
    assert at(before.arms[0, 0], wrist + at(step, wrist))[0] < 0.1  # another place of the trunk
    assert at(before.parts[0], wrist + at(step, wrist))[0] > 0.9
    assert wrong[29, 32] < 0.2
    assert step[:, 45:].abs().max() == 0  # legs are not covered


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param(arm_on_the_belly(-20), arm_on_the_belly(-20), id="the hand is still there"),
        pytest.param(arm_on_the_belly(20), posed(), id="the hand is behind the trunk"),
        pytest.param(arm_on_the_belly(-20)[:, :3], posed()[:, :3], id="depth is unknown"),
    ],
)
def test_no_detour_is_made(source, target):
    _, step, wrong = detoured(source, target)
    trunk = (slice(18, 34), slice(28, 38))
    assert step[:, *trunk].abs().max() == 0
    assert wrong[trunk].max() == 0


def test_occluded_parts_are_not_visible():
    belly = np.array([62.0, 58.0])
    visible = compute_body_prior(maps(arm_on_the_belly(-20)), maps(posed())).visibility[0]
    assert at(visible, belly) < 0.5
    assert at(visible, STANDING[9]) > 0.8


def test_a_back_is_not_visible_from_the_front():
    back = STANDING.copy()
    back[:, 0] = 127 - back[:, 0]
    pose = posed(back, -DEPTH)
    pose[[0, 14, 15]] = -1, -1, 0, 0
    prior = compute_body_prior(maps(posed()), maps(pose))
    spine = np.array([64.0, 52.0])
    assert at(prior.visibility[0], spine) < 0.5
    np.testing.assert_allclose(at(prior.flow()[0], spine), 0, atol=3)


def test_without_depths_the_body_lies_flat():
    flat, unknown = np.zeros(18), np.full(18, np.nan)
    bent = STANDING.copy()
    bent[RIGHT_WRIST] += (-10, -20)
    sources = maps(posed(depth=unknown), posed(depth=flat))
    targets = maps(posed(bent, unknown), posed(bent, flat))
    prior = compute_body_prior(sources, targets)
    np.testing.assert_allclose(prior.flow()[0], prior.flow()[1], atol=0.05)
    joints = limb_flow(sources[:1, :JOINTS], targets[:1, :JOINTS])
    wrist = bent[RIGHT_WRIST]
    np.testing.assert_allclose(at(prior.flow()[0], wrist), at(joints[0], wrist), atol=3)
    assert prior.target[0, NEAR].abs().max() == 0  # which tells that depths are unknown
    assert prior.target[1, NEAR].max() > 0.4


def test_samples_of_a_batch_are_independent():
    poses = [posed(), arm_on_the_belly(-10), posed(STANDING * 0.8 + 10, DEPTH * 0.8)]
    nobody = np.tile(np.array([-1, -1, 0, 0], np.float32), (18, 1))
    sources, targets = maps(*poses, nobody), maps(*poses[::-1], posed())
    together = compute_body_prior(sources, targets)
    for k in range(4):
        alone = compute_body_prior(sources[k : k + 1], targets[k : k + 1])
        np.testing.assert_allclose(together.flow()[k : k + 1], alone.flow(), atol=1e-4)
        np.testing.assert_allclose(together.target[k : k + 1], alone.target, atol=1e-4)
    assert all(torch.isfinite(part).all() for part in (*together[:-1], *together.joints))
    assert together.flow()[3].abs().max() < 1e-6  # from somebody without joints comes nothing


def test_upsampled_candidates_have_sharper_borders():
    prior = compute_body_prior(maps(arm_on_the_belly(-20)), maps(posed(STANDING * 0.9 + 4, DEPTH * 0.9)))
    large = prior.upsampled(2)
    assert large.logits.shape == (1, SOLIDS + 1, 128, 128)
    coarse = upsample(prior.flow(), 2) * 2
    difference = (large.flow() - coarse).norm(dim=1)
    assert difference.median() < 0.05  # inside of parts it is the same
    assert difference.max() > 1  # but their borders are sharper


def test_a_network_changes_the_choice():
    torch.manual_seed(0)
    config = tiny("pose-people")
    assert config.has_depth
    estimator = FlowEstimator(config, 3 + 2 * JOINTS).eval()
    torch.nn.init.zeros_(estimator.choice_head.weight)
    torch.nn.init.zeros_(estimator.choice_head.bias)
    source, target = (torch.nn.functional.avg_pool2d(maps(p), 2) for p in (posed(), arm_on_the_belly(-20)))
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        prior = compute_body_prior(source, target)
        unchanged = estimator.estimate([image, source, target], bodies=prior).choice
        np.testing.assert_allclose(unchanged.logits, prior.logits, atol=1e-6)
        estimator.choice_head.bias[SOLIDS] = 100.0  # everything stands still
        flows = estimator.estimate([image, source, target], bodies=prior).levels
        stands = estimator.estimate([image, source, source]).levels
    for (moved,), (still,) in zip(flows, stands, strict=True):
        np.testing.assert_allclose(moved.offset.mean(), still.offset.mean(), atol=0.5)  # corrections are left


def test_the_choice_loss_prefers_the_candidate_that_leads_to_the_ground_truth():
    torch.manual_seed(0)
    candidates = torch.randn(2, SOLIDS, 2, 8, 8) * 5
    wanted = candidates[:, 7] + 0.01
    logits = torch.zeros(2, SOLIDS + 1, 8, 8).requires_grad_()
    weight = torch.ones(2, 1, 8, 8)
    optimiser = torch.optim.Adam([logits], lr=0.3)
    losses = []
    for _ in range(80):
        optimiser.zero_grad()
        loss = choice_loss(Choice(candidates, logits), wanted, weight)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(SOLIDS + 1), rel=1e-4)
    assert losses[-1] < losses[0] - 2
    assert (logits.argmax(dim=1) == 7).float().mean() > 0.95
    away = choice_loss(Choice(candidates, logits), wanted, weight * 0)
    assert float(away) == 0


def test_other_numbers_of_channels_are_refused():
    for channels in (54, 18):
        with pytest.raises(ConfigError, match="solids"):
            replace(preset("pose-people"), structure_channels=channels)
    with pytest.raises(ConfigError, match="stride 2"):
        replace(preset("pose-people"), levels=preset("pose-people").levels[:2], pixel_blend=False)


def test_a_wrong_number_of_channels_names_the_right_one():
    with pytest.raises(ValueError, match="takes 36 structure channels, got 18"):
        fresh(tiny())(torch.zeros(1, 3, 64, 64), *torch.zeros(2, 1, 18, 64, 64))
