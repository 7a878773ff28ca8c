"""The flow that joints with depths tell: who is in front, what is hidden, and 2-D flows where depths are unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import tiny

from gfla_cli.config import preset
from gfla_cli.errors import ConfigError
from gfla_cli.networks.body_flow import BODY_CHANNELS, body_guess, body_picture
from gfla_cli.networks.build import build
from gfla_cli.networks.guess import GUESS_STRIDE
from gfla_cli.networks.limb_flow import limb_flow
from gfla_cli.structure.joint_depth import JOINTS, MIDDLE, joint_map_batch, joint_maps

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
    x, y = (int(v // GUESS_STRIDE) for v in place)
    return values[:, y, x].numpy()


def arm_on_the_belly(depth):
    """The right forearm across the trunk, so deep before it, or behind."""
    place, deep = STANDING.copy(), DEPTH.copy()
    place[RIGHT_WRIST], deep[RIGHT_ELBOW], deep[RIGHT_WRIST] = (64, 58), depth / 2, depth
    return posed(place, deep)


def test_both_forms_of_the_maps_are_one():
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


def test_who_stands_still_comes_from_where_they_are():
    guess = body_guess(maps(posed()), maps(posed()))
    assert guess.flow.shape == (1, 2, 64, 64)
    assert guess.flow.abs().max() < 0.1
    body = guess.target[:, COVERED:] > 0.9
    assert 300 < body.sum() < 1500
    assert guess.shown[body].mean() > 0.9


def test_who_moves_and_grows_is_found():
    target = posed(np.trunc(STANDING * 0.75 + (30, 5)), DEPTH * 0.75)
    guess = body_guess(maps(posed()), maps(target))
    for joint in (1, 3, 4, 8, 9, 12):
        centre = target[joint, :2] // GUESS_STRIDE * GUESS_STRIDE + 0.5
        np.testing.assert_allclose(at(guess.flow[0], centre), (centre - (30, 5)) / 0.75 - centre, atol=2)


def test_depth_tells_whether_an_arm_or_the_trunk_is_seen():
    wrist = np.array([62.0, 58.0])
    before, behind = (body_guess(maps(posed()), maps(arm_on_the_belly(depth))) for depth in (-20, 20))
    assert at(before.target[0], wrist)[NEAR] > at(behind.target[0], wrist)[NEAR] + 0.1
    hanging = STANDING[RIGHT_WRIST] * 0.9 + STANDING[RIGHT_ELBOW] * 0.1
    np.testing.assert_allclose(wrist + at(before.flow[0], wrist), hanging, atol=5)  # of the arm
    np.testing.assert_allclose(at(behind.flow[0], wrist), 0, atol=2)  # of the trunk, which stays


def test_what_another_part_hides_is_not_shown():
    belly = np.array([62.0, 58.0])
    shown = body_guess(maps(arm_on_the_belly(-20)), maps(posed())).shown[0]
    assert at(shown, belly) < 0.5
    assert at(shown, STANDING[9]) > 0.8


def test_a_back_is_not_shown_by_a_front():
    back = STANDING.copy()
    back[:, 0] = 127 - back[:, 0]
    depth = -DEPTH
    pose = posed(back, depth)
    pose[[0, 14, 15]] = -1, -1, 0, 0
    guess = body_guess(maps(posed()), maps(pose))
    spine = np.array([64.0, 52.0])
    assert at(guess.shown[0], spine) < 0.5
    np.testing.assert_allclose(at(guess.flow[0], spine), 0, atol=3)


def test_without_depths_it_is_the_flow_of_the_limbs():
    known, unknown = posed(), posed(depth=np.full(18, np.nan))
    bent = STANDING.copy()
    bent[RIGHT_WRIST] += (-10, -20)
    for source, target in ((unknown, posed(bent)), (known, posed(bent, np.full(18, np.nan)))):
        source, target = maps(source), maps(target)
        guess = body_guess(source, target)
        np.testing.assert_array_equal(guess.flow, limb_flow(source[:, :JOINTS], target[:, :JOINTS]))
        assert guess.shown.abs().max() == 0
    assert guess.target.abs().max() == 0
    assert guess.source.abs().max() > 0.5
    assert body_picture(target).abs().max() == 0


def test_each_of_a_batch_is_as_if_alone():
    poses = [posed(), arm_on_the_belly(-10), posed(STANDING * 0.8 + 10, DEPTH * 0.8)]
    nobody = np.tile(np.array([-1, -1, 0, 0], np.float32), (18, 1))
    sources, targets = maps(*poses, nobody), maps(*poses[::-1], posed())
    together = body_guess(sources, targets)
    for k in range(4):
        for whole, alone in zip(together, body_guess(sources[k : k + 1], targets[k : k + 1]), strict=True):
            np.testing.assert_allclose(whole[k : k + 1], alone, atol=1e-4)
    assert all(torch.isfinite(part).all() for part in together)


def test_a_network_whose_joints_have_no_depth_draws_what_it_did_before():
    torch.manual_seed(0)
    old = tiny("pose-people", flow_prior="matches")
    assert not old.has_depth
    plain, deep = build(old).eval(), build(replace(old, structure_channels=36)).eval()
    assert deep.config.has_depth
    state = {name: torch.zeros_like(weight) for name, weight in deep.state_dict().items()}
    for name, weight in plain.state_dict().items():
        state[name][tuple(slice(side) for side in weight.shape)] = weight
    deep.load_state_dict(state)
    height, width = old.image_size
    image = torch.rand(1, 3, height, width) * 2 - 1
    points = torch.from_numpy(np.stack([posed(), arm_on_the_belly(-10)]))
    points[..., [0, 1, 3]] *= height / 128
    told = joint_map_batch(points, (height, width), 3.0).split(1)
    silent = [torch.cat([x[:, :JOINTS], torch.zeros_like(x[:, JOINTS:])], dim=1) for x in told]
    with torch.no_grad():
        before = plain(image, *(x[:, :JOINTS] for x in told)).image
        np.testing.assert_allclose(deep(image, *silent).image, before, atol=1e-5)
        assert (deep(image, *told).image - before).abs().max() > 1e-4  # another guess of the flow


def test_bodies_are_seen_at_full_size():
    seen = body_picture(maps(posed()))
    assert seen.shape == (1, BODY_CHANNELS, *SIZE)
    assert seen[0, COVERED, 50, 64] > 0.9
    assert seen[0, COVERED, 5, 5] < 0.01


def test_other_numbers_of_joints_have_no_flow_of_their_own():
    with pytest.raises(ConfigError, match="18 joints"):
        replace(preset("pose-people"), structure_channels=54)
