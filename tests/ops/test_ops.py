"""Warps and local attention: the fast forms equal their definitions, forward and backward, also far outside the map."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gfla_cli.ops.local_attention import (
    AttentionWeights,
    attend,
    local_attention,
    local_attention_reference,
    source_keys,
)
from gfla_cli.ops.warp import bilinear_warp, channel_softmax, gaussian_warp, max_pooled, upsample


def attention_inputs(channels, height, width, patch, *, batch=2, reach=4.0, dtype=torch.float32, hidden=16):
    """Random features, flows of about `reach` pixels and weights of one attention block."""
    features = [torch.randn(batch, channels, height, width, dtype=dtype) for _ in range(2)]
    offset = torch.randn(batch, 2, height, width, dtype=dtype) * reach
    weights = AttentionWeights(
        torch.randn(hidden, 2 * channels, patch, patch, dtype=dtype) / (2 * channels * patch**2) ** 0.5,
        torch.randn(hidden, dtype=dtype),
        torch.randn(patch**2, hidden, 1, 1, dtype=dtype),
        torch.randn(patch**2, dtype=dtype),
    )
    return *features, offset, weights


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("patch", [1, 3, 5, 7])
@pytest.mark.parametrize("reach", [0.3, 5.0, 1e4])
def test_the_fast_form_equals_the_definition(patch, reach, reduction):
    """In float64, where nothing but the definition counts. In float32 processors differ by some roundings of a sum."""
    *tensors, weights = attention_inputs(6, 11, 9, patch, reach=reach)
    exact = [tensor.double() for tensor in tensors], AttentionWeights(*(weight.double() for weight in weights))
    definition = local_attention_reference(*exact[0], exact[1], reduction)
    # Positions of 1e4 px leave float32 a thousandth of a pixel, but all lie beyond the border, where nothing changes.
    for fast, most in (
        (local_attention(*exact[0], exact[1], reduction), 1e-12),
        (local_attention(*tensors, weights, reduction), 1e-5),
    ):
        torch.testing.assert_close(fast.features.double(), definition.features, atol=most, rtol=most)
        torch.testing.assert_close(fast.attention.double(), definition.attention, atol=most, rtol=most)


@pytest.mark.parametrize("patch", [3, 5])
def test_the_fast_form_has_the_gradients_of_the_definition(patch):
    *tensors, weights = attention_inputs(5, 8, 7, patch, reach=3.0, dtype=torch.float64)
    leaves = [tensor.requires_grad_() for tensor in (*tensors, *weights)]
    found = []
    for form in (local_attention, local_attention_reference):
        result = form(*leaves[:3], AttentionWeights(*leaves[3:]))
        found.append(torch.autograd.grad(result.features.sin().sum() + result.attention.cos().sum(), leaves))
    for fast, definition in zip(*found, strict=True):
        torch.testing.assert_close(fast, definition, atol=1e-10, rtol=1e-8)


def test_gradcheck_of_the_fast_form():
    source, target, offset, weights = attention_inputs(2, 4, 5, 3, batch=1, reach=1.5, dtype=torch.float64, hidden=3)
    leaves = [tensor.requires_grad_() for tensor in (source, target, offset, *weights)]

    def features(*args):
        return local_attention(*args[:3], AttentionWeights(*args[3:])).features

    assert torch.autograd.gradcheck(features, leaves, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("task", ["attention_k3", "attention_k5"])
@pytest.mark.parametrize("form", [local_attention, local_attention_reference])
def test_both_forms_agree_with_the_released_block(seeded, golden, task, form):
    expected = golden(task)
    batch, channels, height, width = expected["output"].shape
    source, target = (
        seeded.normal(f"{task}/{name}_features", (batch, channels, height, width)) for name in ("source", "target")
    )
    offset = seeded.normal(f"{task}/flow", (batch, 2, height, width)) * 9
    result = form(source, target, offset, AttentionWeights(*seeded.state(task).values()))
    torch.testing.assert_close(result.features, torch.from_numpy(expected["output"]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(result.attention, torch.from_numpy(expected["attention"]), atol=1e-5, rtol=1e-5)


def test_the_source_half_can_be_computed_once_for_many_targets():
    source, target, offset, weights = attention_inputs(4, 6, 6, 3)
    keys = source_keys(source, weights)
    other = attend(source, keys, target.flip(-1), offset, weights).features
    torch.testing.assert_close(other, local_attention(source, target.flip(-1), offset, weights).features)


def test_memory_format_does_not_change_the_result():
    source, target, offset, weights = attention_inputs(8, 10, 10, 3, batch=1)
    last = [x.contiguous(memory_format=torch.channels_last) for x in (source, target)]
    torch.testing.assert_close(
        local_attention(*last, offset, weights).features, local_attention(source, target, offset, weights).features
    )


def test_the_gaussian_warp_agrees_with_the_released_one(seeded, golden):
    features = seeded.normal("losses/resample_features", (1, 4, 10, 12))
    flow = seeded.normal("losses/resample_flow", (1, 2, 10, 12)) * 4
    expected = torch.from_numpy(golden("gaussian_resample")["output"])
    torch.testing.assert_close(gaussian_warp(features, flow), expected, atol=1e-5, rtol=1e-5)


def test_gradcheck_of_the_gaussian_warp():
    source = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    offset = (torch.randn(1, 2, 5, 4, dtype=torch.float64) * 2).requires_grad_()
    assert torch.autograd.gradcheck(gaussian_warp, (source, offset), eps=1e-6, atol=1e-5)


def test_a_whole_pixel_flow_moves_pixels_and_repeats_the_border():
    source = torch.arange(12.0).view(1, 1, 3, 4)
    right = torch.zeros(1, 2, 3, 4)
    right[:, 0] = 1
    expected = torch.tensor([[1.0, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]])
    torch.testing.assert_close(bilinear_warp(source, right)[0, 0], expected)


def test_a_flow_that_is_not_a_number_or_infinite_does_not_crash():
    inputs = list(attention_inputs(3, 5, 5, 3))
    inputs[2] = inputs[2].clone()
    inputs[2][0, 0, 0, 0], inputs[2][0, 1, 1, 1] = float("inf"), float("-inf")
    assert local_attention(*inputs).features[1].isfinite().all()


def test_an_export_writes_the_softmax_of_channels_out(monkeypatch):
    x = torch.randn(2, 5, 3, 4) * 100
    expected = channel_softmax(x)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    torch.testing.assert_close(channel_softmax(x), expected)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 6])
def test_fast_max_pooling_is_max_pooling(factor):
    x = torch.randn(2, 3, 9, 14)
    for laid_out in (x, x.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(max_pooled(laid_out, factor), F.max_pool2d(x, factor))


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_maps_are_enlarged_alike_in_both_memory_formats(channels):
    x = torch.randn(2, channels, 4, 6)
    torch.testing.assert_close(upsample(x.contiguous(memory_format=torch.channels_last), 2), upsample(x, 2))
