"""The generators: parity with the authors' released networks, sizes, and shapes of every configuration."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_models import tiny

from gfla_cli.bundles.convert import translate
from gfla_cli.config import PRESETS, preset
from gfla_cli.networks.blocks import InstanceNorm, four_pixels_at_once, side_by_side
from gfla_cli.networks.build import build, convolutions_in, initialise
from gfla_cli.networks.discriminator import Discriminator
from gfla_cli.networks.sequence import with_irises
from gfla_cli.ops.warp import padded

# At least twice what was found with any of four instruction sets, which add up in different orders.
_IMAGE = 5e-5  # in [-1, 1]
_FLOW = 5e-4  # pixels of the feature grid; they reach 24
_MASK = 1e-5  # in [0, 1]


def released(seeded, task, name):
    """Our network with the seeded weights of a released one."""
    network = build(preset(name))
    network.load_state_dict(translate(seeded.state(task), preset(name)))
    return network.eval()


def close(found, expected, tolerance):
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=tolerance, rtol=0)


@pytest.mark.parametrize(("task", "size"), [("pose_fashion", (128, 128)), ("pose_market", (128, 64))])
def test_pose_generators_agree_with_the_released_ones(seeded, golden, task, size):
    network, expected = released(seeded, task, task.replace("_", "-")), golden(task)
    with torch.inference_mode():
        made = network(
            seeded.uniform(f"{task}/source_image", (2, 3, *size), -1, 1),
            seeded.uniform(f"{task}/source_structure", (2, 18, *size), 0, 1),
            seeded.uniform(f"{task}/target_structure", (2, 18, *size), 0, 1),
        )
    close(made.image[..., ::4, ::4], expected["image_every_fourth_pixel"], _IMAGE)
    assert len(made.flows) == sum(key.startswith("flow") for key in expected)
    for i, flow in enumerate(made.flows):
        close(flow.offset, expected[f"flow{i}"], _FLOW)
        close(flow.mask, expected[f"mask{i}"], _MASK)


@pytest.mark.parametrize(("task", "name", "channels"), [("face", "face", 16), ("dance", "body", 20)])
def test_sequence_generators_agree_with_the_released_ones_frame_by_frame(seeded, golden, task, name, channels):
    network, expected = released(seeded, task, name), golden(task)
    image = seeded.uniform(f"{task}/reference_image", (1, 3, 128, 128), -1, 1)
    structure = seeded.uniform(f"{task}/reference_structure", (1, channels, 128, 128), 0, 1)
    targets = seeded.uniform(f"{task}/target_structures", (1, 2, channels, 128, 128), 0, 1)
    previous = (image, structure)
    with torch.inference_mode():
        prepared = network.encode_reference(image)
        for frame in range(2):
            made = network(targets[:, frame], *previous, image, structure, reference=prepared)
            close(made.image[..., ::4, ::4], expected[f"frame{frame}_image_every_fourth_pixel"], _IMAGE)
            for i, flow in enumerate(flow for level in made.flows for flow in level):
                close(flow.offset, expected[f"frame{frame}_flow{i}"], _FLOW)
                close(flow.mask, expected[f"frame{frame}_mask{i}"], _MASK)
            previous = (made.image, targets[:, frame])


def test_the_view_generator_agrees_with_the_released_one(seeded, golden):
    network, expected = released(seeded, "shapenet", "view-chair"), golden("shapenet")

    def code(azimuth):
        one_hot = torch.zeros(1, 21, 1, 1)
        one_hot[0, [azimuth, 18]] = 1
        return one_hot

    with torch.inference_mode():
        made = network(seeded.uniform("shapenet/source_image", (1, 3, 256, 256), -1, 1), code(3), code(11))
    close(made.image[..., ::4, ::4], expected["image_every_fourth_pixel"], _IMAGE)
    close(made.flows[0].offset, expected["flow0"], _FLOW)
    close(made.flows[1].offset[..., ::2, ::2], expected["flow1_every_second_pixel"], _FLOW)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("pose-fashion", 14.05), ("pose-market", 12.93), ("face", 16.91), ("body", 23.51), ("view-chair", 14.34)],
)
def test_networks_have_the_published_number_of_parameters(name, millions):
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build(preset(name)).parameters())
    assert round(count / 1e6, 2) == millions


def test_the_default_model_fits_its_bundle():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build(preset("pose-people")).parameters())
    assert count * 2 <= 10e6  # float16 bytes


@pytest.mark.parametrize("sampler", ["none", "bilinear", "global", "local"])
def test_every_sampler_gives_an_image_and_its_flows(sampler):
    config = tiny(sampler=sampler)
    network = build(config)
    image, maps = torch.rand(2, 3, 64, 96) * 2 - 1, torch.rand(2, 36, 64, 96)
    made = network(image, maps, maps)
    assert made.image.shape == image.shape
    assert made.image.abs().max() <= 1.5  # of which the residual is a half
    expected = config.levels if sampler in ("bilinear", "local") else ()
    assert [flow.offset.shape for flow in made.flows] == [(2, 2, 64 // lv.stride, 96 // lv.stride) for lv in expected]
    assert all(((flow.mask > 0) & (flow.mask < 1)).all() for flow in made.flows)
    made.image.square().mean().backward()
    unused = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert unused == [name for name, _ in network.named_parameters() if ".refiner." in name]  # it has its own loss


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_and_its_config_survives_json(name):
    config = preset(name)
    assert type(config).from_json(config.to_json()) == config
    with torch.device("meta"):
        build(config)


def test_a_network_without_source_norm_keeps_absolute_brightness():
    config = tiny()
    encoder = build(config).source_encoder
    with_norm = build(replace(config, source_norm=True)).source_encoder
    dark, bright = torch.full((1, 3, 32, 32), -0.5), torch.full((1, 3, 32, 32), 0.5)
    assert not torch.allclose(encoder(dark)[-1], encoder(bright)[-1], atol=1e-3)
    assert torch.allclose(with_norm(dark)[-1], with_norm(bright)[-1], atol=1e-3)


@pytest.mark.parametrize("initial", ["orthogonal", "kaiming"])
def test_an_initialised_network_generates_almost_mid_grey(initial):
    network = build(tiny())
    initialise(network, initial)
    image = network(torch.rand(1, 3, 64, 64) * 2 - 1, *torch.rand(2, 1, 36, 64, 64)).image
    assert image.abs().mean() < 0.6


@pytest.mark.parametrize(("blocks", "parameters"), [(4, 0.66), (3, 0.24)])
def test_discriminators_have_the_released_size(blocks, parameters):
    discriminator = Discriminator(blocks=blocks)
    assert round(sum(p.numel() for p in discriminator.parameters()) / 1e6, 2) == parameters
    assert discriminator(torch.rand(1, 3, 64, 64)).shape == (1, 1, 64 >> blocks, 64 >> blocks)


@pytest.mark.parametrize("name", ["pose-people", "view-chairs"])
def test_half_precision_weights_give_the_result_of_autocast(name):
    torch.manual_seed(0)
    network = build(tiny(name)).eval()
    half = convolutions_in(copy.deepcopy(network), torch.bfloat16)
    assert convolutions_in(network, torch.float32) is network
    numbers = {name: parameter.dtype for name, parameter in half.named_parameters()}
    assert torch.bfloat16 in numbers.values()
    floats = ("offset_head", "mask_head", "choice_head", "refiner", "view_estimator", "norm")
    assert all(dtype is torch.float32 for name, dtype in numbers.items() if any(part in name for part in floats))
    codes = [torch.rand(1, 21, 1, 1)] * 2
    inputs = codes if name == "view-chairs" else [torch.rand(1, 36, 64, 64)] * 2
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        # Not of one colour: instance norms would blow its rounding errors up.
        image = F.interpolate(torch.rand(1, 3, 8, 8) * 2 - 1, size=(64, 64), mode="bilinear")
        made, expected = (one(image, *inputs) for one in (half, network))
    torch.testing.assert_close(made.image, expected.image, atol=0.02, rtol=0)
    torch.testing.assert_close(made.flows[0].offset, expected.flows[0].offset, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "side"), [(5, 2), (32, 8), (24, 40)])
def test_instance_norm_equals_torch_in_value_and_gradient(channels, side, layout):
    torch.manual_seed(0)
    norm = InstanceNorm(channels)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    x = (3 * torch.randn(3, channels, side, side) + 1).contiguous(memory_format=layout).requires_grad_()
    exact = [tensor.detach().double().requires_grad_() for tensor in (x, norm.weight, norm.bias)]
    expected = F.instance_norm(exact[0], weight=exact[1], bias=exact[2], eps=norm.eps)
    found, back = norm(x), torch.randn(3, channels, side, side)
    assert found.is_contiguous(memory_format=layout)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(norm(x), found, atol=1e-5, rtol=1e-5)
    found.backward(back)
    expected.backward(back.double())
    for ours, theirs in zip((x, norm.weight, norm.bias), exact, strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps_side_by_side_keep_the_memory_format_of_the_first(layout):
    """Also if one part has a single channel, which has both formats, or if the first is a slice of channels."""
    parts = [torch.rand(2, channels, 4, 6) for channels in (7, 3, 1)]
    parts[0] = parts[0].contiguous(memory_format=layout)[:, :5]
    made = side_by_side(parts)
    torch.testing.assert_close(made, torch.cat(parts, dim=1), atol=0, rtol=0)
    assert made.is_contiguous(memory_format=layout)
    assert side_by_side(parts[1:], like=parts[0]).is_contiguous(memory_format=layout)


def test_four_pixels_at_once_are_those_of_the_convolution():
    torch.manual_seed(0)
    conv, x = torch.nn.Conv2d(5, 3, 3), torch.randn(2, 5, 10, 14)
    torch.testing.assert_close(four_pixels_at_once(conv, x), conv(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_padding_keeps_the_number_format_under_autocast(mode):
    x = torch.rand(2, 5, 7, 6, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        made = padded(x, 2, mode)
    assert made.dtype is torch.bfloat16
    assert torch.equal(made, torch.nn.functional.pad(x, [2] * 4, mode=mode))


@pytest.mark.parametrize("normed", [False, True])
def test_a_face_model_that_learns_to_see_irises_starts_with_the_same_results(normed):
    before = tiny("face-people", structure_channels=16, structure_norm=normed)
    now = replace(before, structure_channels=17)
    torch.manual_seed(0)
    old, new = build(before).eval(), build(now).eval()
    state = with_irises(old.state_dict(), before, now)
    new.load_state_dict(state)
    maps = torch.rand(3, 1, 17, 64, 64)
    maps[:, :, 16] = 0  # no irises: the flow prior does not use them
    images = torch.rand(2, 1, 3, 64, 64)
    inputs = [maps[0], images[0], maps[1], images[1], maps[2]]
    with torch.inference_mode():
        made = new(*inputs)
        expected = old(*(x[:, :16] if x.shape[1] == 17 else x for x in inputs))
    torch.testing.assert_close(made.image, expected.image, atol=1e-5, rtol=0)


def test_only_models_that_differ_in_their_irises_are_adapted():
    before = tiny("face-people", structure_channels=16)
    state = build(before).state_dict()
    for now in (before, replace(before, structure_channels=17, width=16), tiny("body-people")):
        assert with_irises(state, before, now) is state
