"""A first guess of a face's flow from its structure alone: brows, eyes, nose and lips move with their curves.

Not in the paper, a setting of our own models (`flow_prior` "curves"): the counterpart for faces of `limb_flow`. Where
an upper lid comes down, the picture moves with it, before anything has been learnt.

B batch, K curves, P points on all curves together, L pieces between them, H x W frame, h x w = H/2 x W/2. Places are
(x, y) in pixels of the frame, or upright: turned so that the eyes are level, and counted from the middle between them
in sizes of the face. That is how far apart its eyes are when seen from the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.conditioning.face_map import EYE, INSIDE_LIPS
from gfla_cli.networks.priors.features import GUESS_STRIDE
from gfla_cli.ops.warp import cell_middles

_READ_STRIDE = 4  # of the grid that curves are read from; their lines are thick enough for it in frames from 128 on
CURVE_DISTANCES = slice(1, 15)  # channels of the structure that tell how far away each curve is
_NEAR = 3.0  # levels of distance (3/256 of the frame) that are the curve itself
_RIGHT_EYE, _LEFT_EYE = (6, 7), (8, 9)  # curves: upper and lower lid
_INSIDE_LIPS = (12, 13)  # upper, lower edge
_AS_GOOD_AS_OPEN = 0.5  # of the target's opening: what the source shows of an eye or a mouth then does for all of it
_AS_GOOD_AS_SHUT = 0.02  # sizes of the face; of openings so small it does not matter which one is larger
_LEAST_SHOWN = 0.3  # of them, even so: the lips' own colours tint what is invented between them
_UNDER_NOSE = 4
_PER_NOSE = 1.1  # lengths from the eyes to the lower edge of the nose: the least that a face's size is
_OUTLINE = 0  # a closed curve, of which only the chin is the same spot of skin in every picture
_SPOTS = (-1.6, -0.9, 0.0, 0.9, 1.6)  # along a curve, in standard deviations of its pixels
_CHIN = 1.4  # below the middle of the outline, in the same
# Sizes of the face, downwards: of lids and lips the skin beside their curves is taken, above the upper ones and
# below the lower ones, lest a shut eye be a place where two curves of different motion meet.
_BESIDE = {6: -0.03, 7: 0.03, 8: -0.03, 9: 0.03, 10: -0.03, 11: 0.03}
_STIFF = 0.02  # of the spread of all points: keeps the map of a face whose points are all on a line finite
_FLATTEST = 1e-4  # squared standard deviation of u**2, where all pixels of a curve stand at two places
_SOFT = 0.03  # sizes of the face: how close to a curve its own motion is all that counts
_SHORTEST = 1e-6  # squared sizes of the face: keeps pieces finite that are points
_HEAD_RADIUS = 1.8  # sizes of the face: how far from the middle of the face everything still moves with it
_HEAD_MIDDLE = 0.1  # sizes of the face below the eyes


class _Face(NamedTuple):
    """The curves of one picture."""

    points: Tensor  # (B, P, 2)
    eyes: Tensor  # (B, 2) the middle between the eyes
    axis: Tensor  # (B, 2) the way from the right eye to the left one, as long as the face's size
    openings: Tensor  # (B, 2) how far apart lids are and inner lips, in sizes of the face
    there: Tensor  # (B, 1) 1 where the picture shows a face

    @property
    def squared_size(self) -> Tensor:
        """(B, 1, 1) pixels squared."""
        return self.axis.square().sum(dim=1)[:, None, None]


class CurveGuess(NamedTuple):
    """What two structures tell about where a target is in a source."""

    flow: Tensor  # (B, 2, H/2, W/2) offsets in pixels of the frame
    shown: Tensor  # (B, 1, H, W) in [0, 1]; below 1 inside of eyes and lips that are not so open in the source


@torch.no_grad()
def curve_guesses(source_structures: Sequence[Tensor], target_structure: Tensor) -> list[CurveGuess]:
    """One guess for each source, from face structures (B, 16, H, W).

    Flows fade to zero far from the face, and are zero everywhere when one of the two has no face.
    """
    with torch.autocast(target_structure.device.type, enabled=False):  # bfloat16 has no halves of pixels from 128 on
        height, width = target_structure.shape[-2] // GUESS_STRIDE, target_structure.shape[-1] // GUESS_STRIDE
        target = _face(target_structure)
        grid = cell_middles(height, width, GUESS_STRIDE, target.points).flatten(2).transpose(1, 2)  # (1, h*w, 2)
        first, second = _pull(grid, target)
        near = _nearness(grid, target)
        labels = target_structure[:, -1:]
        eyes, mouth = (labels == EYE).float(), (labels == INSIDE_LIPS).float()
        guesses = []
        for source in map(_face, source_structures):
            turn = _turn(target, source)
            rest = source.points - turn.of(target.points)  # what a turn of the head leaves over
            start, end = _ends(rest)
            offset = (turn.of(grid) + first @ start + second @ end - grid) * near
            offset = offset * (source.there * target.there)[..., None]
            flow = offset.transpose(1, 2).reshape(-1, 2, height, width)
            guesses.append(CurveGuess(flow, _shown(source, target, eyes, mouth)))
        return guesses


def _shown(source: _Face, target: _Face, eyes: Tensor, mouth: Tensor) -> Tensor:
    """(B, 1, H, W): eyes and a mouth that are shut show nothing of what open ones have inside.

    `eyes` and `mouth` (B, 1, H, W) are 1 inside of the target's.
    """
    there = (source.openings + _AS_GOOD_AS_SHUT) / (_AS_GOOD_AS_OPEN * target.openings + _AS_GOOD_AS_SHUT)
    hidden = (1 - there).clamp(min=0) * (1 - _LEAST_SHOWN) * source.there * target.there  # (B, 2)
    hidden_eyes, hidden_mouth = hidden[..., None, None].split(1, dim=1)
    shown: Tensor = 1 - eyes * hidden_eyes - mouth * hidden_mouth
    return shown


def _pull(grid: Tensor, face: _Face) -> tuple[Tensor, Tensor]:
    """(B, h*w, L) each: how much the two ends of every piece of the curves tell about the motion of each place.

    The nearer a piece the more, and of its ends the nearer one, so that the motion is continuous along a curve.
    """
    places, points = ((x - face.eyes[:, None]) / face.squared_size.sqrt() for x in (grid, face.points))
    start, end = _ends(points)
    (x, y), (begin_x, begin_y), (way_x, way_y) = (pair.unbind(dim=2) for pair in (places, start, end - start))
    x, y = x[..., None] - begin_x[:, None], y[..., None] - begin_y[:, None]  # (B, h*w, L)
    way_x, way_y = way_x[:, None], way_y[:, None]
    share = ((x * way_x + y * way_y) / (way_x.square() + way_y.square() + _SHORTEST)).clamp(0, 1)
    squared = (x - share * way_x).square() + (y - share * way_y).square()
    weight = (squared + _SOFT**2).square().reciprocal()
    weight = weight / weight.sum(dim=2, keepdim=True)
    second = weight * share
    return weight - second, second


def _ends(points: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L, 2) where the pieces of all curves begin and where they end, from (B, P, 2); the chin is one by itself."""
    curves, chin = points[:, :-1].unflatten(1, (-1, len(_SPOTS))), points[:, -1:]
    start, end = curves[:, :, :-1].flatten(1, 2), curves[:, :, 1:].flatten(1, 2)
    return torch.cat([start, chin], dim=1), torch.cat([end, chin], dim=1)


def _nearness(grid: Tensor, face: _Face) -> Tensor:
    """(B, h*w, 1) how much each place moves with a head."""
    down = torch.stack([-face.axis[:, 1], face.axis[:, 0]], dim=1)
    away = _squared_distance(grid, (face.eyes + _HEAD_MIDDLE * down)[:, None]) / face.squared_size
    return torch.exp(-(away / (2 * _HEAD_RADIUS**2)).square())


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
    apart = torch.linalg.vector_norm(axis, dim=1, keepdim=True)
    long = torch.linalg.vector_norm(middles[:, _UNDER_NOSE] - eyes, dim=1, keepdim=True)
    axis = axis * (_PER_NOSE * long / apart).clamp(min=1)  # who turns away keeps the length of the nose
    gaps = [
        torch.linalg.vector_norm(middles[:, upper] - middles[:, lower], dim=1)
        for upper, lower in (_RIGHT_EYE, _LEFT_EYE, _INSIDE_LIPS)
    ]
    openings = torch.stack([(gaps[0] + gaps[1]) / 2, gaps[2]], dim=1) / torch.linalg.vector_norm(axis, dim=1)[:, None]
    along, across = _upright(places, eyes, axis).unbind(dim=2)  # (B, n) each
    points = _curve_points(weight, along, across)
    there = (amount > 0).all(dim=1).to(axis.dtype)
    return _Face(_from_upright(points, eyes, axis), eyes, axis, openings, there)


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
    """(B, n, 2) places seen from between the eyes, which are level, in lengths of the axis."""
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
