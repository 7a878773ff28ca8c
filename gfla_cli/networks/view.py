"""Where a picture of an object was taken from: a small classifier beside the view generator."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.blocks import DecoderBlock, EncoderBlock, activation, widths
from gfla_cli.networks.flow import Flow, FlowEstimator
from gfla_cli.networks.generator import Generated
from gfla_cli.networks.renderer import DEPTH, Decoder, Encoder
from gfla_cli.networks.samplers import Source
from gfla_cli.ops.warp import bilinear_warp

_SIDE = 128  # pixels of the picture that is looked at, whatever the frame's size
_DEPTH = 4


def averaged(image: Tensor, side: int) -> Tensor:
    """Means over equal parts, (B, C, H, W) -> (B, C, side, side), as adaptive average pooling.

    As two products of matrices, because ONNX pools to a given size only from sizes that are known when it is written.
    """
    down, across = (_shares(length, side, image) for length in image.shape[-2:])
    return down @ image @ across.T


def _shares(length: int, parts: int, like: Tensor) -> Tensor:
    """(parts, length): what every pixel contributes to every part; parts overlap where they do not divide."""
    part = torch.arange(parts, device=like.device)[:, None]
    first, end = part * length // parts, ((part + 1) * length + parts - 1) // parts
    pixel = torch.arange(length, device=like.device)
    inside = ((pixel >= first) & (pixel < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class ViewEstimator(nn.Module):
    """(B, 3, H, W) picture in [-1, 1] -> (B, codes) scores: one group of them per part of the view code."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        channels = widths(width, 6 * width, _DEPTH)
        # The norm over the raw picture is wanted here: how bright it is says nothing about the view.
        self.down = nn.Sequential(*(EncoderBlock(a, b) for a, b in zip([3, *channels], channels, strict=False)))
        self.squeeze = nn.Conv2d(channels[-1], 2 * width, 1)
        self.act = activation()
        self.scores = nn.Linear(2 * width * (_SIDE >> _DEPTH) ** 2, codes)

    def forward(self, image: Tensor) -> Tensor:
        """Unnormalised scores; each group's softmax is a probability."""
        x = self.act(self.squeeze(self.act(self.down(averaged(image, _SIDE)))))
        scores: Tensor = self.scores(x.flatten(1))
        return scores.float()


# The view generator: a picture of an object, and the code of a new view, to the object from there (paper, Sec. 4.4).
#
# A code is (B, 21, 1, 1): one-hot azimuth (18, in steps of 20 degrees), then one-hot elevation (0, 10, 20 degrees).


class EncodedSource(NamedTuple):
    """A source picture as every view of it needs it."""

    samples: dict[str, Source]  # by level
    flow: list[Tensor]  # what the flow estimator makes of the picture before it knows the view


class ViewGenerator(nn.Module):
    """Source picture + source code + target code -> picture."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        code = config.structure_channels
        width = widths(config.width, config.max_width, DEPTH)
        self.source_encoder = Encoder(config, 3, (config.source_norm,) * DEPTH)
        # From stride 32, where the code is tiled, to stride 8, where the decoder starts.
        # A norm takes the mean of every channel away, and of a tiled code that is all there is; only the shortcuts
        # save it. The authors have it, our own presets do not.
        normed = config.structure_norm
        self.code_up = nn.Sequential(
            DecoderBlock(code, width[0], normed=normed), DecoderBlock(width[0], width[-1], normed=normed)
        )
        if self.config.has_flow:
            self.flow_estimator = FlowEstimator(config, 3, code_channels=code)
        self.decoder = Decoder(config)
        self.view_estimator = ViewEstimator(code, config.view_width) if config.view_width else None

    def forward(
        self, source_image: Tensor, source_code: Tensor, target_code: Tensor, source: EncodedSource | None = None
    ) -> Generated:
        """Renders the target view.

        `source_image` (B, 3, H, W) in [-1, 1], codes (B, 21, 1, 1). `source` is what `encode_source` made of the
        picture: pass it for every view of a turntable, and that work is done once.
        """
        flows = self.estimate_flow(source_image, source_code, target_code, source)
        return Generated(self.render(source_image, target_code, flows, source), flows)

    def render(
        self, source_image: Tensor, target_code: Tensor, flows: list[Flow], source: EncodedSource | None = None
    ) -> Tensor:
        """The view (B, 3, H, W) that comes of given flows, one per attention level."""
        samples = self._samples(source_image) if source is None else source.samples
        height, width = source_image.shape[-2:]
        target = self.code_up(target_code.expand(-1, -1, height // 32, width // 32))
        image: Tensor = self.decoder(target, [samples], [[flow] for flow in flows]).image
        return image

    def encode_source(self, source_image: Tensor) -> EncodedSource:
        """All that depends on the source picture alone: almost half of what a view takes."""
        flow = self.flow_estimator.encode([source_image]) if self.config.has_flow else []
        return EncodedSource(self._samples(source_image), flow)

    def estimate_flow(
        self, source_image: Tensor, source_code: Tensor, target_code: Tensor, source: EncodedSource | None = None
    ) -> list[Flow]:
        """The flows alone, coarse to fine."""
        if not self.config.has_flow:
            return []
        encoded = self.flow_estimator.encode([source_image]) if source is None else source.flow
        return [level[0] for level in self.flow_estimator.decode(encoded, source_code - target_code)]

    def _samples(self, source_image: Tensor) -> dict[str, Source]:
        return self.decoder.prepare(self.source_encoder(source_image))

    def estimate_view(self, image: Tensor) -> Tensor:
        """Scores (B, 21) of the parts of the code that a picture (B, 3, H, W) was taken with."""
        if self.view_estimator is None:
            raise ValueError("this network was built without a view estimator")
        scores: Tensor = self.view_estimator(image)
        return scores


# Appearance flow, the comparison of the paper's figure 7: the view generator's flow moves pixels, no renderer.


class AppearanceFlow(nn.Module):
    """Source picture + source code + target code -> the source's pixels rearranged."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.flow_estimator = FlowEstimator(config, 3, code_channels=config.structure_channels)

    def forward(
        self, source_image: Tensor, source_code: Tensor, target_code: Tensor, source: list[Tensor] | None = None
    ) -> Generated:
        """Warps (B, 3, H, W) pictures in [-1, 1]; codes (B, 21, 1, 1). `source` is what `encode_source` gave."""
        flows = self.estimate_flow(source_image, source_code, target_code, source)
        finest, stride = flows[-1].offset, self.config.levels[-1].stride
        offset = F.interpolate(finest * stride, scale_factor=float(stride), mode="bilinear", align_corners=False)
        return Generated(bilinear_warp(source_image, offset), flows)

    def encode_source(self, source_image: Tensor) -> list[Tensor]:
        """All that depends on the source picture alone."""
        return self.flow_estimator.encode([source_image])

    def estimate_flow(
        self, source_image: Tensor, source_code: Tensor, target_code: Tensor, source: list[Tensor] | None = None
    ) -> list[Flow]:
        """The flows, coarse to fine; the finest is the one that moves the pixels."""
        encoded = self.encode_source(source_image) if source is None else source
        return [level[0] for level in self.flow_estimator.decode(encoded, source_code - target_code)]
