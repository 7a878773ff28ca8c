"""Flow priors: first estimates of the flow from pose maps or face maps, which the flow estimator corrects.

Not in the paper. `ModelConfig.flow_prior` chooses one.

limbs.py     "limbs": each limb moves with its two joints
curves.py    "curves": each part of a face moves with its curves
matching.py  "matches": positions that a network describes alike
solids.py    "solids": one candidate flow per part of a 3-D body model (body.py), whose joints a network corrects
volume.py    "volume": an object as densities along rays, seen from the target view

Here is what they share. A prior has offsets on a grid of H/2 x W/2, in pixels of the H x W frame. B batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfla_cli.ops.warp import bilinear_warp, upsample

PRIOR_STRIDE = 2
_PRESENT = 0.1  # least column sum of a heat map's fourth power that is a joint


def flow_prior_features(image: Tensor, flow: Tensor) -> Tensor:
    """The image warped by a flow, and that flow as a share of the image's height: (B, 5, H, W).

    `image` (B, 3, H, W), `flow` (B, 2, H/2, W/2) in pixels of the image.
    """
    flow = upsample(flow, PRIOR_STRIDE)
    features = torch.cat([bilinear_warp(image, flow), flow / image.shape[-2]], dim=1)
    return features.to(image.dtype)


def heatmap_centroids(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reads joints from heat maps (B, J, H, W) in [0, 1].

    Returns positions (B, J, 2) in pixels, presence (B, J) as 1 or 0, and the sums of the maps' fourth powers (B, J).
    The centroids are those of the fourth powers: a heat map that is cut by the frame's edge moves them less.
    """
    power = maps.square().square()
    columns, rows = power.sum(dim=2), power.sum(dim=3)  # (B, J, W), (B, J, H)
    total = columns.sum(dim=2).clamp(min=1e-6)
    x = (columns * torch.arange(columns.shape[2], device=maps.device)).sum(dim=2) / total
    y = (rows * torch.arange(rows.shape[2], device=maps.device)).sum(dim=2) / total
    present = (columns.amax(dim=2) > _PRESENT).to(maps.dtype)
    return torch.stack([x, y], dim=2), present, total
