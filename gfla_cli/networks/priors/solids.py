"""A flow that joints with depth give before anything is learned: solids are seen in one pose and found in the other.

Not in the paper, a setting of our own models (`flow_prior` "solids"). Each of the solids of a body (`body_solids.py`)
offers a candidate flow: where would this place be in the source if it belonged to this part? A softmax over the
geometry says which part is likely; a network may change these weights (`flow.py`).

B batch, J = 18 joints in OpenPose's order, N = 18 solids, H x W frame, h x w = H/2 x W/2, P = h * w. Structures have
2 J channels: heat maps, and heat maps times the nearness of their joint (`conditioning/heatmap.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.conditioning.heatmap import JOINTS, MIDDLE
from gfla_cli.networks.priors.body import Body, Hit, Shape, body_shape, cast, posed
from gfla_cli.networks.priors.features import GUESS_STRIDE
from gfla_cli.ops.warp import bilinear_warp, cell_middles

SOLIDS = 18
BODY_CHANNELS = 5  # of a body map: place at rest (3), nearness, coverage
_THERE = 0.1  # column of a heat map's fourth power that is a joint
_KNOWN = 0.5  # share of the present joints whose depth is known, for a body to have depth
_SHOWN_MARGIN, _SHOWN_BLUR = 0.12, 0.04  # trunks behind the first surface at which a place is half visible
_REST_SHARE, _REST_MIDDLE, _NEAR_SHARE = 0.25, 0.4, 0.4  # per trunk; a body at rest is within ±1.2 across, 3 down
_FARTHEST = 50.0  # trunks; where no solid is met
_NO_WEIGHT = -60.0  # logarithm of the weight of a solid that is not there
_LEAST_WEIGHT = -9.0  # logarithm of the least weight of one that is: a network can still choose it


class Joints(NamedTuple):
    """Joints as structures tell them."""

    place: Tensor  # (B, J, 3) pixels; z away from the camera, 0 where depths are unknown
    there: Tensor  # (B, J) 1 or 0
    deep: Tensor  # (B, 1) 1 where depths are known, else 0


class Refined(NamedTuple):
    """What a network makes of joints (`pose_refiner.py`)."""

    place: Tensor  # (B, J, 3)
    thickness: Tensor  # (B, N, 2) factors of the radii of solids


class Seen(NamedTuple):
    """Bodies through a grid of places."""

    logit: Tensor  # (B, N + 1, P) of each solid, and of the background, to be what a place shows
    nearest: Tensor  # (B, 1, P) depth of the first surface, trunks
    hit: Hit


class BodyPrior(NamedTuple):
    """What two poses tell about the flow between them."""

    candidates: Tensor  # (B, N, 2, h, w) offsets to the source, pixels of the frame, one for each solid
    logits: Tensor  # (B, N + 1, h, w) logarithms of the weights of the candidates, and of standing still
    visible: Tensor  # (B, 1, h, w) in [0, 1]: the source shows the place, as far as the solids tell
    source: Tensor  # (B, BODY_CHANNELS, h, w) body map of the source
    target: Tensor  # (B, BODY_CHANNELS, h, w)
    joints: Joints  # of source and target, (2 B, ...), as they were used

    def detached(self) -> BodyPrior:
        """The same for a network that must not change it."""
        return BodyPrior(
            self.candidates.detach(),
            self.logits.detach(),
            self.visible.detach(),
            self.source.detach(),
            self.target.detach(),
            Joints(*(part.detach() for part in self.joints)),
        )

    def flow(self, change: Tensor | None = None) -> Tensor:
        """(B, 2, h, w) the mean of the candidates; `change` (B, N + 1, h, w) is added to their logits."""
        weight = (self.logits if change is None else self.logits + change).softmax(dim=1)
        return (self.candidates * weight[:, :-1, None]).sum(dim=1)

    def enlarged(self, factor: int) -> BodyPrior:
        """Candidates and logits of a frame that is `factor` times larger; the rest as it is."""
        if factor == 1:
            return self
        candidates = _enlarged(self.candidates.flatten(1, 2), factor).unflatten(1, (SOLIDS, 2)) * factor
        return self._replace(candidates=candidates, logits=_enlarged(self.logits, factor))


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def body_prior(
    source_structure: Tensor, target_structure: Tensor, refine: Callable[[Joints], Refined] | None = None
) -> BodyPrior:
    """From two structures (B, 2 J, H, W). Without depths, the solids lie flat in the picture.

    `refine` moves the joints of both, source before target, (2 B, J, 3), and says how thick the solids are.
    """
    with torch.autocast(target_structure.device.type, enabled=False):
        count, (height, width) = target_structure.shape[0], target_structure.shape[-2:]
        size = (height // GUESS_STRIDE, width // GUESS_STRIDE)
        joints = read_joints(torch.cat([source_structure, target_structure]))
        thickness = None
        if refine is not None:
            place, thickness = refine(joints)
            joints = joints._replace(place=place)
            thickness = torch.cat([thickness, torch.ones_like(thickness[:1])])
        shape, rest = body_shape(joints.place.device)
        there = torch.cat([joints.there, torch.ones_like(joints.there[:1])])
        bodies = posed(torch.cat([joints.place, rest]), there, shape, thickness)
        bodies, at_rest = bodies.some(0, -1), bodies.some(-1, None)
        seen = see(bodies, size, shape)
        maps = _on_grid(body_maps(bodies, seen, at_rest, joints), size)
        of_target = Seen(seen.logit[count:], seen.nearest[count:], seen.hit.some(count, None))
        source, target = bodies.some(0, count), bodies.some(count, None)
        found = source.place(of_target.hit.at, target.length)  # (B, N, 3, P)
        places = cell_middles(*size, GUESS_STRIDE, joints.place).flatten(2)
        logits = of_target.logit.log_softmax(dim=1).clamp(min=_LEAST_WEIGHT)
        there = F.pad(source.there * target.there, [0, 1], value=1.0)[..., None]
        logits = _on_grid(torch.where(there > 0, logits, _NO_WEIGHT), size)
        candidates = _on_grid(found[:, :, :2] - places[:, None], size)
        nearest = _on_grid(seen.nearest[:count], size)
        visible = _visible(candidates, logits, found[:, :, 2] / source.trunk[..., None], nearest)
        return BodyPrior(candidates, logits, visible, maps[:count], maps[count:], joints)


def _on_grid(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., h * w) to (..., h, w). `unflatten` would make one of the sizes a constant of an ONNX export."""
    return x.reshape(*x.shape[:-1], *size)


def _visible(candidates: Tensor, logits: Tensor, depth: Tensor, nearest: Tensor) -> Tensor:
    """(B, 1, h, w) whether the likeliest place is the first surface there in the source.

    `depth` (B, N, P) of the candidates and `nearest` (B, 1, h, w) of the first surfaces, trunks.
    """
    body, background = logits.softmax(dim=1).split([SOLIDS, 1], dim=1)
    total = body.sum(dim=1, keepdim=True).clamp(min=1e-6)
    mean = (_on_grid(depth, (body.shape[2], body.shape[3])) * body).sum(dim=1, keepdim=True) / total
    flow = (candidates * body[:, :, None]).sum(dim=1) / total
    behind = mean - bilinear_warp(nearest, flow / GUESS_STRIDE)
    visible: Tensor = torch.sigmoid((_SHOWN_MARGIN - behind) / _SHOWN_BLUR) * (1 - background)
    return visible


def see(body: Body, size: tuple[int, int], shape: Shape) -> Seen:
    """What is seen of bodies through a grid of `size` cells of GUESS_STRIDE pixels."""
    hit = cast(body, size, GUESS_STRIDE, shape)
    there = body.there[..., None] > 0
    met = (hit.outside <= 0) & there
    nearest = torch.where(met, hit.depth, _FARTHEST).amin(dim=1, keepdim=True)
    beyond = (hit.outside.clamp(min=0) * (1 / shape.reach)).square() * -0.5
    behind = ((hit.depth - nearest) * (1 / shape.blur)).clamp(0, -_NO_WEIGHT)
    beside = torch.where(nearest < _FARTHEST, shape.beside, 0.0)
    logit = torch.where(there, beyond - torch.where(met, behind, beside), _NO_WEIGHT)
    logit = torch.cat([logit, (-shape.background).expand_as(nearest)], dim=1)
    return Seen(logit, nearest, hit)


def body_maps(body: Body, seen: Seen, rest: Body, joints: Joints) -> Tensor:
    """(B, BODY_CHANNELS, P) about 0 to 1 on the body, 0 around it; nearness is 0 where depths are unknown."""
    weight, background = seen.logit.softmax(dim=1).split([SOLIDS, 1], dim=1)
    at_rest = rest.place(seen.hit.at, body.length)  # (B, N, 3, P), from the neck
    at_rest = (at_rest * weight[:, :, None]).sum(dim=1) * _REST_SHARE  # (B, 3, P)
    covered = 1 - background
    neck = (joints.place[:, 1, 2:] / body.trunk)[..., None]  # (B, 1, 1)
    depth = (weight * (seen.hit.depth - neck)).sum(dim=1, keepdim=True)
    near = (MIDDLE * covered - depth * _NEAR_SHARE) * joints.deep[..., None]
    return torch.cat([at_rest + covered * _REST_MIDDLE, near, covered], dim=1)


def read_joints(structure: Tensor) -> Joints:
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
    known = (near > 0).to(maps.dtype) * there
    deep = (known.sum(dim=1, keepdim=True) > _KNOWN * there.sum(dim=1, keepdim=True)).to(maps.dtype)
    depth = (MIDDLE - near) * structure.shape[2] * known * deep
    return Joints(torch.stack([x, y, depth], dim=2), there, deep)
