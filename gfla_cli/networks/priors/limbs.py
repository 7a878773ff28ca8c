"""Flow prior "limbs": each limb moves with its two joints, trunk and head with theirs.

Not in the paper. The flow estimator then only has to correct this prior. It learns that in minutes instead of hours,
and the prior holds at any distance between the two poses.

B batch, J = 18 joints in OpenPose's order, N body parts, H x W frame, h x w = H/2 x W/2. Positions are (x, y) in pixels
of the frame. Constants are in trunks: 1 trunk = the distance from neck to hips.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gfla_cli.networks.priors import PRIOR_STRIDE, heatmap_centroids
from gfla_cli.ops.warp import cell_middles, constant

_NECK, _FACE = 1, (0, 14, 15, 16, 17)
_TRUNK = dict.fromkeys([1, 2, 5, 8, 11], 1.0)  # joint -> its weight in the affine fit
_HEAD = dict.fromkeys(_FACE, 1.0) | {_NECK: 0.3, 2: 0.1, 5: 0.1}  # a face in profile shows few joints
_LIMBS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13))
_LIMB_RADIUS = (0.11, 0.09, 0.11, 0.09, 0.17, 0.12, 0.17, 0.12)
_TRUNK_LINES = ((2, 8), (5, 11), (1, 8), (1, 11), (2, 5))
_TRUNK_RADIUS, _HEAD_RADIUS, _HEAD_ABOVE_NECK = 0.14, 0.2, 0.4
_HEAD_WEIGHT = 2.0  # it hides the shoulders behind it
_BACKGROUND_WEIGHT = 1e-3  # the background does not move
_STIFFNESS = 0.08  # distance between joints from which on a rotation that they show is trusted

# Pairs of joints that measure the size of a person, and their usual distances.
_MEASURED = ((1, 8), (1, 11), (8, 9), (11, 12), (9, 10), (12, 13), (2, 3), (5, 6), (3, 4), (6, 7), (2, 5))
_USUAL = (1.0, 1.0, 0.8, 0.8, 0.8, 0.8, 0.55, 0.55, 0.5, 0.5, 0.75)
_LARGEST = 3  # of the measured lengths count: projection only makes lengths shorter

_Pairs = tuple[tuple[int, int], ...]


def _columns(pairs: _Pairs, device: torch.device) -> tuple[Tensor, Tensor]:
    return constant(tuple(a for a, _ in pairs), device), constant(tuple(b for _, b in pairs), device)


class _Pose(NamedTuple):
    """The joints of B images."""

    position: Tensor  # (B, J, 2)
    present: Tensor  # (B, J) 1 or 0
    trunk: Tensor  # (B, 1) pixels; length of a trunk that is parallel to the image

    def both_present(self, pairs: _Pairs) -> Tensor:
        """(B, N) 1 where both joints of a pair are present."""
        first, second = _columns(pairs, self.present.device)
        return self.present[:, first] * self.present[:, second]

    def ends(self, pairs: _Pairs) -> tuple[Tensor, Tensor]:
        """Positions (B, N, 2) of the first and of the second joint of every pair."""
        first, second = _columns(pairs, self.position.device)
        return self.position[:, first], self.position[:, second]


class _Parts(NamedTuple):
    """Where body parts come from, and how much each counts at a pixel."""

    origin: Tensor  # (B, N, 2, h, w) the position in the source
    weight: Tensor  # (B, N, 1, h, w)


@torch.no_grad()
def limb_flow(source_structure: Tensor, target_structure: Tensor) -> Tensor:
    """Offsets (B, 2, H/2, W/2) in pixels of the frame, from joint heat maps (B, 18, H, W) in [0, 1].

    Zero far from the body, and everywhere when the two poses have no joints in common.
    """
    source, target = _pose(source_structure), _pose(target_structure)
    height, width = target_structure.shape[-2:]
    grid = cell_middles(height // PRIOR_STRIDE, width // PRIOR_STRIDE, PRIOR_STRIDE, target.position)  # (1, 2, h, w)
    parts = [part(source, target, grid) for part in (_limbs, _torso, _head)]
    weight = torch.cat([part.weight for part in parts], dim=1)
    offset = torch.cat([part.origin for part in parts], dim=1) - grid[:, None]
    return (offset * weight).sum(dim=1) / (weight.sum(dim=1) + _BACKGROUND_WEIGHT)


def _pose(structure: Tensor) -> _Pose:
    position, present, _ = heatmap_centroids(structure.float())
    pose = _Pose(position, present, position[:, :1, 0])
    return pose._replace(trunk=_trunk(pose))


def _trunk(pose: _Pose) -> Tensor:
    """Length of a trunk (B, 1): the mean estimate of the longest measured bones; at least one pixel."""
    first, second = pose.ends(_MEASURED)
    present = pose.both_present(_MEASURED)
    lengths = torch.linalg.vector_norm(first - second, dim=2) / constant(_USUAL, first.device) * present
    largest: Tensor = lengths.topk(_LARGEST, dim=1).values
    count = (largest > 0).sum(dim=1, keepdim=True).clamp(min=1)
    return (largest.sum(dim=1, keepdim=True) / count).clamp(min=1)


class _OnSegment(NamedTuple):
    """Pixels in coordinates of segments between two joints, (B, N, h, w) pixels."""

    inside: Tensor  # along the segment, clamped to it: 0 at the first joint, the length at the second
    beyond: Tensor  # the rest along it: negative before the first joint, positive after the second
    beside: Tensor  # perpendicular to it
    length: Tensor  # (B, N, 1) of the segments

    @property
    def squared_distance(self) -> Tensor:
        return self.beyond.square() + self.beside.square()


def _direction(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (B, N, 1) and unit vectors (B, N, 2)."""
    line = second - first
    length = torch.linalg.vector_norm(line, dim=2, keepdim=True).clamp(min=1e-3)
    return length, line / length


def _on_segment(first: Tensor, second: Tensor, grid: Tensor) -> _OnSegment:
    length, unit = _direction(first, second)
    x, y = (grid[:, None] - first[..., None, None]).unbind(dim=2)  # (B, N, h, w)
    unit_x, unit_y = unit[..., None, None].unbind(dim=2)
    along = x * unit_x + y * unit_y
    inside = torch.minimum(along.clamp(min=0), length[..., None])
    return _OnSegment(inside, along - inside, y * unit_x - x * unit_y, length)


def _limbs(source: _Pose, target: _Pose, grid: Tensor) -> _Parts:
    """Arms and legs: their length scales with their joints, their thickness with the size of the person."""
    local = _on_segment(*target.ends(_LIMBS), grid)
    source_length, unit = _direction(*source.ends(_LIMBS))
    scale = (source.trunk / target.trunk)[..., None, None]
    along = local.inside * (source_length / local.length)[..., None] + local.beyond * scale
    beside = local.beside * scale
    unit_x, unit_y = unit[..., None, None].unbind(dim=2)
    turned = torch.stack([along * unit_x - beside * unit_y, along * unit_y + beside * unit_x], dim=2)
    radius = constant(_LIMB_RADIUS, grid.device)[:, None, None] * target.trunk[..., None, None]
    present = (source.both_present(_LIMBS) * target.both_present(_LIMBS))[..., None, None]
    weight = _gaussian(local.squared_distance, radius) * present
    return _Parts(turned + source.ends(_LIMBS)[0][..., None, None], weight[:, :, None])


def _torso(source: _Pose, target: _Pose, grid: Tensor) -> _Parts:
    """The trunk: an affine map of shoulders, neck and hips."""
    origin, common = _affine(source, target, grid, _TRUNK)
    radius = (_TRUNK_RADIUS * target.trunk)[..., None, None]
    near = _gaussian(_on_segment(*target.ends(_TRUNK_LINES), grid).squared_distance, radius)
    near = (near * target.both_present(_TRUNK_LINES)[..., None, None]).amax(dim=1, keepdim=True)
    known = (common >= 2).to(near.dtype)
    return _Parts(origin[:, None], (near * known[..., None, None])[:, :, None])


def _head(source: _Pose, target: _Pose, grid: Tensor) -> _Parts:
    """The head: an affine map of the joints of the face, with a little weight on neck and shoulders."""
    origin, _ = _affine(source, target, grid, _HEAD)
    away = grid - _head_middle(target)[..., None, None]  # (B, 2, h, w)
    radius = (_HEAD_RADIUS * target.trunk)[..., None, None]
    weight = _HEAD_WEIGHT * _gaussian(away.square().sum(dim=1, keepdim=True), radius)
    known = source.present[:, _NECK] * target.present[:, _NECK]
    return _Parts(origin[:, None], (weight * known[:, None, None, None])[:, :, None])


def _affine(source: _Pose, target: _Pose, grid: Tensor, joints: dict[int, float]) -> tuple[Tensor, Tensor]:
    """Origins (B, 2, h, w) by the affine map from target joints to source joints, in weighted least squares.

    Also returns how many of the joints both poses have, (B, 1). The fewer there are, the closer is the map to a pure
    translation and scaling.
    """
    names, weights = constant(tuple(joints), grid.device), constant(tuple(joints.values()), grid.device)
    present = (source.present * target.present)[:, names]  # (B, K)
    common = (present * weights)[..., None]  # (B, K, 1)
    total = common.sum(dim=1).clamp(min=1e-3)
    middle, source_middle = ((pose.position[:, names] * common).sum(dim=1) / total for pose in (target, source))
    away, wanted = target.position[:, names] - middle[:, None], source.position[:, names] - source_middle[:, None]
    stiff = (_STIFFNESS * target.trunk).square()  # (B, 1); pulls towards a pure scaling
    pull = torch.eye(2, device=grid.device) * (stiff * source.trunk / target.trunk)[..., None]  # (B, 2, 2)
    weighted = away * common
    xx, yy = ((weighted * away).sum(dim=1) + stiff).split(1, dim=1)
    xy = (weighted[..., :1] * away[..., 1:]).sum(dim=1)
    by_x, by_y = ((weighted[..., k, None] * wanted).sum(dim=1) + pull[:, k] for k in (0, 1))  # (B, 2)
    determinant = xx * yy - xy * xy
    per_x, per_y = (yy * by_x - xy * by_y) / determinant, (xx * by_y - xy * by_x) / determinant
    x, y = (grid - middle[..., None, None]).split(1, dim=1)  # (B, 1, h, w)
    origin = x * per_x[..., None, None] + y * per_y[..., None, None] + source_middle[..., None, None]
    return origin, present.sum(dim=1, keepdim=True)


def _head_middle(pose: _Pose) -> Tensor:
    """(B, 2) the mean of the face's joints, or a position above the neck if none is present."""
    names = constant(_FACE, pose.position.device)
    present = pose.present[:, names, None]
    count = present.sum(dim=1)
    face = (pose.position[:, names] * present).sum(dim=1) / count.clamp(min=1)
    above = pose.position[:, _NECK] - torch.cat([torch.zeros_like(pose.trunk), _HEAD_ABOVE_NECK * pose.trunk], dim=1)
    return torch.where(count > 0, face, above)


def _gaussian(squared_distance: Tensor, radius: Tensor) -> Tensor:
    return torch.exp(-squared_distance / (2 * radius.square()))
