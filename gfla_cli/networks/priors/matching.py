"""Flow prior "matches": every target position is matched against all source positions by learned descriptors.

Not in the paper. A network that regresses offsets has to know where a body part is in two images, and subtract. Here a
network describes each position ("left forearm, outside, near the wrist, in a sleeve"), and a product of descriptors
finds the match. After 50 000 pairs the result is nearer to the ground-truth flow than regression after 300 000
(`gfla benchmark flows`).

B batch, C channels, D channels of a descriptor, S structure channels, H x W frame. Target positions are on a grid of
h x w = H/2 x W/2 cells, source positions on H/4 x W/4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.blocks import activation, encoder_blocks, features_after, norm, widths
from gfla_cli.networks.priors import PRIOR_STRIDE, flow_prior_features
from gfla_cli.ops.warp import cell_middles

TARGET_STRIDE, SOURCE_STRIDE = PRIOR_STRIDE, 4
_DEPTH = 5  # encoder blocks: strides 2, 4, 8, 16, 32
_DESCRIPTOR = 48  # channels
# Initial values, both as logarithms: the factor of cosines before the softmax, and the factor of squared distances
# from the limb flow, in source cells.
_SHARPNESS, _TRUST = 3.0, -3.0
_ROWS = 256  # target positions matched at once on the CPU


class Matches(NamedTuple):
    """Descriptors whose products are the logits of a match between target and source positions."""

    target: Tensor  # (B, D, h, w)
    source: Tensor  # (B, D, H/4, W/4)

    def positions(self) -> Tensor:
        """(1, 2, H/4, W/4) the x and y of the middles of source cells, pixels."""
        height, width = self.source.shape[-2:]
        return cell_middles(height, width, SOURCE_STRIDE, self.source)

    def flow(self) -> tuple[Tensor, Tensor]:
        """Expected offsets (B, 2, h, w) and their standard deviation (B, 1, h, w), in pixels of the frame."""
        height, width = self.target.shape[-2:]
        positions = self.positions().flatten(2)  # (1, 2, n)
        moments = torch.cat([positions, positions.square().sum(dim=1, keepdim=True)], dim=1)
        target, source = self.target.flatten(2).transpose(1, 2), self.source.flatten(2)
        # On the CPU some rows at a time, which caches hold. A GPU would be slowed by many small kernels, and in an ONNX
        # export the number of rows would be a constant.
        whole = torch.onnx.is_in_onnx_export() or target.device.type == "cuda"
        rows = [target] if whole else target.split(_ROWS, dim=1)
        with torch.autocast(positions.device.type, enabled=False):
            expected = torch.cat([(some @ source).softmax(dim=2) @ moments.transpose(1, 2) for some in rows], dim=1)
        expected = expected.transpose(1, 2)  # (B, 3, h*w)
        mean, square = expected.unflatten(2, (height, width)).split([2, 1], dim=1)
        spread = (square - mean.square().sum(dim=1, keepdim=True)).clamp(min=1e-3).sqrt()
        return mean - cell_middles(height, width, TARGET_STRIDE, mean), spread


class _Describer(nn.Module):
    """A feature pyramid: (B, c, H, W) to a descriptor of every cell of `stride` pixels."""

    def __init__(self, config: ModelConfig, input_channels: int, stride: int, output_channels: int) -> None:
        super().__init__()
        width = widths(config.match_width, config.match_max_width, _DEPTH)
        self.down = encoder_blocks([input_channels, *width])
        strides = [1 << i for i in range(_DEPTH - 1, 0, -1) if 1 << i >= stride]
        self.up, self.across, self.mix = (nn.ModuleList() for _ in range(3))
        channels = width[-1]
        for finer in strides:
            lateral = width[finer.bit_length() - 2]
            mixed = max(lateral, _DESCRIPTOR)
            self.up.append(nn.Conv2d(channels, mixed, 1))
            self.across.append(nn.Conv2d(lateral, mixed, 1))
            self.mix.append(nn.Sequential(norm(mixed), activation(), nn.Conv2d(mixed, mixed, 3, padding=1)))
            channels = mixed
        self.describe = nn.Sequential(activation(), nn.Conv2d(channels, output_channels, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Descriptors (B, D, H/stride, W/stride) in float32, and the coarsest features (B, C, H/32, W/32).

        `context` (B, C, 1, 1) is added to the coarsest features for the descriptors only.
        """
        features = features_after(self.down, x)
        x = features[-1] if context is None else features[-1] + context
        for i, (up, across, mix) in enumerate(zip(self.up, self.across, self.mix, strict=True)):
            x = F.interpolate(up(x), scale_factor=2.0, mode="nearest") + across(features[-2 - i])
            x = x + mix(x)
        return self.describe(x).float(), features[-1]


class FlowMatcher(nn.Module):
    """Describes source and target positions so that the same point of a body has the same descriptor in both.

    A target position also predicts how far it trusts the limb flow: the logit of a source cell falls with its squared
    distance from the position that this flow leads to. A squared distance is a product too, so it takes three more
    channels of the descriptors.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.source = _Describer(config, 3 + config.structure_channels + 2, SOURCE_STRIDE, _DESCRIPTOR)
        self.target = _Describer(config, config.structure_channels + 5 + 2, TARGET_STRIDE, _DESCRIPTOR + 1)
        coarsest = widths(config.match_width, config.match_max_width, _DEPTH)[-1]
        self.whole = nn.Conv2d(coarsest, coarsest, 1)  # source features -> context of the target
        self.sharpness = nn.Parameter(torch.tensor(_SHARPNESS))

    def forward(self, image: Tensor, source_structure: Tensor, target_structure: Tensor, prior: Tensor) -> Matches:
        """`image` (B, 3, H, W) in [-1, 1], pose maps (B, S, H, W), `prior` (B, 2, h, w) offsets in pixels."""
        position = _normalised_positions(image)
        source, features = self.source(torch.cat([image, source_structure, position], dim=1))
        context = self.whole(features).mean(dim=(2, 3), keepdim=True)
        warped = flow_prior_features(image, prior)
        target, _ = self.target(torch.cat([target_structure, warped, position], dim=1), context)
        target, trust = target.split([_DESCRIPTOR, 1], dim=1)
        trust = (trust.clamp(max=-_TRUST) + _TRUST).exp()
        # The logit -trust * |cell - predicted|² without the term |predicted|², which does not change the softmax.
        # Cells are counted from the middle of the frame: large squares would cost digits.
        predicted = _from_middle(prior, TARGET_STRIDE) + prior / SOURCE_STRIDE
        cells = _from_middle(source, SOURCE_STRIDE)
        target_distance = torch.cat([2 * trust * predicted, -trust], dim=1)
        squares = cells.square().sum(dim=1, keepdim=True)
        source_distance = torch.cat([cells, squares], dim=1).expand(source.shape[0], -1, -1, -1)
        source = F.normalize(source, dim=1) * self.sharpness.exp()
        return Matches(
            torch.cat([F.normalize(target, dim=1), target_distance], dim=1),
            torch.cat([source, source_distance], dim=1),
        )


def _from_middle(like: Tensor, stride: int) -> Tensor:
    """(1, 2, h, w) middles of cells of `stride` pixels, relative to the middle of the frame, in source cells."""
    height, width = like.shape[-2:]
    x, y = cell_middles(height, width, stride, like).split(1, dim=1)
    middle = (stride - 1) / 2
    x = x - (x[..., -1:] + middle) / 2
    y = y - (y[..., -1:, :] + middle) / 2
    return torch.cat([x, y], dim=1) / SOURCE_STRIDE


def _normalised_positions(like: Tensor) -> Tensor:
    """(B, 2, H, W) the x and y of every pixel in [-1, 1]; they describe what does not move, such as the background."""
    height, width = like.shape[-2:]
    x, y = (cell_middles(height, width, 1, like) + 0.5).split(1, dim=1)
    # Divided one by one: a tensor of both sizes would be a constant of an ONNX export.
    position = torch.cat([x / width, y / height], dim=1) * 2 - 1
    return position.to(like.dtype).expand(like.shape[0], -1, -1, -1)
