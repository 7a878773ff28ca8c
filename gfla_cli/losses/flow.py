"""Losses of flows: matching features, local affinity, agreement with the ground truth; and of joints behind a flow."""

from __future__ import annotations

import functools
import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.networks.flow import Choice, Flow
from gfla_cli.networks.priors.body import body_shape, trunk_length
from gfla_cli.networks.priors.solids import Joints
from gfla_cli.networks.priors.volume import Projection, slice_of
from gfla_cli.ops.warp import gaussian_warp

_HIDDEN_WEIGHT = 0.3  # of hidden places, relative to visible ones
_CHOSEN_WITHIN = 0.5  # pixels of the grid by which a candidate may be worse than the best one
_NOT_THERE, _FAR_OFF = -40.0, 1e4  # logit of candidates that the pose does not have, and the error they are given
_FOUND_WITHIN = 1.5  # pixels of the grid that a flow may be off, about as far as a patch of 3 reaches
_RIGHT_WITHIN = 0.75  # the same where pixels are copied
_THIN_WEIGHT = 3.0  # of thin parts of a silhouette
_PER_THIN = 16  # width of the frame / width of the window in which a part is thin or not
_DEPTH_WITHIN = 1.5  # slices of a volume in front of a surface and behind it that count as the surface
_NECK = 1
_SHORTEST_TRUNK = 8.0  # pixels; shorter trunks are no unit of length
_SQUARED_WITHIN = 0.05  # trunks; larger distances count linearly


def sampling_correctness(source: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """How well the warped source matches the target, relative to the best possible match (paper, eq. 5), a scalar.

    `source`, `target` are (B, C, h, w) VGG19 features, `offset` (B, 2, h, w) pixels of that grid. Zero when every
    position finds its best match.
    """
    best = _best_cosine(source, target)
    found = F.cosine_similarity(gaussian_warp(source, offset), target.float(), dim=1, eps=1e-8).flatten(1)
    return torch.exp(-found / (best + 1e-8)).mean() - math.exp(-1)


@torch.no_grad()
def _best_cosine(source: Tensor, target: Tensor) -> Tensor:
    """(B, h*w): for every target position, the largest cosine over all source positions."""
    source = F.normalize(source.float().flatten(2), dim=1)
    target = F.normalize(target.float().flatten(2), dim=1)
    # In chunks: at 64x64 the full table of one image pair has 16.8 million entries.
    return torch.cat([(part.transpose(1, 2) @ source).amax(dim=2) for part in target.split(1024, dim=2)], dim=1)


def affine_regularisation(offset: Tensor, window: int) -> Tensor:
    """Squared distance of the flow from the best affine map in every window x window neighbourhood (paper, eq. 7).

    Summed over the window and over x and y, averaged over windows. The sampling grid is position + flow; positions
    are affine themselves and drop out of the residual.
    """
    height, width = offset.shape[-2:]
    if min(height, width) < window:
        return offset.new_zeros(())
    residual = _affine_residual(window, offset.device, offset.dtype)  # (window², 1, window, window)
    fields = offset.reshape(-1, 1, height, width)
    with torch.autocast(offset.device.type, enabled=False):
        squared = F.conv2d(fields, residual).square()
    return 2 * squared.sum(dim=1).mean()  # the mean is over x and y too; the loss is their sum


@functools.cache
@torch.inference_mode(False)
def _affine_residual(window: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """One filter per pixel of the window: its value minus that of the least-squares affine fit there."""
    step = torch.arange(window, dtype=torch.float64) - window // 2
    y, x = torch.meshgrid(step, step, indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y], dim=-1).view(-1, 3)
    projection: Tensor = basis @ torch.linalg.pinv(basis)
    return (torch.eye(window * window) - projection).view(-1, 1, window, window).to(device, dtype)


def correspondence_loss(flow: Flow, offset: Tensor, weight: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Distance from the ground-truth flow of a renderer: flow error and mask error, two scalars.

    `offset` (B, 2, h, w) true offsets in pixels of the grid, `weight` (B, 1, h, w) their weights (0 = unknown),
    `visible` (B, 1, h, w) 1 seen in the source, 0 hidden, negative where the mask is left free.
    The mask should be 1 where the place is visible and the flow finds it. With a flow that is a few pixels off, a
    coarse level can still take colours from there, and a fine level should generate.
    Collective: in distributed training all processes must call it together.
    """
    error = _distance(flow.offset, offset)
    mask = _trust_loss(flow.mask, error, weight, visible, _FOUND_WITHIN)
    return (error * weight).sum() / _mean_count(weight), mask


def visible_flow_loss(found: Tensor, offset: Tensor, weight: Tensor, visible: Tensor) -> Tensor:
    """Distance of offsets (B, 2, h, w) from the ground truth, a scalar. Hidden places count less: theirs is a guess.

    The ground truth is given as for `correspondence_loss`. Collective.
    """
    weight = weight * torch.where(visible > 0.5, 1.0, _HIDDEN_WEIGHT)
    return (_distance(found, offset) * weight).sum() / _mean_count(weight)


def surface_flow_loss(shape: Projection, mask: Tensor, offset: Tensor, weight: Tensor, visible: Tensor) -> Tensor:
    """Distance of the flow of a projected volume from the ground truth where both images show the object. Collective.

    `mask` (B, 1, h, w) is the target's silhouette on the grid of `shape`; the rest as for `correspondence_loss`.
    """
    weight = weight * (visible > 0.5) * (mask > 0.5)  # a hidden place has no true flow, only a guess
    found = shape.offset_at(mask.shape[-2], mask.shape[-1])
    return (_distance(found, offset) * weight).sum() / _mean_count(weight)


def ray_loss(hit: Tensor, depth: Tensor) -> Tensor:
    """Cross-entropy of where the rays of a camera end, a scalar; thin parts have more weight. Collective.

    `hit` (B, K, h, w): the share of each ray that ends in each slice. `depth` (B, 1, h, w): of the surface, in halves
    of the frame; -inf = the ray meets nothing, NaN = unknown.
    """
    known = ~depth.isnan()
    solid = (depth > -math.inf).float().masked_fill(~known, 0)
    place = slice_of(depth.nan_to_num(0, neginf=-math.inf))
    slices = torch.arange(hit.shape[1], device=hit.device).view(1, -1, 1, 1)
    near = (1 - (slices - place).abs() / _DEPTH_WITHIN).clamp(min=0)  # 1 at the surface
    there = (hit * near).sum(dim=1, keepdim=True)
    through = 1 - hit.sum(dim=1, keepdim=True)
    entropy = -torch.log((solid * there + (1 - solid) * through).clamp(min=1e-4))
    weight = known * (1 + _THIN_WEIGHT * thinness(solid))
    return (entropy * weight).sum() / _mean_count(weight)


def middle_loss(found: Tensor, middle: Tensor) -> Tensor:
    """Mean distance of an object's middle (B, 2) from the true one, in halves of the frame; NaN = unknown."""
    known = ~middle.isnan()
    return ((found - middle.nan_to_num()).abs() * known).sum() / known.sum().clamp(min=1)


def thinness(mask: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1] from a silhouette: near 1 on thin parts and close around them, 0 elsewhere.

    The surroundings count as the parts do. Else a network that is not sure where a leg stands draws it too thick.
    """
    side = mask.shape[-1] // _PER_THIN | 1
    around = F.avg_pool2d(mask, side, stride=1, padding=side // 2, count_include_pad=False)
    side = side // 2 | 1
    return F.max_pool2d(mask * (1 - around), side, stride=1, padding=side // 2)


def share_loss(share: Tensor, flow: Flow, offset: Tensor, weight: Tensor, visible: Tensor) -> Tensor:
    """Cross-entropy of the shares of copied pixels: 1 is right where the flow is right, else 0. A scalar.

    `share` (B, 1, H, W) in [0, 1], at frame size; the rest as for `correspondence_loss`. Collective. Training compares
    small images, where a generated pixel can be as sharp as a copied one. At the photograph's own size it cannot.
    """
    height, width = flow.offset.shape[-2:]
    share = F.adaptive_avg_pool2d(share, (height, width))
    return _trust_loss(share, _distance(flow.offset, offset), weight, visible, _RIGHT_WITHIN)


def _distance(offset: Tensor, known: Tensor) -> Tensor:
    """(B, 1, h, w) distance of two fields of offsets in pixels."""
    return (offset - known).square().sum(dim=1, keepdim=True).add(1e-4).sqrt()


def _trust_loss(trust: Tensor, error: Tensor, weight: Tensor, visible: Tensor, within: float) -> Tensor:
    """Cross-entropy of a trust in [0, 1] and of what is visible and found by the flow; all (B, 1, h, w)."""
    found = torch.exp(-(error.detach() / within).square() / 2).where(weight > 0, 1)
    known = (visible >= 0).float()
    wanted = visible.clamp(0, 1) * found
    # In float32, and without autocast: on CUDA that refuses cross-entropies of probabilities.
    with torch.autocast(trust.device.type, enabled=False):
        probability = trust.float().clamp(1e-5, 1 - 1e-5)
        entropy = F.binary_cross_entropy(probability, wanted.float(), weight=known, reduction="sum")
    return entropy / _mean_count(known)


def choice_loss(choice: Choice, offset: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy between the weights of candidate flows and their closeness to the ground truth, a scalar.

    `offset` (B, 2, h, w) true offsets in pixels of the grid, `weight` (B, 1, h, w) their weights. Without this loss a
    candidate of weight zero has no gradient. Collective.
    """
    with torch.no_grad():
        still = torch.zeros_like(choice.candidates[:, :1])
        error = (torch.cat([choice.candidates, still], dim=1) - offset[:, None]).square().sum(dim=2)  # (B, N + 1, h, w)
        error = (error + 1e-4).sqrt().masked_fill(choice.logits < _NOT_THERE, _FAR_OFF)
        wanted = (error.amin(dim=1, keepdim=True) - error).div(_CHOSEN_WITHIN).softmax(dim=1)
    entropy = -(wanted * choice.logits.log_softmax(dim=1)).sum(dim=1, keepdim=True)
    return (entropy * weight).sum() / _mean_count(weight)


def _mean_count(weight: Tensor) -> Tensor:
    """The sum of weights, at least 1; in distributed training its mean over all processes.

    Each process divides by the same number, so that the mean of their losses is the loss of the whole batch.
    """
    count = weight.sum()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=1)


def refined_loss(joints: Joints, truth: Tensor, reduction: int) -> Tensor:
    """Mean distance of refined joints from true ones along x, y and z, in trunk lengths; a scalar.

    `joints` (B, J, ...) are in pixels of a frame `reduction` times smaller than that of `truth` (B, J, 4): x, y, 1 if
    known, depth. Depths are relative to the neck.
    """
    known = joints.present * (truth[..., 2] > 0)
    place = torch.cat([(truth[..., :2] + 0.5) / reduction - 0.5, truth[..., 3:] / reduction], dim=2).nan_to_num()
    shape, _ = body_shape(place.device)
    trunk = trunk_length(place, known, shape)[..., None]
    known = known[..., None] * (trunk > _SHORTEST_TRUNK)
    difference = (_from_neck(joints.position) - _from_neck(place)) / trunk.clamp(min=_SHORTEST_TRUNK)
    distance = F.smooth_l1_loss(difference, torch.zeros_like(difference), beta=_SQUARED_WITHIN, reduction="none")
    return (distance * known).sum() / (3 * known.sum()).clamp(min=1)


def _from_neck(place: Tensor) -> Tensor:
    return torch.cat([place[..., :2], place[..., 2:] - place[:, _NECK, None, 2:]], dim=2)
