"""A guess of a flow from joints with their depth: a body of solids is seen in one pose and found again in the other.

Not in the paper, a setting of our own models. It tells what `limb_flow` cannot know: which of two limbs is in front,
whether a trunk shows its front or its back, and whether the source shows a place at all.

B batch, J = 18 joints in OpenPose's order, N solids, H x W frame, h x w = H/2 x W/2, P = h * w. Structures have 2 J
channels, heat maps and the same times how near each joint is (`structure/joint_depth.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gfla_cli.networks.body_shape import REST, SHAPE
from gfla_cli.networks.body_solids import Body, Front, Shape, front, posed
from gfla_cli.networks.guess import GUESS_STRIDE, enlarged
from gfla_cli.networks.limb_flow import limb_flow
from gfla_cli.ops.warp import cell_middles
from gfla_cli.structure.joint_depth import JOINTS, MIDDLE

BODY_CHANNELS = 5  # of a body that is seen: its place at rest, how near it is, and how much of it is there
_THERE = 0.1  # column of a heat map's fourth power that is a joint
_KNOWN = 0.5  # share of the joints there whose depth is known, for a body to have one
_SHOWN_MARGIN, _SHOWN_BLUR = 0.12, 0.04  # trunks behind the first surface at which a place is half seen
_REST_SHARE, _REST_MIDDLE, _NEAR_SHARE = 0.25, 0.4, 0.4  # per trunk; a body at rest is within ±1.2 across, 3 down
_SOMETHING = 40.0  # trunks; nothing that is met is as deep
_NOT_THERE = -60.0  # a logarithm


class Posed(NamedTuple):
    """Joints as structures tell them."""

    joints: Tensor  # (B, J, 3) pixels; z away from the camera
    there: Tensor  # (B, J) 1 or 0
    deep: Tensor  # (B, 1) 1 where depths are known, else 0


class Seen(NamedTuple):
    """Bodies through a grid of places."""

    weight: Tensor  # (B, N, P) how much of a place each solid is
    background: Tensor  # (B, 1, P) and how much is none
    front: Front


class Guess(NamedTuple):
    """Where target places are in the source, and what is seen in both."""

    flow: Tensor  # (B, 2, h, w) offsets, pixels of the frame
    shown: Tensor  # (B, 1, h, w) in [0, 1]: the source shows the place, as far as the solids tell; 0 without depths
    source: Tensor  # (B, BODY_CHANNELS, h, w)
    target: Tensor  # (B, BODY_CHANNELS, h, w)


@torch.no_grad()
def body_guess(source_structure: Tensor, target_structure: Tensor) -> Guess:
    """From two structures (B, 2 J, H, W); of pairs without depths the flow is that of `limb_flow`, the rest zero."""
    with torch.autocast(target_structure.device.type, enabled=False):
        told = _told(torch.cat([source_structure, target_structure]))
        size = _size(target_structure)
        places = cell_middles(*size, GUESS_STRIDE, told.joints).flatten(2)
        bodies, rest, shape = _bodies(told)
        seen = see(bodies, places, shape)
        count = target_structure.shape[0]
        of_target = Seen(*(part[count:] for part in (seen.weight, seen.background)), seen.front.some(count, None))
        flow, shown = found_again(bodies.some(0, count), bodies.some(count, None), of_target, places, shape)
        both = (told.deep[:count] * told.deep[count:])[..., None, None]
        alone = limb_flow(source_structure[:, :JOINTS], target_structure[:, :JOINTS])
        flow = alone + (flow.unflatten(2, size) - alone) * both
        maps = body_maps(bodies, seen, rest, told).unflatten(2, size)
        return Guess(flow, shown.unflatten(2, size) * both, maps[:count], maps[count:])


@torch.no_grad()
def body_picture(structure: Tensor) -> Tensor:
    """(B, BODY_CHANNELS, H, W) what is seen of the body of a structure (B, 2 J, H, W); zero without depths."""
    with torch.autocast(structure.device.type, enabled=False):
        told, size = _told(structure), _size(structure)
        bodies, rest, shape = _bodies(told)
        places = cell_middles(*size, GUESS_STRIDE, told.joints).flatten(2)
        maps = body_maps(bodies, see(bodies, places, shape), rest, told).unflatten(2, size)
        return enlarged(maps, GUESS_STRIDE).to(structure.dtype)


def _size(structure: Tensor) -> tuple[int, int]:
    """Height and width of the grid that is looked through."""
    height, width = structure.shape[-2:]
    return height // GUESS_STRIDE, width // GUESS_STRIDE


def _bodies(told: Posed) -> tuple[Body, Body, Shape]:
    """The bodies of poses, the one (1, ...) at rest, and the shape of both."""
    shape, rest = SHAPE.to(told.joints.device), REST.to(told.joints.device)
    there = torch.cat([told.there, torch.ones_like(told.there[:1])])
    bodies = posed(torch.cat([told.joints, rest]), there, shape)
    return bodies.some(0, -1), bodies.some(-1, None), shape


def see(body: Body, places: Tensor, shape: Shape) -> Seen:
    """What is seen of bodies at places (1, 2, P)."""
    met = front(body, places, shape)
    nearest = met.nearest(body.there)
    beyond = -(met.outside.clamp(min=0) / shape.reach).square() / 2
    behind = ((met.depth - nearest) / shape.blur).clamp(0, -_NOT_THERE)
    behind = torch.where(met.outside <= 0, behind, shape.beside) * (nearest < _SOMETHING)
    logit = torch.where(body.there[..., None] > 0, beyond - behind, _NOT_THERE)
    logit = torch.cat([logit, (-shape.background).expand_as(nearest)], dim=1)
    weight, background = logit.softmax(dim=1).split([logit.shape[1] - 1, 1], dim=1)
    return Seen(weight, background, met)


def found_again(source: Body, target: Body, seen: Seen, places: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Offsets (B, 2, P) from places (1, 2, P) of the target to the source, and (B, 1, P) whether that shows them."""
    found = source.place(seen.front.at, target.length)  # (B, N, 3, P)
    weight = seen.weight * source.there[..., None]
    total = weight.sum(dim=1, keepdim=True)
    middle = (found * weight[:, :, None]).sum(dim=1) / total.clamp(min=1e-6)  # (B, 3, P)
    flow = (middle[:, :2] - places) * (total / (total + seen.background))
    behind = middle[:, 2:] / source.trunk[..., None] - front(source, middle[:, :2], shape).nearest(source.there)
    return flow, torch.sigmoid((_SHOWN_MARGIN - behind) / _SHOWN_BLUR) * (1 - seen.background)


def body_maps(body: Body, seen: Seen, rest: Body, told: Posed) -> Tensor:
    """(B, BODY_CHANNELS, P) about 0 to 1 on the body, 0 around it and without depths."""
    at_rest = rest.place(seen.front.at, body.length)  # (B, N, 3, P), from the neck
    at_rest = (at_rest * seen.weight[:, :, None]).sum(dim=1) * _REST_SHARE  # (B, 3, P)
    covered = 1 - seen.background
    neck = (told.joints[:, 1, 2:] / body.trunk)[..., None]  # (B, 1, 1)
    depth = (seen.weight * (seen.front.depth - neck)).sum(dim=1, keepdim=True)
    near = MIDDLE * covered - depth * _NEAR_SHARE
    return torch.cat([at_rest + covered * _REST_MIDDLE, near, covered], dim=1) * told.deep[..., None]


def _told(structure: Tensor) -> Posed:
    """The joints of a structure: the middles of the heat maps' fourth powers, and how near they are there."""
    maps, nearer = structure.float().split(JOINTS, dim=1)
    square = maps.square()
    power = square.square()
    across, down = power.sum(dim=2), power.sum(dim=3)  # (B, J, W), (B, J, H)
    amount = across.sum(dim=2).clamp(min=1e-6)
    x = (across * torch.arange(across.shape[2], device=maps.device)).sum(dim=2) / amount
    y = (down * torch.arange(down.shape[2], device=maps.device)).sum(dim=2) / amount
    near = (square * maps * nearer).sum(dim=(2, 3)) / amount
    there = (across.amax(dim=2) > _THERE).to(maps.dtype)
    known = ((near > 0).to(maps.dtype) * there).sum(dim=1, keepdim=True)
    deep = (known > _KNOWN * there.sum(dim=1, keepdim=True)).to(maps.dtype)
    return Posed(torch.stack([x, y, (MIDDLE - near) * structure.shape[2]], dim=2), there, deep)
