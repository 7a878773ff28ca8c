"""What an image is mixed from: mixed again it is the image, or has the detail of its source."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from tiny_models import fresh, tiny

from gfla_cli.networks.flow import Flow
from gfla_cli.networks.generator import Generated
from gfla_cli.networks.layers import _DETAIL, _dilated, blend_layers, detail_layers, layers_of
from gfla_cli.networks.renderer import NO_PATTERN, Blend, warp_image
from gfla_cli.networks.sequence import FrameFlows, GeneratedFrame
from gfla_cli.ops.warp import bilinear_warp, blurred

SIZES = (3, 1, 3, 2, 1)


def remixed(layers, source):
    drawn, share, residual, offset, _ = layers.split(SIZES, dim=1)
    return drawn * (1 - share) + share * bilinear_warp(source, offset * source.shape[-1]) + residual


def learnt(offset, mask=0.0):
    """A source, and what a network with a learnt blend makes of it when all of its flow is `offset`, in pixels."""
    network = fresh(tiny()).eval()
    source = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        made = network(source, *torch.rand(2, 2, 36, 64, 64))
    return source, made, Flow(torch.full((2, 2, 32, 32), offset / 2), torch.full((2, 1, 32, 32), mask))


@pytest.mark.parametrize("reach", [1, 3, 6])
def test_a_dilation_is_the_largest_value_of_a_square(reach):
    x = torch.randn(2, 1, 20, 17)
    assert torch.equal(_dilated(x, reach), torch.nn.functional.max_pool2d(x, 2 * reach + 1, 1, reach))


def test_a_learnt_blend_mixes_to_the_image():
    source, made, far = learnt(offset=20.0)
    layers = blend_layers(made.image, source, far, made.blend)
    assert layers.shape == (2, 10, 64, 64)
    moved = bilinear_warp(source, layers[:, 7:9] * 64)
    torch.testing.assert_close(remixed(layers, source), made.blend.composite(moved), atol=1e-5, rtol=0)
    assert 0 < layers[:, 3].min() < layers[:, 3].max() < 1
    assert 0 < layers[:, 9].min() < layers[:, 9].max() < 1


def test_a_pattern_of_two_pixels_is_taken_away():
    smooth = torch.linspace(-0.5, 0.5, 64).expand(2, 3, 64, 64)
    checker = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 0.2 - 0.1
    blend = Blend(smooth + checker, smooth[:, :1] + checker, smooth + checker, smooth[:, :1] + checker)
    for part in blend.without_pattern():
        torch.testing.assert_close(part[..., 2:-2, 2:-2], smooth[:, : part.shape[1], 2:-2, 2:-2], atol=1e-5, rtol=0)


def test_images_of_people_are_mixed_without_that_pattern():
    network = fresh(tiny()).eval()
    inputs = torch.rand(1, 3, 64, 64) * 2 - 1, *torch.rand(2, 1, 36, 64, 64)
    with torch.inference_mode():
        made = network(*inputs)
        network.decoder.smooth = False
        raw = network(*inputs)
    for part, expected in zip(made.blend, raw.blend.without_pattern(), strict=True):
        torch.testing.assert_close(part, expected)
    assert not torch.allclose(made.image, raw.image, atol=1e-3)


@pytest.mark.parametrize(("mask", "error", "taken"), [(0.0, 0, True), (1.0, 1, True), (0.0, 1, False)])
def test_what_stands_still_comes_from_the_source(mask, error, taken):
    """If the drawn image agrees with it, or the flow is sure that the source shows this place."""
    source, made, still = learnt(offset=0.0, mask=mask)
    drawn = blurred(source, _DETAIL) + error
    blend = made.blend._replace(generated=drawn, residual=0 * source, shares=0 * made.blend.shares)
    share = blend_layers(drawn, source, still, blend)[:, 3]
    assert share.min() > 0.7 if taken else share.max() < 0.01


@pytest.mark.parametrize(("pixels", "kept"), [(0.1, 0.125), (0.265, 0.5), (6.0, 1.0)])
def test_short_flows_shrink_because_detected_joints_are_as_far_off(pixels, kept):
    source, made, short = learnt(offset=pixels)
    offset = blend_layers(made.image, source, short, made.blend)[:, 7:9] * 64
    assert offset.norm(dim=1).mean() == pytest.approx(pixels * kept * 2**0.5, rel=0.01)


@pytest.mark.parametrize(("width", "offset", "closed"), [(8, 0.0, True), (24, 0.0, False), (8, 20.0, False)])
def test_narrow_gaps_of_what_is_copied_close_where_nothing_moves(width, offset, closed):
    """An edge is such a gap, a place that the source does not show is wider."""
    source, made, found = learnt(offset)
    shares = torch.ones_like(made.blend.shares)
    shares[..., 32 - width // 2 : 32 + width // 2] = 0
    drawn = source + 1  # nothing agrees
    share = blend_layers(drawn, source, found, made.blend._replace(shares=shares))[:, 3, :, 30:34]
    assert share.min() > 0.9 if closed else share.max() < 0.1


@pytest.mark.parametrize(("error", "closed"), [(1.0, False), (0.0, True)])
def test_a_gap_that_something_left_stays(error, closed):
    """A hand that moved far away leaves one. The drawn image shows what was behind it."""
    source, made, found = learnt(0.0)
    found.offset[..., :4] = 10
    shares = torch.ones_like(made.blend.shares)
    shares[..., 28:36] = 0
    drawn = source + error
    share = blend_layers(drawn, source, found, made.blend._replace(shares=shares))[:, 3, :, 30:34]
    assert share.min() > 0.9 if closed else share.max() < 0.1


def flow(offset=0.0, mask=1.0):
    return Flow(torch.full((1, 2, 32, 32), offset), torch.full((1, 1, 32, 32), mask))


def test_without_a_blend_the_detail_of_the_moved_source_is_added():
    source = torch.rand(1, 3, 64, 64) * 2 - 1
    offset = 3.0  # pixels of the grid, so 6 of the frame
    moved = bilinear_warp(source, torch.full((1, 2, 64, 64), 2 * offset))
    drawn = blurred(moved, _DETAIL)  # right, but without any detail
    layers = detail_layers(drawn, source, flow(offset))
    made = remixed(layers, source)
    inside = (..., slice(0, 50), slice(0, 50))
    assert (made - moved)[inside].abs().mean() < 0.2 * (drawn - moved)[inside].abs().mean()
    assert (layers[:, 9] == 1).all()


@pytest.mark.parametrize("flows", [[flow(mask=0.0)], []])
def test_where_no_flow_is_trusted_the_drawn_image_stays(flows):
    source, drawn = torch.rand(2, 1, 3, 64, 64) * 2 - 1
    layers = layers_of(Generated(drawn, flows), source, "pose")
    torch.testing.assert_close(remixed(layers, source), drawn)


def frame(source, drawn, share, reference):
    shares = torch.tensor([0.5, share]).view(1, 2, 1, 1).expand(1, 2, 64, 64)
    blend = Blend(drawn, shares, 0 * drawn, 0 * drawn[:, :1])
    flows = [FrameFlows(previous=flow(9.0), reference=reference)]
    return GeneratedFrame(drawn, flows, blend, warp_image(source, reference))


def test_a_frame_takes_from_the_reference_what_its_network_took():
    source, drawn = torch.rand(2, 1, 3, 64, 64)
    drawn = blurred(blurred(drawn, _DETAIL), _DETAIL)
    layers = layers_of(frame(source, drawn, 0.8, flow(3.0, mask=0.0)), source, "face")
    moved = bilinear_warp(source, torch.full((1, 2, 64, 64), 6.0))
    torch.testing.assert_close(remixed(layers, source), 0.2 * drawn + 0.8 * moved, atol=0.02, rtol=0)
    assert (layers[:, 9] == 1).all()


@pytest.mark.parametrize(("error", "taken"), [(0.0, True), (0.3, False)])
def test_a_frame_keeps_the_grain_of_the_reference_where_both_are_alike(error, taken):
    source = 0.1 * torch.rand(1, 3, 64, 64)
    drawn = blurred(source, _DETAIL)
    grain = remixed(layers_of(frame(source, drawn + error, 0.0, flow()), source, "face"), source) - drawn - error
    wanted = source - drawn
    assert (grain - wanted).abs().mean() < 0.3 * wanted.abs().mean() if taken else grain.abs().max() < 0.01


def test_where_drawn_and_moved_disagree_the_drawn_image_wins():
    source, drawn = torch.full((1, 3, 64, 64), 0.9), torch.full((1, 3, 64, 64), -0.9)
    layers = detail_layers(drawn, source, flow())
    torch.testing.assert_close(remixed(layers, source), drawn, atol=1e-3, rtol=0)


@pytest.mark.parametrize("weights", [_DETAIL, NO_PATTERN])
def test_blurring_is_exact_to_the_border_also_in_bfloat16_inference(weights):
    image = np.random.default_rng(0).random((40, 56, 3), np.float32)
    kernel = np.array(weights, np.float32)
    expected = cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    with torch.autocast("cpu", torch.bfloat16):
        made = blurred(torch.from_numpy(image).permute(2, 0, 1)[None], weights)
    np.testing.assert_allclose(made[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_an_object_from_another_side_has_nothing_that_stands_still():
    """Where the flow of a view is zero, there is no object, and the source may show it there."""
    source, made, still = learnt(offset=0.0, mask=1.0)
    drawn = blurred(source, _DETAIL)  # it agrees
    shares = made.blend.shares.clone()
    shares[..., 28:36] = 0
    blend = made.blend._replace(generated=drawn, shares=shares)
    layers = layers_of(Generated(drawn, [still], blend), source, "view")
    torch.testing.assert_close(layers[:, 3:4], blurred(shares, NO_PATTERN))
    torch.testing.assert_close(layers[:, 4:7], blurred(blend.residual, NO_PATTERN))
    of_person = layers_of(Generated(drawn, [still], blend), source, "pose")
    assert of_person[:, 3, :, 30:34].min() > 0.7
