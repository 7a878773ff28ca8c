"""Padding in the number format at hand."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def padded(x_BCHW: Tensor, width: int, mode: Literal["reflect", "replicate"]) -> Tensor:
    """(B, C, H + 2 width, W + 2 width), as F.pad does; in an autocast region, too, what is bfloat16 stays so.

    Autocast on the CPU would have float32 there, and bfloat16 again for the convolution after it: two copies more.
    """
    with torch.autocast(x_BCHW.device.type, enabled=False):
        return F.pad(x_BCHW, [width] * 4, mode=mode)
