"""Blending warped pixels with generated ones: shares, residual and matte, and their losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_models import fresh, tiny

from gfla_cli.config import preset
from gfla_cli.errors import ConfigError
from gfla_cli.losses.flow import share_loss
from gfla_cli.losses.image import matte_loss
from gfla_cli.networks.blocks import DecoderBlock
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.renderer import Blend, PixelBlend, warp_image
from gfla_cli.training.recipe import recipe, with_sampler


def test_a_composite_follows_its_shares():
    drawn, source = torch.rand(2, 1, 3, 4, 4)
    shares = torch.zeros(1, 1, 4, 4)
    shares[:, :, :2], shares[:, :, 2:] = 1.0, 0.25
    residual = torch.full((1, 3, 4, 4), 0.1)
    image = Blend(drawn, shares, residual, torch.zeros(1, 1, 4, 4)).composite(source)
    torch.testing.assert_close(image[:, :, :2], source[:, :, :2] + 0.1)
    torch.testing.assert_close(image[:, :, 2:], (0.75 * drawn + 0.25 * source)[:, :, 2:] + 0.1)


def test_two_sources_are_mixed_in_one_after_the_other():
    torch.manual_seed(0)
    blend = PixelBlend(8, 2)
    torch.nn.init.normal_(blend.output.weight, std=5)
    drawn, one, two = torch.rand(3, 2, 3, 16, 16)
    made = blend(torch.rand(2, 8, 16, 16), drawn, [one, two], list(torch.rand(2, 2, 1, 8, 8)))
    first = made.shares[:, :1]
    torch.testing.assert_close(made.generated, (1 - first) * drawn + first * one)
    assert made.shares.std(dim=(0, 2, 3)).min() > 0.1


@pytest.mark.parametrize(("references", "reduction"), [(1, 1), (2, 1), (2, 2)])
def test_shares_are_fractions(references, reduction):
    torch.manual_seed(0)
    blend = PixelBlend(8, references, reduction)
    torch.nn.init.normal_(blend.output.weight, std=5)
    moved = list(torch.rand(references, 2, 3, 16, 16))
    masks = list(torch.rand(references, 2, 1, 8, 8))
    made = blend(torch.rand(2, 8, 16, 16), torch.rand(2, 3, 16, 16), moved, masks)
    assert made.shares.shape == (2, references, 16, 16)
    assert made.matte.shape == (2, 1, 16, 16)
    assert 0 <= made.shares.min() < made.shares.max() <= 1
    assert made.residual.abs().max() <= 0.5


def test_images_are_warped_by_the_finest_flow():
    picture = torch.rand(1, 3, 32, 32)
    offset = torch.zeros(1, 2, 16, 16)
    offset[:, 0] = 2.0  # cells of two pixels
    moved = warp_image(picture, Flow(offset, torch.ones(1, 1, 16, 16)))
    torch.testing.assert_close(moved[..., :26], picture[..., 4:30])


def test_models_without_blend_generate_every_pixel():
    network = fresh(tiny(pixel_blend=False)).eval()
    given = torch.rand(1, 3, 64, 64) * 2 - 1, torch.rand(1, 36, 64, 64), torch.rand(1, 36, 64, 64)
    with torch.no_grad():
        assert network(*given).blend is None
        made = fresh(tiny()).eval()(*given)
    assert made.blend.generated.shape == made.image.shape
    torch.testing.assert_close(made.blend.composite(warp_image(given[0], made.flows[-1])), made.image)


def test_settings_without_a_flow_at_stride_2_are_refused():
    model = preset("pose-people")
    for change in ({"sampler": "global"}, {"sampler": "none"}, {"levels": model.levels[:2]}):
        with pytest.raises(ConfigError):
            replace(model, **change)
    for sampler in ("none", "global"):
        assert not with_sampler(recipe("people"), sampler).model.pixel_blend
    assert with_sampler(recipe("people"), "bilinear").model.pixel_blend
    for name, value in (("up_kernel", 5), ("blend_reduction", 3)):
        with pytest.raises(ConfigError, match=name):
            replace(model, **{name: value})


def test_the_share_loss_raises_shares_where_the_flow_is_right():
    flow = Flow(torch.zeros(1, 2, 8, 8), torch.ones(1, 1, 8, 8))
    offset = torch.zeros(1, 2, 8, 8)
    offset[..., 4:] = 6.0  # the flow is wrong in the right half
    weight, visible = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    right = torch.zeros(1, 1, 16, 16)
    right[..., :8] = 1.0
    good, bad = (float(share_loss(share, flow, offset, weight, visible)) for share in (right, 1 - right))
    assert good < 0.01
    assert bad > 5
    unknown = visible * 0 - 1
    assert float(share_loss(1 - right, flow, offset, weight, unknown)) == 0
    hidden = visible * 0
    assert float(share_loss(right * 0, flow, offset, weight, hidden)) < 0.01


def test_the_matte_loss_wants_the_silhouette():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    assert float(matte_loss(20 * (mask * 2 - 1), mask)) < 1e-6
    assert float(matte_loss(torch.zeros_like(mask), mask)) == pytest.approx(0.6931, abs=1e-3)


def test_a_kernel_of_4_gives_no_checkerboard():
    """All weights alike: with three taps a constant becomes a chessboard, with four it stays a constant."""
    spread = {}
    for kernel in (3, 4):
        block = DecoderBlock(2, 1, kernel=kernel, normed=False)
        for module in (block.conv, block.up, block.shortcut):
            torch.nn.init.ones_(module.weight)
            torch.nn.init.zeros_(module.bias)
        with torch.no_grad():
            out = block(torch.ones(1, 2, 8, 8))
        assert out.shape == (1, 1, 16, 16)
        inside = out[..., 4:-4, 4:-4]
        spread[kernel] = float(inside.std() / inside.mean())
    assert spread[3] > 0.3
    assert spread[4] < 1e-6


def test_a_kernel_of_three_is_one_of_four_with_a_last_tap_of_zero():
    torch.manual_seed(0)
    three, four = DecoderBlock(4, 2, kernel=3), DecoderBlock(4, 2, kernel=4)
    state = four.state_dict()
    for name, weight in three.state_dict().items():
        state[name] = F.pad(weight, [0, 1, 0, 1]) if weight.shape[-1:] == (3,) and "conv" not in name else weight
    four.load_state_dict(state)
    x = torch.rand(1, 4, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(three(x), four(x))
