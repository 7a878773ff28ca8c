"""Flows by matching: descriptors that are alike lead to the right place, and learn from known correspondences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from noise_pairs import ONE_STEP, KnownPairs
from tiny_models import fresh, tiny
from torch.utils.data import default_collate

from gfla_cli.config import preset
from gfla_cli.errors import ConfigError
from gfla_cli.losses.matching import matching_loss
from gfla_cli.networks.flow import FlowEstimator
from gfla_cli.networks.matching import SOURCE_STRIDE, TARGET_STRIDE, Matches
from gfla_cli.training.objective import weighted
from gfla_cli.training.pose import PoseTask
from gfla_cli.training.recipe import LossWeights

SHARP = 20.0
CELLS = 16  # of a side of the source; the frame has 64 pixels


def moved(offset, seed=0):
    """Matches of a source with a descriptor of its own in every cell, seen `offset` (x, y) pixels away."""
    source = torch.randn(1, 48, CELLS, CELLS, generator=torch.Generator().manual_seed(seed))
    pixels = F.interpolate(source, scale_factor=SOURCE_STRIDE, mode="bilinear", align_corners=False)
    # The value at l is the source at l + offset, as for every flow.
    target = torch.roll(pixels, (-offset[1], -offset[0]), dims=(2, 3))
    target = F.avg_pool2d(target, TARGET_STRIDE)
    return Matches(F.normalize(target, dim=1), F.normalize(source, dim=1) * SHARP)


def inputs(size=64, batch=2):
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(batch, 36, size, size, generator=generator)
    return [torch.rand(batch, 3, size, size, generator=generator) * 2 - 1, *maps.split(18, dim=1)]


@pytest.mark.parametrize("offset", [(0, 0), (8, 0), (0, -12), (-4, 20), (3, 5)])
def test_descriptors_lead_to_where_they_are_in_the_source(offset):
    flow, spread = moved(offset).flow()
    assert flow.shape == (1, 2, 32, 32)
    assert spread.shape == (1, 1, 32, 32)
    inside = (..., slice(11, -11), slice(11, -11))  # what wraps around the frame's edge is no correspondence
    for axis in (0, 1):
        assert (flow[:, axis][inside] - offset[axis]).abs().mean() < 1.2
    assert spread[inside].mean() < SOURCE_STRIDE


def test_who_is_unlike_everything_points_to_the_middle_and_says_that_it_is_unsure():
    matches = moved((0, 0))
    _, spread = matches._replace(source=matches.source * 0).flow()
    assert spread.min() > CELLS  # pixels, of 64


def test_the_right_correspondences_cost_least():
    matches = moved((8, -4))
    weight = torch.zeros(1, 1, 32, 32)
    weight[..., 8:-8, 8:-8] = 1
    costs = []
    for offset in ((8, -4), (4, -4), (-8, 4)):
        known = torch.tensor(offset, dtype=torch.float32).view(1, 2, 1, 1).expand(-1, -1, 32, 32) / TARGET_STRIDE
        entropy, distance = matching_loss(matches, known, weight)
        costs.append((float(entropy), float(distance)))
    assert costs[0] < costs[1] < costs[2]
    assert [distance for _, distance in costs] == sorted(distance for _, distance in costs)
    assert costs[0][1] < 0.5  # cells
    assert costs[2][1] == pytest.approx((16**2 + 8**2) ** 0.5 / SOURCE_STRIDE, rel=0.1)


def test_positions_of_no_weight_are_not_compared():
    matches = moved((0, 0))
    known = torch.zeros(1, 2, 32, 32)
    known[..., :16] = 7  # wrong, and of no weight
    weight = torch.zeros(1, 1, 32, 32)
    weight[..., 18:-2] = 1
    assert float(matching_loss(matches, known, weight)[1]) < 0.5


def test_descriptors_are_learnt_from_known_correspondences():
    torch.manual_seed(0)
    estimator = FlowEstimator(tiny(), 3 + 2 * 18)
    image, source, target = inputs()
    known, weight = torch.full((2, 2, 32, 32), 3.0), torch.ones(2, 1, 32, 32)
    optimiser = torch.optim.Adam(estimator.matcher.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = sum(matching_loss(estimator.match([image, source, target]), known, weight))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_a_training_step_teaches_the_matcher_by_its_own_loss():
    generator = fresh(tiny())
    learnt = {}
    for weight in (0, 1):
        weights = LossWeights(correspondence=1, matching=weight)
        stage = replace(ONE_STEP.stages[0], train="flow", weights=weights)
        recipe = replace(ONE_STEP, model=tiny(), stages=(stage,))
        task = PoseTask(recipe, lambda stage: KnownPairs(), None)
        sample = default_collate([KnownPairs()[i] for i in range(2)])
        outcome = task.forward(generator, next(task.batches(sample, torch.device("cpu"))), stage)
        generator.zero_grad(set_to_none=True)
        weighted(outcome.terms, weights).backward()
        learnt[weight] = {p.grad is not None for p in generator.flow_estimator.matcher.parameters()}
        assert ("matching" in outcome.terms) == bool(weight)
    assert learnt == {0: {False}, 1: {True}}


def test_flows_start_from_the_matches_and_teach_them_nothing():
    torch.manual_seed(0)
    estimator = FlowEstimator(tiny(), 3 + 2 * 18)
    given = inputs()
    matches = estimator.match(given)
    levels = estimator(given, matches=matches)
    for (flow,), (alone,) in zip(levels, estimator(given), strict=True):
        torch.testing.assert_close(flow.offset, alone.offset)
    sum(flow.offset.square().mean() + flow.mask.mean() for (flow,) in levels).backward()
    assert all(parameter.grad is None for parameter in estimator.matcher.parameters())
    elsewhere = estimator(given, matches=matches._replace(source=matches.source.flip(3)))
    assert (elsewhere[-1][0].offset - levels[-1][0].offset).abs().mean() > 1


@pytest.mark.parametrize("reduction", [1, 2])
def test_an_estimator_without_corrections_gives_the_matches_at_every_level(reduction):
    config = tiny(image_size=(128, 128), flow_reduction=reduction)
    estimator = FlowEstimator(config, 3 + 2 * 18).eval()
    for head in estimator.offset_head.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    given = inputs(128)
    with torch.inference_mode():
        levels = estimator(given)
        whole = estimator.match(given).flow()[0] * reduction  # pixels of the frame
    whole = F.interpolate(whole, scale_factor=float(reduction), mode="bilinear", align_corners=False)
    for (flow,), stride in zip(levels, (8, 4, 2), strict=True):
        torch.testing.assert_close(flow.offset, F.avg_pool2d(whole, stride // TARGET_STRIDE) / stride)


def test_ablations_without_flow_have_no_matcher():
    assert tiny().has_matcher
    for sampler in ("none", "global"):
        config = tiny(sampler=sampler)
        assert not config.has_matcher
        assert not any("matcher" in name for name, _ in fresh(config).named_parameters())


def test_only_pose_models_with_eighteen_joints_take_it():
    with pytest.raises(ConfigError, match="18 joints"):
        replace(preset("face"), flow_prior="matches")
    with pytest.raises(ConfigError, match="flow_depth"):
        replace(preset("pose-people"), flow_depth=3)
    with pytest.raises(ConfigError, match="match_width"):
        replace(preset("pose-people"), match_width=2)
