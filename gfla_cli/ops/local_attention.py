"""Local attention (paper, Sec. 3.2, eq. 8 and 9): its definition patch by patch, and a fast form without patches.

For every target position l, the n x n source patch around l + w(l) and the n x n target patch around l go through two
fully connected layers (`hidden`, `score`). The softmax of the n² scores weighs the source patch.

Shape suffixes: B batch, C feature channels, H x W grid, n patch side, K = n*n taps row-major, D hidden channels.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.ops.warp import bag_of_pixels, channel_softmax, constant, padded, pixel_grid, positions, sample_at


class Attended(NamedTuple):
    """Result of local attention."""

    features: Tensor  # (B, C, H, W)
    attention: Tensor  # (B, K, H, W); sums to 1 over K


class AttentionWeights(NamedTuple):
    """The two layers that score a patch."""

    hidden: Tensor  # (D, 2C, n, n): target channels first, then source channels
    hidden_bias: Tensor  # (D,)
    score: Tensor  # (K, D, 1, 1)
    score_bias: Tensor  # (K,)


def local_attention_reference(
    source_BCHW: Tensor,
    target_BCHW: Tensor,
    offset_B2HW: Tensor,
    weights: AttentionWeights,
    reduction: Literal["mean", "sum"] = "mean",
) -> Attended:
    """The definition, patch by patch, as the paper writes it. Slow and large: a reference for tests and benchmarks.

    Features (B, C, H, W), offsets (B, 2, H, W) in pixels of that grid. `reduction` "mean" divides by n², as the
    paper's average pool does.
    """
    n = weights.hidden.shape[-1]
    B, _, H, W = source_BCHW.shape
    here = pixel_grid(H, W, offset_B2HW)
    source_taps, target_taps = [], []
    for tap in _taps(n, offset_B2HW):
        source_taps.append(sample_at(source_BCHW, here + offset_B2HW + tap))
        target_taps.append(sample_at(target_BCHW, (here + tap).expand(B, -1, -1, -1)))
    source_BCKHW = torch.stack(source_taps, dim=2)
    patches = torch.cat([torch.stack(target_taps, dim=2), source_BCKHW], dim=1)  # (B, 2C, K, H, W)

    hidden = torch.einsum("bckhw,dck->bdhw", patches, weights.hidden.flatten(2))
    hidden = F.leaky_relu(hidden + weights.hidden_bias[:, None, None], 0.1)
    attention = F.conv2d(hidden, weights.score, weights.score_bias).softmax(dim=1)
    features = (source_BCKHW * attention[:, None]).sum(dim=2)
    return Attended(features / (n * n) if reduction == "mean" else features, attention)


def local_attention(
    source_BCHW: Tensor,
    target_BCHW: Tensor,
    offset_B2HW: Tensor,
    weights: AttentionWeights,
    reduction: Literal["mean", "sum"] = "mean",
) -> Attended:
    """Same arguments, result and gradients as the reference, without storing patches; any device, any odd n."""
    keys = source_keys(source_BCHW, weights)
    return attend(source_BCHW, keys, target_BCHW, offset_B2HW, weights, reduction)


def source_keys(source_BCHW: Tensor, weights: AttentionWeights) -> Tensor:
    """The source half of the hidden layer at all integer patch centres: (B, D, H+2r, W+2r), r = n//2.

    All taps of a patch share one fractional offset, and bilinear interpolation is linear. So the layer applied to an
    interpolated patch equals the interpolation of the layer applied at integer positions. The result depends on the
    source only: for a video or a turntable, compute it once.
    """
    C, n = source_BCHW.shape[1], weights.hidden.shape[-1]
    r = n // 2
    return F.conv2d(padded(source_BCHW, 2 * r, "replicate"), weights.hidden[:, C:])


def attend(
    source_BCHW: Tensor,
    keys_BDHW: Tensor,
    target_BCHW: Tensor,
    offset_B2HW: Tensor,
    weights: AttentionWeights,
    reduction: Literal["mean", "sum"] = "mean",
) -> Attended:
    """Local attention with the result of `source_keys` as `keys_BDHW` (B, D, H+2r, W+2r)."""
    C, n = source_BCHW.shape[1], weights.hidden.shape[-1]
    r = n // 2
    position = positions(offset_B2HW)
    query = F.conv2d(padded(target_BCHW, r, "replicate"), weights.hidden[:, :C], weights.hidden_bias)
    hidden = F.leaky_relu(query + bilinear(keys_BDHW, position + r).to(query.dtype), 0.1)
    scores = F.conv2d(hidden, weights.score, weights.score_bias)
    # One plane per tap: what follows works plane by plane.
    attention = channel_softmax(scores.to(position.dtype, memory_format=torch.contiguous_format))
    features = patch_sum_for(source_BCHW.device.type)(source_BCHW, position, attention)
    return Attended(features / (n * n) if reduction == "mean" else features, attention)


@functools.cache
def patch_sum_for(device: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The fastest weighted patch sum of a device type: Triton kernels on CUDA if Triton is installed, else torch."""
    if device == "cuda":
        try:
            from gfla_cli.ops.local_attention_triton import weighted_patch_sum_triton
        except ImportError:
            warnings.warn("Triton is not installed: local attention runs in plain torch, slower", stacklevel=2)
        else:
            return weighted_patch_sum_triton
    return weighted_patch_sum


def weighted_patch_sum(source_BCHW: Tensor, position_B2HW: Tensor, attention_BKHW: Tensor) -> Tensor:
    """Sum of attention times source features over the n x n patch around each source position (eq. 9): (B, C, h, w).

    `position` (B, 2, h, w) x, y in pixels; `attention` (B, K, h, w). The n² bilinear taps share one fraction, so they
    touch only (n+1)² integer pixels. The weight of a pixel is the attention spread over the four corners of the taps.
    """
    H, W = source_BCHW.shape[-2:]
    n = math.isqrt(attention_BKHW.shape[1])
    r = n // 2
    x, y = position_B2HW.unbind(1)  # (B, h, w)
    column, fx = _split(x, -r - 1, W + r)
    row, fy = _split(y, -r - 1, H + r)
    # With a border that repeats the edge, the taps of all positions have the same steps, and none has to be clamped.
    border = 2 * r + 2
    padded_source = padded(source_BCHW, border, "replicate")
    width = W + 2 * border
    taps = torch.arange(n + 1, device=x.device) + (border - r)
    steps = (taps[:, None] * width + taps).flatten()
    index = (row * width + column)[..., None] + steps
    return bag_of_pixels(padded_source, index, _spread_over_corners(attention_BKHW, fx, fy))


def bilinear(source_BCHW: Tensor, position_B2HW: Tensor) -> Tensor:
    """`sample_at` for many channels. On the CPU and in exports it reads all channels of a pixel at once.

    torch's grid_sample goes channel by channel there. In ONNX Runtime this form takes a third of GridSample's time.
    """
    if source_BCHW.device.type != "cpu":
        return sample_at(source_BCHW, position_B2HW)
    return weighted_patch_sum(source_BCHW, position_B2HW, torch.ones_like(position_B2HW[:, :1]))


def _split(position: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Integer and fractional part. Beyond low..high every tap is the border pixel, so clamping changes nothing."""
    position = position.clamp(low, high)
    whole = position.detach().floor()
    return whole.long(), position - whole


def _spread_over_corners(attention_BKHW: Tensor, fx_BHW: Tensor, fy_BHW: Tensor) -> Tensor:
    """(B, h, w, (n+1)²): the attention, spread over the corners of its taps by the bilinear weights that they share."""
    left, top = 1 - fx_BHW, 1 - fy_BHW
    corners = torch.stack([left * top, fx_BHW * top, left * fy_BHW, fx_BHW * fy_BHW], dim=1)  # (B, 4, h, w)
    K = attention_BKHW.shape[1]
    if K == 1:
        return (corners * attention_BKHW).permute(0, 2, 3, 1)
    # As one matrix product: on the CPU sums of small windows are several times slower.
    pixels = constant(_pixels_of_corners(K), fx_BHW.device, fx_BHW.dtype)
    with torch.autocast(fx_BHW.device.type, enabled=False):  # positions have more digits than bfloat16
        parts = (corners[:, :, None] * attention_BKHW[:, None]).flatten(3).flatten(1, 2)  # (B, 4 K, h w)
        spread: Tensor = (parts.transpose(1, 2) @ pixels).unflatten(1, fx_BHW.shape[1:])
        return spread


@functools.cache
def _pixels_of_corners(K: int) -> tuple[tuple[float, ...], ...]:
    """(4 K, (n+1)²) of zeros and ones: which pixel each corner of each tap is."""
    n = math.isqrt(K)
    taps = [(row, column) for row in range(n) for column in range(n)]
    pixels = [(row + down) * (n + 1) + column + right for down in (0, 1) for right in (0, 1) for row, column in taps]
    return tuple(tuple(float(pixel == k) for k in range((n + 1) ** 2)) for pixel in pixels)


def _taps(n: int, like: Tensor) -> list[Tensor]:
    """The n² (x, y) steps from the centre of a patch, row-major, each (1, 2, 1, 1)."""
    steps = range(-(n // 2), n // 2 + 1)
    return [like.new_tensor([x, y]).view(1, 2, 1, 1) for y in steps for x in steps]
