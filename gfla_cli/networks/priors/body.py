"""A 3-D body model for flow priors: 18 tapered capsules placed on the joints of a pose, and ray casting against them.

Not in the paper. 2-D joints do not tell which of two limbs is in front, nor a back from a chest. With depth per joint,
this body model tells both. It also tells where each point of the body is in another pose (`solids.py`).

Shapes: B batch, J = 18 joints in OpenPose's order, N = 18 solids, K = 12 kinds of solids (left and right share one),
P = h * w rays.
Units: joint positions are x, y in pixels and z in pixels, growing away from the camera. Lengths inside a body are in
trunks: 1 trunk = the distance from neck to hips.
Axes of a solid: across (to the person's left; outwards on limbs), forward, and along (from first to second end).
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
# Kind of each solid: belly, chest, shoulders, hips, neck, head, then right and left of upper arm, forearm, hand,
# thigh, shin, foot.
_KIND = (0, 1, 2, 3, 4, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11)
_SIDE = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, *(1.0, -1.0) * 6)  # across = side * cross(along, forward)
_MEASURED_FROM, _MEASURED_TO = (1, 1, 8, 11, 9, 12, 2, 5, 3, 6, 2), (8, 11, 9, 12, 10, 13, 3, 6, 4, 7, 5)
_SHOULDER_WIDTH, _HIP_WIDTH = 0.75, 0.46  # trunks
_REST_ARM = 0.8, 0.2, 0.6  # direction of an arm without twist: outwards, forward, down
_SHORT = 0.65  # of the mean estimate: shorter bones tell nothing of the length of a trunk
_POLAR_STEPS = 6


class BodyShape(NamedTuple):
    """Sizes of the solids, and how softly their visibility is decided. Fitted to flows of rendered people.

    Lengths are in trunks. `SHAPE` holds one entry per kind (K); `pose_body` and `cast_rays` need one per solid (N):
    see `per_solid`.
    """

    radius: Tensor  # (K, 2) along the across axis, at both ends
    flatness: Tensor  # (K,) radius along the forward axis divided by the radius along the across axis
    shift: Tensor  # (K, 2, 2) of both ends from their joints, along across and forward
    usual_length: Tensor  # (11,) between the pairs of joints that measure a trunk
    twist: Tensor  # (2,) of belly and chest: 0 faces as the shoulders do, 1 as the hips do
    waist: Tensor  # () position between hips (0) and neck (1)
    head: Tensor  # (6, 3) joints of the head on its own axes: across, forward, up from the neck
    head_weight: Tensor  # (6,) of these joints in the fit of the head's rotation
    head_ends: Tensor  # (2, 3) chin and crown on the same axes
    upright: Tensor  # () weight of the chest's rotation in the fit of the head's
    hand: Tensor  # () length
    foot: Tensor  # (2,) forward, down
    hinge: Tensor  # (2,) how much the bend of an elbow, and of a knee, decides the twist of the limb
    reach: Tensor  # () standard deviation of the falloff around a solid, which covers clothes and hair
    depth_blur: Tensor  # () depth difference that lowers a logit by 1
    miss_penalty: Tensor  # () subtracted from the logit of a solid that a ray misses while it hits another one
    background: Tensor  # () the background's logit is minus this

    def per_solid(self) -> BodyShape:
        """Radii, flatness and shifts of all N solids instead of the K kinds."""
        kind = list(_KIND)
        return self._replace(radius=self.radius[kind], flatness=self.flatness[kind], shift=self.shift[kind])

    def to(self, device: torch.device) -> BodyShape:
        """The same on a device."""
        return BodyShape(*(part.to(device) for part in self))


class Body(NamedTuple):
    """The solids of B poses."""

    origin: Tensor  # (B, N, 3) pixels; the first ends
    axes: Tensor  # (B, N, 3, 3) unit vectors as rows: across, forward, along
    length: Tensor  # (B, N) trunks
    present: Tensor  # (B, N) 1 or 0
    trunk: Tensor  # (B, 1) pixels
    radius: Tensor  # (B, N, 2) trunks; along the across axis, at both ends

    def batch_slice(self, first: int, end: int | None) -> Body:
        """Poses `first` to `end` of the batch."""
        return Body(*(part[first:end] for part in self))

    def to_frame(self, points: Tensor, length: Tensor) -> Tensor:
        """Positions (B, N, 3, P) in pixels of points that are given on the axes of the solids, in trunks.

        `length` (B, N) is that of the solids the points were measured on. Between the ends points move in proportion.
        """
        across, forward, along = points.unbind(dim=2)
        inside = torch.minimum(along.clamp(min=0), length[..., None])
        along = inside * (self.length / length)[..., None] + along - inside
        points = torch.stack([across, forward, along], dim=2) * self.trunk[..., None, None]
        return self.origin[..., None] + self.axes.transpose(2, 3) @ points


class RayHits(NamedTuple):
    """Where each ray meets each solid, or passes closest to it. All in trunks."""

    depth: Tensor  # (B, N, P) away from the camera
    point: Tensor  # (B, N, 3, P) on the axes of the solid
    miss: Tensor  # (B, N, P) distance between ray and solid; negative where the ray hits

    def batch_slice(self, first: int, end: int | None) -> RayHits:
        """Poses `first` to `end` of the batch."""
        return RayHits(*(part[first:end] for part in self))


def pose_body(joints: Tensor, present: Tensor, shape: BodyShape, thickness: Tensor | None = None) -> Body:
    """Places the solids on joints (B, J, 3); `present` (B, J) is 1 or 0.

    `thickness` (B, N, 2) multiplies the radii at both ends of the solids.
    """
    trunk = trunk_length(joints, present, shape)
    both = [present[:, pair].amin(dim=1, keepdim=True) for pair in (_SHOULDERS, _HIPS)]  # (B, 1)
    upwards = constant((0.0, -1.0, 0.0), joints.device).expand(joints.shape[0], 3)
    shoulders, hips = joints[:, _SHOULDERS], joints[:, _HIPS]  # (B, 2, 3)
    top = torch.where(both[0] > 0, shoulders.mean(dim=1), joints[:, _NECK])
    bottom = torch.where(both[1] > 0, hips.mean(dim=1), top - upwards * trunk)
    up = _unit(top - bottom)
    across_chest = (shoulders[:, 1] - shoulders[:, 0]) * both[0] / (_SHOULDER_WIDTH * trunk)
    across_hips = (hips[:, 1] - hips[:, 0]) * both[1] / (_HIP_WIDTH * trunk)
    belly, chest = (_facing(torch.lerp(across_chest, across_hips, share), up) for share in shape.twist)
    neck, head = _fit_head(joints, present, torch.stack([_cross(up, chest), chest, up], dim=2), trunk, shape)
    chin, crown = (neck + trunk * (head @ end) for end in shape.head_ends)
    waist = torch.lerp(bottom, top, shape.waist)
    arms = _pose_limbs(joints, present, (_SHOULDERS, _ELBOWS, _WRISTS), _rest_arms(up, chest), -shape.hinge[0])
    legs = _pose_limbs(joints, present, (_HIPS, _KNEES, _ANKLES), _rest_legs(up, belly), shape.hinge[1])
    palms = arms.end + arms.lower * (shape.hand * trunk)[:, None]
    toes = legs.end + (legs.facing_lower * shape.foot[0] + legs.lower * shape.foot[1]) * trunk[:, None]
    trunk_solids = [(bottom, waist, belly), (waist, top, chest), (shoulders[:, 0], shoulders[:, 1], chest)]
    trunk_solids += [(hips[:, 0], hips[:, 1], belly), (top, chin, chest), (chin, crown, head[:, :, 1])]
    limb_solids = [
        (arms.start, arms.middle, arms.facing_upper),
        (arms.middle, arms.end, arms.facing_lower),
        (arms.end, palms, arms.facing_lower),
        (legs.start, legs.middle, legs.facing_upper),
        (legs.middle, legs.end, legs.facing_lower),
        (legs.end, toes, -legs.lower),
    ]
    first, second, forward = (
        torch.cat([torch.stack(of_trunk, dim=1), *of_limbs], dim=1)
        for of_trunk, of_limbs in zip(zip(*trunk_solids, strict=True), zip(*limb_solids, strict=True), strict=True)
    )
    neck_present = present[:, _NECK, None]
    chest_present = torch.maximum(both[0], neck_present)
    solids_present = [chest_present, chest_present, *both, neck_present, neck_present]
    solids_present += [arms.upper_present, arms.lower_present, arms.lower_present]
    solids_present += [legs.upper_present, legs.lower_present, legs.lower_present]
    radius = shape.radius.expand(joints.shape[0], -1, -1) if thickness is None else shape.radius * thickness
    return _solids(first, second, forward, torch.cat(solids_present, dim=1), trunk, radius, shape)


def _solids(
    first: Tensor, second: Tensor, forward: Tensor, present: Tensor, trunk: Tensor, radius: Tensor, shape: BodyShape
) -> Body:
    """Solids between two ends that face `forward`, (B, N, 3) each; the ends move by the shifts of `shape`."""
    along = _unit(second - first)
    forward = _unit(_perpendicular(forward, along))
    side = constant(_SIDE, along.device)[:, None]
    across = _cross(along, forward) * side
    shift = shape.shift * trunk[..., None, None]
    first = first + across * shift[:, :, 0, :1] + forward * shift[:, :, 0, 1:]
    second = second + across * shift[:, :, 1, :1] + forward * shift[:, :, 1, 1:]
    length = torch.linalg.vector_norm(second - first, dim=2).clamp(min=1e-3)
    along = (second - first) / length[..., None]
    forward = _unit(_perpendicular(forward, along))
    axes = torch.stack([_cross(along, forward) * side, forward, along], dim=2)
    return Body(first, axes, (length / trunk).clamp(min=0.02), present, trunk, radius)


class _Limbs(NamedTuple):
    """Both arms, or both legs; positions and directions (B, 2, 3), right before left."""

    start: Tensor
    middle: Tensor
    end: Tensor
    facing_upper: Tensor  # forward axis of the upper half
    facing_lower: Tensor
    lower: Tensor  # direction of the lower half
    upper_present: Tensor  # (B, 2)
    lower_present: Tensor  # (B, 2)


def _pose_limbs(
    joints: Tensor, present: Tensor, pairs: tuple[slice, slice, slice], rest: tuple[Tensor, Tensor], hinge: Tensor
) -> _Limbs:
    """Turns limbs from their `rest` direction to their joints by the smallest rotation.

    A bent elbow or knee also decides the twist of its limb, as much as `hinge` says.
    """
    places = [joints[:, pair] for pair in pairs]
    known = [present[:, pair] for pair in pairs]
    upper, lower = _unit(places[1] - places[0]), _unit(places[2] - places[1])
    rest_along, rest_forward = rest
    lower_present = known[1] * known[2]
    bend = _perpendicular(upper - lower, upper) * lower_present[..., None]
    turned = _minimal_rotation(rest_forward, rest_along, upper)
    facing_upper = _unit(_perpendicular(turned + hinge * bend, upper))
    facing_lower = _unit(_perpendicular(_minimal_rotation(facing_upper, upper, lower), lower))
    return _Limbs(
        places[0], places[1], places[2], facing_upper, facing_lower, lower, known[0] * known[1], lower_present
    )


def _rest_arms(up: Tensor, forward: Tensor) -> tuple[Tensor, Tensor]:
    """Along and forward axes (B, 2, 3) of arms without twist."""
    left = _cross(up, forward)
    sides = torch.stack([-left, left], dim=1)
    outwards, ahead, down = _REST_ARM
    along = _unit(outwards * sides + (ahead * forward - down * up)[:, None])
    return along, _unit(_perpendicular(forward[:, None].expand_as(along), along))


def _rest_legs(up: Tensor, forward: Tensor) -> tuple[Tensor, Tensor]:
    """Along and forward axes (B, 2, 3) of legs without twist."""
    return tuple(v[:, None].expand(-1, 2, -1) for v in (-up, forward))  # type: ignore[return-value]


def _fit_head(joints: Tensor, present: Tensor, chest: Tensor, trunk: Tensor, shape: BodyShape) -> tuple[Tensor, Tensor]:
    """Position of the neck (B, 3) as the face tells it, and axes of the head (B, 3, 3): columns across, forward, up.

    The rotation is fitted in weighted least squares. The fewer joints are present, the more it is that of the chest.
    """
    weight = _head_joints(present) * shape.head_weight  # (B, 6)
    total = weight.sum(dim=1, keepdim=True).clamp(min=1e-3)
    model, seen = shape.head.expand(joints.shape[0], -1, -1), _head_joints(joints)
    middle, seen_middle = ((points * weight[..., None]).sum(dim=1) / total for points in (model, seen))
    model, seen = model - middle[:, None], (seen - seen_middle[:, None]) / trunk[..., None]
    weighted = (model * weight[..., None]).transpose(1, 2)
    regulariser = shape.upright * torch.eye(3, device=joints.device)
    covariance = (weighted @ seen).transpose(1, 2) + shape.upright * chest
    axes = _nearest_rotation(covariance @ _inverse(weighted @ model + regulariser))
    return seen_middle - trunk * (axes @ middle[..., None])[..., 0], axes


def _head_joints(joints: Tensor) -> Tensor:
    """(B, 6, ...) nose, neck, eyes and ears of (B, J, ...)."""
    return torch.cat([joints[:, : _NECK + 1], joints[:, _FACE]], dim=1)


def _nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotations nearest to (B, 3, 3) matrices that are almost rotations: Newton-Schulz polar decomposition."""
    size = (matrix.square().sum(dim=(1, 2), keepdim=True) / 3).sqrt()
    x = matrix / size.clamp(min=1e-3)
    for _ in range(_POLAR_STEPS):
        x = 1.5 * x - 0.5 * x @ x.transpose(1, 2) @ x
    return x


def _inverse(matrix: Tensor) -> Tensor:
    """Inverse of (B, 3, 3) by cross products; ONNX has no operator for it."""
    a, b, c = matrix.unbind(dim=1)
    crossed = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], dim=2)
    determinant: Tensor = (a * crossed[:, :, 0]).sum(dim=1)
    return crossed / determinant[:, None, None]


def trunk_length(joints: Tensor, present: Tensor, shape: BodyShape) -> Tensor:
    """Length of a trunk (B, 1) in pixels: the mean estimate of measured bones; at least one pixel.

    Bones that are much shorter than the others do not count: they are cut, or their depth is unknown.
    `joints` (B, J, 3) in pixels, `present` (B, J) 1 or 0.
    """
    first, second = constant(_MEASURED_FROM, joints.device), constant(_MEASURED_TO, joints.device)
    both = present[:, first] * present[:, second]
    lengths = torch.linalg.vector_norm(joints[:, first] - joints[:, second], dim=2) / shape.usual_length

    def mean_of(counted: Tensor) -> Tensor:
        total: Tensor = (lengths * counted).sum(dim=1, keepdim=True)
        return total / counted.sum(dim=1, keepdim=True).clamp(min=1)

    return mean_of(both * (lengths > _SHORT * mean_of(both))).clamp(min=1)


def cast_rays(body: Body, size: tuple[int, int], stride: int, shape: BodyShape) -> RayHits:
    """Casts one ray through the middle of every cell of a grid of `size` (h, w); cells are `stride` pixels wide.

    Rays run along z (orthographic camera). A solid is met at its side, or at the sphere at one of its ends.
    """
    height, width = size
    scale = 1 / body.trunk  # (B, 1)
    middle = (stride - 1) / 2
    x = torch.arange(width, dtype=scale.dtype, device=scale.device) * stride + middle
    y = torch.arange(height, dtype=scale.dtype, device=scale.device) * stride + middle
    flatness = shape.flatness[:, None]
    # Start of each ray (z = 0) on the axes of the solids: a term of x, a term of y and the origin.
    origin = body.axes @ body.origin[..., None] * scale[..., None, None]  # (B, N, 3, 1)
    by_x, by_y, by_z = body.axes.unbind(dim=3)  # (B, N, 3)
    along_x = by_x[..., None] * (x * scale)[:, None, None] - origin  # (B, N, 3, w)
    along_y = by_y[..., None] * (y * scale)[:, None, None]  # (B, N, 3, h)
    start = (along_x[..., None, :] + along_y[..., None]).flatten(3)  # (B, N, 3, P)
    across, forward, along = start.unbind(dim=2)
    by_across, by_forward, by_along = by_z[..., None].unbind(dim=2)  # (B, N, 1) the ray's direction
    forward, by_forward = forward / flatness, by_forward / flatness  # makes flat solids round
    first, second = body.radius[..., None].unbind(dim=2)  # (B, N, 1)
    length = body.length[..., None]
    # First a cone, whose radius changes along z: a·z² + 2b·z + c = radius².
    slope = (second - first) / length
    narrowing = slope * by_along
    radius = first + slope * along
    axis_a = by_across.square() + by_forward.square()
    axis_b = across * by_across + forward * by_forward
    axis_c = across.square() + forward.square()
    depth, miss = _intersect((axis_a - narrowing.square()).clamp(min=0.02), axis_b - narrowing * radius, axis_c, radius)
    # Where the cone is met beyond one of its ends, the sphere there counts.
    end = along + depth * by_along
    before, after = end < 0, end > length
    beyond = along - torch.where(after, length, 0.0)
    sphere_depth, sphere_miss = _intersect(
        axis_a + by_along.square(),
        axis_b + beyond * by_along,
        axis_c + beyond.square(),
        torch.where(after, second, first),
    )
    on_sphere = before | after
    depth, miss = torch.where(on_sphere, sphere_depth, depth), torch.where(on_sphere, sphere_miss, miss)
    point = torch.addcmul(start, depth[:, :, None], by_z[..., None])
    return RayHits(depth, point, miss)


def _intersect(a: Tensor, b: Tensor, c: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Smaller root of a·z² + 2b·z + c = radius², or the closest z; and the distance of a miss, negative for a hit."""
    share = b / a
    nearest = c - b * share  # squared distance from the axis at the closest point of the ray
    inside = (radius.square() - nearest) / a
    half = inside.clamp(min=1e-8).sqrt()
    miss = (nearest.clamp(min=1e-8).sqrt() - radius).clamp(min=1e-6)
    return -share - half, torch.where(inside > 0, -half, miss)


def _facing(across: Tensor, up: Tensor) -> Tensor:
    """Direction (B, 3) that a trunk faces; towards the camera where `across` is zero."""
    across = across + constant((1e-3, 0.0, 0.0), across.device)
    return _cross(_unit(_perpendicular(across, up)), up)


def _minimal_rotation(vector: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """`vector`, turned by the smallest rotation that takes the unit vector `before` to `after`."""
    halfway = before + after
    share = _dot(halfway, vector) / (1 + _dot(before, after)).clamp(min=0.1)
    return vector - halfway * share + 2 * after * _dot(before, vector)


def _perpendicular(vector: Tensor, unit: Tensor) -> Tensor:
    """The part of `vector` that is perpendicular to `unit`."""
    return vector - unit * _dot(vector, unit)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    product: Tensor = (a * b).sum(dim=-1, keepdim=True)
    return product


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return vector / length.clamp(min=1e-4)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    # Of whole vectors: axis by axis it would be three times as many operators of an exported graph.
    after, before = constant((1, 2, 0), a.device), constant((2, 0, 1), a.device)
    return a.index_select(-1, after) * b.index_select(-1, before) - a.index_select(-1, before) * b.index_select(
        -1, after
    )


# Fitted by gradient descent to the ground-truth flows of 285 rendered pairs, with joints of the rig and of MediaPipe.
# A row for each kind of solid: radius at both ends, flatness, then the shift of either end across and forward.
_KINDS = torch.tensor(
    (
        ( 0.563,  0.436,  0.713,    0.0, -0.002,    0.0,  0.051),  # belly
        ( 0.569,  0.418,  0.696,    0.0,  0.033,    0.0, -0.038),  # chest
        ( 0.128,  0.129,  0.789,  0.086,  0.146,  0.086,  0.146),  # shoulders
        ( 0.337,  0.326,  0.988,  0.026, -0.007,  0.026, -0.007),  # hips
        ( 0.135,  0.167,  0.855,    0.0,  -0.21,    0.0, -0.036),  # neck
        ( 0.235,  0.272,  1.058,    0.0, -0.339,    0.0, -0.043),  # head
        ( 0.213,  0.091,  1.031,  -0.07, -0.011,   0.03,  0.021),  # upper arm
        ( 0.105,  0.066,  1.092,  0.009,  0.023, -0.004, -0.008),  # forearm
        ( 0.062,  0.058,  1.363,  0.005,  0.034, -0.081,  0.019),  # hand
        ( 0.312,  0.314,  0.846, -0.018,   0.11, -0.069, -0.055),  # thigh
        ( 0.206,  0.125,  1.059,  0.028, -0.081,   0.01, -0.016),  # shin
        ( 0.142,  0.115,  1.102,  0.004, -0.098,  0.069, -0.067),  # foot
    )
)  # fmt: skip
SHAPE = BodyShape(
    radius=_KINDS[:, :2],
    flatness=_KINDS[:, 2],
    shift=_KINDS[:, 3:].unflatten(1, (2, 2)),
    usual_length=torch.tensor((1.235, 1.235, 1.185, 1.185, 1.392, 1.392, 0.749, 0.749, 0.974, 0.974, 0.942)),
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
    head_ends=torch.tensor(((0.0, 0.146, 0.319), (0.0, 0.0, 0.608))),
    upright=torch.tensor(0.024),
    hand=torch.tensor(0.356),
    foot=torch.tensor((0.422, 0.155)),
    hinge=torch.tensor((0.244, 0.758)),
    reach=torch.tensor(0.02),
    depth_blur=torch.tensor(0.091),
    miss_penalty=torch.tensor(2.768),
    background=torch.tensor(6.441),
)
# (1, J, 3) joints of a body at rest, in trunks from the neck: the mean of eight rendered people.
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
def body_shape(device: torch.device) -> tuple[BodyShape, Tensor]:
    """The shape with one entry per solid, and the joints (1, J, 3) of a body at rest, on a device."""
    with torch.inference_mode(False):
        return SHAPE.per_solid().to(device), REST.to(device)
