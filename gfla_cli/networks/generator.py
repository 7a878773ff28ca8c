"""The pose generator: a picture of a person, and where the joints should be, to the person in that pose (Fig. 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.flow import Choice, Flow, FlowEstimator
from gfla_cli.networks.priors.features import GUESS_STRIDE, enlarged, reduced
from gfla_cli.networks.priors.solids import BODY_CHANNELS, BodyPrior, body_prior
from gfla_cli.networks.renderer import DEPTH, Blend, Decoder, Encoder


class Generated(NamedTuple):
    """A generated picture and what is behind it."""

    image: Tensor  # (B, 3, H, W) in [-1, 1]
    flows: list[Flow]  # one per attention level, coarse to fine; empty where the sampler uses none
    blend: Blend | None = None  # of models with `pixel_blend`
    choice: Choice | None = None  # of models with the flow prior "solids"
    bodies: BodyPrior | None = None  # of models whose joints have depth


class EstimatedFlow(NamedTuple):
    """What the flow estimator says about one source."""

    flows: list[Flow]  # one per attention level, coarse to fine
    choice: Choice | None  # of models with the flow prior "solids"


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
        Raises ValueError for another number of channels than the model's.
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
        bodies = self.bodies(source_image, source_structure, target_structure)
        estimated = self.estimate_flow(source_image, source_structure, target_structure, bodies)
        made = self.render(source_image, target_structure, estimated.flows, bodies)
        return made._replace(choice=estimated.choice, bodies=bodies)

    def render(
        self, source_image: Tensor, target_structure: Tensor, flows: list[Flow], bodies: BodyPrior | None = None
    ) -> Generated:
        """The picture that comes of given flows, one per attention level; not for the none sampler.

        `bodies`: what `bodies` gave for the same structures; models that have depth need it.
        """
        sources = self.decoder.prepare(self.source_encoder(source_image))
        target = self.target_encoder(self._target_maps(target_structure, bodies))[-1]
        drawn = self.decoder(target, [sources], [[flow] for flow in flows], [source_image])
        return Generated(drawn.image, flows, drawn.blend)

    def _target_maps(self, structure: Tensor, bodies: BodyPrior | None) -> Tensor:
        """(B, ·, H, W) all that is known of the target: its joints, and its body map where joints have depths."""
        if bodies is None:
            return structure
        seen = enlarged(bodies.target.detach(), GUESS_STRIDE * self._reduction)
        return torch.cat([structure[:, : self.config.drawn_channels], seen.to(structure.dtype)], dim=1)

    @property
    def _reduction(self) -> int:
        """How many times smaller the frame is in which flows are estimated."""
        return self.flow_estimator.reduction if self.config.has_flow else self.config.flow_reduction

    def bodies(self, source_image: Tensor, source_structure: Tensor, target_structure: Tensor) -> BodyPrior | None:
        """What two structures with depths tell about the flow between them; None for models without depth."""
        if not self.config.has_depth or self.config.sampler == "none":
            return None
        if self.config.has_flow:
            return self.flow_estimator.bodies(source_image, source_structure, target_structure)
        return body_prior(reduced(source_structure, self._reduction), reduced(target_structure, self._reduction))

    def estimate_flow(
        self,
        source_image: Tensor,
        source_structure: Tensor,
        target_structure: Tensor,
        bodies: BodyPrior | None = None,
    ) -> EstimatedFlow:
        """The flows alone, coarse to fine: all that the first training stage needs.

        `bodies` of `bodies` for the same inputs avoids computing them again.
        """
        if not self.config.has_flow:
            return EstimatedFlow([], None)
        inputs = [source_image, source_structure, target_structure]
        if self.config.flow_prior == "none":
            return EstimatedFlow([level[0] for level in self.flow_estimator(inputs)], None)
        estimated = self.flow_estimator.estimate(inputs, bodies)
        return EstimatedFlow([level[0] for level in estimated.levels], estimated.choice)
