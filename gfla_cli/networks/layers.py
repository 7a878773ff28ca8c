"""What a generated image is mixed from, so that the mixing can be repeated at the size of the photograph.

Not in the paper. A model with `pixel_blend` learnt the mixing; what stands still comes from the source. For others it
follows from the finest flow and its mask: the detail of the moved source is added where both images agree when they
are blurred.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.networks.flow import Flow
from gfla_cli.networks.generator import Generated
from gfla_cli.networks.renderer import Blend
from gfla_cli.networks.sequence import GeneratedFrame
from gfla_cli.ops.warp import bilinear_warp

_AGREE_WITHIN = 22 / 127.5  # difference of blurred images in [-1, 1] at which detail counts for 1/e
_STILL_WITHIN = 1 / 32  # widths of the frame: a place that moved so far counts for 1/e as one that stands still
_CALM_WITHIN = 1 / 16  # widths of the frame: when nothing moves further, nothing that was hidden comes to light
_UNSURE = 1.5 / 256  # widths of the frame: flows as short as this are halved, for detected joints are as far off
_NEAR, _THIN = 3, 6  # pixels: reach of a moving place, and half the width of what it takes to be no gap of the share


def layers_of(made: Generated | GeneratedFrame, source: Tensor) -> Tensor:
    """`pixel_layers` of what a network has made.

    `source` (B, 3, H, W): its source image, which is the reference of a sequence model.
    """
    if isinstance(made, GeneratedFrame):
        return pixel_layers(made.image, source, made.flows[-1].reference if made.flows else None, None)
    return pixel_layers(made.image, source, made.flows[-1] if made.flows else None, made.blend)


def pixel_layers(image: Tensor, source: Tensor, flow: Flow | None, blend: Blend | None) -> Tensor:
    """(B, 10, H, W): `arrays.LAYERS` one after the other, which mix to `image`, with more detail of the source.

    `image` and `source` (B, 3, H, W) in [-1, 1]; `flow` of the finest level to this source; `blend` of models that
    learnt one. Offsets are in widths of the frame. The matte is 1 everywhere where the model has none. Without a flow
    the share of the source is 0.
    """
    height, width = image.shape[-2:]
    one = torch.ones_like(image[:, :1])
    if flow is None:
        return torch.cat([image, 0 * one, 0 * image, 0 * image[:, :2], one], dim=1).float()
    scale = width / flow.offset.shape[-1]
    offset = F.interpolate(flow.offset.float(), size=(height, width), mode="bilinear", align_corners=False) * scale
    if blend is not None:
        offset = _steadied(offset, _UNSURE * width)
    image = image.float()
    difference = image - bilinear_warp(source.float(), offset)
    detail = _blurred(difference)
    agrees = _agreement(detail)
    mask = F.interpolate(flow.mask.float(), size=(height, width), mode="bilinear", align_corners=False)
    if blend is not None:
        # The model learnt from poses that differ. Where nothing moves, the source is sharper than what it draws, if it
        # shows this place at all: both agree, or the flow is sure. Narrow gaps are edges, where neither holds.
        power = _dilated(offset.square().sum(dim=1, keepdim=True), _NEAR)
        still = torch.exp(-power / (_STILL_WITHIN * width) ** 2)
        shown = torch.maximum(agrees, ((mask - 0.5) * 4).clamp(0, 1))
        share = torch.maximum(blend.shares[:, :1].float(), _blurred(shown * still))
        closed = -_dilated(-_dilated(share, _THIN), _THIN)
        # Where a hand was is narrow, too. But then the hand has moved far, and the drawn image shows no hand there.
        alike = _agreement(_blurred(difference, _AROUND))
        calm = torch.exp(-power.amax(dim=(2, 3), keepdim=True) / (_CALM_WITHIN * width) ** 2)
        share = torch.maximum(share, still * closed * torch.maximum(alike, calm))
        parts = [blend.generated, share, blend.residual * (1 - still), blend.matte.sigmoid()]
        # Transposed convolutions leave a pattern of two pixels, which enlarging would show.
        drawn, share, residual, matte = (_blurred(part.float(), _PATTERN) for part in parts)
        return torch.cat([drawn, share, residual, offset / width, matte], dim=1)
    share = mask * _blurred(agrees)
    return torch.cat([image, share, share * detail, offset / width, one.float()], dim=1)


def _steadied(offset: Tensor, unsure: float) -> Tensor:
    """Offsets (B, 2, H, W) without their noise: those much longer than `unsure` stay, shorter ones shrink to 0."""
    power = _blurred(offset.square().sum(dim=1, keepdim=True), _AROUND)
    return offset * power / (power + unsure**2)


def _agreement(difference: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1]: whether two blurred images with this difference (B, 3, H, W) show the same."""
    return torch.exp(-(difference.abs().mean(dim=1, keepdim=True) / _AGREE_WITHIN).square())


def _dilated(x: Tensor, reach: int) -> Tensor:
    """(B, 1, H, W): the largest value of the square around each place."""
    for size, padding in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):  # faster than a square
        x = F.max_pool2d(x, size, stride=1, padding=padding)
    return x


def _gaussian(sigma: float) -> tuple[float, ...]:
    reach = math.ceil(3 * sigma)
    weights = [math.exp(-((place / sigma) ** 2) / 2) for place in range(-reach, reach + 1)]
    return tuple(weight / sum(weights) for weight in weights)


_DETAIL = _gaussian(1.2)  # what it takes away is detail; pixels
_AROUND = _gaussian(2.0)  # over which motion is averaged; pixels
_PATTERN = (0.25, 0.5, 0.25)  # takes a pattern of two pixels away


def _blurred(x: Tensor, weights: tuple[float, ...] = _DETAIL) -> Tensor:
    """(B, C, H, W), each channel by itself, with these weights along both axes."""
    reach = len(weights) // 2
    x = F.pad(x, [reach] * 4, mode="replicate")
    # Sums of shifted maps: on the CPU three times as fast as a convolution of single channels.
    for axis in (3, 2):
        length = x.shape[axis] - 2 * reach
        shifted = [x.narrow(axis, start, length) for start in range(len(weights))]
        x = shifted[0] * weights[0]
        for part, weight in zip(shifted[1:], weights[1:], strict=True):
            x = torch.add(x, part, alpha=weight)
    return x
