"""The pose generator: renders a person in another pose (paper, Fig. 2).

B batch, S structure channels, H x W frame. A structure is the paper's pose map p. Images are in [-1, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.blocks import side_by_side
from gfla_cli.networks.flow import Choice, Flow, FlowEstimator
from gfla_cli.networks.priors import PRIOR_STRIDE
from gfla_cli.networks.priors.solids import BODY_CHANNELS, BodyPrior, compute_body_prior
from gfla_cli.networks.renderer import DEPTH, Blend, Decoder, Encoder
from gfla_cli.ops.warp import downsample, upsample


class Generated(NamedTuple):
    """A generated image and what it was made from."""

    image: Tensor  # (B, 3, H, W) in [-1, 1]
    flows: list[Flow]  # one per attention level, coarse to fine; empty where the sampler uses none
    blend: Blend | None = None  # of models with `pixel_blend`
    choice: Choice | None = None  # of models with the flow prior "solids"
    body_prior: BodyPrior | None = None  # of models whose joints have depth


class EstimatedFlow(NamedTuple):
    """Outputs of the flow estimator for one source."""

    flows: list[Flow]  # one per attention level, coarse to fine
    choice: Choice | None  # of models with the flow prior "solids"


class PoseGenerator(nn.Module):
    """x_t = G(x_s, p_t, w, m): source image and two structures to the image in the target pose.

    `config.sampler` chooses the paper's model ("local") or an ablation of it (table 2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        structure = config.drawn_channels
        first_normed = (config.structure_norm, *(True,) * (DEPTH - 1))
        if config.sampler == "none":  # one auto-encoder over everything
            self.target_encoder = Encoder(config, 3 + 2 * structure, first_normed)
        else:
            self.source_encoder = Encoder(config, 3, (config.source_norm,) * DEPTH)
            body_map = BODY_CHANNELS if config.has_depth else 0
            self.target_encoder = Encoder(config, structure + body_map, first_normed)
        if config.has_flow:
            self.flow_estimator = FlowEstimator(config, 3 + 2 * structure)
        self.decoder = Decoder(config)

    def forward(self, source_image: Tensor, source_structure: Tensor, target_structure: Tensor) -> Generated:
        """Renders the source in the target structure.

        `source_image` (B, 3, H, W) in [-1, 1], structures (B, S, H, W); H and W multiples of 32.
        Raises ValueError if the structures do not have the model's number of channels.
        """
        for structure in (source_structure, target_structure):
            if structure.shape[1] != self.config.structure_channels:
                raise ValueError(
                    f"the model takes {self.config.structure_channels} structure channels, got {structure.shape[1]}"
                )
        if self.config.sampler == "none":
            drawn = (maps[:, : self.config.drawn_channels] for maps in (source_structure, target_structure))
            features = self.target_encoder(torch.cat([source_image, *drawn], dim=1))
            return Generated(self.decoder(features[-1], [], []).image, [])
        bodies = self.body_prior(source_image, source_structure, target_structure)
        estimated = self.estimate_flow(source_image, source_structure, target_structure, bodies)
        generated = self.render(source_image, target_structure, estimated.flows, bodies)
        return generated._replace(choice=estimated.choice, body_prior=bodies)

    def render(
        self, source_image: Tensor, target_structure: Tensor, flows: list[Flow], bodies: BodyPrior | None = None
    ) -> Generated:
        """The image for given flows, one per attention level; not for the sampler "none".

        `bodies`: the result of `body_prior` for the same inputs; models with depth need it.
        """
        sources = self.decoder.prepare(self.source_encoder(source_image))
        target = self.target_encoder(self._target_maps(target_structure, bodies))[-1]
        decoded = self.decoder(target, [sources], [[flow] for flow in flows], [source_image])
        return Generated(decoded.image, flows, decoded.blend)

    def _target_maps(self, structure: Tensor, bodies: BodyPrior | None) -> Tensor:
        """Input of the target encoder (B, ·, H, W): heat maps, and the body map of models with depth."""
        if bodies is None:
            return structure
        body_map = upsample(side_by_side([bodies.target.detach()], structure), PRIOR_STRIDE * self._reduction)
        return side_by_side([structure[:, : self.config.drawn_channels], body_map.to(structure.dtype)])

    @property
    def _reduction(self) -> int:
        """Side of the frame divided by the side of the frame in which flows are estimated."""
        return self.flow_estimator.reduction if self.config.has_flow else self.config.flow_reduction

    def body_prior(self, source_image: Tensor, source_structure: Tensor, target_structure: Tensor) -> BodyPrior | None:
        """The flow prior "solids" of two structures with depth; None for models without depth."""
        if not self.config.has_depth or self.config.sampler == "none":
            return None
        if self.config.has_flow:
            return self.flow_estimator.body_prior(source_image, source_structure, target_structure)
        source, target = (downsample(x, self._reduction) for x in (source_structure, target_structure))
        return compute_body_prior(source, target)

    def estimate_flow(
        self, source_image: Tensor, source_structure: Tensor, target_structure: Tensor, bodies: BodyPrior | None = None
    ) -> EstimatedFlow:
        """The flows only, coarse to fine: all that the first training stage needs.

        Pass the result of `body_prior` for the same inputs to avoid recomputing it.
        """
        if not self.config.has_flow:
            return EstimatedFlow([], None)
        inputs = [source_image, source_structure, target_structure]
        if self.config.flow_prior == "none":
            return EstimatedFlow([level[0] for level in self.flow_estimator(inputs)], None)
        estimated = self.flow_estimator.estimate(inputs, bodies)
        return EstimatedFlow([level[0] for level in estimated.levels], estimated.choice)
