"""Training with a renderer's ground-truth flows: which flows warp the features, and what still learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drawn_clips import Drawn, clip_plan
from noise_pairs import JOINT, ONE_STEP, TINY, NoisePairs
from tiny_models import CPU, fresh
from torch.utils.data import default_collate

from gfla_cli.networks.flow import Flow
from gfla_cli.training.batch import GroundTruthFlow, draw_teacher_forced, with_ground_truth_flows
from gfla_cli.training.recipe import LossWeights, with_sampler
from gfla_cli.training.tasks.clip import SequenceTask
from gfla_cli.training.tasks.pose import PoseTask

ALL_TEACHER_FORCED = replace(JOINT, weights=LossWeights(l1=1), ground_truth_flows=1.0)


def one_half(height, width):
    """Offsets of 7 in the left half alone, where half of the rows are seen and half may be anything."""
    offset = torch.full((2, 2, height, width), 7.0)
    weight = torch.zeros(2, 1, height, width)
    weight[..., : width // 2] = 0.5
    visible = torch.full((2, 1, height, width), -1.0)
    visible[..., : height // 2, :] = 1
    return offset, weight, visible


def estimated():
    """Flows of two pairs and two levels."""
    return [Flow(torch.zeros(2, 2, n, n), torch.full((2, 1, n, n), 0.3)) for n in (4, 8)]


def test_ground_truth_flows_replace_estimated_ones_where_they_are_known():
    for flow in with_ground_truth_flows(estimated(), one_half, draw_teacher_forced(2, 1.0, CPU.device)):
        n = flow.offset.shape[-1]
        assert (flow.offset[..., : n // 2] == 7).all()
        assert (flow.offset[..., n // 2 :] == 0).all()
        assert (flow.mask[..., : n // 2, :] == 1).all()
        assert flow.mask[..., n // 2 :, :] == pytest.approx(0.3)


def test_a_pair_has_one_kind_of_flow_in_all_levels():
    torch.manual_seed(0)
    drawn = [with_ground_truth_flows(estimated(), one_half, draw_teacher_forced(2, 0.5, CPU.device)) for _ in range(40)]
    replaced = torch.stack([torch.stack([flow.offset.amax(dim=(1, 2, 3)) == 7 for flow in flows]) for flows in drawn])
    assert (replaced[:, 0] == replaced[:, 1]).all()
    assert 20 < replaced[:, 0].sum() < 60


def test_a_share_of_none_changes_nothing():
    kept = with_ground_truth_flows(estimated(), one_half, draw_teacher_forced(2, 0.0, CPU.device))
    for flow, same in zip(estimated(), kept, strict=True):
        assert flow.offset.equal(same.offset)
        assert flow.mask.equal(same.mask)


@pytest.fixture
def task():
    return PoseTask(ONE_STEP, lambda stage: NoisePairs(), None)


@pytest.fixture
def batch(task):
    return next(task.batches(default_collate([NoisePairs()[k] for k in (0, 1)]), CPU.device))


def test_the_image_uses_ground_truth_flows_and_the_flow_losses_the_estimated_ones(task, batch):
    network = fresh(TINY)
    weights = LossWeights(l1=1, correspondence=1)
    known, own = (
        task.forward(network, batch, replace(JOINT, weights=weights, ground_truth_flows=k)).terms for k in (1.0, 0)
    )
    assert known["l1"] != own["l1"]
    assert known["correspondence"].equal(own["correspondence"])


def test_pixels_teach_the_flow_only_where_it_is_its_own(task, batch):
    ones = torch.ones_like(batch.true_flow.visible)
    everywhere = replace(batch, true_flow=batch.true_flow._replace(weight=ones, visible=ones))
    network = fresh(TINY)
    task.forward(network, everywhere, ALL_TEACHER_FORCED).terms["l1"].backward()
    assert all(p.grad is None or not p.grad.any() for p in network.flow_estimator.parameters())
    assert any(p.grad is not None and p.grad.any() for p in network.source_encoder.parameters())


def test_frames_of_clips_use_their_own_ground_truth():
    """Of three frames a clip, whose true flows point ever further, both sides take their own."""
    plan = clip_plan("face", flow=0, joint=1, weights=LossWeights(l1=1, correspondence=1))
    task = SequenceTask(plan, lambda stage: Drawn("face"), None)
    batch = next(task.batches(default_collate([Drawn("face")[k] for k in (0, 1)]), CPU.device))
    far = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 8, 8) / 16
    seen = torch.ones(6, 1, 8, 8)
    batch = replace(
        batch, to_previous=GroundTruthFlow(far, seen, seen), to_reference=GroundTruthFlow(far + 1, seen, seen)
    )
    network, rendered = fresh(plan.model), []
    network.decoder.register_forward_pre_hook(lambda _, inputs: rendered.append(inputs[2]))
    task.forward(network, batch, replace(plan.stages[0], ground_truth_flows=1.0))
    assert len(rendered) == 3
    for k, levels in enumerate(rendered):
        for flows in levels:
            n = flows.previous.offset.shape[-1]
            assert flows.previous.offset[:, 0, 0, 0].tolist() == [far[k].amax() * n, far[3 + k].amax() * n]
            assert flows.reference.offset[:, 0, 0, 0].tolist() == [(far[k].amax() + 1) * n, (far[3 + k].amax() + 1) * n]


@pytest.mark.parametrize("sampler", ["none", "global"])
def test_a_network_without_flows_trains_as_before(sampler, batch):
    plan = with_sampler(ONE_STEP, sampler)
    task = PoseTask(plan, lambda stage: NoisePairs(), None)
    assert torch.isfinite(task.forward(fresh(plan.model), batch, ALL_TEACHER_FORCED).terms["l1"])
