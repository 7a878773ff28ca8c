"""How near joints are to the camera, as maps beside their heat maps: each heat map times its joint's nearness.

Numbers are positive, for the networks' first activation keeps a tenth of others, and 0 where no depth is known. Two
forms of one definition, as in `heatmap.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gfla_cli.structure.heatmap import heatmap_batch, heatmaps

if TYPE_CHECKING:
    from torch import Tensor

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
