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


# How near joints are to the camera, as maps beside their heat maps: each heat map times its joint's nearness.
#
# Numbers are positive, for the networks' first activation keeps a tenth of others, and 0 where no depth is known. Two
# forms of one definition, as in `heatmap.py`.


JOINTS, _NECK = 18, 1
MIDDLE = 0.5  # nearness of the neck; 0 and 1 are half a frame's height behind and before it
_FARTHEST = 1 / 16  # 0 is unknown


def joint_maps(points: NDArray[np.float32], size: tuple[int, int], sigma: float) -> NDArray[np.float32]:
    """(36, H, W) heat maps of (18, 4) points x, y, confidence, depth in pixels of the H x W frame, and nearness maps.

    Centres are not truncated: solids stand on them. Depths count from anywhere, away from the camera; NaN = not
    known, and (18, 3) points have none.
    """
    maps = heatmaps(points, size, sigma, whole_pixels=False)
    depth = points[:, 3] if points.shape[1] > 3 else np.full(len(points), np.nan, np.float32)
    near = np.clip(MIDDLE - (depth - depth[_NECK]) / size[0], _FARTHEST, 1)
    return np.concatenate([maps, maps * np.nan_to_num(near)[:, None, None]]).astype(np.float32)


def joint_map_batch(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """(B, 36, H, W) from (B, 18, 3 or 4) points, on their device; otherwise as `joint_maps`."""
    import torch

    maps = heatmap_batch(points, size, sigma, whole_pixels=False)
    if points.shape[-1] == 3:
        return torch.cat([maps, torch.zeros_like(maps)], dim=1)
    depth = points[..., 3].float()
    near = (MIDDLE - (depth - depth[:, _NECK, None]) / size[0]).clamp(_FARTHEST, 1).nan_to_num()
    return torch.cat([maps, maps * near[..., None, None]], dim=1)
