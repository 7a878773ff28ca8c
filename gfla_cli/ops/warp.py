"""Small tables on the device that needs them. Each is copied there once, so no step waits for a copy."""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def constant(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A (nested) tuple of numbers as a tensor on `device`. It is shared: do not write to it."""
    if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():  # a traced tensor must not be kept
        return torch.tensor(values, device=device, dtype=dtype)
    return _kept(values, device, dtype)


@functools.cache
def _kept(values: Any, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)


# Padding in the number format at hand.


def padded(x_BCHW: Tensor, width: int, mode: Literal["reflect", "replicate"]) -> Tensor:
    """(B, C, H + 2 width, W + 2 width), as F.pad does; in an autocast region, too, what is bfloat16 stays so.

    Autocast on the CPU would have float32 there, and bfloat16 again for the convolution after it: two copies more.
    """
    with torch.autocast(x_BCHW.device.type, enabled=False):
        return F.pad(x_BCHW, [width] * 4, mode=mode)


# Warping a feature map by a flow: the bilinear warp, and the wider Gaussian one that trains better.
#
# Offsets are (x, y), in pixels of their own grid, and point from target to source. Positions outside the map
# are clamped to its border. Shape suffixes: B batch, C channels, H x W target grid.


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """(1, 2, height, width): the x and y of every pixel, float32 at least, on the device of `like`.

    Built from arange, which stays symbolic in an ONNX export; linspace would bake the traced size in.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)  # bfloat16 cannot count past 256
    x = torch.arange(width, dtype=dtype, device=like.device)
    y = torch.arange(height, dtype=dtype, device=like.device)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None]


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
    """The source seen through the flow: value at l is the source at l + offset(l)."""
    height, width = offset_B2HW.shape[-2:]
    return sample_at(source_BCHW, pixel_grid(height, width, offset_B2HW) + offset_B2HW)


def gaussian_warp(source_BCHW: Tensor, offset_B2HW: Tensor, sigma: float = 2.0) -> Tensor:
    """The source through the flow, each sample a Gaussian average of the 4x4 pixels around it.

    A bilinear sample only knows its 4 neighbours, so the sampling-correctness loss finds no way towards a
    match that lies 2 pixels off; with this wider kernel it does (paper, Sec. 3.1).
    """
    B, _, H, W = source_BCHW.shape
    height, width = offset_B2HW.shape[-2:]
    position = pixel_grid(height, width, offset_B2HW) + offset_B2HW
    x, y = position.unbind(1)  # (B, h, w)
    taps = torch.arange(-1, 3, device=x.device)
    columns, weight_x = _gaussian_taps(x, taps, W, sigma)  # (B, h, w, 4)
    rows, weight_y = _gaussian_taps(y, taps, H, sigma)

    index = rows[..., :, None] * W + columns[..., None, :]  # (B, h, w, 4, 4)
    weight = weight_y[..., :, None] * weight_x[..., None, :]
    weight = weight / weight.sum(dim=(-2, -1), keepdim=True)
    return bag_of_pixels(source_BCHW, index.reshape(B, height, width, 16), weight.reshape(B, height, width, 16))


def _gaussian_taps(position: Tensor, taps: Tensor, size: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Indices clamped to the map, and unnormalised weights, of the 4 pixels around each position."""
    # Beyond the border every tap is the border pixel; the clamp keeps wild flows inside int64.
    near = position.clamp(-4, size + 3)
    first = near.detach().floor()
    nominal = first[..., None] + taps
    weight = torch.exp(-((near[..., None] - nominal) ** 2) / (2 * sigma**2))
    return nominal.long().clamp(0, size - 1), weight


def bag_of_pixels(source_BCHW: Tensor, index_BHWT: Tensor, weight_BHWT: Tensor) -> Tensor:
    """Weighted sums of T source pixels for every target position, (B, C, h, w), without storing the T x C values.

    `index` counts row-major within one map of the batch. This is torch's embedding bag with pixels for words:
    one pass over the taps, forward and backward, on any device. ONNX has no such operator; there it is a gather and
    a product of matrices, which stores the T x C values of one level.
    """
    B, C, H, W = source_BCHW.shape
    _, h, w, taps = index_BHWT.shape
    dtype = torch.promote_types(source_BCHW.dtype, torch.float32)
    # Pixels must lie side by side in memory: for B = 1 a reshape alone is a view, and gathering then crawls.
    table = source_BCHW.permute(0, 2, 3, 1).to(dtype).reshape(B * H * W, C).contiguous()
    first = torch.arange(B, device=index_BHWT.device)[:, None, None, None] * (H * W)
    index = (index_BHWT + first).reshape(-1, taps)
    if torch.onnx.is_in_onnx_export():
        sums = weight_BHWT.reshape(-1, 1, taps) @ table[index]  # (B*h*w, 1, C)
        return sums.view(B, h, w, C).permute(0, 3, 1, 2)
    with torch.autocast(table.device.type, enabled=False):
        bags = F.embedding_bag(index, table, per_sample_weights=weight_BHWT.reshape(-1, taps).to(dtype), mode="sum")
    return bags.view(B, h, w, C).permute(0, 3, 1, 2)
