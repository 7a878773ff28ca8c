"""Critics: discriminators, and the pose reader that compares the poses of generated and real images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from noise_pairs import TINY, NoisePairs
from small_training import plan, trainer
from torch.utils.data import default_collate

from gfla_cli.conditioning.structure import heatmap_batch
from gfla_cli.losses.image import JOINT_SIGMA, joint_loss
from gfla_cli.networks.discriminator import STRIDE, PoseReader
from gfla_cli.training.recipe import LossWeights
from gfla_cli.training.tasks.base import (
    CriticInput,
    PoseReaderInput,
    active_critics,
    adversarial_losses,
    discriminator_losses,
)
from gfla_cli.training.tasks.pose import pose_batch


def maps(*places):
    points = torch.tensor([[[*place, 1.0] for place in places]])
    return heatmap_batch(points, (32, 32), JOINT_SIGMA)


def test_a_joint_that_is_not_found_costs_one_and_one_found_elsewhere_two():
    wanted = maps((10, 10), (20, 12))
    assert joint_loss(wanted, wanted) == 0
    assert float(joint_loss(torch.zeros_like(wanted), wanted)) == pytest.approx(1, rel=1e-3)
    assert float(joint_loss(maps((10, 10), (20, 26)), wanted)) == pytest.approx(1, rel=1e-3)  # one of two
    assert float(joint_loss(maps((10, 26), (20, 26)), wanted)) == pytest.approx(2, rel=1e-3)


def test_a_reader_gives_maps_of_a_quarter_of_any_picture():
    reader = PoseReader()
    for height, width in ((64, 64), (128, 64)):
        assert reader(torch.rand(2, 3, height, width)).shape == (2, 18, height // STRIDE, width // STRIDE)


def test_a_reader_learns_where_things_are():
    torch.manual_seed(0)
    reader, rng = PoseReader(joints=1), np.random.default_rng(0)
    optimiser = torch.optim.Adam(reader.parameters(), 2e-3)
    losses = []
    for _ in range(20):
        places = torch.from_numpy(rng.uniform(12, 52, (8, 1, 2))).float()
        picture = (heatmap_batch(places, (64, 64), 5.0) * 2 - 1).expand(-1, 3, -1, -1)
        loss = joint_loss(reader(picture), heatmap_batch(places / STRIDE, (16, 16), JOINT_SIGMA))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.3


class _Mean(torch.nn.Module):
    """Reads one joint, whose map is as bright as the picture."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, picture):
        return self.scale * picture[:, :1]


def test_a_reader_compares_pictures_and_learns_from_the_real_one_alone():
    critics = torch.nn.ModuleDict({"joints": _Mean()})
    fake = torch.zeros(1, 3, 8, 8, requires_grad=True)
    read = {"joints": PoseReaderInput(torch.ones(1, 3, 8, 8), fake, torch.zeros(1, 1, 8, 8))}
    losses = adversarial_losses(critics, read)
    losses["joints"].backward()
    assert set(losses) == {"joints"}
    assert fake.grad.abs().sum() > 0
    assert critics["joints"].scale.grad == 0  # of the fake one, which is black; the real one's is stopped
    learnt = discriminator_losses(critics, read)
    learnt["reader"].backward()
    assert set(learnt) == {"reader"}
    assert critics["joints"].scale.grad > 0


def test_discriminators_wait_and_a_reader_does_not():
    picture = torch.zeros(1, 3, 8, 8)
    judged = {"image": CriticInput(picture, picture), "joints": PoseReaderInput(picture, picture, picture)}
    assert set(active_critics(judged, adversarial=False)) == {"joints"}
    assert set(active_critics(judged, adversarial=True)) == {"image", "joints"}


def test_training_asks_a_reader_from_the_first_step_on(open_data, tmp_path):
    run = trainer(plan(flow=1, weights=LossWeights(l1=5, joints=1)), open_data, tmp_path, None)
    seen = []
    run.run(lambda progress: seen.append(progress.losses))
    assert "reader" not in seen[0]  # the flow alone makes no picture
    assert seen[1]["joints"] == 0  # a reader that has learnt nothing says nothing
    assert seen[-1]["joints"] > 0
    assert all(losses["reader"] > 0 for losses in seen[1:])
    assert "discriminator" not in seen[-1]


def test_faces_forearms_and_hands_count_more_than_the_rest_of_a_person():
    pair = NoisePairs()[0]
    pair.target_points[:] = (-1, -1, 0)
    pair.target_points[3], pair.target_points[4] = (16, 32, 1), (48, 32, 1)
    pair.correspondence.weight[:] = 1
    batch = pose_batch(default_collate([pair]), TINY, torch.device("cpu"))
    weight = batch.pixel_weight(2.0)
    assert weight.mean() == pytest.approx(1)
    row = weight[0, 0, 32]
    assert row[[16, 27, 38, 48, 56]].min() > 2 * row[2]  # from the elbow into the hand
    assert weight[0, 0, 8].max() == pytest.approx(float(weight.min()))
    offset, known, visible = batch.true_flow.at(8, 8)
    wanted_offset, wanted, wanted_visible = batch.weighted_flow_at(8, 8)
    assert torch.equal(wanted_offset, offset)
    assert torch.equal(wanted_visible, visible)
    gain = wanted / known
    assert 1 <= gain[0, 0, 0].max() < 1.01
    assert 1.1 < gain[0, 0, 4, 2:6].min() <= 4
