"""What makes a flow right: it finds matching features, it is locally affine, it agrees with known correspondences."""

from __future__ import annotations

import functools
import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.networks.flow import Choice, Flow
from gfla_cli.ops.warp import gaussian_warp

_HIDDEN_SHARE = 0.3  # how much hidden places count beside visible ones
_CHOSEN_WITHIN = 0.5  # pixels of its grid by which a candidate may be worse than the best one
_NOT_THERE, _FAR_OFF = -40.0, 1e4  # logit of candidates that the pose does not have, and the error that they count as
_FOUND_WITHIN = 1.5  # pixels of its grid that a flow may be off, about as far as a patch of 3 reaches
_RIGHT_WITHIN = 0.75  # and for the pixels themselves to be taken


def sampling_correctness(source: Tensor, target: Tensor, offset: Tensor) -> Tensor:
    """How well the warped source matches the target, relative to the best match there is (paper, eq. 5).

    `source`, `target` are (B, C, h, w) VGG19 features, `offset` (B, 2, h, w) pixels of that grid. Zero when every
    position found its best match.
    """
    best = _best_cosine(source, target)
    found = F.cosine_similarity(gaussian_warp(source, offset), target.float(), dim=1, eps=1e-8).flatten(1)
    return torch.exp(-found / (best + 1e-8)).mean() - math.exp(-1)


@torch.no_grad()
def _best_cosine(source: Tensor, target: Tensor) -> Tensor:
    """(B, h*w): for every target position, the largest cosine over all source positions."""
    source = F.normalize(source.float().flatten(2), dim=1)
    target = F.normalize(target.float().flatten(2), dim=1)
    # In chunks: at 64x64 the full table of one picture pair has 16.8 million entries.
    return torch.cat([(part.transpose(1, 2) @ source).amax(dim=2) for part in target.split(1024, dim=2)], dim=1)


def affine_regularisation(offset: Tensor, window: int) -> Tensor:
    """Squared distance of the flow from the best affine map in every window x window neighbourhood (paper, eq. 7).

    Summed over the window and over x and y, averaged over windows. The sampling grid is position + flow; positions
    are affine themselves and drop out of the residual.
    """
    height, width = offset.shape[-2:]
    if min(height, width) < window:
        return offset.new_zeros(())
    residual = _residual_on(window, offset.device, offset.dtype)  # (window², 1, window, window)
    fields = offset.reshape(-1, 1, height, width)
    with torch.autocast(offset.device.type, enabled=False):
        squared = F.conv2d(fields, residual).square()
    return 2 * squared.sum(dim=1).mean()  # the mean is over x and y too; the loss is their sum


@functools.cache
def _residual_on(window: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return _affine_residual(window).to(device, dtype)


def _affine_residual(window: int) -> Tensor:
    """One filter per pixel of the window: its value minus that of the least-squares affine fit there."""
    step = torch.arange(window, dtype=torch.float64) - window // 2
    y, x = torch.meshgrid(step, step, indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y], dim=-1).view(-1, 3)
    projection: Tensor = basis @ torch.linalg.pinv(basis)
    return (torch.eye(window * window) - projection).view(-1, 1, window, window)


def correspondence_loss(flow: Flow, offset: Tensor, weight: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Distance from known correspondences, as a renderer gives them: flow error and mask error, two scalars.

    `offset` (B, 2, h, w) true offsets in pixels of the grid, `weight` (B, 1, h, w) how much each counts (0 where
    unknown), `visible` (B, 1, h, w) 1 seen in the source, 0 hidden, negative where the mask is left free.
    The mask should tell what can be taken from the source: what is visible, as far as the flow finds it. Where a flow
    is a few pixels off, a coarse level may still take colours from there, and a fine one invents.
    In a training of several processes all of them have to call it together.
    """
    error = _distance(flow.offset, offset)
    mask = _trust_loss(flow.mask, error, weight, visible, _FOUND_WITHIN)
    return (error * weight).sum() / _mean_count(weight), mask


def visible_flow_loss(found: Tensor, offset: Tensor, weight: Tensor, visible: Tensor) -> Tensor:
    """Distance of offsets (B, 2, h, w) from known ones, mostly where the source shows the place, a scalar.

    The known ones as for `correspondence_loss`; of hidden places the right one is a guess.
    """
    weight = weight * torch.where(visible > 0.5, 1.0, _HIDDEN_SHARE)
    return (_distance(found, offset) * weight).sum() / _mean_count(weight)


def share_loss(share: Tensor, flow: Flow, offset: Tensor, weight: Tensor, visible: Tensor) -> Tensor:
    """How far the shares of moved pixels are from 1 where the flow is right, and from 0 where it is not, a scalar.

    `share` (B, 1, H, W) in [0, 1], of the frame; the rest as for `correspondence_loss`. The pictures that training
    compares are small, where a drawn pixel can be as sharp as a moved one. At the photograph's own size it cannot.
    """
    height, width = flow.offset.shape[-2:]
    share = F.adaptive_avg_pool2d(share, (height, width))
    return _trust_loss(share, _distance(flow.offset, offset), weight, visible, _RIGHT_WITHIN)


def _distance(offset: Tensor, known: Tensor) -> Tensor:
    """(B, 1, h, w)"""
    return (offset - known).square().sum(dim=1, keepdim=True).add(1e-4).sqrt()


def _trust_loss(trust: Tensor, error: Tensor, weight: Tensor, visible: Tensor, within: float) -> Tensor:
    """Cross-entropy of a trust in [0, 1] and of what is visible, as far as the flow finds it; all (B, 1, h, w)."""
    found = torch.exp(-(error.detach() / within).square() / 2).where(weight > 0, 1)
    known = (visible >= 0).float()
    wanted = visible.clamp(0, 1) * found
    # In float32, and without autocast: on CUDA that refuses cross-entropies of probabilities.
    with torch.autocast(trust.device.type, enabled=False):
        probability = trust.float().clamp(1e-5, 1 - 1e-5)
        entropy = F.binary_cross_entropy(probability, wanted.float(), weight=known, reduction="sum")
    return entropy / _mean_count(known)


def choice_loss(choice: Choice, offset: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy between the chosen candidates and those that lead near the known place, a scalar.

    `offset` (B, 2, h, w) true offsets in pixels of the grid, `weight` (B, 1, h, w) how much each counts. A candidate
    is wanted the more the nearer it leads; without this loss one of no weight has no gradient either.
    In a training of several processes all of them have to call it together.
    """
    with torch.no_grad():
        still = torch.zeros_like(choice.candidates[:, :1])
        error = (torch.cat([choice.candidates, still], dim=1) - offset[:, None]).square().sum(dim=2)  # (B, N + 1, h, w)
        error = (error + 1e-4).sqrt().masked_fill(choice.logits < _NOT_THERE, _FAR_OFF)
        wanted = (error.amin(dim=1, keepdim=True) - error).div(_CHOSEN_WITHIN).softmax(dim=1)
    entropy = -(wanted * choice.logits.log_softmax(dim=1)).sum(dim=1, keepdim=True)
    return (entropy * weight).sum() / _mean_count(weight)


def _mean_count(weight: Tensor) -> Tensor:
    """How much there is to compare, at least 1; of several training processes the mean.

    Each divides by the same number, so that the mean of their losses is the loss of all their samples together.
    """
    count = weight.sum()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=1)
