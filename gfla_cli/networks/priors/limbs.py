"""A first guess of a flow from the joints alone: each limb moves with its two ends, trunk and head with theirs.

Not in the paper, a setting of our own models (`flow_prior`). A flow estimator that only has to say where this guess is
wrong learns in minutes what takes it hours otherwise, and is right at any distance between the two poses.

B batch, J = 18 joints in OpenPose's order, N parts of the body, H x W frame, h x w = H/2 x W/2. Places are (x, y) in
pixels of the frame; lengths are shares of a trunk, from the neck to a hip.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gfla_cli.networks.priors.features import GUESS_STRIDE
from gfla_cli.ops.warp import cell_middles, constant

_NECK, _FACE = 1, (0, 14, 15, 16, 17)
_TRUNK = dict.fromkeys([1, 2, 5, 8, 11], 1.0)  # how much each joint counts
_HEAD = dict.fromkeys(_FACE, 1.0) | {_NECK: 0.3, 2: 0.1, 5: 0.1}  # who turns away shows few joints of a face
_LIMBS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13))
_LIMB_RADIUS = (0.11, 0.09, 0.11, 0.09, 0.17, 0.12, 0.17, 0.12)
_TRUNK_LINES = ((2, 8), (5, 11), (1, 8), (1, 11), (2, 5))
_TRUNK_RADIUS, _HEAD_RADIUS, _HEAD_ABOVE_NECK = 0.14, 0.2, 0.4
_HEAD_WEIGHT = 2.0  # it hides the shoulders behind it
_BACKGROUND_WEIGHT = 1e-3  # which stays where it is
_STIFFNESS = 0.08  # of a trunk: how far apart joints have to be before a turn that they tell is believed

# Pairs of joints whose distance tells how large a person is, and what it is in trunks.
_MEASURED = ((1, 8), (1, 11), (8, 9), (11, 12), (9, 10), (12, 13), (2, 3), (5, 6), (3, 4), (6, 7), (2, 5))
_USUAL = (1.0, 1.0, 0.8, 0.8, 0.8, 0.8, 0.55, 0.55, 0.5, 0.5, 0.75)
_FAINTEST = 0.1  # column of a heat map's fourth power that is a joint
_LARGEST = 3  # of the measured lengths count: the camera only ever makes them shorter


_Pairs = tuple[tuple[int, int], ...]


def _columns(pairs: _Pairs, device: torch.device) -> tuple[Tensor, Tensor]:
    return constant(tuple(a for a, _ in pairs), device), constant(tuple(b for _, b in pairs), device)


class _Pose(NamedTuple):
    """The joints of one picture."""

    place: Tensor  # (B, J, 2)
    there: Tensor  # (B, J) 1 or 0
    trunk: Tensor  # (B, 1) how long a trunk is that the camera sees from the front, pixels

    def both(self, pairs: _Pairs) -> Tensor:
        """(B, N) 1 where both joints of a pair are there."""
        first, second = _columns(pairs, self.there.device)
        return self.there[:, first] * self.there[:, second]

    def ends(self, pairs: _Pairs) -> tuple[Tensor, Tensor]:
        """(B, N, 2) places of the first and of the second joint of every pair."""
        first, second = _columns(pairs, self.place.device)
        return self.place[:, first], self.place[:, second]


class _Part(NamedTuple):
    """Where parts of the body come from, and how much of a pixel is theirs."""

    origin: Tensor  # (B, N, 2, h, w) the place in the source
    weight: Tensor  # (B, N, 1, h, w)


@torch.no_grad()
def limb_flow(source_structure: Tensor, target_structure: Tensor) -> Tensor:
    """(B, 2, H/2, W/2) offsets, in pixels of the frame, from joint heat maps (B, 18, H, W) in [0, 1].

    Zero far from the body, and everywhere when the two show no joints in common.
    """
    source, target = _pose(source_structure), _pose(target_structure)
    height, width = target_structure.shape[-2:]
    grid = cell_middles(height // GUESS_STRIDE, width // GUESS_STRIDE, GUESS_STRIDE, target.place)  # (1, 2, h, w)
    parts = [part(source, target, grid) for part in (_limbs, _torso, _head)]
    weight = torch.cat([part.weight for part in parts], dim=1)
    offset = torch.cat([part.origin for part in parts], dim=1) - grid[:, None]
    return (offset * weight).sum(dim=1) / (weight.sum(dim=1) + _BACKGROUND_WEIGHT)


def _pose(structure: Tensor) -> _Pose:
    """The middles of the heat maps. Their fourth power, lest a map that the frame's edge cuts be pulled inwards."""
    maps = structure.float().square().square()
    across, down = maps.sum(dim=2), maps.sum(dim=3)  # (B, J, W), (B, J, H)
    amount = across.sum(dim=2).clamp(min=1e-6)
    x = (across * torch.arange(across.shape[2], device=maps.device)).sum(dim=2) / amount
    y = (down * torch.arange(down.shape[2], device=maps.device)).sum(dim=2) / amount
    there = (across.amax(dim=2) > _FAINTEST).to(maps.dtype)
    pose = _Pose(torch.stack([x, y], dim=2), there, x[:, :1])
    return pose._replace(trunk=_trunk(pose))


def _trunk(pose: _Pose) -> Tensor:
    """(B, 1) the length of a trunk as the longest of all lengths tell it; at least one pixel."""
    first, second = pose.ends(_MEASURED)
    lengths = torch.linalg.vector_norm(first - second, dim=2) / constant(_USUAL, first.device) * pose.both(_MEASURED)
    largest: Tensor = lengths.topk(_LARGEST, dim=1).values
    count = (largest > 0).sum(dim=1, keepdim=True).clamp(min=1)
    return (largest.sum(dim=1, keepdim=True) / count).clamp(min=1)


class _Along(NamedTuple):
    """Points seen from lines between two joints: how far along, how far beside. (B, N, h, w), pixels."""

    inside: Tensor  # 0 at the first joint to the line's length at the second
    beyond: Tensor  # negative before the first, positive after the second
    beside: Tensor
    length: Tensor  # (B, N, 1) of the lines

    @property
    def squared_distance(self) -> Tensor:
        return self.beyond.square() + self.beside.square()


def _direction(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (B, N, 1) and unit vectors (B, N, 2)."""
    line = second - first
    length = torch.linalg.vector_norm(line, dim=2, keepdim=True).clamp(min=1e-3)
    return length, line / length


def _along(first: Tensor, second: Tensor, grid: Tensor) -> _Along:
    length, unit = _direction(first, second)
    x, y = (grid[:, None] - first[..., None, None]).unbind(dim=2)  # (B, N, h, w)
    unit_x, unit_y = unit[..., None, None].unbind(dim=2)
    along = x * unit_x + y * unit_y
    inside = torch.minimum(along.clamp(min=0), length[..., None])
    return _Along(inside, along - inside, y * unit_x - x * unit_y, length)


def _limbs(source: _Pose, target: _Pose, grid: Tensor) -> _Part:
    """Arms and legs: as long as their joints say, as thick as the person is large."""
    seen = _along(*target.ends(_LIMBS), grid)
    from_length, unit = _direction(*source.ends(_LIMBS))
    scale = (source.trunk / target.trunk)[..., None, None]
    along = seen.inside * (from_length / seen.length)[..., None] + seen.beyond * scale
    beside = seen.beside * scale
    unit_x, unit_y = unit[..., None, None].unbind(dim=2)
    turned = torch.stack([along * unit_x - beside * unit_y, along * unit_y + beside * unit_x], dim=2)
    radius = constant(_LIMB_RADIUS, grid.device)[:, None, None] * target.trunk[..., None, None]
    weight = _near(seen.squared_distance, radius) * (source.both(_LIMBS) * target.both(_LIMBS))[..., None, None]
    return _Part(turned + source.ends(_LIMBS)[0][..., None, None], weight[:, :, None])


def _torso(source: _Pose, target: _Pose, grid: Tensor) -> _Part:
    """The trunk: all of its joints tell where it comes from."""
    origin, joints = _affine(source, target, grid, _TRUNK)
    radius = (_TRUNK_RADIUS * target.trunk)[..., None, None]
    lines = _near(_along(*target.ends(_TRUNK_LINES), grid).squared_distance, radius)
    lines = (lines * target.both(_TRUNK_LINES)[..., None, None]).amax(dim=1, keepdim=True)
    known = (joints >= 2).to(lines.dtype)
    return _Part(origin[:, None], (lines * known[..., None, None])[:, :, None])


def _head(source: _Pose, target: _Pose, grid: Tensor) -> _Part:
    """The head: the joints of its face tell where it comes from, with a little help from neck and shoulders."""
    origin, _ = _affine(source, target, grid, _HEAD)
    away = grid - _head_middle(target)[..., None, None]  # (B, 2, h, w)
    radius = (_HEAD_RADIUS * target.trunk)[..., None, None]
    weight = _HEAD_WEIGHT * _near(away.square().sum(dim=1, keepdim=True), radius)
    known = source.there[:, _NECK] * target.there[:, _NECK]
    return _Part(origin[:, None], (weight * known[:, None, None, None])[:, :, None])


def _affine(source: _Pose, target: _Pose, grid: Tensor, joints: dict[int, float]) -> tuple[Tensor, Tensor]:
    """Origins (B, 2, h, w) by the affine map that takes joints to those of the source, in weighted least squares.

    Also how many joints both poses show, (B, 1). The fewer there are, the more is it a change of size and place alone.
    """
    names, weights = constant(tuple(joints), grid.device), constant(tuple(joints.values()), grid.device)
    there = (source.there * target.there)[:, names]  # (B, K)
    common = (there * weights)[..., None]  # (B, K, 1)
    total = common.sum(dim=1).clamp(min=1e-3)
    middle, from_middle = ((pose.place[:, names] * common).sum(dim=1) / total for pose in (target, source))  # (B, 2)
    away, wanted = target.place[:, names] - middle[:, None], source.place[:, names] - from_middle[:, None]
    stiff = (_STIFFNESS * target.trunk).square()  # (B, 1); pulls towards a change of size alone
    pull = torch.eye(2, device=grid.device) * (stiff * source.trunk / target.trunk)[..., None]  # (B, 2, 2)
    weighted = away * common
    xx, yy = ((weighted * away).sum(dim=1) + stiff).split(1, dim=1)
    xy = (weighted[..., :1] * away[..., 1:]).sum(dim=1)
    by_x, by_y = ((weighted[..., k, None] * wanted).sum(dim=1) + pull[:, k] for k in (0, 1))  # (B, 2)
    determinant = xx * yy - xy * xy
    per_x, per_y = (yy * by_x - xy * by_y) / determinant, (xx * by_y - xy * by_x) / determinant
    x, y = (grid - middle[..., None, None]).split(1, dim=1)  # (B, 1, h, w)
    origin = x * per_x[..., None, None] + y * per_y[..., None, None] + from_middle[..., None, None]
    return origin, there.sum(dim=1, keepdim=True)


def _head_middle(pose: _Pose) -> Tensor:
    """(B, 2) the middle of the joints of the face, or a place above the neck where none is there."""
    names = constant(_FACE, pose.place.device)
    there = pose.there[:, names, None]
    count = there.sum(dim=1)
    face = (pose.place[:, names] * there).sum(dim=1) / count.clamp(min=1)
    above = pose.place[:, _NECK] - torch.cat([torch.zeros_like(pose.trunk), _HEAD_ABOVE_NECK * pose.trunk], dim=1)
    return torch.where(count > 0, face, above)


def _near(squared_distance: Tensor, radius: Tensor) -> Tensor:
    return torch.exp(-squared_distance / (2 * radius.square()))
