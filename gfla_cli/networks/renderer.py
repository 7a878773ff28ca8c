"""The local neural texture renderer (paper, Sec. 3.2): encoders, and a decoder that warps source features.

Encoders give features at strides 2, 4 and 8. The decoder blends in source features by local attention at each level.

B batch, C channels, R reference images, H x W frame, h x w feature grid. Images are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gfla_cli.config import Level, ModelConfig
from gfla_cli.networks.blocks import (
    DecoderBlock,
    EncoderBlock,
    ResidualBlock,
    ToImage,
    activation,
    conv_of_parts,
    features_after,
    widths,
)
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.samplers import Source, sampler
from gfla_cli.ops.warp import bilinear_warp, blurred, channel_softmax, downsample, upsample

DEPTH = 3  # strides 2, 4, 8
_FINEST = 2  # stride of the finest flow of models that blend in pixels
_BLEND_WIDTH = 16
_LARGEST_RESIDUAL = 0.5  # of pixels in [-1, 1]
NO_PATTERN = (0.25, 0.5, 0.25)  # weights of neighbouring pixels that remove a pattern of two pixels


class Encoder(nn.Module):
    """Three stride-2 blocks: an image, a structure or both, to features."""

    def __init__(self, config: ModelConfig, input_channels: int, normed: tuple[bool, ...] = (True,) * DEPTH) -> None:
        super().__init__()
        width = widths(config.width, config.max_width, DEPTH)
        self.down = nn.ModuleList(
            EncoderBlock(a, b, hidden=config.hidden(b), normed=n)
            for a, b, n in zip([input_channels, *width], width, normed, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8: [(B, C, H/2, W/2), ...]."""
        return features_after(self.down, x)


class DecoderLevel(nn.Module):
    """One step of the decoder: blend in warped source features, refine, double the resolution.

    With masks m_i the blend is the sum over references of x·(1-m_i) + warped_i·m_i. The pose generator has one
    reference, sequence generators have two. A level without attention has no samplers and only refines.
    """

    def __init__(self, config: ModelConfig, channels: int, finer: int, level: Level | None, references: int) -> None:
        super().__init__()
        count = references if level and config.sampler != "none" else 0
        self.samplers = nn.ModuleList(sampler(channels, level, config) for _ in range(count) if level)
        # Global attention has no flow estimator, so its masks are predicted here.
        self.gate = nn.Conv2d(channels, count, 3, padding=1) if count and config.sampler == "global" else None
        hidden = config.hidden(channels)
        self.residual = ResidualBlock(channels, hidden=hidden)
        self.up = DecoderBlock(channels, finer, hidden=hidden, kernel=config.up_kernel)

    def prepare(self, features: Tensor, reference: int) -> Source:
        """Everything that the sampler of one reference derives from its features only; independent of the target."""
        source: Source = self.samplers[reference].prepare(features)  # type: ignore[operator]
        return source

    def forward(self, x: Tensor, sources: Sequence[Source], flows: Sequence[Flow]) -> Tensor:
        """(B, C, h, w) to (B, C', 2h, 2w); one source and one flow per sampler."""
        if len(self.samplers):
            x = self._blend(x, sources, flows)
        y: Tensor = self.up(self.residual(x))
        return y

    def _blend(self, x: Tensor, sources: Sequence[Source], flows: Sequence[Flow]) -> Tensor:
        masks = self.gate(x).sigmoid().split(1, dim=1) if self.gate is not None else [flow.mask for flow in flows]
        blended, own = None, x.float()
        for i, sample in enumerate(self.samplers):
            fetched = sample(sources[i], x, flows[i] if flows else None)
            part = torch.lerp(own, fetched.float(), masks[i].float())
            blended = part if blended is None else blended + part  # not a stack, which would lose channels_last
        assert blended is not None
        return blended.to(self.residual.conv1.weight.dtype)  # half where the convolutions are


class Blend(NamedTuple):
    """Composition of an image: `(1 - share) * generated + share * warped source + residual`.

    With several sources the warped images are mixed in one after the other. `generated` then holds all but the last.
    """

    generated: Tensor  # (B, 3, H, W) in [-1, 1]
    shares: Tensor  # (B, R, H, W) in [0, 1]: of each warped source image in its mix with what comes before it
    residual: Tensor  # (B, 3, H, W) within ±_LARGEST_RESIDUAL
    matte: Tensor  # (B, 1, H, W) logits: foreground (person or object) against background

    def composite(self, warped: Tensor) -> Tensor:
        """The image (B, 3, H, W), from the warped image of the last source, (B, 3, H, W)."""
        share = self.shares[:, -1:]
        return self.generated * (1 - share) + share * warped + self.residual

    def without_pattern(self) -> Blend:
        """The same without the pattern of two pixels that transposed convolutions leave."""
        channels = [part.shape[1] for part in self]
        return Blend(*blurred(torch.cat([part.float() for part in self], dim=1), NO_PATTERN).split(channels, dim=1))


class PixelBlend(nn.Module):
    """Predicts how much of each pixel is taken from the warped source image, and how much is generated.

    Not in the paper. Where the flow is right, the warped photograph is sharper than a generated image. It also predicts
    the foreground.
    """

    def __init__(self, channels: int, references: int, reduction: int = 1) -> None:
        """`reduction`: side of the frame divided by the side at which shares, residual and matte are predicted."""
        super().__init__()
        self.references, self.reduction = references, reduction
        # Inputs: features of the decoder, the generated image, and the warped image and the mask of each source.
        self.hidden = nn.Conv2d(channels + 3 + 4 * references, _BLEND_WIDTH, 3, padding=1)
        self.output = nn.Conv2d(_BLEND_WIDTH, references + 5, 3, padding=1)
        self.act = activation()

    def forward(self, x: Tensor, generated: Tensor, warped: Sequence[Tensor], masks: Sequence[Tensor]) -> Blend:
        """`x` (B, C, H, W) features; `generated`, `warped` (B, 3, H, W) each; `masks` (B, 1, H/2, W/2) each."""
        inputs = [downsample(part.to(x.dtype), self.reduction) for part in (x, generated, *warped)]
        inputs += [upsample(mask, _FINEST // self.reduction).to(x.dtype) for mask in masks]
        y = self.output(self.act(conv_of_parts(self.hidden, inputs))).float().contiguous()
        logits, residual, matte = y.split([self.references + 1, 3, 1], dim=1)
        # Of the first i sources and the generated image, each softmax gives the share of source i.
        shares = torch.cat([channel_softmax(logits[:, : i + 2])[:, -1:] for i in range(self.references)], dim=1)
        shares, residual, matte = (
            upsample(part, self.reduction) for part in (shares, residual.tanh() * _LARGEST_RESIDUAL, matte)
        )
        for i, image in enumerate(warped[:-1]):
            generated = torch.lerp(generated, image.float(), shares[:, i : i + 1])
        return Blend(generated, shares, residual, matte)


class Decoded(NamedTuple):
    """An image, and its composition."""

    image: Tensor  # (B, 3, H, W) in [-1, 1]
    blend: Blend | None = None  # of models with `pixel_blend`
    warped: Tensor | None = None  # (B, 3, H, W) the last source image where its flow leads, of the same models


class Decoder(nn.Module):
    """From target features at stride 8 to the image, level by level."""

    def __init__(self, config: ModelConfig, references: int = 1) -> None:
        super().__init__()
        width = dict(zip((2, 4, 8), widths(config.width, config.max_width, DEPTH), strict=True))
        attended = {level.stride: level for level in config.levels}
        self.levels = nn.ModuleDict(
            {
                str(stride): DecoderLevel(
                    config, width[stride], width[max(stride // 2, 2)], attended.get(stride), references
                )
                for stride in (8, 4, 2)
            }
        )
        self.to_image = ToImage(width[2])
        self.pixel_blend = PixelBlend(width[2], references, config.blend_reduction) if config.pixel_blend else None
        self.smooth = config.task == "pose"  # in other tasks smoothing would remove more detail than pattern

    def prepare(self, features: Sequence[Tensor], reference: int = 0) -> dict[str, Source]:
        """Everything that the samplers derive from one reference's features (strides 2, 4, 8) only, by level."""
        at_stride = dict(zip(("2", "4", "8"), features, strict=True))
        prepared = {}
        for name, level in self.levels.items():
            assert isinstance(level, DecoderLevel)
            if len(level.samplers):
                prepared[name] = level.prepare(at_stride[name], reference)
        return prepared

    def forward(
        self,
        x: Tensor,
        sources: Sequence[dict[str, Source]],
        flows: Sequence[Sequence[Flow]],
        images: Sequence[Tensor] = (),
    ) -> Decoded:
        """The image, (B, 3, H, W) in [-1, 1].

        `x` (B, C, H/8, W/8) target features; `sources` the result of `prepare` for each reference; `flows` per
        attention level, coarse to fine, one Flow per reference (empty for the sampler "global"); `images` (B, 3, H, W)
        of each reference, for models that blend in pixels.
        """
        remaining = iter(flows)
        for name, level in self.levels.items():
            at_level = [source[name] for source in sources if name in source]
            x = level(x, at_level, next(remaining, []) if at_level else [])
        generated: Tensor = self.to_image(x).float()
        if self.pixel_blend is None:
            return Decoded(generated)
        warped = [warp_image(image, flow) for image, flow in zip(images, flows[-1], strict=True)]
        blend: Blend = self.pixel_blend(x, generated, warped, [flow.mask for flow in flows[-1]])
        if self.smooth:
            blend = blend.without_pattern()
        return Decoded(blend.composite(warped[-1]), blend, warped[-1])


def warp_image(image: Tensor, flow: Flow) -> Tensor:
    """Warps an image (B, 3, H, W) by the flow of the finest level, (B, 2, H/2, W/2)."""
    return bilinear_warp(image, upsample(flow.offset, _FINEST) * _FINEST)
