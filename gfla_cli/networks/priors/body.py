"""A body made of simple solids, put on joints in three dimensions: which point of it does a pixel show, and how deep?

Not in the paper. Joints in two dimensions do not tell which of two limbs is in front, nor a back from a chest; with
their depth a body of eighteen tapered, flattened capsules tells both, and where each point of it would be in another
pose (`body_flow.py`).

B batch, J = 18 joints in OpenPose's order, N = 18 solids, K = 12 kinds of them (left and right are alike), P places.
Places are x, y in pixels and z in pixels away from the camera; lengths in a body are in trunks, from neck to hips. A
solid has axes of its own: across (to the person's left; of limbs outwards), forward, and along from its first end.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from gfla_cli.ops.warp import constant

_NECK, _FACE = 1, slice(14, 18)
_SHOULDERS, _ELBOWS, _WRISTS = slice(2, 6, 3), slice(3, 7, 3), slice(4, 8, 3)  # right, left
_HIPS, _KNEES, _ANKLES = slice(8, 12, 3), slice(9, 13, 3), slice(10, 14, 3)
_KIND = (0, 1, 2, 3, 4, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11)
_SIDE = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, *(1.0, -1.0) * 6)  # limbs hang down: their third axis is to the right
_MEASURED_FROM, _MEASURED_TO = (1, 1, 8, 11, 9, 12, 2, 5, 3, 6, 2), (8, 11, 9, 12, 10, 13, 3, 6, 4, 7, 5)
_SHOULDERS_APART, _HIPS_APART = 0.75, 0.46
_HANGING = 0.8, 0.2, 0.6  # outwards, forward and down: where arms have no twist
_POLAR_STEPS = 6


class Shape(NamedTuple):
    """How large the solids are; fitted to flows of rendered people. `posed` and `cast` take one of `of_solids`."""

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

    def of_solids(self) -> Shape:
        """Radii, flatness and shifts of all N solids instead of the K kinds."""
        kind = list(_KIND)
        return self._replace(radius=self.radius[kind], flat=self.flat[kind], shift=self.shift[kind])

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
    radius: Tensor  # (B, N, 2) across, at both ends, trunks

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


class Hit(NamedTuple):
    """Where the line of sight through each place meets every solid, or passes nearest to it."""

    depth: Tensor  # (B, N, P) trunks away from the camera
    at: Tensor  # (B, N, 3, P) the point on the axes of the solid, trunks
    outside: Tensor  # (B, N, P) how far the line passes by, trunks; negative inside

    def some(self, first: int, end: int | None) -> Hit:
        """Of these poses of the batch alone."""
        return Hit(*(part[first:end] for part in self))


def posed(joints: Tensor, known: Tensor, shape: Shape, thickness: Tensor | None = None) -> Body:
    """The body on joints (B, J, 3) of which `known` (B, J) are there, 1 or 0.

    `thickness` (B, N, 2) multiplies the radii at both ends of the solids.
    """
    trunk = trunk_length(joints, known, shape)
    two = [known[:, pair].amin(dim=1, keepdim=True) for pair in (_SHOULDERS, _HIPS)]  # (B, 1)
    raised = constant((0.0, -1.0, 0.0), joints.device).expand(joints.shape[0], 3)
    shoulders, hips = joints[:, _SHOULDERS], joints[:, _HIPS]  # (B, 2, 3)
    top = torch.where(two[0] > 0, shoulders.mean(dim=1), joints[:, _NECK])
    bottom = torch.where(two[1] > 0, hips.mean(dim=1), top - raised * trunk)
    up = _unit(top - bottom)
    across_chest = (shoulders[:, 1] - shoulders[:, 0]) * two[0] / (_SHOULDERS_APART * trunk)
    across_hips = (hips[:, 1] - hips[:, 0]) * two[1] / (_HIPS_APART * trunk)
    ahead = [_forward(torch.lerp(across_chest, across_hips, share), up) for share in shape.twist]  # of belly and chest
    neck, head = _head(joints, known, torch.stack([_cross(up, ahead[1]), ahead[1], up], dim=2), trunk, shape)
    chin, crown = (neck + trunk * (head @ end) for end in shape.head_ends)
    waist = torch.lerp(bottom, top, shape.waist)
    arms = _limbs(joints, known, (_SHOULDERS, _ELBOWS, _WRISTS), _arm_start(up, ahead[1]), -shape.hinge[0])
    legs = _limbs(joints, known, (_HIPS, _KNEES, _ANKLES), _leg_start(up, ahead[0]), shape.hinge[1])
    palms = arms.end + arms.lower * (shape.hand * trunk)[:, None]
    toes = legs.end + (legs.ahead_lower * shape.foot[0] + legs.lower * shape.foot[1]) * trunk[:, None]
    trunk_solids = [(bottom, waist, ahead[0]), (waist, top, ahead[1]), (shoulders[:, 0], shoulders[:, 1], ahead[1])]
    trunk_solids += [(hips[:, 0], hips[:, 1], ahead[0]), (top, chin, ahead[1]), (chin, crown, head[:, :, 1])]
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
    radius = shape.radius.expand(joints.shape[0], -1, -1) if thickness is None else shape.radius * thickness
    return _solids(first, second, forward, torch.cat(there, dim=1), trunk, radius, shape)


def _solids(
    first: Tensor, second: Tensor, forward: Tensor, there: Tensor, trunk: Tensor, radius: Tensor, shape: Shape
) -> Body:
    """Solids between two ends, (B, N, 3) each, that face `forward`, moved a little from the joints."""
    along = _unit(second - first)
    forward = _unit(_beside(forward, along))
    side = constant(_SIDE, along.device)[:, None]
    across = _cross(along, forward) * side
    shift = shape.shift * trunk[..., None, None]
    first = first + across * shift[:, :, 0, :1] + forward * shift[:, :, 0, 1:]
    second = second + across * shift[:, :, 1, :1] + forward * shift[:, :, 1, 1:]
    length = torch.linalg.vector_norm(second - first, dim=2).clamp(min=1e-3)
    along = (second - first) / length[..., None]
    forward = _unit(_beside(forward, along))
    axes = torch.stack([_cross(along, forward) * side, forward, along], dim=2)
    return Body(first, axes, (length / trunk).clamp(min=0.02), there, trunk, radius)


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
    joints: Tensor, known: Tensor, pairs: tuple[slice, slice, slice], start: tuple[Tensor, Tensor], hinge: Tensor
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
    weight = _of_head(known) * shape.head_weight  # (B, 6)
    total = weight.sum(dim=1, keepdim=True).clamp(min=1e-3)
    own, seen = shape.head.expand(joints.shape[0], -1, -1), _of_head(joints)
    middle, seen_middle = ((points * weight[..., None]).sum(dim=1) / total for points in (own, seen))
    own, seen = own - middle[:, None], (seen - seen_middle[:, None]) / trunk[..., None]
    weighted = (own * weight[..., None]).transpose(1, 2)
    least = shape.upright * torch.eye(3, device=joints.device)
    turned = (weighted @ seen).transpose(1, 2) + shape.upright * chest
    axes = _rotation(turned @ _inverse(weighted @ own + least))
    return seen_middle - trunk * (axes @ middle[..., None])[..., 0], axes


def _of_head(joints: Tensor) -> Tensor:
    """(B, 6, ...) nose, neck, eyes and ears of (B, J, ...)."""
    return torch.cat([joints[:, : _NECK + 1], joints[:, _FACE]], dim=1)


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
    determinant: Tensor = (a * crossed[:, :, 0]).sum(dim=1)
    return crossed / determinant[:, None, None]


def trunk_length(joints: Tensor, known: Tensor, shape: Shape) -> Tensor:
    """(B, 1) how long a trunk is, as all lengths tell it; at least one pixel."""
    first, second = constant(_MEASURED_FROM, joints.device), constant(_MEASURED_TO, joints.device)
    both = known[:, first] * known[:, second]
    lengths = torch.linalg.vector_norm(joints[:, first] - joints[:, second], dim=2) / shape.usual
    mean: Tensor = (lengths * both).sum(dim=1, keepdim=True) / both.sum(dim=1, keepdim=True).clamp(min=1)
    return mean.clamp(min=1)


def cast(body: Body, size: tuple[int, int], stride: int, shape: Shape) -> Hit:
    """Casts the line of sight through the middle of every cell of a grid of `size`, whose cells are `stride` pixels.

    A solid is met at its side, or at the ball at one of its ends. P = height * width.
    """
    height, width = size
    scale = 1 / body.trunk  # (B, 1)
    middle = (stride - 1) / 2
    x = torch.arange(width, dtype=scale.dtype, device=scale.device) * stride + middle
    y = torch.arange(height, dtype=scale.dtype, device=scale.device) * stride + middle
    flat = shape.flat[:, None]
    # Lines of sight on the axes of the solids, where z = 0: a sum of what x, y and the origin tell. Flat solids are
    # made round.
    origin = body.axes @ body.origin[..., None] * scale[..., None, None]  # (B, N, 3, 1)
    by_x, by_y, by_z = body.axes.unbind(dim=3)  # (B, N, 3)
    along_x = by_x[..., None] * (x * scale)[:, None, None] - origin  # (B, N, 3, width)
    along_y = by_y[..., None] * (y * scale)[:, None, None]  # (B, N, 3, height)
    line = (along_x[..., None, :] + along_y[..., None]).flatten(3)  # (B, N, 3, P)
    across, forward, along = line.unbind(dim=2)
    round_forward = forward / flat
    by_across, by_forward, by_along = by_z[..., None].unbind(dim=2)  # (B, N, 1)
    by_round = by_forward / flat
    first, second = body.radius[..., None].unbind(dim=2)  # (B, N, 1)
    length = body.length[..., None]
    # a·z² + 2b·z + c = radius²: first of a cone, whose radius depends on z, too.
    slope = (second - first) / length
    narrowing = slope * by_along
    radius = first + slope * along
    axis_a = by_across.square() + by_round.square()
    axis_b = across * by_across + round_forward * by_round
    axis_c = across.square() + round_forward.square()
    depth, outside = _met((axis_a - narrowing.square()).clamp(min=0.02), axis_b - narrowing * radius, axis_c, radius)
    # Then, where the cone is met beyond one of its ends, of the ball there.
    end = along + depth * by_along
    before, after = end < 0, end > length
    beyond = along - torch.where(after, length, 0.0)
    ball = _met(
        axis_a + by_along.square(),
        axis_b + beyond * by_along,
        axis_c + beyond.square(),
        torch.where(after, second, first),
    )
    of_ball = before | after
    depth, outside = torch.where(of_ball, ball[0], depth), torch.where(of_ball, ball[1], outside)
    at = torch.addcmul(line, depth[:, :, None], by_z[..., None])
    return Hit(depth, at, outside)


def _met(a: Tensor, b: Tensor, c: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Where a·z² + 2b·z + c = radius² first, or nearly; and how far outside that is, negative inside."""
    share = b / a
    nearest = c - b * share  # squared distance from the axis where the line passes it
    inside = (radius.square() - nearest) / a
    half = inside.clamp(min=1e-8).sqrt()
    outside = (nearest.clamp(min=1e-8).sqrt() - radius).clamp(min=1e-6)
    return -share - half, torch.where(inside > 0, -half, outside)


def _forward(across: Tensor, up: Tensor) -> Tensor:
    """(B, 3) where a trunk faces; into the camera where nothing tells."""
    across = across + constant((1e-3, 0.0, 0.0), across.device)
    return _cross(_unit(_beside(across, up)), up)


def _turned(vector: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """A vector turned by the smallest rotation that takes one unit vector to another."""
    halfway = before + after
    share = _dot(halfway, vector) / (1 + _dot(before, after)).clamp(min=0.1)
    return vector - halfway * share + 2 * after * _dot(before, vector)


def _beside(vector: Tensor, unit: Tensor) -> Tensor:
    return vector - unit * _dot(vector, unit)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    product: Tensor = (a * b).sum(dim=-1, keepdim=True)
    return product


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return vector / length.clamp(min=1e-4)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    ax, ay, az = a.unbind(dim=-1)
    bx, by, bz = b.unbind(dim=-1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=-1)


# The size of the solids that a body is made of, as flows of rendered people tell it, and a body at rest.


# Fitted by gradient descent to the renderer's flows of 285 pairs, with joints of the rig and of mediapipe.
SHAPE = Shape(
    radius=torch.tensor(
        (
            (0.563, 0.436),
            (0.569, 0.418),
            (0.128, 0.129),
            (0.337, 0.326),
            (0.135, 0.167),
            (0.235, 0.272),
            (0.213, 0.091),
            (0.105, 0.066),
            (0.062, 0.058),
            (0.312, 0.314),
            (0.206, 0.125),
            (0.142, 0.115),
        )
    ),
    flat=torch.tensor((0.713, 0.696, 0.789, 0.988, 0.855, 1.058, 1.031, 1.092, 1.363, 0.846, 1.059, 1.102)),
    shift=torch.tensor(
        (
            ((0.0, -0.002), (0.0, 0.051)),
            ((0.0, 0.033), (0.0, -0.038)),
            ((0.086, 0.146), (0.086, 0.146)),
            ((0.026, -0.007), (0.026, -0.007)),
            ((0.0, -0.21), (0.0, -0.036)),
            ((0.0, -0.339), (0.0, -0.043)),
            ((-0.07, -0.011), (0.03, 0.021)),
            ((0.009, 0.023), (-0.004, -0.008)),
            ((0.005, 0.034), (-0.081, 0.019)),
            ((-0.018, 0.11), (-0.069, -0.055)),
            ((0.028, -0.081), (0.01, -0.016)),
            ((0.004, -0.098), (0.069, -0.067)),
        )
    ),
    usual=torch.tensor((1.235, 1.235, 1.185, 1.185, 1.392, 1.392, 0.749, 0.749, 0.974, 0.974, 0.942)),
    twist=torch.tensor((0.419, -0.026)),
    waist=torch.tensor(0.755),
    head=torch.tensor(
        (
            (0.0, 0.271, 0.292),
            (0.0, -0.115, -0.162),
            (-0.097, 0.2, 0.536),
            (0.097, 0.2, 0.536),
            (-0.195, -0.047, 0.42),
            (0.195, -0.047, 0.42),
        )
    ),
    head_weight=torch.tensor((0.719, 0.394, 1.049, 1.049, 1.115, 1.115)),
    head_ends=torch.tensor(
        (
            (0.0, 0.146, 0.319),
            (0.0, 0.0, 0.608),
        )
    ),
    upright=torch.tensor(0.024),
    hand=torch.tensor(0.356),
    foot=torch.tensor((0.422, 0.155)),
    hinge=torch.tensor((0.244, 0.758)),
    reach=torch.tensor(0.02),
    blur=torch.tensor(0.091),
    beside=torch.tensor(2.768),
    background=torch.tensor(6.441),
)
# (1, 18, 3) the joints of a body at rest in trunks from the neck: the mean of eight of the renderer's.
REST = torch.tensor(
    [
        [
            (0.0, -0.432, -0.328),
            (0.0, 0.0, 0.0),
            (-0.402, 0.0, 0.0),
            (-0.761, 0.406, -0.005),
            (-1.037, 0.673, -0.39),
            (0.402, 0.0, 0.0),
            (0.761, 0.406, -0.005),
            (1.037, 0.673, -0.39),
            (-0.239, 0.999, 0.045),
            (-0.322, 1.879, -0.027),
            (-0.412, 2.805, 0.012),
            (0.239, 0.999, 0.045),
            (0.322, 1.879, -0.027),
            (0.412, 2.805, 0.012),
            (-0.067, -0.51, -0.266),
            (0.067, -0.51, -0.266),
            (-0.153, -0.469, -0.059),
            (0.153, -0.469, -0.059),
        ]
    ]
)


@functools.cache
def body_shape(device: torch.device) -> tuple[Shape, Tensor]:
    """The shape of all solids, and the joints of a body at rest, on a device."""
    with torch.inference_mode(False):
        return SHAPE.of_solids().to(device), REST.to(device)
