"""Flow prior "solids": a 3-D body model in the source and in the target pose gives one candidate flow per body part.

Not in the paper. Each solid of the body model (`body.py`) offers a candidate: where would this place of the target be
in the source if it belonged to this part? A softmax over logits from ray casting weighs the candidates. The flow
estimator may change these weights (`flow.py`).

The solids lead to the right place if their joints are right. Detected joints are a few pixels off, and their depth is
worse. `PoseRefiner` corrects them by three facts: the source image shows where its limbs are, both poses have the same
bone lengths, and few poses are likely.

Shapes: B batch, J = 18 joints in OpenPose's order, N = 18 solids, H x W frame, h x w = H/2 x W/2, P = h * w rays.
A pose map has 2 J channels: heat maps, and heat maps times the nearness of their joint (`conditioning/structure.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.conditioning.structure import JOINTS, MIDDLE
from gfla_cli.networks.blocks import activation, encoder_blocks, features_after
from gfla_cli.networks.priors import PRIOR_STRIDE, heatmap_centroids
from gfla_cli.networks.priors.body import Body, BodyShape, RayHits, body_shape, cast_rays, pose_body, trunk_length
from gfla_cli.ops.warp import bilinear_warp, cell_middles, channel_softmax, constant, sample_at, upsample

SOLIDS = 18
BODY_CHANNELS = 5  # of a body map: position at rest (3), nearness, coverage
_KNOWN = 0.5  # a pose has depth if the depth of more than this share of its present joints is known
_VISIBLE_MARGIN, _VISIBLE_BLUR = 0.12, 0.04  # trunks behind the first surface at which visibility is 1/2; its softness
# Scale positions at rest (within ±1.2 across and 3 down) and depths to about 0..1; per trunk.
_REST_SCALE, _REST_MIDDLE, _NEARNESS_SCALE = 0.25, 0.4, 0.4
_FARTHEST = 50.0  # trunks; the depth where no solid is hit
_NO_WEIGHT = -60.0  # logit of a solid that is not present
_LEAST_WEIGHT = -9.0  # least logit of a solid that is present: a network can still choose it
_ARMS = slice(8, 12)  # the solids right and left forearm, right and left hand
# For the detour around arms. Real hands are wider than their solids: sleeves, fingers, and joints that are a bit off.
_ARM_REACH = (2.5, 2.5, 5.0, 5.0)  # times the reach of the solids
_ARM_BEHIND, _ARM_BLUR = 0.3, 0.05  # trunks behind the trunk's surface at which an arm counts as hidden; its softness
_COVERED = 0.3  # share of an arm from which on a place counts as covered
_DETOURS, _DIRECTIONS = (0.2, 0.4, 0.6), 6  # lengths in trunks, and number, of steps around a covered place
_PER_TRUNK = 0.3  # price of a step by one trunk, in shares of a wrong place
_DOWN = 2.5  # factor of the price of steps up and down: seams are level, so what is beside a place resembles it more
# Of the network that corrects joints:
_WIDTHS = (24, 48, 72)  # channels at strides 2, 4, 8
_PER_JOINT = 24  # image features at each joint
_HIDDEN = 256
_NECK = 1
_LARGEST_STEP = 0.5  # trunks that a joint can be moved along each axis


class Joints(NamedTuple):
    """Joints as read from pose maps."""

    position: Tensor  # (B, J, 3) pixels; z away from the camera, 0 where depths are unknown
    present: Tensor  # (B, J) 1 or 0
    has_depth: Tensor  # (B, 1) 1 where depths are known, else 0


class RefinedPose(NamedTuple):
    """Corrections by a network (`PoseRefiner`)."""

    position: Tensor  # (B, J, 3) of the joints, pixels
    thickness: Tensor  # (B, N, 2) factors of the radii of the solids


class RenderedBody(NamedTuple):
    """Bodies as seen through a grid of rays."""

    logits: Tensor  # (B, N + 1, P) that the ray shows each solid, or the background
    nearest: Tensor  # (B, 1, P) depth of the first surface, trunks
    hits: RayHits


class BodyPrior(NamedTuple):
    """What two poses tell about the flow between them."""

    candidates: Tensor  # (B, N, 2, h, w) offsets to the source, one per solid; pixels of the frame
    logits: Tensor  # (B, N + 1, h, w) of the candidates, and of zero motion (background)
    visibility: Tensor  # (B, 1, h, w) in [0, 1]; 1 where the source shows the place, as far as the body model knows
    arms: Tensor  # (B, 2, 2, h, w) in [0, 1]; coverage of source, and of target, by right and left forearm and hand
    parts: Tensor  # (B, 6, h, w) in [0, 1]; whether the source shows trunk, head, right or left arm or leg
    source: Tensor  # (B, BODY_CHANNELS, h, w) body map of the source
    target: Tensor  # (B, BODY_CHANNELS, h, w)
    source_structure: Tensor  # (B, 2 J, H, W) the pose maps that it was computed from
    target_structure: Tensor
    joints: Joints  # of sources, then targets, (2 B, ...); refined if there is a refiner

    def detached(self) -> BodyPrior:
        """The same without gradients."""
        maps: list[Tensor] = [part.detach() for part in self if isinstance(part, Tensor)]
        return BodyPrior._make([*maps, Joints(*(part.detach() for part in self.joints))])

    def flow(self) -> Tensor:
        """Mean of the candidates, weighted by the softmax of the logits: (B, 2, h, w)."""
        weight = channel_softmax(self.logits)
        return (self.candidates * weight[:, :-1, None]).sum(dim=1)

    def detour(self, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Steps (B, 2, h, w), in pixels of the frame, by which a flow avoids arms that cover its places in the source.

        Without them, when a hand moves away from the trunk, the trunk would still show it. Each step leads to a visible
        place of the same part of the body. Also returns (B, 1, h, w) in [0, 1]: how wrong the new place still is.
        """
        weight = channel_softmax(self.logits)
        elsewhere = 1 - torch.maximum(_by_side(weight[:, _ARMS]).sum(dim=1), self.arms[:, 1])  # (B, 2, h, w)
        steps, price = _detours(flow.device)
        count, lengths = flow.shape[0], self.trunk()[..., None]
        moved = flow[:, None] + (steps * lengths)[..., None, None]  # (B, S, 2, h, w)
        maps = torch.cat([self.arms[:, 0], self.parts], dim=1)[:, None].expand(-1, len(steps), -1, -1, -1)
        found = bilinear_warp(maps.flatten(0, 1), moved.flatten(0, 1) / PRIOR_STRIDE).unflatten(0, (count, len(steps)))
        covered = (found[:, :, :2] * elsewhere[:, None]).amax(dim=2)  # (B, S, h, w)
        alike = (found[:, :, 2:] * _parts(weight)[:, None]).sum(dim=2)
        wrong = torch.cat([covered[:, :1], covered[:, 1:] + 1 - alike[:, 1:]], dim=1)
        cost = F.avg_pool2d(wrong, 3, 1, 1, count_include_pad=False) + price[:, None, None]
        chosen = cost.argmin(dim=1, keepdim=True)  # (B, 1, h, w)
        needed = (covered[:, :1] > _COVERED).to(flow.dtype)
        step = steps[chosen[:, 0]].permute(0, 3, 1, 2) * lengths[..., None]
        return step * needed, wrong.gather(1, chosen).clamp(max=1) * needed

    def trunk(self) -> Tensor:
        """(B, 1) length of the source's trunk in pixels of the frame."""
        count = self.logits.shape[0]
        shape, _ = body_shape(self.logits.device)
        return trunk_length(self.joints.position[:count], self.joints.present[:count], shape)

    def upsampled(self, factor: int) -> BodyPrior:
        """Candidates and logits for a frame that is `factor` times larger; the other fields are kept as they are."""
        if factor == 1:
            return self
        candidates = upsample(self.candidates.flatten(1, 2), factor).unflatten(1, (SOLIDS, 2)) * factor
        return self._replace(candidates=candidates, logits=upsample(self.logits, factor))


def compute_body_prior(
    source_structure: Tensor, target_structure: Tensor, refine: Callable[[Joints], RefinedPose] | None = None
) -> BodyPrior:
    """The prior from two pose maps (B, 2 J, H, W). A pose without depth becomes a flat body.

    `refine` gets the joints of sources, then targets, (2 B, J, 3), and corrects them and the thickness of the solids.
    """
    with torch.autocast(target_structure.device.type, enabled=False):
        count, (height, width) = target_structure.shape[0], target_structure.shape[-2:]
        size = (height // PRIOR_STRIDE, width // PRIOR_STRIDE)
        joints = read_joints(torch.cat([source_structure, target_structure]))
        thickness = None
        if refine is not None:
            position, thickness = refine(joints)
            joints = joints._replace(position=position)
            thickness = torch.cat([thickness, torch.ones_like(thickness[:1])])
        shape, rest = body_shape(joints.position.device)
        # The body at rest is the last of the batch.
        present = torch.cat([joints.present, torch.ones_like(joints.present[:1])])
        bodies = pose_body(torch.cat([joints.position, rest]), present, shape, thickness)
        bodies, at_rest = bodies.batch_slice(0, -1), bodies.batch_slice(-1, None)
        rendered = render_body(bodies, size, shape)
        maps = _on_grid(body_maps(bodies, rendered, at_rest, joints), size)
        source, target = bodies.batch_slice(0, count), bodies.batch_slice(count, None)
        target_hits = rendered.hits.batch_slice(count, None)
        found = source.to_frame(target_hits.point, target.length)  # (B, N, 3, P)
        cells = cell_middles(*size, PRIOR_STRIDE, joints.position).flatten(2)
        candidates = _on_grid(found[:, :, :2] - cells[:, None], size)
        logits = rendered.logits[count:].log_softmax(dim=1).clamp(min=_LEAST_WEIGHT)
        in_both = F.pad(source.present * target.present, [0, 1], value=1.0)[..., None]
        logits = _on_grid(torch.where(in_both > 0, logits, _NO_WEIGHT), size)
        nearest = _on_grid(rendered.nearest[:count], size)
        visibility = _visibility(candidates, logits, found[:, :, 2] / source.trunk[..., None], nearest)
        arms = _arms_in_front(rendered, bodies, shape).unflatten(0, (2, count)).transpose(0, 1)
        # Without depth an arm may as well be behind the body.
        arms = _on_grid(arms * joints.has_depth[:count, :, None, None], size)
        parts = _parts(_on_grid(channel_softmax(rendered.logits[:count]), size))
        given = source_structure, target_structure
        return BodyPrior(candidates, logits, visibility, arms, parts, maps[:count], maps[count:], *given, joints)


def _on_grid(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., h * w) to (..., h, w). `unflatten` would make one of the sizes a constant of an ONNX export."""
    return x.reshape(*x.shape[:-1], *size)


def _visibility(candidates: Tensor, logits: Tensor, depth: Tensor, nearest: Tensor) -> Tensor:
    """Whether the likeliest place is the first surface there in the source, (B, 1, h, w) in [0, 1].

    `depth` (B, N, P) of the candidates and `nearest` (B, 1, h, w) of the first surfaces, both of the source, in trunks.
    """
    body, background = channel_softmax(logits).split([SOLIDS, 1], dim=1)
    total = body.sum(dim=1, keepdim=True).clamp(min=1e-6)
    mean = (_on_grid(depth, (body.shape[2], body.shape[3])) * body).sum(dim=1, keepdim=True) / total
    flow = (candidates * body[:, :, None]).sum(dim=1) / total
    behind = mean - bilinear_warp(nearest, flow / PRIOR_STRIDE)
    visibility: Tensor = torch.sigmoid((_VISIBLE_MARGIN - behind) / _VISIBLE_BLUR) * (1 - background)
    return visibility


def _arms_in_front(rendered: RenderedBody, bodies: Body, shape: BodyShape) -> Tensor:
    """(B, 2, P) in [0, 1]: coverage by right and left forearm and hand, where they are not behind the trunk."""
    hits, reach = rendered.hits, constant(_ARM_REACH, shape.reach.device)[:, None] * shape.reach
    shown = torch.exp((hits.miss[:, _ARMS].clamp(min=0) / reach).square() * -0.5) * bodies.present[:, _ARMS, None]
    trunk = torch.where(hits.miss[:, :4] <= 0, hits.depth[:, :4], _FARTHEST).amin(dim=1, keepdim=True)
    shown = shown * torch.sigmoid((trunk + _ARM_BEHIND - hits.depth[:, _ARMS]) / _ARM_BLUR)
    return _by_side(shown).amax(dim=1)


def _by_side(arms: Tensor) -> Tensor:
    """Maps of `_ARMS` (B, 4, ...) as (B, 2, 2, ...): forearm and hand, right and left."""
    sides: Tensor = arms.unflatten(1, (2, 2))
    return sides


def _parts(weight: Tensor) -> Tensor:
    """(B, 6, h, w): the weights (B, N + 1, h, w) of the solids of trunk, head, right and left arm, and legs."""
    solids = (slice(0, 4), slice(4, 6), slice(6, 12, 2), slice(7, 12, 2), slice(12, 18, 2), slice(13, 18, 2))
    return torch.stack([weight[:, part].sum(dim=1) for part in solids], dim=1)


def _detours(device: torch.device) -> tuple[Tensor, Tensor]:
    """(S, 2) steps in trunks, the first of which is none, and (S,) their prices."""
    turns = [2 * math.pi * k / _DIRECTIONS for k in range(_DIRECTIONS)]
    steps = [(0.0, 0.0), *((size * math.cos(turn), size * math.sin(turn)) for size in _DETOURS for turn in turns)]
    price = [_PER_TRUNK * math.hypot(x, _DOWN * y) for x, y in steps]
    return constant(tuple(steps), device), constant(tuple(price), device)


def render_body(body: Body, size: tuple[int, int], shape: BodyShape) -> RenderedBody:
    """Renders bodies softly through a grid of `size` (h, w) cells of PRIOR_STRIDE pixels.

    The logit of a solid falls with the distance by which a ray misses it, and with its depth behind the first surface.
    """
    hits = cast_rays(body, size, PRIOR_STRIDE, shape)
    present = body.present[..., None] > 0
    is_hit = (hits.miss <= 0) & present
    nearest = torch.where(is_hit, hits.depth, _FARTHEST).amin(dim=1, keepdim=True)
    falloff = (hits.miss.clamp(min=0) * (1 / shape.reach)).square() * -0.5
    behind = ((hits.depth - nearest) * (1 / shape.depth_blur)).clamp(0, -_NO_WEIGHT)
    miss_penalty = torch.where(nearest < _FARTHEST, shape.miss_penalty, 0.0)
    logits = torch.where(present, falloff - torch.where(is_hit, behind, miss_penalty), _NO_WEIGHT)
    logits = torch.cat([logits, (-shape.background).expand_as(nearest)], dim=1)
    return RenderedBody(logits, nearest, hits)


def body_maps(body: Body, rendered: RenderedBody, rest: Body, joints: Joints) -> Tensor:
    """Body maps (B, BODY_CHANNELS, P): where the visible point is on a body at rest, how near it is, and coverage.

    About 0 to 1 on the body, 0 around it. Nearness is 0 where depths are unknown.
    """
    weight, background = channel_softmax(rendered.logits).split([SOLIDS, 1], dim=1)
    at_rest = rest.to_frame(rendered.hits.point, body.length)  # (B, N, 3, P) from the neck
    at_rest = (at_rest * weight[:, :, None]).sum(dim=1) * _REST_SCALE  # (B, 3, P)
    covered = 1 - background
    neck = (joints.position[:, 1, 2:] / body.trunk)[..., None]  # (B, 1, 1)
    depth = (weight * (rendered.hits.depth - neck)).sum(dim=1, keepdim=True)
    nearness = (MIDDLE * covered - depth * _NEARNESS_SCALE) * joints.has_depth[..., None]
    return torch.cat([at_rest + covered * _REST_MIDDLE, nearness, covered], dim=1)


def read_joints(structure: Tensor) -> Joints:
    """Reads joints and their depths from pose maps (B, 2 J, H, W)."""
    maps, nearer = structure.float().split(JOINTS, dim=1)
    position, present, total = heatmap_centroids(maps)
    nearness = (maps.square() * maps * nearer).sum(dim=(2, 3)) / total
    known = (nearness > 0).to(maps.dtype) * present
    enough = known.sum(dim=1, keepdim=True) > _KNOWN * present.sum(dim=1, keepdim=True)
    has_depth = enough.to(maps.dtype)
    depth = (MIDDLE - nearness) * structure.shape[2] * known * has_depth
    return Joints(torch.cat([position, depth[..., None]], dim=2), present, has_depth)


class PoseRefiner(nn.Module):
    """An image pyramid sampled at the source's joints, and an MLP over the joints of both poses."""

    def __init__(self) -> None:
        super().__init__()
        self.down = encoder_blocks([3 + JOINTS, *_WIDTHS])
        self.at_joint = nn.ModuleList(nn.Conv2d(width, _PER_JOINT, 1) for width in _WIDTHS[1:])
        of_joints = JOINTS * (2 * 5 + 2 * _PER_JOINT)
        self.layers = nn.Sequential(
            nn.Linear(of_joints + _WIDTHS[-1] + 1, _HIDDEN),
            activation(),
            nn.Linear(_HIDDEN, _HIDDEN),
            activation(),
        )
        # Two steps for each joint: one for poses with depth, which corrects it, and one for poses without, which
        # estimates it.
        self.place_head = nn.Linear(_HIDDEN, 2 * 2 * JOINTS * 3)
        self.thickness_head = nn.Linear(_HIDDEN, SOLIDS * 2)
        for head in (self.place_head, self.thickness_head):  # training starts with almost no correction
            if not head.weight.is_meta:  # a meta tensor has no values, and torch would load its compiler
                nn.init.normal_(head.weight, std=1e-3)
                nn.init.zeros_(head.bias)

    def forward(self, image: Tensor, heatmaps: Tensor, joints: Joints) -> RefinedPose:
        """Corrects `joints` of sources, then targets, (2 B, J, 3).

        `image` (B, 3, H, W) in [-1, 1] and `heatmaps` (B, J, H, W) are the source's.
        """
        count = image.shape[0]
        shape, _ = body_shape(image.device)
        trunk = trunk_length(joints.position, joints.present, shape)[..., None]  # (2 B, 1, 1)
        present = joints.present[..., None]
        neck = joints.position[:, _NECK, None] * present[:, _NECK, None]
        from_neck = (joints.position - neck) / trunk * present  # (2 B, J, 3)
        pose = torch.cat([from_neck, present, joints.has_depth[:, None].expand_as(present)], dim=2)  # (2 B, J, 5)
        features = features_after(self.down, torch.cat([image, heatmaps], dim=1).float())
        at_joints = []
        for k, layer in enumerate(self.at_joint):
            stride = 4 << k
            position = (joints.position[:count, :, :2] - (stride - 1) / 2) / stride  # (B, J, 2) feature pixels
            sampled = sample_at(layer(features[k + 1]), position.transpose(1, 2)[:, :, None])  # (B, F, 1, J)
            at_joints.append(sampled[:, :, 0].transpose(1, 2) * present[:count])
        size_ratio = (trunk[:count] / trunk[count:]).log()[..., 0]
        poses = [pose[:count].flatten(1), pose[count:].flatten(1)]
        whole_image = features[-1].float().mean(dim=(2, 3))
        y = self.layers(torch.cat([*poses, *(x.flatten(1) for x in at_joints), whole_image, size_ratio], dim=1))
        step = self.place_head(y).view(count, 2, 2, JOINTS, 3).transpose(0, 1).flatten(0, 1)  # (2 B, 2, J, 3)
        step = torch.where(joints.has_depth[..., None] > 0, step[:, 0], step[:, 1])
        step = step.float().tanh() * _LARGEST_STEP * trunk * present
        thickness = self.thickness_head(y).float().view(count, SOLIDS, 2).tanh().exp()
        return RefinedPose(joints.position + step, torch.cat([thickness, thickness]))
