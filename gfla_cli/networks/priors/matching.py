"""Flow by matching: every target position looks for its like among all source positions.

Not in the paper, a setting of our own models (`flow_prior` "matches"). A network that regresses offsets has to know
where a part of the body is in two pictures and subtract; one that describes each position ("left forearm, outside, near
the wrist, in a sleeve") can leave the looking to a product of descriptors. After 50 000 pairs it is nearer to the
renderer's flows than regression was after 300 000 (`gfla benchmark flows`).

B batch, C channels, D channels of a descriptor, S structure channels, H x W frame; the target is described on
h x w = H/2 x W/2, the source on H/4 x W/4 cells.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.blocks import EncoderBlock, activation, norm, widths
from gfla_cli.networks.priors.features import GUESS_STRIDE, seen_through
from gfla_cli.ops.warp import cell_middles

TARGET_STRIDE, SOURCE_STRIDE = GUESS_STRIDE, 4
_DEPTH = 5  # encoder blocks: strides 2, 4, 8, 16, 32
_DESCRIBED_BY = 48  # channels
# Where training starts, both as logarithms: what cosines are multiplied by before the softmax, and what squared
# distances from a guess are, in cells of the source.
_SHARPNESS, _TRUST = 3.0, -3.0
_ROWS = 256  # target positions that look at once


class Matches(NamedTuple):
    """Descriptors whose products say how likely target and source show the same place of a body."""

    target: Tensor  # (B, D, h, w)
    source: Tensor  # (B, D, H/4, W/4)

    def places(self) -> Tensor:
        """(1, 2, H/4, W/4) the x and y of the middles of source cells, pixels."""
        height, width = self.source.shape[-2:]
        return cell_middles(height, width, SOURCE_STRIDE, self.source)

    def flow(self) -> tuple[Tensor, Tensor]:
        """Offsets (B, 2, h, w) in pixels of the frame, and how far apart the likely places are, (B, 1, h, w) pixels."""
        height, width = self.target.shape[-2:]
        places = self.places().flatten(2)  # (1, 2, n)
        known = torch.cat([places, places.square().sum(dim=1, keepdim=True)], dim=1)
        target, source = self.target.flatten(2).transpose(1, 2), self.source.flatten(2)
        # Some rows at a time, which caches hold; how many there are would be a constant of an ONNX export.
        whole = torch.onnx.is_in_onnx_export() or target.device.type == "cuda"  # a GPU is slowed by many small kernels
        rows = [target] if whole else target.split(_ROWS, dim=1)
        with torch.autocast(places.device.type, enabled=False):
            found = torch.cat([(some @ source).softmax(dim=2) @ known.transpose(1, 2) for some in rows], dim=1)
        found = found.transpose(1, 2)  # (B, 3, h*w)
        mean, square = found.unflatten(2, (height, width)).split([2, 1], dim=1)
        spread = (square - mean.square().sum(dim=1, keepdim=True)).clamp(min=1e-3).sqrt()
        return mean - cell_middles(height, width, TARGET_STRIDE, mean), spread


class _Describer(nn.Module):
    """A small pyramid: maps (B, c, H, W) to descriptors of every cell, and its coarsest features."""

    def __init__(self, config: ModelConfig, input_channels: int, stride: int, described_by: int) -> None:
        super().__init__()
        width = widths(config.match_width, config.match_max_width, _DEPTH)
        into = [input_channels, *width]
        self.down = nn.ModuleList(
            EncoderBlock(a, b, normed=i > 0) for i, (a, b) in enumerate(zip(into, width, strict=False))
        )
        strides = [1 << i for i in range(_DEPTH - 1, 0, -1) if 1 << i >= stride]
        self.up, self.across, self.mix = (nn.ModuleList() for _ in range(3))
        channels = width[-1]
        for fine in strides:
            at_fine = width[fine.bit_length() - 2]
            narrower = max(at_fine, _DESCRIBED_BY)
            self.up.append(nn.Conv2d(channels, narrower, 1))
            self.across.append(nn.Conv2d(at_fine, narrower, 1))
            self.mix.append(nn.Sequential(norm(narrower), activation(), nn.Conv2d(narrower, narrower, 3, padding=1)))
            channels = narrower
        self.describe = nn.Sequential(activation(), nn.Conv2d(channels, described_by, 1))

    def forward(self, x: Tensor, told: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Descriptors (B, D, H/stride, W/stride) in float32, and features (B, C, H/32, W/32) before `told` (B, C, 1, 1)
        is added to them.
        """
        features = []
        for down in self.down:
            x = down(x)
            features.append(x)
        if told is not None:
            x = x + told
        for i, (up, across, mix) in enumerate(zip(self.up, self.across, self.mix, strict=True)):
            x = F.interpolate(up(x), scale_factor=2.0, mode="nearest") + across(features[-2 - i])
            x = x + mix(x)
        return self.describe(x).float(), features[-1]


class FlowMatcher(nn.Module):
    """Describes source and target positions so that the same place of a body has the same descriptor in both.

    A target position also says how far it trusts a guess of the flow: places get less likely with their distance from
    it. Squared distances are products, too, so this comes as three more channels of the descriptors.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.source = _Describer(config, 3 + config.structure_channels + 2, SOURCE_STRIDE, _DESCRIBED_BY)
        self.target = _Describer(config, config.structure_channels + 5 + 2, TARGET_STRIDE, _DESCRIBED_BY + 1)
        coarsest = widths(config.match_width, config.match_max_width, _DEPTH)[-1]
        self.whole = nn.Conv2d(coarsest, coarsest, 1)  # what the target is told of the source
        self.sharpness = nn.Parameter(torch.tensor(_SHARPNESS))

    def forward(self, image: Tensor, source_structure: Tensor, target_structure: Tensor, guess: Tensor) -> Matches:
        """`image` (B, 3, H, W) in [-1, 1], structures (B, S, H, W), `guess` (B, 2, h, w) offsets in pixels."""
        place = _places(image)
        source, features = self.source(torch.cat([image, source_structure, place], dim=1))
        whole = self.whole(features).mean(dim=(2, 3), keepdim=True)
        seen = seen_through(image, guess)
        target, _ = self.target(torch.cat([target_structure, seen, place], dim=1), whole)
        target, trust = target.split([_DESCRIBED_BY, 1], dim=1)
        trust = (trust.clamp(max=-_TRUST) + _TRUST).exp()
        # -trust * |cell - guessed|² without |guessed|², which the softmax takes away again. Cells are counted from the
        # middle of the frame: large squares would cost digits.
        guessed = _from_middle(guess, TARGET_STRIDE) + guess / SOURCE_STRIDE
        cells = _from_middle(source, SOURCE_STRIDE)
        near = torch.cat([2 * trust * guessed, -trust], dim=1)
        squares = cells.square().sum(dim=1, keepdim=True)
        cells = torch.cat([cells, squares], dim=1).expand(source.shape[0], -1, -1, -1)
        alike = F.normalize(source, dim=1) * self.sharpness.exp()
        return Matches(torch.cat([F.normalize(target, dim=1), near], dim=1), torch.cat([alike, cells], dim=1))


def _from_middle(like: Tensor, stride: int) -> Tensor:
    """(1, 2, h, w) the middles of cells of `stride` pixels, from the middle of the frame, in cells of the source."""
    height, width = like.shape[-2:]
    x, y = cell_middles(height, width, stride, like).split(1, dim=1)
    middle = (stride - 1) / 2
    x = x - (x[..., -1:] + middle) / 2
    y = y - (y[..., -1:, :] + middle) / 2
    return torch.cat([x, y], dim=1) / SOURCE_STRIDE


def _places(like: Tensor) -> Tensor:
    """(B, 2, H, W) where every pixel is, in [-1, 1]: what stands still is told by its place."""
    height, width = like.shape[-2:]
    x, y = (cell_middles(height, width, 1, like) + 0.5).split(1, dim=1)
    # Divided one by one: a tensor of both sizes would be a constant of an ONNX export.
    place = torch.cat([x / width, y / height], dim=1) * 2 - 1
    return place.to(like.dtype).expand(like.shape[0], -1, -1, -1)
