"""Whether two pictures show the same pose, as a pose reader sees it; and whether refined joints are right."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.networks.priors.body import body_shape, trunk_length
from gfla_cli.networks.priors.solids import Joints

_NECK = 1
_SHORTEST_TRUNK = 8.0  # pixels; of somebody smaller, or half seen, lengths in trunks mean nothing
_EXACT = 0.05  # trunks up to which distances count squared
SIGMA = 1.75  # of a joint, in cells of the reader's maps


def joint_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean over joints of the squared distance of heat maps (B, J, h, w), in units of what one joint holds.

    1 where a wanted joint is not found at all, 2 where another place is taken for it.
    """
    difference = found.float() - wanted.float()
    return difference.square().sum(dim=(2, 3)).mean() / (math.pi * SIGMA**2)


def refined_loss(joints: Joints, truth: Tensor, reduction: int) -> Tensor:
    """Mean distance of refined joints from true ones along x, y and z, in trunks; a scalar.

    `joints` (B, J, ...) in pixels of a frame that is `reduction` times smaller than that of `truth` (B, J, 4): x, y,
    1 where known, depth. Depths count from the neck.
    """
    known = joints.present * (truth[..., 2] > 0)
    place = torch.cat([(truth[..., :2] + 0.5) / reduction - 0.5, truth[..., 3:] / reduction], dim=2).nan_to_num()
    shape, _ = body_shape(place.device)
    trunk = trunk_length(place, known, shape)[..., None]
    known = known[..., None] * (trunk > _SHORTEST_TRUNK)
    difference = (_from_neck(joints.position) - _from_neck(place)) / trunk.clamp(min=_SHORTEST_TRUNK)
    distance = F.smooth_l1_loss(difference, torch.zeros_like(difference), beta=_EXACT, reduction="none")
    return (distance * known).sum() / (3 * known.sum()).clamp(min=1)


def _from_neck(place: Tensor) -> Tensor:
    return torch.cat([place[..., :2], place[..., 2:] - place[:, _NECK, None, 2:]], dim=2)
