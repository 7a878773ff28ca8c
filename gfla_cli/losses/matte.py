"""Whether the matte is the silhouette."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def matte_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy of the matte's logits (B, 1, H, W) and the silhouette (B, 1, H, W) in [0, 1], a scalar."""
    return F.binary_cross_entropy_with_logits(logits.float(), mask)
