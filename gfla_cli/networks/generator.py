"""The pose generator: a picture of a person, and where the joints should be, to the person in that pose (Fig. 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.body_flow import BODY_CHANNELS, body_picture
from gfla_cli.networks.flow import Flow, FlowEstimator
from gfla_cli.networks.guess import enlarged
from gfla_cli.networks.matching import Matches
from gfla_cli.networks.renderer import DEPTH, Decoder, Encoder


class Generated(NamedTuple):
    """A generated picture and the flows behind it."""

    image: Tensor  # (B, 3, H, W) in [-1, 1]
    flows: list[Flow]  # one per attention level, coarse to fine; empty where the sampler uses none


class PoseGenerator(nn.Module):
    """Source picture + two structures -> picture. `config.sampler` chooses the paper's model or an ablation of it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        structure = config.drawn_channels
        first_normed = (config.structure_norm, *(True,) * (DEPTH - 1))
        if config.sampler == "none":  # one auto-encoder over everything
            self.target_encoder = Encoder(config, 3 + 2 * structure, first_normed)
        else:
            self.source_encoder = Encoder(config, 3, (config.source_norm,) * DEPTH)
            body = BODY_CHANNELS if config.has_depth else 0
            self.target_encoder = Encoder(config, structure + body, first_normed)
        if config.has_flow:
            self.flow_estimator = FlowEstimator(config, 3 + 2 * structure)
        self.decoder = Decoder(config)

    def forward(self, source_image: Tensor, source_structure: Tensor, target_structure: Tensor) -> Generated:
        """Renders the source in the target structure.

        `source_image` (B, 3, H, W) in [-1, 1], structures (B, S, H, W); H and W multiples of 32.
        """
        if self.config.sampler == "none":
            drawn = (structure[:, : self.config.drawn_channels] for structure in (source_structure, target_structure))
            features = self.target_encoder(torch.cat([source_image, *drawn], dim=1))
            return Generated(self.decoder(features[-1], [], []), [])
        flows = self.estimate_flow(source_image, source_structure, target_structure)
        return Generated(self.render(source_image, target_structure, flows), flows)

    def render(self, source_image: Tensor, target_structure: Tensor, flows: list[Flow]) -> Tensor:
        """The picture (B, 3, H, W) that comes of given flows, one per attention level; not for the none sampler."""
        sources = self.decoder.prepare(self.source_encoder(source_image))
        target = self.target_encoder(self._wanted(target_structure))[-1]
        image: Tensor = self.decoder(target, [sources], [[flow] for flow in flows])
        return image

    def _wanted(self, structure: Tensor) -> Tensor:
        """(B, ·, H, W) all that is known of the target; where joints have depths, what is seen of its body, too."""
        if not self.config.has_depth:
            return structure
        reduction = self.config.flow_reduction  # what is seen takes as long as a fifth of the network at full size
        seen = body_picture(F.avg_pool2d(structure, reduction) if reduction > 1 else structure)
        return torch.cat([structure[:, : self.config.drawn_channels], enlarged(seen, reduction)], dim=1)

    def estimate_flow(
        self,
        source_image: Tensor,
        source_structure: Tensor,
        target_structure: Tensor,
        matches: Matches | None = None,
    ) -> list[Flow]:
        """The flows alone, coarse to fine: all that the first training stage needs.

        `matches` are those of `match` for the same inputs, for who has them already.
        """
        if not self.config.has_flow:
            return []
        levels = self.flow_estimator([source_image, source_structure, target_structure], matches=matches)
        return [level[0] for level in levels]

    def match(self, source_image: Tensor, source_structure: Tensor, target_structure: Tensor) -> Matches:
        """Descriptors of source and target positions; for models with the `flow_prior` "matches"."""
        return self.flow_estimator.match([source_image, source_structure, target_structure])
