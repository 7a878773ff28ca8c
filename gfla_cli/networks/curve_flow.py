"""A first guess of a face's flow from its structure alone: brows, eyes, nose and lips move with their curves.

Not in the paper, a setting of our own models (`flow_prior` "curves"): the counterpart for faces of `limb_flow`. Where
an upper lid comes down, the picture moves with it, before anything has been learnt.

B batch, K curves, P points on all curves together, H x W frame, h x w = H/2 x W/2. Places are (x, y) in pixels of the
frame, or upright: turned so that the eyes are level, and counted from the middle between them in distances of the eyes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.networks.limb_flow import GUESS_STRIDE
from gfla_cli.ops.warp import cell_middles

_READ_STRIDE = 4  # of the grid that curves are read from; their lines are thick enough for it in frames from 128 on
CURVE_DISTANCES = slice(1, 15)  # channels of the structure that tell how far away each curve is
_NEAR = 3.0  # levels of distance (3/256 of the frame) that are the curve itself
_RIGHT_EYE, _LEFT_EYE = (6, 7), (8, 9)  # curves: upper and lower lid
_OUTLINE = 0  # a closed curve, of which only the chin is the same spot of skin in every picture
_SPOTS = (-1.2, 0.0, 1.2)  # along a curve, in standard deviations of its pixels
_CHIN = 1.4  # below the middle of the outline, in the same
# Distances of the eyes, downwards: of lids and lips the skin beside their curves is taken, above the upper ones and
# below the lower ones, lest a shut eye be a place where two curves of different motion meet.
_BESIDE = {6: -0.08, 7: 0.08, 8: -0.08, 9: 0.08, 10: -0.08, 11: 0.08}
_STIFF = 0.02  # of the spread of all points: keeps the map of a face whose points are all on a line finite
_FLATTEST = 1e-4  # squared standard deviation of u**2, where all pixels of a curve stand at two places
_SOFT = 0.06  # distances of the eyes: how close to a curve its own motion is all that counts
_HEAD_RADIUS = 1.8  # distances of the eyes: how far from the middle of the face everything still moves with it
_HEAD_MIDDLE = 0.1  # distances of the eyes below them


class _Face(NamedTuple):
    """The curves of one picture."""

    points: Tensor  # (B, P, 2)
    eyes: Tensor  # (B, 2) the middle between the eyes
    axis: Tensor  # (B, 2) from the right eye to the left one, pixels
    there: Tensor  # (B, 1) 1 where the picture shows a face


@torch.no_grad()
def curve_flow(source_structure: Tensor, target_structure: Tensor) -> Tensor:
    """(B, 2, H/2, W/2) offsets, in pixels of the frame, from face structures (B, 16, H, W).

    Fades to zero far from the face, and is zero everywhere when one of the two has no face.
    """
    with torch.autocast(target_structure.device.type, enabled=False):  # bfloat16 has no halves of pixels from 128 on
        return _flow(source_structure, target_structure)


def _flow(source_structure: Tensor, target_structure: Tensor) -> Tensor:
    source, target = _face(source_structure), _face(target_structure)
    height, width = target_structure.shape[-2:]
    cells = cell_middles(height // GUESS_STRIDE, width // GUESS_STRIDE, GUESS_STRIDE, target.points)
    grid = cells.flatten(2).transpose(1, 2)  # (1, h*w, 2)
    size = torch.linalg.vector_norm(target.axis, dim=1)[:, None, None]  # (B, 1, 1)
    turn = _turn(target, source)
    rigid = turn.of(grid)  # (B, h*w, 2)
    rest = source.points - turn.of(target.points)  # (B, P, 2) what a turn of the head leaves over
    squared = _squared_distance(grid, target.points) / size.square()  # (B, h*w, P)
    weight = (squared + _SOFT**2).square().reciprocal()
    bent = (weight @ rest) / weight.sum(dim=2, keepdim=True)
    down = torch.stack([-target.axis[:, 1], target.axis[:, 0]], dim=1)
    away = _squared_distance(grid, (target.eyes + _HEAD_MIDDLE * down)[:, None]) / size.square()  # (B, h*w, 1)
    near = torch.exp(-(away / (2 * _HEAD_RADIUS**2)).square()) * (source.there * target.there)[..., None]
    offset = (rigid + bent - grid) * near
    guess: Tensor = offset.transpose(1, 2).reshape(-1, 2, height // GUESS_STRIDE, width // GUESS_STRIDE)
    return guess


def _face(structure: Tensor) -> _Face:
    """Points on every curve, at the same shares of its length in every picture."""
    lines = F.relu(1 - F.avg_pool2d(structure[:, CURVE_DISTANCES].float(), _READ_STRIDE) * (255 / _NEAR))
    height, width = lines.shape[-2:]
    places = cell_middles(height, width, _READ_STRIDE, lines).flatten(2).transpose(1, 2)  # (1, n, 2)
    weight = lines.flatten(2)  # (B, K, n)
    amount = weight.sum(dim=2, keepdim=True)
    weight = weight / amount.clamp(min=1e-6)
    middles = weight @ places  # (B, K, 2)
    right, left = (middles[:, list(curves)].mean(dim=1) for curves in (_RIGHT_EYE, _LEFT_EYE))
    eyes, axis = (left + right) / 2, left - right
    axis = torch.where(axis.square().sum(dim=1, keepdim=True) > 1, axis, torch.ones_like(axis))
    along, across = _upright(places, eyes, axis).unbind(dim=2)  # (B, n) each
    points = _curve_points(weight, along, across)
    there = (amount > 0).all(dim=1).to(axis.dtype)
    return _Face(_from_upright(points, eyes, axis), eyes, axis, there)


def _curve_points(weight: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """(B, P, 2) upright points: on a parabola through the pixels of each open curve, and the chin."""
    x = (weight @ along[..., None])[..., 0]  # (B, K)
    spread = ((weight * (along[:, None] - x[..., None]).square()).sum(dim=2) + 1e-8).sqrt()
    u = (along[:, None] - x[..., None]) / spread[..., None]  # (B, K, n), mean 0, mean square 1
    y = (weight @ across[..., None])[..., 0]
    v = across[:, None] - y[..., None]
    skew = (weight * u**3).sum(dim=2, keepdim=True)
    bow = u.square() - 1 - skew * u  # orthogonal to 1 and u under these weights
    slope = (weight * u * v).sum(dim=2)
    bend = (weight * bow * v).sum(dim=2) / ((weight * bow.square()).sum(dim=2) + _FLATTEST)
    spots = torch.tensor(_SPOTS, device=weight.device)
    on_curve = y[..., None] + slope[..., None] * spots + bend[..., None] * (spots**2 - 1 - skew * spots)
    beside = torch.tensor([_BESIDE.get(number, 0.0) for number in range(weight.shape[1])], device=weight.device)
    curves = torch.stack([x[..., None] + spread[..., None] * spots, on_curve + beside[:, None]], dim=3)  # (B, K, S, 2)
    height = ((weight * v.square()).sum(dim=2)[:, _OUTLINE] + 1e-8).sqrt()
    chin = torch.stack([x[:, _OUTLINE], y[:, _OUTLINE] + height * _CHIN], dim=1)
    return torch.cat([curves[:, _OUTLINE + 1 :].flatten(1, 2), chin[:, None]], dim=1)


def _upright(places: Tensor, eyes: Tensor, axis: Tensor) -> Tensor:
    """(B, n, 2) places seen from between the eyes, which are level and one apart."""
    x, y = (places - eyes[:, None]).unbind(dim=2)
    unit = axis / axis.square().sum(dim=1, keepdim=True)
    across, down = unit[:, :1], unit[:, 1:]
    return torch.stack([x * across + y * down, y * across - x * down], dim=2)


def _from_upright(places: Tensor, eyes: Tensor, axis: Tensor) -> Tensor:
    x, y = places.unbind(dim=2)
    across, down = axis[:, :1], axis[:, 1:]
    return torch.stack([x * across - y * down, x * down + y * across], dim=2) + eyes[:, None]


class _Turn(NamedTuple):
    """An affine map from one picture to another."""

    middle: Tensor  # (B, 1, 2)
    matrix: Tensor  # (B, 2, 2)
    to: Tensor  # (B, 1, 2) where the middle goes

    def of(self, places: Tensor) -> Tensor:
        """(B, n, 2) from (B or 1, n, 2)."""
        return (places - self.middle) @ self.matrix + self.to


def _turn(face: _Face, to: _Face) -> _Turn:
    """The affine map that takes the points of one face to those of another, in least squares."""
    middle, wanted = face.points.mean(dim=1, keepdim=True), to.points.mean(dim=1, keepdim=True)
    away, other = face.points - middle, to.points - wanted
    (xx, xy), (_, yy) = (row.unbind(dim=1) for row in (away.transpose(1, 2) @ away).unbind(dim=1))
    stiff = _STIFF * (xx + yy)
    xx, yy = xx + stiff, yy + stiff
    size = (to.axis.square().sum(dim=1) / face.axis.square().sum(dim=1)).sqrt()
    product = away.transpose(1, 2) @ other + torch.eye(2, device=away.device) * (stiff * size)[:, None, None]
    inverse = torch.stack([torch.stack([yy, -xy], dim=1), torch.stack([-xy, xx], dim=1)], dim=1)
    matrix = inverse @ product / (xx * yy - xy * xy).clamp(min=1e-3)[:, None, None]
    return _Turn(middle, matrix, wanted)


def _squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """(B, n, m) from (B, n, 2) and (B, m, 2)."""
    (x, y), (other_x, other_y) = first.unbind(dim=2), second.unbind(dim=2)
    return (x[..., None] - other_x[:, None]).square() + (y[..., None] - other_y[:, None]).square()
