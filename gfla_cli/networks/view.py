"""View synthesis: an object from another view (paper, Sec. 4.4), and an estimator of the view of an image.

B batch, H x W frame. Images are in [-1, 1]. A view code is (B, 21, 1, 1): one-hot azimuth (18, in steps of 20 degrees),
then one-hot elevation (0, 10, 20 degrees).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.blocks import DecoderBlock, activation, encoder_blocks, widths
from gfla_cli.networks.flow import Flow, FlowEstimator
from gfla_cli.networks.generator import Generated
from gfla_cli.networks.priors.volume import REFINED, MaskEstimator, Projection, Volume, VolumeEstimator, project_volume
from gfla_cli.networks.renderer import DEPTH, Decoder, Encoder
from gfla_cli.networks.samplers import Source
from gfla_cli.ops.warp import bilinear_warp, downsample, upsample

_SIDE = 128  # pixels to which the view estimator reduces an image
_DEPTH = 4  # its stride-2 blocks


def averaged(image: Tensor, side: int) -> Tensor:
    """Adaptive average pooling, (B, C, H, W) -> (B, C, side, side), as two matrix products.

    ONNX can pool to a given size only if the input size is known at export.
    """
    down, across = (_shares(length, side, image) for length in image.shape[-2:])
    return down @ image @ across.T


def _shares(length: int, parts: int, like: Tensor) -> Tensor:
    """(parts, length): the weight of every pixel in every part; parts overlap unless they divide the length."""
    part = torch.arange(parts, device=like.device)[:, None]
    first, end = part * length // parts, ((part + 1) * length + parts - 1) // parts
    pixel = torch.arange(length, device=like.device)
    inside = ((pixel >= first) & (pixel < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class ViewEstimator(nn.Module):
    """Classifies the view of an image: (B, 3, H, W) -> scores (B, codes), one group per part of the view code."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        channels = widths(width, 6 * width, _DEPTH)
        # The norm over the raw image helps here: its brightness says nothing about the view.
        self.down = nn.Sequential(*encoder_blocks([3, *channels], first_normed=True))
        self.squeeze = nn.Conv2d(channels[-1], 2 * width, 1)
        self.act = activation()
        self.scores = nn.Linear(2 * width * (_SIDE >> _DEPTH) ** 2, codes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits; each group (azimuths, elevations) has a softmax of its own."""
        x = self.act(self.squeeze(self.act(self.down(averaged(image, _SIDE)))))
        scores: Tensor = self.scores(x.flatten(1))
        return scores.float()


class ViewFlow(NamedTuple):
    """The flow to a source image, and the object that it shows."""

    flows: list[Flow]  # one per attention level, coarse to fine
    shape: Projection | None = None  # with the flow prior "volume"
    volume: Volume | None = None
    features: Tensor | None = None  # (B, REFINED, H/8, W/8) of that object, for the decoder


class CodeFlowEstimator(FlowEstimator):
    """The paper's flow estimator, which gets the change of view as a code."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, 3, code_channels=config.structure_channels)

    def encode_source(self, image: Tensor) -> list[Tensor]:
        """Everything that depends on the source image (B, 3, H, W) only."""
        return self.encode([image])

    def view_flow(self, encoded: Sequence[Tensor], source_code: Tensor, target_code: Tensor) -> ViewFlow:
        """The flow of a target view from the result of `encode_source`. View codes are (B, 21, 1, 1)."""
        return ViewFlow([level[0] for level in self.decode(encoded, source_code - target_code)])


class VolumeFlowEstimator(nn.Module):
    """The flow estimator of the flow prior "volume": the volume gives the flows, a small network their masks.

    Estimates on the frame at 1/flow_reduction of its side, as `FlowEstimator` does.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.full_height, self.full_reduction = config.image_size[0], config.flow_reduction
        self.reduction = config.flow_reduction
        self.strides = [level.stride for level in config.levels]
        self.learns_from_pixels = config.sampler == "pixels"  # appearance flow has no renderer
        self.volume = VolumeEstimator(config)
        self.masks = MaskEstimator()

    def encode_source(self, image: Tensor) -> list[Tensor]:
        """Everything that depends on the source image (B, 3, H, W) only."""
        return list(self.volume(downsample(image, self.reduction)))

    def view_flow(self, encoded: Sequence[Tensor], source_code: Tensor, target_code: Tensor) -> ViewFlow:
        """The flow of a target view from the result of `encode_source`. View codes are (B, 21, 1, 1)."""
        volume = Volume(*encoded)
        shape = project_volume(volume, source_code, target_code)
        # The volume has losses of its own, so a renderer sends no gradient through its projection.
        still = shape if self.learns_from_pixels else Projection(*(part.detach() for part in shape))
        masks, features = self.masks(still.maps.to(source_code.dtype))
        flows = []
        for stride in self.strides:
            mask = upsample(masks[(8, 4, 2).index(stride)], self.reduction)  # at this stride of the reduced frame
            flows.append(Flow(still.offset_at(mask.shape[-2], mask.shape[-1]), mask))
        return ViewFlow(flows, shape, volume, downsample(features, 2 // self.reduction))


def _flow_estimator(config: ModelConfig) -> CodeFlowEstimator | VolumeFlowEstimator:
    return VolumeFlowEstimator(config) if config.flow_prior == "volume" else CodeFlowEstimator(config)


class EncodedSource(NamedTuple):
    """Everything about a source image that does not depend on the target view."""

    samples: dict[str, Source]  # by level
    flow: list[Tensor]  # features of the flow estimator before the view code


class ViewGenerator(nn.Module):
    """Source image, source code and target code to the image from the target view."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        code = config.structure_channels
        width = widths(config.width, config.max_width, DEPTH)
        self.source_encoder = Encoder(config, 3, (config.source_norm,) * DEPTH)
        # From stride 32, where the code is tiled, to stride 8, where the decoder starts.
        # An InstanceNorm removes the mean of every channel, which is all that a tiled code has. Only the shortcuts
        # keep it. The released models have this norm, our own presets do not.
        normed = config.structure_norm
        self.code_up = nn.Sequential(
            DecoderBlock(code, width[0], normed=normed), DecoderBlock(width[0], width[-1], normed=normed)
        )
        if self.config.has_flow:
            self.flow_estimator = _flow_estimator(config)
            if config.flow_prior == "volume":
                self.shape_features = nn.Conv2d(REFINED, width[-1], 3, padding=1)
        self.decoder = Decoder(config)
        self.view_estimator = ViewEstimator(code, config.view_width) if config.view_width else None

    def forward(
        self, source_image: Tensor, source_code: Tensor, target_code: Tensor, source: EncodedSource | None = None
    ) -> Generated:
        """Renders the target view.

        `source_image` (B, 3, H, W) in [-1, 1], codes (B, 21, 1, 1). `source` is the result of `encode_source`: pass it
        for every view of a turntable to avoid recomputing it.
        """
        found = self.estimate_flow(source_image, source_code, target_code, source)
        return self.render(source_image, target_code, found, source)

    def render(
        self, source_image: Tensor, target_code: Tensor, found: ViewFlow, source: EncodedSource | None = None
    ) -> Generated:
        """The view for a given flow."""
        samples = self._samples(source_image) if source is None else source.samples
        height, width = source_image.shape[-2:]
        target = self.code_up(target_code.expand(-1, -1, height // 32, width // 32))
        if found.features is not None:
            target = target + self.shape_features(found.features)
        decoded = self.decoder(target, [samples], [[flow] for flow in found.flows], [source_image])
        return Generated(decoded.image, found.flows, decoded.blend)

    def encode_source(self, source_image: Tensor) -> EncodedSource:
        """Everything that depends on the source image only: almost half of the work of a view."""
        flow = self.flow_estimator.encode_source(source_image) if self.config.has_flow else []
        return EncodedSource(self._samples(source_image), flow)

    def estimate_flow(
        self, source_image: Tensor, source_code: Tensor, target_code: Tensor, source: EncodedSource | None = None
    ) -> ViewFlow:
        """The flow only."""
        if not self.config.has_flow:
            return ViewFlow([])
        encoded = self.flow_estimator.encode_source(source_image) if source is None else source.flow
        return self.flow_estimator.view_flow(encoded, source_code, target_code)

    def _samples(self, source_image: Tensor) -> dict[str, Source]:
        return self.decoder.prepare(self.source_encoder(source_image))

    def estimate_view(self, image: Tensor) -> Tensor:
        """Logits (B, 21) of the view code of images (B, 3, H, W). Raises ValueError if there is no estimator."""
        if self.view_estimator is None:
            raise ValueError("this network was built without a view estimator")
        scores: Tensor = self.view_estimator(image)
        return scores


class AppearanceFlow(nn.Module):
    """Appearance flow, the baseline of the paper's figure 7: the flow warps pixels, without a renderer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.flow_estimator = _flow_estimator(config)

    def forward(
        self, source_image: Tensor, source_code: Tensor, target_code: Tensor, source: list[Tensor] | None = None
    ) -> Generated:
        """Warps images (B, 3, H, W) in [-1, 1]; codes (B, 21, 1, 1). `source` is the result of `encode_source`."""
        found = self.estimate_flow(source_image, source_code, target_code, source)
        return Generated(self.warp(source_image, found), found.flows)

    def warp(self, source_image: Tensor, found: ViewFlow) -> Tensor:
        """The source image (B, 3, H, W), warped by the finest flow."""
        stride = self.config.levels[-1].stride
        return bilinear_warp(source_image, upsample(found.flows[-1].offset * stride, stride))

    def encode_source(self, source_image: Tensor) -> list[Tensor]:
        """Everything that depends on the source image only."""
        return self.flow_estimator.encode_source(source_image)

    def estimate_flow(
        self, source_image: Tensor, source_code: Tensor, target_code: Tensor, source: list[Tensor] | None = None
    ) -> ViewFlow:
        """The flow; its finest level warps the pixels."""
        encoded = self.encode_source(source_image) if source is None else source
        return self.flow_estimator.view_flow(encoded, source_code, target_code)
