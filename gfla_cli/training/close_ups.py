"""What anybody looks at first, cut out of a picture and enlarged: the heads of people, the eyes and mouths of faces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.ops.constants import constant

_FACE, _NECK = (0, 14, 15, 16, 17), 1
_PER_NECK = 2.0  # side of the cut over the distance from the neck to the middle of the face: hair and chin are in
_SIDES = 20.0, 0.7  # smallest side in pixels, largest as a share of the frame
_EYES, _MOUTH = slice(36, 48), slice(48, 68)  # of a face's 68 points
_PER_EYES, _PER_MOUTH = 1.25, 1.5  # side of the cut over the width of the feature in a face seen from the front
_LEAST = 8.0  # smallest side of an eye or a mouth cut, pixels
SIDE = 64  # of a cut, pixels


def head_boxes(points: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 3) middle x, y and side in pixels of the head with joints (B, 18, 3), x, y, confidence, in a frame H, W.

    Whoever shows no joint of the face gets a box above the neck; without a neck, one in the middle of the frame.
    """
    place, known = points[..., :2], (points[..., 2:] > 0).float()
    height, width = size
    names = constant(_FACE, points.device)
    count = known[:, names].sum(dim=1)  # (B, 1)
    face = (place[:, names] * known[:, names]).sum(dim=1) / count.clamp(min=1)
    neck, has_neck = place[:, _NECK], known[:, _NECK] > 0
    usual = 0.12 * height
    above = torch.where(
        has_neck,
        neck - constant((0.0, usual), neck.device, neck.dtype),
        constant((width / 2, height / 2), neck.device, neck.dtype),
    )
    middle = torch.where(count > 0, face, above)
    to_neck = torch.where(has_neck & (count > 0), torch.linalg.vector_norm(middle - neck, dim=1, keepdim=True), usual)
    side = (to_neck * _PER_NECK).clamp(_SIDES[0], _SIDES[1] * min(size))
    return torch.cat([middle, side], dim=1)


def feature_boxes(points: Tensor) -> Tensor:
    """(..., 2, 3) middle x, y and side in pixels of the eyes, and of the mouth, of faces with points (..., 68, 2)."""
    return torch.stack([_box(points[..., _EYES, :], _PER_EYES), _box(points[..., _MOUTH, :], _PER_MOUTH)], dim=-2)


def _box(points: Tensor, per_side: float) -> Tensor:
    least, most = points.amin(dim=-2), points.amax(dim=-2)
    side = (most - least).amax(dim=-1, keepdim=True) * per_side
    return torch.cat([(least + most) / 2, side.clamp(min=_LEAST)], dim=-1)


def close_up(boxes: Tensor, picture: Tensor) -> Tensor:
    """(B, C, SIDE, SIDE) cut out of (B, C, H, W) at (B, 3) boxes; what lies outside repeats the edge."""
    height, width = picture.shape[-2:]
    steps = (torch.arange(SIDE, device=picture.device) + 0.5) / SIDE - 0.5
    x = boxes[:, 0, None] + steps * boxes[:, 2, None]  # (B, SIDE) pixels
    y = boxes[:, 1, None] + steps * boxes[:, 2, None]
    grid = torch.stack(
        [
            (2 * x / width - 1)[:, None, :].expand(-1, SIDE, -1),
            (2 * y / height - 1)[:, :, None].expand(-1, -1, SIDE),
        ],
        dim=-1,
    )
    return F.grid_sample(picture.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
