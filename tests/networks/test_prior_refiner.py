"""The pose refiner: almost no correction before training, missing joints stay missing, depths are learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gfla_cli.conditioning.structure import JOINTS
from gfla_cli.losses.flow import refined_loss
from gfla_cli.networks.build import initialise
from gfla_cli.networks.priors.solids import SOLIDS, Joints, PoseRefiner

STANDING = torch.tensor(
    [[64, 20], [64, 34], [50, 34], [46, 52], [44, 70], [78, 34], [82, 52], [84, 70], [56, 68], [55, 90], [54, 112],
     [72, 68], [73, 90], [74, 112], [61, 17], [67, 17], [57, 19], [71, 19]], dtype=torch.float32,
)  # fmt: skip


def joints(count=2, *, deep=True, seed=0):
    """Source and target of `count` pairs, (2 count, ...), and their true places (2 count, J, 4)."""
    generator = torch.Generator().manual_seed(seed)
    place = STANDING + torch.randn(2 * count, JOINTS, 2, generator=generator) * 3
    depth = torch.randn(2 * count, JOINTS, generator=generator) * 6
    depth = depth - depth[:, 1:2]
    there = torch.ones(2 * count, JOINTS)
    truth = torch.cat([place, there[..., None], depth[..., None]], dim=2)
    known = depth if deep else torch.zeros_like(depth)
    return Joints(torch.cat([place, known[..., None]], dim=2), there, torch.full((2 * count, 1), float(deep))), truth


def refiner():
    torch.manual_seed(0)
    network = PoseRefiner()
    initialise(network, "kaiming")
    return network


def given(count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, 128, 128, generator=generator) * 2 - 1, torch.rand(
        count, JOINTS, 128, 128, generator=generator
    )


@pytest.mark.parametrize("deep", [True, False])
def test_an_untrained_refiner_changes_almost_nothing(deep):
    pose, _ = joints(deep=deep)
    refined = refiner()(*given(), pose)
    assert refined.position.shape == pose.position.shape
    assert refined.thickness.shape == (4, SOLIDS, 2)
    assert (refined.position - pose.position).abs().max() < 0.5  # pixels
    assert (refined.thickness - 1).abs().max() < 0.05


def test_missing_joints_are_not_moved_and_do_not_affect_others():
    network = refiner()
    torch.nn.init.normal_(network.place_head.weight)  # one that has learned something
    pose, _ = joints()
    without = pose._replace(present=pose.present.clone(), position=pose.position.clone())
    without.present[:, 7] = 0
    elsewhere = without._replace(position=without.position.clone())
    elsewhere.position[:, 7] = 5.0
    made, other = network(*given(), without), network(*given(), elsewhere)
    assert torch.equal(made.position[:, 7], without.position[:, 7])
    torch.testing.assert_close(made.position[:, :7], other.position[:, :7])


def test_poses_with_and_without_depth_have_corrections_of_their_own():
    network = refiner()
    torch.nn.init.zeros_(network.place_head.weight)
    with torch.no_grad():
        network.place_head.bias.copy_(torch.arange(4 * JOINTS * 3) % 2 * 0.1)
        bias = network.place_head.bias.view(2, 2, JOINTS, 3)
        bias[:, 0], bias[:, 1] = 0.0, 0.2
    (deep, _), (flat, _) = joints(deep=True), joints(deep=False)
    assert torch.equal(network(*given(), deep).position, deep.position)
    assert (network(*given(), flat).position - flat.position).abs().min() > 1


def test_the_loss_is_zero_for_true_joints_and_measures_depth_from_the_neck():
    pose, truth = joints()
    elsewhere = truth + torch.tensor([0.0, 0.0, 0.0, 40.0])
    assert float(refined_loss(pose, elsewhere, 1)) < 1e-6
    larger = torch.cat([(truth[..., :2] + 0.5) * 2 - 0.5, truth[..., 2:3], truth[..., 3:] * 2], dim=2)
    assert float(refined_loss(pose, larger, 2)) < 1e-6
    wrong = pose._replace(position=pose.position + torch.tensor([3.0, 0.0, 0.0]))
    assert float(refined_loss(wrong, truth, 1)) > 0.005
    unknown = torch.zeros_like(truth)
    assert float(refined_loss(wrong, unknown, 1)) == 0
    unknown[..., 3] = torch.nan
    assert float(refined_loss(wrong, unknown, 1)) == 0


def test_depths_of_poses_without_depth_are_learned():
    network = refiner()
    pose, truth = joints(deep=False)
    optimiser = torch.optim.Adam([*network.layers.parameters(), *network.place_head.parameters()], lr=3e-3)
    losses = []
    for _ in range(20):
        loss = refined_loss(Joints(network(*given(), pose).position, pose.present, pose.has_depth), truth, 1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert np.isfinite(losses).all()
