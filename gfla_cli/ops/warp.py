"""Warping by a flow, and the small tensor operations around it: cached constants, padding, resizing, pixel grids.

Offsets are (x, y), in pixels of their own grid, and point from target to source. Positions outside a map are clamped
to its border. Shape suffixes: B batch, C channels, H x W grid.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW_CHANNELS = 3  # torch enlarges maps of fewer channels four times as slowly in channels_last


def constant(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A (nested) tuple of numbers as a tensor on `device`, copied there once. It is shared: do not write to it."""
    if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():  # a traced tensor must not be kept
        return torch.tensor(values, device=device, dtype=dtype)
    return _kept(values, device, dtype)


@functools.cache
def _kept(values: Any, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)


def padded(x_BCHW: Tensor, width: int, mode: Literal["reflect", "replicate"]) -> Tensor:
    """F.pad to (B, C, H + 2 width, W + 2 width) that keeps bfloat16 inside an autocast region, too.

    Autocast on the CPU would convert to float32 for the padding, and back for the convolution: two more copies.
    """
    with torch.autocast(x_BCHW.device.type, enabled=False):
        return F.pad(x_BCHW, [width] * 4, mode=mode)


def upsample(x_BCHW: Tensor, factor: int) -> Tensor:
    """Bilinear, to (B, C, factor*H, factor*W). Values are kept: offsets have to be multiplied by `factor` as well."""
    if factor == 1:
        return x_BCHW
    if x_BCHW.shape[1] < _FEW_CHANNELS:
        x_BCHW = x_BCHW.contiguous()
    return F.interpolate(x_BCHW, scale_factor=float(factor), mode="bilinear", align_corners=False)


def downsample(x_BCHW: Tensor, factor: int) -> Tensor:
    """Means of cells of factor x factor pixels: (B, C, H/factor, W/factor)."""
    if factor % 2 or x_BCHW.device.type != "cpu" or torch.onnx.is_in_onnx_export():
        return F.avg_pool2d(x_BCHW, factor) if factor > 1 else x_BCHW
    # Rows, then columns: on the CPU eight times as fast as torch's own pooling.
    rows = x_BCHW[..., ::2, :] + x_BCHW[..., 1::2, :]
    return downsample((rows[..., ::2] + rows[..., 1::2]) * 0.25, factor // 2)


def max_pooled(x_BCHW: Tensor, factor: int) -> Tensor:
    """Maxima of cells of factor x factor pixels: (B, C, H//factor, W//factor)."""
    if factor % 2 or x_BCHW.device.type != "cpu" or torch.onnx.is_in_onnx_export():
        return F.max_pool2d(x_BCHW, factor) if factor > 1 else x_BCHW
    # Rows, then columns: on the CPU five to nine times as fast as torch's own pooling.
    height, width = (length // factor * factor for length in x_BCHW.shape[-2:])
    x = x_BCHW[..., :height, :width]
    rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
    return max_pooled(torch.maximum(rows[..., ::2], rows[..., 1::2]), factor // 2)


def blurred(x_BCHW: Tensor, weights: Sequence[float]) -> Tensor:
    """The same size, each channel by itself, with an odd number of weights along both axes."""
    reach = len(weights) // 2
    x = F.pad(x_BCHW, [reach] * 4, mode="replicate")
    # Sums of shifted maps: on the CPU three times as fast as a convolution of single channels.
    for axis in (3, 2):
        length = x.shape[axis] - 2 * reach
        shifted = [x.narrow(axis, start, length) for start in range(len(weights))]
        x = shifted[0] * weights[0]
        for part, weight in zip(shifted[1:], weights[1:], strict=True):
            x = torch.add(x, part, alpha=weight)
    return x


def channel_softmax(x_BCHW: Tensor) -> Tensor:
    """Softmax over the channels. ONNX Runtime transposes maps for its own, which takes four times as long."""
    if not torch.onnx.is_in_onnx_export():
        return x_BCHW.softmax(dim=1)
    weight = (x_BCHW - x_BCHW.amax(dim=1, keepdim=True)).exp()
    return weight / weight.sum(dim=1, keepdim=True)


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """(1, 2, height, width): the x and y of every pixel, float32 at least, on the device of `like`.

    Built from arange, which stays symbolic in an ONNX export; linspace would bake the traced size in.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)  # bfloat16 cannot count past 256
    x = torch.arange(width, dtype=dtype, device=like.device)
    y = torch.arange(height, dtype=dtype, device=like.device)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None]


def positions(offset_B2HW: Tensor) -> Tensor:
    """(B, 2, h, w): the x and y in the source to which the offset of each pixel points, float32 at least."""
    height, width = offset_B2HW.shape[-2:]
    dtype = torch.promote_types(offset_B2HW.dtype, torch.float32)
    # Rows and columns by themselves: a whole grid of pixels would be the largest constant of an exported graph.
    x = offset_B2HW[:, 0] + torch.arange(width, dtype=dtype, device=offset_B2HW.device)
    y = offset_B2HW[:, 1] + torch.arange(height, dtype=dtype, device=offset_B2HW.device)[:, None]
    return torch.stack([x, y], dim=1)


def cell_middles(height: int, width: int, stride: int, like: Tensor) -> Tensor:
    """(1, 2, height, width): the x and y, in pixels, of the middles of cells that are `stride` pixels wide."""
    return pixel_grid(height, width, like) * stride + (stride - 1) / 2


def sample_at(source_BCHW: Tensor, position_B2HW: Tensor) -> Tensor:
    """Bilinear samples of the source at absolute (x, y) pixel positions, clamped to the border."""
    height, width = source_BCHW.shape[-2:]
    x, y = position_B2HW.unbind(1)
    grid_BHW2 = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], dim=-1)
    dtype = torch.promote_types(source_BCHW.dtype, torch.float32)
    return F.grid_sample(
        source_BCHW.to(dtype), grid_BHW2.to(dtype), mode="bilinear", padding_mode="border", align_corners=True
    )


def bilinear_warp(source_BCHW: Tensor, offset_B2HW: Tensor) -> Tensor:
    """Warps (B, C, H, W) by offsets (B, 2, h, w) to (B, C, h, w): the value at l is the source at l + offset(l)."""
    return sample_at(source_BCHW, positions(offset_B2HW))


def gaussian_warp(source_BCHW: Tensor, offset_B2HW: Tensor, sigma: float = 2.0) -> Tensor:
    """Warps like `bilinear_warp`, but each sample is a Gaussian average of the 4x4 pixels around it (paper, Sec. 3.1).

    A bilinear sample depends on 4 pixels only. Then the gradient of the sampling correctness loss does not lead to a
    match that is 2 pixels away. With this wider kernel it does.
    """
    B, _, H, W = source_BCHW.shape
    height, width = offset_B2HW.shape[-2:]
    x, y = positions(offset_B2HW).unbind(1)  # (B, h, w)
    taps = torch.arange(-1, 3, device=x.device)
    columns, weight_x = _gaussian_taps(x, taps, W, sigma)  # (B, h, w, 4)
    rows, weight_y = _gaussian_taps(y, taps, H, sigma)

    index = rows[..., :, None] * W + columns[..., None, :]  # (B, h, w, 4, 4)
    weight = weight_y[..., :, None] * weight_x[..., None, :]
    weight = weight / weight.sum(dim=(-2, -1), keepdim=True)
    return bag_of_pixels(source_BCHW, index.reshape(B, height, width, 16), weight.reshape(B, height, width, 16))


def _gaussian_taps(position: Tensor, taps: Tensor, size: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Indices clamped to the map, and unnormalised weights, of the 4 pixels around each position."""
    # Beyond the border every tap is the border pixel; the clamp keeps very large flows inside int64.
    near = position.clamp(-4, size + 3)
    first = near.detach().floor()
    nominal = first[..., None] + taps
    weight = torch.exp(-((near[..., None] - nominal) ** 2) / (2 * sigma**2))
    return nominal.long().clamp(0, size - 1), weight


def bag_of_pixels(source_BCHW: Tensor, index_BHWT: Tensor, weight_BHWT: Tensor) -> Tensor:
    """Weighted sums of T source pixels for every target position, (B, C, h, w), without storing the T x C values.

    `index` (B, h, w, T) counts row-major within one map; `weight` (B, h, w, T). This is torch's embedding bag with
    pixels in the role of words: one pass over the taps, forward and backward, on any device. ONNX has no such
    operator. There it is a gather and a matrix product, which stores the T x C values of one level.
    """
    B, C, H, W = source_BCHW.shape
    _, h, w, taps = index_BHWT.shape
    dtype = torch.promote_types(source_BCHW.dtype, torch.float32)
    # Pixels must lie side by side in memory: for B = 1 a reshape alone is a view, and gathering then crawls.
    table = source_BCHW.permute(0, 2, 3, 1).to(dtype).reshape(B * H * W, C).contiguous()
    first = torch.arange(B, device=index_BHWT.device)[:, None, None, None] * (H * W)
    index = (index_BHWT + first).reshape(-1, taps)
    if torch.onnx.is_in_onnx_export():
        weight = weight_BHWT.reshape(-1, taps)
        # Products of single numbers take ONNX Runtime twice as long as their sum.
        sums = (weight * table[:, 0][index]).sum(dim=1) if C == 1 else weight[:, None] @ table[index]
        return sums.view(B, h, w, C).permute(0, 3, 1, 2)
    with torch.autocast(table.device.type, enabled=False):
        bags = F.embedding_bag(index, table, per_sample_weights=weight_BHWT.reshape(-1, taps).to(dtype), mode="sum")
    return bags.view(B, h, w, C).permute(0, 3, 1, 2)
