"""A body made of simple solids, put on joints in three dimensions: which point of it does a pixel show, and how deep?

Not in the paper. Joints in two dimensions do not tell which of two limbs is in front, nor a back from a chest; with
their depth a body of eighteen tapered, flattened capsules tells both, and where each point of it would be in another
pose (`body_flow.py`).

B batch, J = 18 joints in OpenPose's order, N = 18 solids, K = 12 kinds of them (left and right are alike), P places.
Places are x, y in pixels and z in pixels away from the camera; lengths in a body are in trunks, from neck to hips. A
solid has axes of its own: across (to the person's left; of limbs outwards), forward, and along from its first end.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_NOSE, _NECK, _HEAD_JOINTS = 0, 1, [0, 1, 14, 15, 16, 17]
_SHOULDERS, _ELBOWS, _WRISTS = [2, 5], [3, 6], [4, 7]  # right, left
_HIPS, _KNEES, _ANKLES = [8, 11], [9, 12], [10, 13]
_KIND = [0, 1, 2, 3, 4, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11]
_SIDE = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, *[1.0, -1.0] * 6]  # limbs hang down: their third axis is to the right
_MEASURED = torch.tensor([(1, 8), (1, 11), (8, 9), (11, 12), (9, 10), (12, 13), (2, 3), (5, 6), (3, 4), (6, 7), (2, 5)])
_SHOULDERS_APART, _HIPS_APART = 0.75, 0.46
_HANGING = 0.8, 0.2, 0.6  # outwards, forward and down: where arms have no twist
_FARTHEST = 50.0  # trunks; where there is nothing
_POLAR_STEPS = 6


class Shape(NamedTuple):
    """How large the solids are; fitted to flows of rendered people."""

    radius: Tensor  # (K, 2) across, at both ends
    flat: Tensor  # (K,) radius forward over that across
    shift: Tensor  # (K, 2, 2) of both ends from the joints, across and forward
    usual: Tensor  # (11,) lengths between the measured joints
    twist: Tensor  # (2,) share of trunk above which shoulders turn it: of the belly, of the chest
    waist: Tensor  # () share of the way from hips to neck
    head: Tensor  # (6, 3) joints of the head: across, forward, up from the neck
    head_weight: Tensor  # (6,)
    head_ends: Tensor  # (2, 3)
    upright: Tensor  # () how strongly a head faces where its chest does
    hand: Tensor  # () length
    foot: Tensor  # (2,) forward, down
    hinge: Tensor  # (2,) how much a bent elbow, and knee, tells of the twist
    reach: Tensor  # () around a body where clothes and hair are
    blur: Tensor  # () of depth
    beside: Tensor  # () how much less a solid counts beside it than before it, where another one is
    background: Tensor  # () and how little what stays where it is

    def to(self, device: torch.device) -> Shape:
        """The same on a device."""
        return Shape(*(part.to(device) for part in self))


class Body(NamedTuple):
    """The solids of poses."""

    origin: Tensor  # (B, N, 3) of the first ends, pixels
    axes: Tensor  # (B, N, 3, 3) rows: across, forward, along; unit vectors
    length: Tensor  # (B, N) trunks
    there: Tensor  # (B, N) 1 or 0
    trunk: Tensor  # (B, 1) pixels

    def some(self, first: int, end: int | None) -> Body:
        """These poses of the batch alone."""
        return Body(*(part[first:end] for part in self))

    def place(self, at: Tensor, length: Tensor) -> Tensor:
        """(B, N, 3, P) in pixels of points at (B, N, 3, P) on solids that are (B, N) long."""
        across, forward, along = at.unbind(dim=2)
        inside = torch.minimum(along.clamp(min=0), length[..., None])
        along = inside * (self.length / length)[..., None] + along - inside
        at = torch.stack([across, forward, along], dim=2) * self.trunk[..., None, None]
        return self.origin[..., None] + self.axes.transpose(2, 3) @ at


class Front(NamedTuple):
    """What the line of sight through each place meets of every solid, or passes nearest."""

    depth: Tensor  # (B, N, P) trunks
    at: Tensor  # (B, N, 3, P) on the axes of the solid
    outside: Tensor  # (B, N, P) how far it passes by; negative inside

    def some(self, first: int, end: int | None) -> Front:
        """Of these poses of the batch alone."""
        return Front(*(part[first:end] for part in self))

    def nearest(self, there: Tensor) -> Tensor:
        """(B, 1, P) depth of the first surface that is met, trunks."""
        met = (self.outside <= 0) & (there[..., None] > 0)
        return torch.where(met, self.depth, _FARTHEST).amin(dim=1, keepdim=True)


def posed(joints: Tensor, known: Tensor, shape: Shape) -> Body:
    """The body on joints (B, J, 3) of which `known` (B, J) are there, 1 or 0."""
    trunk = _trunk(joints, known, shape)
    two = [known[:, pair].amin(dim=1, keepdim=True) for pair in (_SHOULDERS, _HIPS)]  # (B, 1)
    raised = joints.new_tensor([0.0, -1.0, 0.0]).expand(joints.shape[0], 3)
    shoulders, hips = (joints[:, pair].mean(dim=1) for pair in (_SHOULDERS, _HIPS))
    top = torch.where(two[0] > 0, shoulders, joints[:, _NECK])
    bottom = torch.where(two[1] > 0, hips, top - raised * trunk)
    up = _unit(top - bottom)
    lines = [
        (joints[:, pair[1]] - joints[:, pair[0]]) * there / (apart * trunk)
        for pair, there, apart in ((_SHOULDERS, two[0], _SHOULDERS_APART), (_HIPS, two[1], _HIPS_APART))
    ]
    ahead = [_forward(torch.lerp(*lines, share), up) for share in shape.twist]  # of belly and chest
    neck, head = _head(joints, known, torch.stack([_cross(up, ahead[1]), ahead[1], up], dim=2), trunk, shape)
    chin, crown = (neck + trunk * (head @ end) for end in shape.head_ends)
    waist = torch.lerp(bottom, top, shape.waist)
    arms = _limbs(joints, known, (_SHOULDERS, _ELBOWS, _WRISTS), _arm_start(up, ahead[1]), -shape.hinge[0])
    legs = _limbs(joints, known, (_HIPS, _KNEES, _ANKLES), _leg_start(up, ahead[0]), shape.hinge[1])
    right, left = (joints[:, [pair[side] for pair in (_SHOULDERS, _HIPS)]] for side in (0, 1))
    palms = arms.end + arms.lower * (shape.hand * trunk)[:, None]
    toes = legs.end + (legs.ahead_lower * shape.foot[0] + legs.lower * shape.foot[1]) * trunk[:, None]
    trunk_solids = [(bottom, waist, ahead[0]), (waist, top, ahead[1]), (right[:, 0], left[:, 0], ahead[1])]
    trunk_solids += [(right[:, 1], left[:, 1], ahead[0]), (top, chin, ahead[1]), (chin, crown, head[:, :, 1])]
    limb_solids = [
        (arms.start, arms.middle, arms.ahead_upper),
        (arms.middle, arms.end, arms.ahead_lower),
        (arms.end, palms, arms.ahead_lower),
        (legs.start, legs.middle, legs.ahead_upper),
        (legs.middle, legs.end, legs.ahead_lower),
        (legs.end, toes, -legs.lower),
    ]
    first, second, forward = (
        torch.cat([torch.stack(own, dim=1), *of_limbs], dim=1)
        for own, of_limbs in zip(zip(*trunk_solids, strict=True), zip(*limb_solids, strict=True), strict=True)
    )
    chest = torch.maximum(two[0], known[:, _NECK, None])
    of_head = known[:, _NECK, None]
    there = [chest, chest, *two, of_head, of_head, arms.upper_there, arms.lower_there, arms.lower_there]
    there += [legs.upper_there, legs.lower_there, legs.lower_there]
    return _solids(first, second, forward, torch.cat(there, dim=1), trunk, shape)


def _solids(first: Tensor, second: Tensor, forward: Tensor, there: Tensor, trunk: Tensor, shape: Shape) -> Body:
    """Solids between two ends, (B, N, 3) each, that face `forward`, moved a little from the joints."""
    along = _unit(second - first)
    forward = _unit(_beside(forward, along))
    side = along.new_tensor(_SIDE)[:, None]
    across = _cross(along, forward) * side
    shift = shape.shift[_KIND] * trunk[..., None, None]
    first = first + across * shift[:, :, 0, :1] + forward * shift[:, :, 0, 1:]
    second = second + across * shift[:, :, 1, :1] + forward * shift[:, :, 1, 1:]
    length = torch.linalg.vector_norm(second - first, dim=2).clamp(min=1e-3)
    along = (second - first) / length[..., None]
    forward = _unit(_beside(forward, along))
    axes = torch.stack([_cross(along, forward) * side, forward, along], dim=2)
    return Body(first, axes, (length / trunk).clamp(min=0.02), there, trunk)


class _Limbs(NamedTuple):
    """Both arms, or both legs; (B, 2, 3) each, right before left."""

    start: Tensor
    middle: Tensor
    end: Tensor
    ahead_upper: Tensor
    ahead_lower: Tensor
    lower: Tensor  # direction of the lower half
    upper_there: Tensor  # (B, 2)
    lower_there: Tensor


def _limbs(
    joints: Tensor, known: Tensor, pairs: tuple[list[int], ...], start: tuple[Tensor, Tensor], hinge: Tensor
) -> _Limbs:
    """Limbs turn by the least that their joints ask for, from where they have no twist; a bent one tells its own."""
    places = [joints[:, pair] for pair in pairs]
    there = [known[:, pair] for pair in pairs]
    upper, lower = _unit(places[1] - places[0]), _unit(places[2] - places[1])
    straight, ahead = start
    lower_there = there[1] * there[2]
    bent = _beside(upper - lower, upper) * lower_there[..., None]
    ahead_upper = _unit(_beside(_turned(ahead, straight, upper) + hinge * bent, upper))
    ahead_lower = _unit(_beside(_turned(ahead_upper, upper, lower), lower))
    return _Limbs(places[0], places[1], places[2], ahead_upper, ahead_lower, lower, there[0] * there[1], lower_there)


def _arm_start(up: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 2, 3) along and forward of arms without a twist."""
    side = _cross(up, ahead)
    sides = torch.stack([-side, side], dim=1)
    outwards, forward, down = _HANGING
    along = _unit(outwards * sides + (forward * ahead - down * up)[:, None])
    return along, _unit(_beside(ahead[:, None].expand_as(along), along))


def _leg_start(up: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 2, 3) along and forward of legs without a twist."""
    return tuple(v[:, None].expand(-1, 2, -1) for v in (-up, ahead))  # type: ignore[return-value]


def _head(joints: Tensor, known: Tensor, chest: Tensor, trunk: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Where the neck is, (B, 3), as the face tells it; and the axes of the head (B, 3, 3): columns across, forward, up.

    A rotation in weighted least squares; the fewer joints are there, the more it is that of the chest.
    """
    weight = known[:, _HEAD_JOINTS] * shape.head_weight  # (B, 6)
    total = weight.sum(dim=1, keepdim=True).clamp(min=1e-3)
    own, seen = shape.head.expand(joints.shape[0], -1, -1), joints[:, _HEAD_JOINTS]
    middle, seen_middle = ((points * weight[..., None]).sum(dim=1) / total for points in (own, seen))
    own, seen = own - middle[:, None], (seen - seen_middle[:, None]) / trunk[..., None]
    weighted = (own * weight[..., None]).transpose(1, 2)
    least = shape.upright * torch.eye(3, device=joints.device)
    turned = (weighted @ seen).transpose(1, 2) + shape.upright * chest
    axes = _rotation(turned @ _inverse(weighted @ own + least))
    return seen_middle - trunk * (axes @ middle[..., None])[..., 0], axes


def _rotation(matrix: Tensor) -> Tensor:
    """The rotations nearest to (B, 3, 3) that are nearly rotations: Newton's steps to the polar decomposition."""
    size = (matrix.square().sum(dim=(1, 2), keepdim=True) / 3).sqrt()
    x = matrix / size.clamp(min=1e-3)
    for _ in range(_POLAR_STEPS):
        x = 1.5 * x - 0.5 * x @ x.transpose(1, 2) @ x
    return x


def _inverse(matrix: Tensor) -> Tensor:
    """Of (B, 3, 3), by cross products."""
    a, b, c = matrix.unbind(dim=1)
    crossed = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], dim=2)
    return crossed / (a * crossed[:, :, 0]).sum(dim=1)[:, None, None]


def _trunk(joints: Tensor, known: Tensor, shape: Shape) -> Tensor:
    """(B, 1) how long a trunk is, as all lengths tell it; at least one pixel."""
    first, second = _MEASURED.unbind(dim=1)
    both = known[:, first] * known[:, second]
    lengths = torch.linalg.vector_norm(joints[:, first] - joints[:, second], dim=2) / shape.usual
    return ((lengths * both).sum(dim=1, keepdim=True) / both.sum(dim=1, keepdim=True).clamp(min=1)).clamp(min=1)


def front(body: Body, places: Tensor, shape: Shape) -> Front:
    """What is met through places (B or 1, 2, P) in pixels: the solid's side, or the ball at one of its ends."""
    away = (places[:, None] - body.origin[:, :, :2, None]) / body.trunk[..., None, None]  # (B, N, 2, P)
    x, y = away.unbind(dim=2)
    z = (body.origin[:, :, 2] / body.trunk)[..., None]
    # The line of sight on the axes of the solid, start and direction; flat ones are made round.
    from_x, from_y, from_z = body.axes[..., None].unbind(dim=3)  # (B, N, 3, 1)
    flat = shape.flat[_KIND][:, None]
    across, forward, along = (x[:, :, None] * from_x + y[:, :, None] * from_y - z[:, :, None] * from_z).unbind(dim=2)
    by_across, by_forward, by_along = from_z.unbind(dim=2)
    line = _Line(across, forward / flat, along, by_across, by_forward / flat, by_along)
    first, second = shape.radius[_KIND][..., None].unbind(dim=1)  # (N, 1)
    length = body.length[..., None]
    depth, outside = line.side(first, second, length)
    for radius, end in ((first, torch.zeros_like(length)), (second, length)):
        other, other_outside = line.ball(radius, end)
        better = _order(other, other_outside) < _order(depth, outside)
        depth, outside = torch.where(better, other, depth), torch.where(better, other_outside, outside)
    at = torch.stack([across + depth * by_across, forward + depth * by_forward, along + depth * by_along], dim=2)
    return Front(depth, at, outside)


def _order(depth: Tensor, outside: Tensor) -> Tensor:
    """Smallest for what is seen of several surfaces: the nearest that is met, else the one that is missed by least."""
    return torch.where(outside <= 0, depth - 2 * _FARTHEST, outside)


class _Line(NamedTuple):
    """Lines of sight on the axes of solids: where they are at no depth, and what one trunk of depth adds."""

    across: Tensor  # (B, N, P)
    forward: Tensor
    along: Tensor
    by_across: Tensor  # (B, N, 1)
    by_forward: Tensor
    by_along: Tensor

    def side(self, first: Tensor, second: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and distance outside of a cone with these radii at both ends; far outside where it is not so long."""
        per_length = (second - first) / length
        narrowing = per_length * self.by_along
        radius = first + per_length * self.along
        a = (self.by_across.square() + self.by_forward.square() - narrowing.square()).clamp(min=0.02)
        b = self.across * self.by_across + self.forward * self.by_forward - narrowing * radius
        c = self.across.square() + self.forward.square()
        depth, outside = _met(a, b, c, radius)
        along = self.along + depth * self.by_along
        return depth, torch.where((along < 0) | (along > length), _FARTHEST, outside)

    def ball(self, radius: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and distance outside of a ball at `end` along the axis."""
        along = self.along - end
        a = self.by_across.square() + self.by_forward.square() + self.by_along.square()
        b = self.across * self.by_across + self.forward * self.by_forward + along * self.by_along
        return _met(a, b, self.across.square() + self.forward.square() + along.square(), radius)


def _met(a: Tensor, b: Tensor, c: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Where a·z² + 2b·z + c = radius² first, or nearly; and how far outside that is, negative inside."""
    nearest = c - b * b / a  # squared distance from the axis where the line passes it
    inside = (radius * radius - nearest) / a
    half = inside.clamp(min=1e-8).sqrt()
    outside = nearest.clamp(min=1e-8).sqrt() - radius.abs()
    return -b / a - half, torch.where(inside > 0, -half, outside.clamp(min=1e-6))


def _forward(across: Tensor, up: Tensor) -> Tensor:
    """(B, 3) where a trunk faces; into the camera where nothing tells."""
    across = across + across.new_tensor([1e-3, 0.0, 0.0])
    return _cross(_unit(_beside(across, up)), up)


def _turned(vector: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """A vector turned by the smallest rotation that takes one unit vector to another."""
    halfway = before + after
    share = _dot(halfway, vector) / (1 + _dot(before, after)).clamp(min=0.1)
    return vector - halfway * share + 2 * after * _dot(before, vector)


def _beside(vector: Tensor, unit: Tensor) -> Tensor:
    return vector - unit * _dot(vector, unit)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1, keepdim=True)


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.vector_norm(vector, dim=-1, keepdim=True).clamp(min=1e-4)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    ax, ay, az = a.unbind(dim=-1)
    bx, by, bz = b.unbind(dim=-1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=-1)
