"""What a generated image is mixed from, so that the mixing can be repeated at the size of the photograph.

Not in the paper. A model with `pixel_blend` predicts how its image is mixed; in images of people, what stands still
comes from the source. To images of other models, detail of the moved source is added where both agree when they are
blurred.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.config import Task
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.generator import Generated
from gfla_cli.networks.renderer import NO_PATTERN, Blend
from gfla_cli.networks.sequence import GeneratedFrame
from gfla_cli.ops.warp import bilinear_warp, blurred

_AGREE_WITHIN = 22 / 127.5  # difference of blurred images in [-1, 1] at which detail counts for 1/e
_ALIKE_WITHIN = 8 / 127.5  # the same for frames of clips: an edge that is a pixel off is no detail to add
_STILL_WITHIN = 1 / 32  # widths of the frame: a place that moved so far counts for 1/e as one that stands still
_CALM_WITHIN = 1 / 16  # widths of the frame: if nothing moves further, no hidden place becomes visible
_UNSURE = 1.5 / 256  # widths of the frame: flows of this length are halved, because detected joints are off by as much
_NEAR, _THIN = 3, 6  # pixels: reach of a moving place; half the width of the gaps of the share that are closed


def layers_of(made: Generated | GeneratedFrame, source: Tensor, task: Task) -> Tensor:
    """(B, 10, H, W): `arrays.LAYERS` one after the other, which mix to what a network for `task` made.

    `source` (B, 3, H, W) in [-1, 1]: its source image, which is the reference of a sequence model. Offsets are in
    widths of the frame. The matte is 1 everywhere where the model has none, and in clips. Without a flow the share of
    the source is 0.
    """
    if not made.flows:
        one = torch.ones_like(made.image[:, :1])
        return torch.cat([made.image, 0 * one, 0 * made.image, 0 * made.image[:, :2], one], dim=1).float()
    flow = made.flows[-1].reference if isinstance(made, GeneratedFrame) else made.flows[-1]
    if made.blend is None:
        return detail_layers(made.image, source, flow)
    if isinstance(made, GeneratedFrame):
        assert made.warped is not None
        return frame_layers(made.warped, flow, made.blend)
    if task == "view":
        return turned_layers(made.image, flow, made.blend)
    return blend_layers(made.image, source, flow, made.blend)


def detail_layers(image: Tensor, source: Tensor, flow: Flow) -> Tensor:
    """`image` (B, 3, H, W) as layers that add detail of the moved source where both agree and the flow is trusted."""
    offset, mask = _enlarged(flow, image)
    difference = blurred(image.float() - bilinear_warp(source.float(), offset), _DETAIL)
    share = mask * blurred(_agreement(difference), _DETAIL)
    one = torch.ones_like(share)
    return torch.cat([image.float(), share, share * difference, offset / image.shape[-1], one], dim=1)


def frame_layers(moved: Tensor, flow: Flow, blend: Blend) -> Tensor:
    """The layers that the network mixed into a frame, with the grain of the moved source where both are much alike.

    At its own size, the network draws skin as well as it could copy it. But at the photograph's size grain is visible.
    `moved` (B, 3, H, W): the source where the flow leads.
    """
    offset, mask = _enlarged(flow, moved)
    copied = blend.shares[:, -1:]
    difference = blurred(blend.generated - moved, _DETAIL)
    grain = (1 - copied) * mask * blurred(_agreement(difference, _ALIKE_WITHIN), _DETAIL)
    parts = [
        blurred(blend.generated, NO_PATTERN),
        copied + grain,
        blend.residual + grain * difference,
        offset / moved.shape[-1],
        torch.ones_like(grain),
    ]
    return torch.cat(parts, dim=1)


def blend_layers(image: Tensor, source: Tensor, flow: Flow, blend: Blend) -> Tensor:
    """`image` (B, 3, H, W) as layers that mix what the network drew and the moved source, as it learnt to.

    It learnt from pairs of different poses. Where nothing moves, the source is sharper than the drawn image. It is used
    if it shows this place: both agree, or the flow is sure. At edges neither holds, so narrow gaps are closed.
    """
    width = image.shape[-1]
    offset, mask = _enlarged(flow, image)
    offset = _steadied(offset, _UNSURE * width)
    difference = image.float() - bilinear_warp(source.float(), offset)
    power = _dilated(offset.square().sum(dim=1, keepdim=True), _NEAR)
    still = torch.exp(-power / (_STILL_WITHIN * width) ** 2)
    shown = torch.maximum(_agreement(blurred(difference, _DETAIL)), ((mask - 0.5) * 4).clamp(0, 1))
    share = torch.maximum(blend.shares[:, -1:].float(), blurred(shown * still, _DETAIL))
    closed = -_dilated(-_dilated(share, _THIN), _THIN)
    # The place that a hand has left is narrow, too, but stays: the hand moved far, and the drawn image shows none.
    alike = _agreement(blurred(difference, _AROUND))
    calm = torch.exp(-power.amax(dim=(2, 3), keepdim=True) / (_CALM_WITHIN * width) ** 2)
    share = torch.maximum(share, still * closed * torch.maximum(alike, calm))
    return _mixed_by(blend, share, blend.residual * (1 - still), offset / width)


def turned_layers(image: Tensor, flow: Flow, blend: Blend) -> Tensor:
    """`image` (B, 3, H, W) of an object from another side than its source, as the layers that the network mixed.

    Beside the object the flow is zero. There the source may show the object, so nothing counts as standing still.
    """
    offset, _ = _enlarged(flow, image)
    blend = blend.without_pattern()  # enlarging would show it
    return _mixed_by(blend, blend.shares[:, -1:], blend.residual, offset / image.shape[-1])


def _mixed_by(blend: Blend, share: Tensor, residual: Tensor, offset: Tensor) -> Tensor:
    """The layers of a learnt blend, as (B, 10, H, W)."""
    return torch.cat([blend.generated, share, residual, offset, blend.matte.sigmoid()], dim=1).float()


def _enlarged(flow: Flow, image: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets (B, 2, H, W) and mask (B, 1, H, W) of a flow at the size of an image, offsets in its pixels."""
    size = image.shape[-2:]
    maps = (x.float().contiguous() for x in (flow.offset, flow.mask))  # see `upsample`
    offset, mask = (F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps)
    return offset * (size[1] / flow.offset.shape[-1]), mask


def _steadied(offset: Tensor, unsure: float) -> Tensor:
    """Offsets (B, 2, H, W) without their noise: those much longer than `unsure` stay, shorter ones shrink to 0."""
    power = blurred(offset.square().sum(dim=1, keepdim=True), _AROUND)
    return offset * power / (power + unsure**2)


def _agreement(difference: Tensor, within: float = _AGREE_WITHIN) -> Tensor:
    """(B, 1, H, W) in [0, 1]: whether two blurred images with this difference (B, 3, H, W) show the same."""
    return torch.exp(-(difference.abs().mean(dim=1, keepdim=True) / within).square())


def _dilated(x: Tensor, reach: int) -> Tensor:
    """(B, 1, H, W): the largest value of the square around each place."""
    x = F.pad(x, [reach] * 4, value=-math.inf)
    # Each step doubles the length of the line over which the maximum is taken: 50 times as fast as pooling on the CPU.
    for axis in (2, 3):
        length = 1
        while length < 2 * reach + 1:
            step = min(length, 2 * reach + 1 - length)
            count = x.shape[axis] - step
            x = torch.maximum(x.narrow(axis, 0, count), x.narrow(axis, step, count))
            length += step
    return x


def _gaussian(sigma: float) -> tuple[float, ...]:
    reach = math.ceil(3 * sigma)
    weights = [math.exp(-((place / sigma) ** 2) / 2) for place in range(-reach, reach + 1)]
    return tuple(weight / sum(weights) for weight in weights)


_DETAIL = _gaussian(1.2)  # what it takes away is detail; pixels
_AROUND = _gaussian(2.0)  # over which motion is averaged; pixels
