"""Flow prior "curves" for faces: brows, eyes, nose and lips move with their curves, and eyeballs with their irises.

Not in the paper; the counterpart of `limbs.py` for faces. Where an upper lid comes down, the image moves with it before
anything has been learned.

B batch, K curves, P points on all curves together, L segments between them, H x W frame, h x w = H/2 x W/2.
Positions are (x, y) in pixels of the frame. Upright positions are rotated so that the eyes are level; their origin is
the middle between the eyes and their unit is the face size. One face size = the distance between the eyes as seen from
the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.conditioning.face_map import EYE, INSIDE_LIPS, IRISES, LABELS
from gfla_cli.networks.priors import PRIOR_STRIDE
from gfla_cli.ops.warp import cell_middles, downsample

CURVE_DISTANCES = slice(1, 15)  # channels of the face map that hold the distance from each curve
_READ_STRIDE = 4  # of the grid that curves are read from; curves are thick enough for it in frames from 128 pixels on
_NEAR = 3.0  # grey levels of distance (3/256 of the frame) that count as the curve itself
_RIGHT_EYE, _LEFT_EYE = (6, 7), (8, 9)  # curves: upper and lower lid
_EYE_CURVES = (_RIGHT_EYE, _LEFT_EYE)
_INSIDE_LIPS = (12, 13)  # upper, lower edge
_OPEN_SHARE = 0.5  # a source eye or mouth this open, relative to the target's, shows all of its inside
_CLOSED = 0.02  # face sizes; openings below this are all the same
_LEAST_VISIBILITY = 0.3  # inside closed lips: their colours still help what is generated between them
_UNDER_NOSE = 4
_PER_NOSE = 1.1  # a face size is at least this times the distance from the eyes to the lower edge of the nose
_OUTLINE = 0  # a closed curve; only its chin is the same spot of skin in every image
_SPOTS = (-1.6, -0.9, 0.0, 0.9, 1.6)  # points on a curve, in standard deviations of its pixels along it
_CHIN = 1.4  # below the middle of the outline, in standard deviations of its pixels
# Curve -> shift downwards in face sizes. For lids and lips the skin next to the curve counts: above the upper ones,
# below the lower ones. Otherwise two curves of different motion would meet in a closed eye.
_SKIN_SHIFT = {6: -0.03, 7: 0.03, 8: -0.03, 9: 0.03, 10: -0.03, 11: 0.03}
_STIFFNESS = 0.02  # of the spread of all points: keeps the affine map finite if all points lie on a line
_FLATTEST = 1e-4  # least squared standard deviation of u²: pixels of a curve may all stand at two positions
_SOFTNESS = 0.03  # face sizes from a curve within which its own motion dominates
_SHORTEST = 1e-6  # squared face sizes: keeps segments of length zero finite
# Eyeballs. One eye width = the distance between the corners of an eye.
_EYE_ENDS = 3**0.5 / _SPOTS[-1]  # a corner is this much further from the middle of the eye than the last point
_IRIS_READ, _IRIS_FADE = 0.85, 0.25  # eye widths from the middle of an eye within which its iris is looked for
_IRIS_AREA = 0.02  # squared eye widths: a disc with less than this is that of an eye that is nearly shut
_IRIS = 0.22  # eye widths: radius of what moves with the iris without being stretched
_NARROWEST = 0.03  # eye widths
_LID_SLOPE = 0.9  # motion towards a lid, per distance from it: the eyeball slides under lids
_PART = 2048  # positions whose motion is computed at once
_HEAD_RADIUS = 1.8  # face sizes from the middle of the head up to which everything moves with it
_HEAD_MIDDLE = 0.1  # face sizes below the eyes


class Face(NamedTuple):
    """The curves of B images, as `read_face` finds them."""

    points: Tensor  # (B, P, 2)
    eyes: Tensor  # (B, 2) the middle between the eyes
    axis: Tensor  # (B, 2) direction from the right to the left eye; its length is the face size
    openings: Tensor  # (B, 2) of the eyes and of the mouth, in face sizes
    present: Tensor  # (B, 1) 1 where the image shows a face
    # (B, 2, 3) x, y of the right and the left iris, and in [0, 1] if it is known; None for face maps without irises
    irises: Tensor | None = None

    @property
    def squared_size(self) -> Tensor:
        """(B, 1, 1) pixels squared."""
        return self.axis.square().sum(dim=1)[:, None, None]


class CurvePrior(NamedTuple):
    """What two face maps tell about the flow between them."""

    flow: Tensor  # (B, 2, H/2, W/2) offsets in pixels of the frame
    visibility: Tensor  # (B, 1, H, W) in [0, 1]; below 1 inside eyes and lips that are less open in the source


@torch.no_grad()
def curve_priors(sources: Sequence[Face], target: Face, target_structure: Tensor) -> list[CurvePrior]:
    """One prior for each source, from what `read_face` gave, and the target's face map (B, 16 or 17, H, W).

    Flows fade to zero far from the face. They are zero everywhere if one of the two images has no face.
    """
    with torch.autocast(target_structure.device.type, enabled=False):  # bfloat16 has no half pixels from 128 on
        height, width = target_structure.shape[-2] // PRIOR_STRIDE, target_structure.shape[-1] // PRIOR_STRIDE
        grid = cell_middles(height, width, PRIOR_STRIDE, target.points).flatten(2).transpose(1, 2)  # (1, h*w, 2)
        affines = [_fit_affine(target, source) for source in sources]
        # motion of the curves beyond that of the head
        residuals = [
            source.points - affine.apply(target.points) for source, affine in zip(sources, affines, strict=True)
        ]
        moved = _curve_motion(grid, target, residuals)
        near = _head_weight(grid, target)
        labels = target_structure[:, LABELS : LABELS + 1]
        eyes, mouth = (labels == EYE).float(), (labels == INSIDE_LIPS).float()
        offsets = [(affine.apply(grid) + motion - grid) * near for affine, motion in zip(affines, moved, strict=True)]
        if all(face.irises is not None for face in (target, *sources)):
            added = _eyeball_motions(grid, sources, target, offsets, target_structure)
            offsets = [offset + more for offset, more in zip(offsets, added, strict=True)]
        priors = []
        for source, offset in zip(sources, offsets, strict=True):
            offset = offset * (source.present * target.present)[..., None]
            flow = offset.transpose(1, 2).reshape(-1, 2, height, width)
            priors.append(CurvePrior(flow, _visibility(source, target, eyes, mouth)))
        return priors


def _visibility(source: Face, target: Face, eyes: Tensor, mouth: Tensor) -> Tensor:
    """(B, 1, H, W): closed eyes and a closed mouth show nothing of the inside of open ones.

    `eyes` and `mouth` (B, 1, H, W) are 1 inside those of the target.
    """
    openness = (source.openings + _CLOSED) / (_OPEN_SHARE * target.openings + _CLOSED)
    hidden = (1 - openness).clamp(min=0) * (1 - _LEAST_VISIBILITY) * source.present * target.present  # (B, 2)
    hidden_eyes, hidden_mouth = hidden[..., None, None].split(1, dim=1)
    visibility: Tensor = 1 - eyes * hidden_eyes - mouth * hidden_mouth
    return visibility


def _curve_motion(grid: Tensor, face: Face, motions: Sequence[Tensor]) -> list[Tensor]:
    """(B, h*w, 2) how each position moves when the points of the curves move by each of `motions` (B, P, 2).

    A segment counts more the nearer it is. Its weight is shared linearly between its ends, so that the motion is
    continuous along a curve.
    """
    scale = face.squared_size.sqrt()
    start, end = _segment_ends((face.points - face.eyes[:, None]) / scale)
    way = end - start
    length = way.square().sum(dim=2)  # (B, L) squared
    ends = [_segment_ends(motion) for motion in motions]
    at_start = torch.cat([*(first for first, _ in ends), torch.ones_like(start[..., :1])], dim=2)
    to_end = torch.cat([last - first for first, last in ends], dim=2)
    # Products and squared distances of positions p = (x, y) and segments, from (x² + y², x, y, 1).
    zero = torch.zeros_like(length)
    along = torch.stack([zero, way[..., 0], way[..., 1], -(start * way).sum(dim=2)], dim=1)  # (p - start) . way
    away = torch.stack([zero + 1, -2 * start[..., 0], -2 * start[..., 1], start.square().sum(dim=2)], dim=1)
    length, along = length[:, None], along / (length + _SHORTEST)[:, None]
    moved = []
    # Parts of the grid fit into the cache of a processor core, which makes this three times as fast.
    for part in [grid] if torch.onnx.is_in_onnx_export() else grid.split(_PART, dim=1):
        position = (part - face.eyes[:, None]) / scale
        known = torch.cat(
            [position.square().sum(dim=2, keepdim=True), position, torch.ones_like(position[..., :1])], dim=2
        )
        share = known @ along
        nearest = share.clamp(0, 1)
        # In place, which saves a third of the time: first squared distances, then weights.
        weight = share.mul_(-2).add_(nearest).mul_(nearest).mul_(length).add_(known @ away).clamp_(min=0)
        weight.add_(_SOFTNESS**2).square_().reciprocal_()
        total = weight @ at_start
        moved.append((total[..., :-1] + weight.mul_(nearest) @ to_end) / total[..., -1:])
    return list(torch.cat(moved, dim=1).split(2, dim=2))


def _eyeball_motions(
    grid: Tensor, sources: Sequence[Face], target: Face, offsets: Sequence[Tensor], structure: Tensor
) -> list[Tensor]:
    """(B, h*w, 2) to add to the offset to each source, (B, h*w, 2): each iris of the target comes from the source's.

    Zero outside of the target's eyes, and for an iris that one of both images does not show. Between the iris and the
    corners of the eye, the white is stretched.
    """
    assert target.irises is not None
    inside = downsample((structure[:, LABELS : LABELS + 1] == EYE).float(), PRIOR_STRIDE).flatten(2)[:, 0]  # (B, n)
    upper, lower = (_eye_points(target, [eye[lid] for eye in _EYE_CURVES]) for lid in (0, 1))
    added = [torch.zeros_like(offset) for offset in offsets]
    # Few positions are inside of an eye. Graphs cannot select them, and with a GPU the CPU would wait for the count.
    all_of_them = inside.device.type != "cpu" or torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()
    chosen = None if all_of_them else inside.amax(dim=0).nonzero()[:, 0]
    inside, within = (inside, grid) if chosen is None else (inside[:, chosen], grid[:, chosen])
    for eye in range(2):
        middle, axis = _eye_axes(upper[:, eye], lower[:, eye])
        width = torch.linalg.vector_norm(axis, dim=1, keepdim=True)  # (B, 1) pixels
        place = _to_upright(within, middle, axis)  # (B, n, 2)
        iris = target.irises[:, eye, :2]
        at = _to_upright(iris[:, None], middle, axis)  # (B, 1, 2)
        near = torch.exp(-_squared_distance(iris[:, None], grid) / (2 * (0.1 * width[:, None]) ** 2))  # (B, 1, n)
        weight = near.sum(dim=2, keepdim=True).clamp(min=1e-6)
        u, v = place.unbind(dim=2)
        side = torch.where(u > at[..., 0], 1.0, -1.0)
        free = (0.5 - side * at[..., 0] - _IRIS).clamp(min=_NARROWEST)  # between the iris and the corner
        stretch = ((0.5 - side * u) / free).clamp(0, 1)
        # The lids' heights above and below the axis at this place, as parabolas through their points.
        gap = torch.minimum(v - _lid_at(upper[:, eye], middle, axis, u), _lid_at(lower[:, eye], middle, axis, u) - v)
        room = gap.clamp(min=0) * _LID_SLOPE
        for number, (source, offset) in enumerate(zip(sources, offsets, strict=True)):
            assert source.irises is not None
            # Only the motion that head and lids do not have already. `there`: their mean offset around the iris.
            there = near @ offset / weight  # (B, 1, 2)
            wanted = source.irises[:, eye, :2][:, None] - iris[:, None] - there
            along, across = _to_upright(wanted, torch.zeros_like(middle), axis).unbind(dim=2)  # (B, 1), eye widths
            slide = (room / across.abs().clamp(min=1e-3)).clamp(max=1)
            moved = torch.stack([along * stretch, across * slide * stretch], dim=2)
            known = source.irises[:, eye, 2:] * target.irises[:, eye, 2:] * source.present * target.present  # (B, 1)
            here = inside * known  # `stretch` is zero in the other eye
            more = _from_upright(moved, torch.zeros_like(middle), axis) * here[..., None]
            added[number] = added[number] + more if chosen is None else added[number].index_add_(1, chosen, more)
    return added


def _eye_points(face: Face, curves: Sequence[int]) -> Tensor:
    """(B, 2, S, 2) points on the given curve of the right and the left eye, without the shift into the skin."""
    count = len(_SPOTS)
    down = torch.stack([-face.axis[:, 1], face.axis[:, 0]], dim=1)[:, None]  # (B, 1, 2) pixels
    lids = []
    for curve in curves:
        first = (curve - _OUTLINE - 1) * count
        lids.append(face.points[:, first : first + count] - down * _SKIN_SHIFT[curve])
    return torch.stack(lids, dim=1)


def _eye_axes(upper: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
    """The middle (B, 2) of an eye, and the vector (B, 2) from its right to its left corner, from the lids (B, S, 2).

    With both, `_to_upright` gives positions along and across the eye, in eye widths from its middle.
    """
    lids = (upper + lower) / 2
    axis = (lids[:, -1] - lids[:, 0]) * _EYE_ENDS
    return (lids[:, -1] + lids[:, 0]) / 2, torch.where(axis.square().sum(dim=1, keepdim=True) > 1, axis, 1.0)


def _lid_at(lid: Tensor, middle: Tensor, axis: Tensor, u: Tensor) -> Tensor:
    """(B, n) how far below the axis a lid (B, S, 2) is at the places `u` (B, n) along it, in eye widths."""
    along, across = _to_upright(lid, middle, axis).unbind(dim=2)  # (B, S) each
    half = along[:, -1:].clamp(min=_NARROWEST)
    height = across[:, len(_SPOTS) // 2, None]
    ends = (across[:, :1] + across[:, -1:]) / 2
    return height + (ends - height) * (u / half).square()


def _segment_ends(points: Tensor) -> tuple[Tensor, Tensor]:
    """Starts and ends (B, L, 2) of the segments of all curves, from (B, P, 2); the chin is a segment of length zero."""
    curves, chin = points[:, :-1].unflatten(1, (-1, len(_SPOTS))), points[:, -1:]
    start, end = curves[:, :, :-1].flatten(1, 2), curves[:, :, 1:].flatten(1, 2)
    return torch.cat([start, chin], dim=1), torch.cat([end, chin], dim=1)


def _head_weight(grid: Tensor, face: Face) -> Tensor:
    """(B, h*w, 1) how much each position moves with the head: 1 on it, 0 far from it."""
    down = torch.stack([-face.axis[:, 1], face.axis[:, 0]], dim=1)
    away = _squared_distance(grid, (face.eyes + _HEAD_MIDDLE * down)[:, None]) / face.squared_size
    return torch.exp(-(away / (2 * _HEAD_RADIUS**2)).square())


@torch.no_grad()
def read_face(structure: Tensor) -> Face:
    """Reads points on every curve from face maps (B, 16 or 17, H, W), at the same shares of its length in all images.

    Those of 17 channels also tell where the irises are.
    """
    with torch.autocast(structure.device.type, enabled=False):
        return _read_face(structure.float())


def _read_face(structure: Tensor) -> Face:
    lines = F.relu(1 - downsample(structure[:, CURVE_DISTANCES], _READ_STRIDE) * (255 / _NEAR))
    height, width = lines.shape[-2:]
    cells = cell_middles(height, width, _READ_STRIDE, lines).flatten(2).transpose(1, 2)  # (1, n, 2)
    weight = lines.flatten(2)  # (B, K, n)
    total = weight.sum(dim=2, keepdim=True)
    weight = weight / total.clamp(min=1e-6)
    middles = weight @ cells  # (B, K, 2)
    right, left = (middles[:, list(curves)].mean(dim=1) for curves in (_RIGHT_EYE, _LEFT_EYE))
    eyes, axis = (left + right) / 2, left - right
    axis = torch.where(axis.square().sum(dim=1, keepdim=True) > 1, axis, torch.ones_like(axis))
    eye_distance = torch.linalg.vector_norm(axis, dim=1, keepdim=True)
    nose_length = torch.linalg.vector_norm(middles[:, _UNDER_NOSE] - eyes, dim=1, keepdim=True)
    axis = axis * (_PER_NOSE * nose_length / eye_distance).clamp(min=1)  # turning away does not shorten the nose
    gaps = [
        torch.linalg.vector_norm(middles[:, upper] - middles[:, lower], dim=1)
        for upper, lower in (_RIGHT_EYE, _LEFT_EYE, _INSIDE_LIPS)
    ]
    openings = torch.stack([(gaps[0] + gaps[1]) / 2, gaps[2]], dim=1) / torch.linalg.vector_norm(axis, dim=1)[:, None]
    along, across = _to_upright(cells, eyes, axis).unbind(dim=2)  # (B, n) each
    points = _curve_points(weight, along, across)
    present = (total > 0).all(dim=1).to(axis.dtype)
    face = Face(_from_upright(points, eyes, axis), eyes, axis, openings, present, None)
    return face if structure.shape[1] <= IRISES else face._replace(irises=_read_irises(structure, face))


def _read_irises(structure: Tensor, face: Face) -> Tensor:
    """(B, 2, 3) `irises` of a Face: the middle of the disc near each eye, and whether there is one."""
    discs = downsample(structure[:, IRISES : IRISES + 1], PRIOR_STRIDE)
    height, width = discs.shape[-2:]
    cells = cell_middles(height, width, PRIOR_STRIDE, discs).flatten(2).transpose(1, 2)  # (1, n, 2)
    upper, lower = (_eye_points(face, [eye[lid] for eye in _EYE_CURVES]) for lid in (0, 1))
    irises = []
    for eye in range(2):
        middle, axis = _eye_axes(upper[:, eye], lower[:, eye])
        away = torch.linalg.vector_norm(_to_upright(cells, middle, axis), dim=2, keepdim=True)  # (B, n, 1)
        near = ((_IRIS_READ - away) / _IRIS_FADE).clamp(0, 1)  # no sharp border, which rounding could move
        disc = discs.flatten(2).transpose(1, 2) * near
        total = disc.sum(dim=1)  # (B, 1) cells
        place = (disc * cells).sum(dim=1) / total.clamp(min=1e-6)
        area = total * PRIOR_STRIDE**2 / axis.square().sum(dim=1, keepdim=True)
        irises.append(torch.cat([place, (area / _IRIS_AREA).clamp(max=1)], dim=1))
    return torch.stack(irises, dim=1)


def _curve_points(weight: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """Upright points (B, P, 2): on a parabola fitted to the pixels of each open curve, and the chin.

    `weight` (B, K, n) of the n pixels on each curve; `along`, `across` (B, n) their upright x and y.
    """
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
    shift = torch.tensor([_SKIN_SHIFT.get(number, 0.0) for number in range(weight.shape[1])], device=weight.device)
    curves = torch.stack([x[..., None] + spread[..., None] * spots, on_curve + shift[:, None]], dim=3)  # (B, K, S, 2)
    height = ((weight * v.square()).sum(dim=2)[:, _OUTLINE] + 1e-8).sqrt()
    chin = torch.stack([x[:, _OUTLINE], y[:, _OUTLINE] + height * _CHIN], dim=1)
    return torch.cat([curves[:, _OUTLINE + 1 :].flatten(1, 2), chin[:, None]], dim=1)


def _to_upright(positions: Tensor, eyes: Tensor, axis: Tensor) -> Tensor:
    """(B, n, 2) pixels to upright positions."""
    x, y = (positions - eyes[:, None]).unbind(dim=2)
    unit = axis / axis.square().sum(dim=1, keepdim=True)
    across, down = unit[:, :1], unit[:, 1:]
    return torch.stack([x * across + y * down, y * across - x * down], dim=2)


def _from_upright(positions: Tensor, eyes: Tensor, axis: Tensor) -> Tensor:
    """(B, n, 2) upright positions to pixels."""
    x, y = positions.unbind(dim=2)
    across, down = axis[:, :1], axis[:, 1:]
    return torch.stack([x * across - y * down, x * down + y * across], dim=2) + eyes[:, None]


class _Affine(NamedTuple):
    """An affine map from one image to another."""

    middle: Tensor  # (B, 1, 2)
    matrix: Tensor  # (B, 2, 2)
    image_of_middle: Tensor  # (B, 1, 2)

    def apply(self, positions: Tensor) -> Tensor:
        """(B, n, 2) from (B or 1, n, 2)."""
        return (positions - self.middle) @ self.matrix + self.image_of_middle


def _fit_affine(face: Face, to: Face) -> _Affine:
    """The affine map from the points of one face to those of another, in least squares."""
    middle, wanted = face.points.mean(dim=1, keepdim=True), to.points.mean(dim=1, keepdim=True)
    away, other = face.points - middle, to.points - wanted
    (xx, xy), (_, yy) = (row.unbind(dim=1) for row in (away.transpose(1, 2) @ away).unbind(dim=1))
    stiffness = _STIFFNESS * (xx + yy)
    xx, yy = xx + stiffness, yy + stiffness
    scale = (to.axis.square().sum(dim=1) / face.axis.square().sum(dim=1)).sqrt()
    product = away.transpose(1, 2) @ other + torch.eye(2, device=away.device) * (stiffness * scale)[:, None, None]
    inverse = torch.stack([torch.stack([yy, -xy], dim=1), torch.stack([-xy, xx], dim=1)], dim=1)
    matrix = inverse @ product / (xx * yy - xy * xy).clamp(min=1e-3)[:, None, None]
    return _Affine(middle, matrix, wanted)


def _squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """(B, n, m) from (B, n, 2) and (B, m, 2)."""
    (x, y), (other_x, other_y) = first.unbind(dim=2), second.unbind(dim=2)
    return (x[..., None] - other_x[:, None]).square() + (y[..., None] - other_y[:, None]).square()
