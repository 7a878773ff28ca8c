"""Losses: the values of the released code on seeded inputs, and what each is zero for."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from paths import GOLDEN

from gfla_cli.errors import BundleError
from gfla_cli.losses.flow import affine_regularisation, correspondence_loss, sampling_correctness
from gfla_cli.losses.image import LAYERS, PerceptualLoss, Vgg19, discriminator_loss, generator_loss, load_vgg19
from gfla_cli.networks.flow import Flow
from gfla_cli.ops.warp import bilinear_warp

EXPECTED = json.loads((GOLDEN / "losses.json").read_text())
_CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}


@pytest.fixture(scope="module")
def vgg(seeded):
    """VGG19 with the seeded weights that the golden values were computed with."""
    state, channels = {}, 3
    for name, number in LAYERS.items():
        shape = (_CHANNELS[int(name[4])], channels, 3, 3)
        state[f"features.{number}.weight"] = seeded.weight(f"features.{number}.weight", shape) * 2**0.5
        state[f"features.{number}.bias"] = seeded.weight(f"features.{number}.bias", shape[:1])
        channels = shape[0]
    return Vgg19(state)


@pytest.fixture(scope="module")
def picture(seeded):
    def make(name):
        small = seeded.uniform(f"losses/{name}", (2, 3, 8, 8), -1, 1)
        return F.interpolate(small, size=64, mode="bilinear", align_corners=False)

    return make


def test_content_and_style_equal_the_released_values(vgg, picture):
    content = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    loss = PerceptualLoss(vgg, content, style=("relu2_2", "relu3_4", "relu4_4", "relu5_2"))
    distance = loss(picture("generated"), picture("target"))
    assert distance.content.item() == pytest.approx(EXPECTED["content"], rel=1e-4)
    assert distance.style.item() == pytest.approx(EXPECTED["style"], rel=1e-3)


def test_sampling_correctness_equals_the_released_value(vgg, picture, seeded):
    source, target = (vgg(picture(name), ["relu3_1", "relu4_1"]) for name in ("source", "target"))
    coarse = seeded.normal("losses/flow_layer3", (2, 2, 8, 8)) * 2
    fine = seeded.normal("losses/flow_layer2", (2, 2, 16, 16)) * 3
    total = sampling_correctness(source["relu4_1"], target["relu4_1"], coarse)
    total += sampling_correctness(source["relu3_1"], target["relu3_1"], fine)
    assert total.item() == pytest.approx(EXPECTED["sampling_correctness"], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "shape", "window"),
    [("big_flow_layer3", (2, 2, 32, 32), 3), ("big_flow_layer2", (2, 2, 64, 64), 5)],
)
def test_affine_regularisation_equals_the_released_value(seeded, name, shape, window):
    found = affine_regularisation(seeded.normal(f"losses/{name}", shape), window)
    assert found.item() == pytest.approx(EXPECTED[f"affine_regularisation_k{window}"], rel=1e-4)


def test_adversarial_losses_equal_the_released_values(seeded):
    scores = seeded.normal("losses/scores", (2, 1, 4, 4))
    assert generator_loss(scores).item() == pytest.approx(EXPECTED["lsgan_generator"], rel=1e-5)
    expected = (EXPECTED["lsgan_real"] + EXPECTED["lsgan_fake"]) / 2
    assert discriminator_loss(scores, scores).item() == pytest.approx(expected, rel=1e-5)


def test_an_affine_flow_costs_nothing_and_a_kink_does():
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    affine = torch.stack([0.3 * x - 0.2 * y + 4, 1.5 * y + 0.1 * x - 2])[None]
    assert affine_regularisation(affine, 5).item() == pytest.approx(0, abs=1e-6)
    kinked = affine.clone()
    kinked[..., 6:] += 3
    assert affine_regularisation(kinked, 5).item() > 0.1


def test_the_true_flow_is_the_most_correct_one():
    source = torch.randn(1, 16, 12, 12)
    target = source.roll(-2, dims=3)  # target(x) = source(x + 2)
    true = torch.zeros(1, 2, 12, 12)
    true[:, 0] = 2
    inner = (slice(None), slice(None), slice(None), slice(2, 8))
    right = sampling_correctness(source, target, true)
    assert right < sampling_correctness(source, target, torch.zeros_like(true))
    assert right < sampling_correctness(source, target, -true)
    assert torch.equal(target[inner], source[..., 4:10])  # the shift is what the test says it is


def test_the_gaussian_warp_pulls_a_flow_towards_a_match_that_bilinear_sampling_does_not_see():
    picture = torch.zeros(1, 2, 9, 15)
    picture[:, 0] = 1
    picture[:, :, :, 7] = torch.tensor([0.0, 1.0])[:, None]  # a line of another colour
    flow = torch.zeros(1, 2, 9, 15)
    flow[:, 0] = 1.5  # at the line the sample lies between the two columns beyond it
    flow.requires_grad_()
    sampling_correctness(picture, picture, flow).backward()
    assert (flow.grad[0, 0, :, 7] > 0).all()  # a smaller offset is better
    blind = bilinear_warp(picture, flow)[..., 7]
    assert torch.autograd.grad(blind.sum(), flow)[0].abs().max() == 0


def test_correspondence_counts_only_what_is_known():
    flow = Flow(torch.zeros(1, 2, 4, 4), torch.full((1, 1, 4, 4), 0.5))
    offset, weight, visible = torch.full((1, 2, 4, 4), 3.0), torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), -1.0)
    assert [x.item() for x in correspondence_loss(flow, offset, weight, visible)] == [0, 0]
    weight[..., 0, 0], visible[..., 1, 1] = 1, 1
    error, mask = correspondence_loss(flow, offset, weight, visible)
    assert error.item() == pytest.approx(18**0.5, rel=1e-3)
    assert mask.item() == pytest.approx(0.6931, rel=1e-3)


@pytest.mark.parametrize(("off", "best"), [(0.0, 1.0), (1.5, 0.61), (6.0, 0.0)])
def test_the_mask_should_be_as_sure_as_the_flow_is_right(off, best):
    offset = torch.full((1, 2, 4, 4), 2.0)
    everywhere = torch.ones(1, 1, 4, 4)
    moved = offset + torch.tensor([off, 0.0]).view(1, 2, 1, 1)
    shares = torch.linspace(0.01, 0.99, 99)
    masks = [correspondence_loss(Flow(moved, everywhere * m), offset, everywhere, everywhere)[1] for m in shares]
    assert shares[torch.stack(masks).argmin()] == pytest.approx(best, abs=0.03)


def test_the_perceptual_weight_shifts_attention_to_where_it_is_large(vgg):
    loss = PerceptualLoss(vgg, ("relu1_1",), ())
    target, made = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    made[..., :8] = 0.5  # wrong on the left
    left = torch.cat([torch.full((1, 1, 16, 8), 1.8), torch.full((1, 1, 16, 8), 0.2)], dim=3)
    assert loss(made, target, left).content > loss(made, target).content > loss(made, target, left.flip(3)).content


def test_vgg_weights_that_stop_early_offer_what_they_have(tmp_path, vgg):
    short = {f"features.{n}.{k}": t for n in (0, 2) for k, t in zip(("weight", "bias"), _conv(vgg, n), strict=True)}
    network = Vgg19(short)
    assert network.available == ("relu1_1", "relu1_2")
    assert PerceptualLoss(network, ("relu1_1", "relu2_1"), ()).content == ("relu1_1",)
    with pytest.raises(BundleError, match="relu3_1"):
        network(torch.zeros(1, 3, 8, 8), ["relu3_1"])


def _conv(vgg, number):
    name = next(name for name, n in LAYERS.items() if n == number)
    return vgg.convs[name].weight, vgg.convs[name].bias


def test_a_file_that_holds_no_vgg_is_named(tmp_path):
    path = tmp_path / "other.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(BundleError, match=r"other\.npz"):
        load_vgg19(path)
    with pytest.raises(BundleError, match="no such file"):
        load_vgg19(tmp_path / "missing.npz")
