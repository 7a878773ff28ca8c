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
