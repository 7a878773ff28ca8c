"""The renderer: encoders to features at strides 2, 4 and 8, and a decoder that fetches source features on the way back.

B batch, C channels, R reference pictures, h x w feature grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gfla_cli.config import Level, ModelConfig
from gfla_cli.networks.blocks import DecoderBlock, EncoderBlock, ResidualBlock, ToImage, widths
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.samplers import Source, sampler

DEPTH = 3  # strides 2, 4, 8


class Encoder(nn.Module):
    """Three stride-2 blocks: a picture, a structure or both, to features."""

    def __init__(self, config: ModelConfig, input_channels: int, normed: tuple[bool, ...] = (True,) * DEPTH) -> None:
        super().__init__()
        width = widths(config.width, config.max_width, DEPTH)
        self.down = nn.ModuleList(
            EncoderBlock(a, b, normed=n) for a, b, n in zip([input_channels, *width], width, normed, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8: [(B, C, H/2, W/2), ...]."""
        features = []
        for down in self.down:
            x = down(x)
            features.append(x)
        return features


class DecoderLevel(nn.Module):
    """One step of the decoder: blend in what the samplers fetched, refine, double the resolution.

    With masks m_i the blend is the sum over references of x·(1-m_i) + sampled_i·m_i; one reference is the paper's
    pose generator, two are its sequence generators. A level without attention has no samplers and only refines.
    """

    def __init__(self, config: ModelConfig, channels: int, finer: int, level: Level | None, references: int) -> None:
        super().__init__()
        count = references if level and config.sampler != "none" else 0
        self.samplers = nn.ModuleList(sampler(channels, level, config) for _ in range(count) if level)
        # Global attention has no flow estimator, so it has to predict its masks here.
        self.gate = nn.Conv2d(channels, count, 3, padding=1) if count and config.sampler == "global" else None
        self.residual = ResidualBlock(channels)
        self.up = DecoderBlock(channels, finer, hidden=channels)

    def prepare(self, features: Tensor, reference: int) -> Source:
        """What the sampler of one reference derives from its features alone."""
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
        parts = []
        for i, sample in enumerate(self.samplers):
            fetched = sample(sources[i], x, flows[i] if flows else None)
            parts.append(torch.lerp(x.float(), fetched.float(), masks[i].float()))
        blended = torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]
        return blended.to(self.residual.conv1.weight.dtype)  # half where the convolutions are


class Decoder(nn.Module):
    """From target features at stride 8 back to the picture, level by level."""

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

    def prepare(self, features: Sequence[Tensor], reference: int = 0) -> dict[str, Source]:
        """What the samplers derive from one reference's features (strides 2, 4, 8), by level."""
        at_stride = dict(zip(("2", "4", "8"), features, strict=True))
        prepared = {}
        for name, level in self.levels.items():
            assert isinstance(level, DecoderLevel)
            if len(level.samplers):
                prepared[name] = level.prepare(at_stride[name], reference)
        return prepared

    def forward(self, x: Tensor, sources: Sequence[dict[str, Source]], flows: Sequence[Sequence[Flow]]) -> Tensor:
        """The picture, (B, 3, H, W) in [-1, 1].

        `x` (B, C, H/8, W/8) target features; `sources` what `prepare` gave for each reference; `flows` per attention
        level, coarse to fine, one Flow per reference (none at all for the global sampler).
        """
        remaining = iter(flows)
        for name, level in self.levels.items():
            here = [source[name] for source in sources if name in source]
            x = level(x, here, next(remaining, []) if here else [])
        image: Tensor = self.to_image(x).float()
        return image
