"""Appearance flow, the comparison of the paper's figure 7: the view generator's flow moves pixels, no renderer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.flow import Flow, FlowEstimator
from gfla_cli.networks.generator import Generated
from gfla_cli.ops.warp import bilinear_warp


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
