"""Joint heat maps: one Gaussian per keypoint, nothing where a joint is missing.

Two forms of one definition: numpy for a single picture, which needs no torch to be imported, and torch for
batches on the training device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

# Tails end here: their products would be denormal numbers, which take a processor a hundred times as long as others.
_LEAST = 1e-9


def heatmaps(
    points: NDArray[np.float32], size: tuple[int, int], sigma: float = 6.0, *, whole_pixels: bool = True
) -> NDArray[np.float32]:
    """(J, H, W) float32 in [0, 1] from (J, >=2) points x, y in pixels of the H x W frame; missing = negative.

    With `whole_pixels` centres are truncated, as in the released models' training data.
    """
    height, width = size
    centre = np.trunc(points[:, :2]) if whole_pixels else points[:, :2]
    present = (points[:, 0] >= 0) & (points[:, 1] >= 0)
    x = np.exp(-((np.arange(width) - centre[:, :1]) ** 2) / (2 * sigma**2))  # (J, W)
    y = np.exp(-((np.arange(height) - centre[:, 1:2]) ** 2) / (2 * sigma**2))  # (J, H)
    x, y = (np.where((values >= _LEAST) & present[:, None], values, 0).astype(np.float32) for values in (x, y))
    maps: NDArray[np.float32] = y[:, :, None] * x[:, None, :]
    return maps


def heatmap_batch(points: Tensor, size: tuple[int, int], sigma: float = 6.0, *, whole_pixels: bool = True) -> Tensor:
    """(B, J, H, W) float32 in [0, 1] from (B, J, >=2) points, on their device; otherwise as `heatmaps`."""
    import torch
    import torch.nn.functional as F

    height, width = size
    x, y = points[..., 0, None].float(), points[..., 1, None].float()  # (B, J, 1)
    present = ((x >= 0) & (y >= 0)).float()
    if whole_pixels:
        x, y = x.trunc(), y.trunc()
    across = torch.exp(-((torch.arange(width, device=points.device) - x) ** 2) / (2 * sigma**2))
    down = torch.exp(-((torch.arange(height, device=points.device) - y) ** 2) / (2 * sigma**2))
    across, down = (F.threshold(values, _LEAST, 0) for values in (across, down))
    return (down * present)[..., :, None] * across[..., None, :]
