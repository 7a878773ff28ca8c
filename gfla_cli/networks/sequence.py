"""The sequence generators: each frame is made from the previous frame and from a fixed reference (paper, Sec. 4.3).

B batch, S structure channels, H x W frame. Images are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.flow import FaceReading, Flow, FlowEstimator
from gfla_cli.networks.renderer import Blend, Decoder, Encoder
from gfla_cli.networks.samplers import Source


class FrameFlows(NamedTuple):
    """The two flows of one attention level."""

    previous: Flow
    reference: Flow


class GeneratedFrame(NamedTuple):
    """One generated frame and what it was made from."""

    image: Tensor  # (B, 3, H, W) in [-1, 1]
    flows: list[FrameFlows]  # one per attention level, coarse to fine
    blend: Blend | None = None  # of models with `pixel_blend`; the sources are the previous frame, then the reference


class SequenceGenerator(nn.Module):
    """Target structure, previous frame and reference image to the next frame.

    Face models predict both flows with one estimator, body models with two, as the released models do.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        structure = config.structure_channels
        normed = (config.source_norm,) * 3
        self.previous_encoder = Encoder(config, 3, normed)
        self.reference_encoder = Encoder(config, 3, normed)
        self.target_encoder = Encoder(config, structure, (config.structure_norm, True, True))
        if config.task == "face":
            self.flow_estimator = FlowEstimator(config, 6 + 3 * structure, references=2)
        else:
            self.previous_flow = FlowEstimator(config, 3 + 2 * structure)
            self.reference_flow = FlowEstimator(config, 3 + 2 * structure)
        self.decoder = Decoder(config, references=2)

    def forward(
        self,
        target_structure: Tensor,
        previous_image: Tensor,
        previous_structure: Tensor,
        reference_image: Tensor,
        reference_structure: Tensor,
        reference: dict[str, Source] | None = None,
        faces: Sequence[FaceReading] | None = None,
    ) -> GeneratedFrame:
        """Renders one frame; at the first one, previous = reference.

        Images (B, 3, H, W) in [-1, 1], structures (B, S, H, W). `reference` is the result of `encode_reference`, and
        `faces` those of `read_face` for the structures of target, previous frame and reference: pass them for every
        frame of a clip to avoid recomputing them.
        """
        flows = self.estimate_flow(
            target_structure, previous_image, previous_structure, reference_image, reference_structure, faces
        )
        if reference is None:
            reference = self.encode_reference(reference_image)
        return self.render(target_structure, previous_image, reference_image, reference, flows)

    def render(
        self,
        target_structure: Tensor,
        previous_image: Tensor,
        reference_image: Tensor,
        reference: dict[str, Source],
        flows: list[FrameFlows],
    ) -> GeneratedFrame:
        """The frame for given flows, one pair per attention level. `reference`: the result of `encode_reference`."""
        previous = self.decoder.prepare(self.previous_encoder(previous_image), 0)
        target = self.target_encoder(target_structure)[-1]
        decoded = self.decoder(target, [previous, reference], flows, [previous_image, reference_image])
        return GeneratedFrame(decoded.image, flows, decoded.blend)

    def encode_reference(self, reference_image: Tensor) -> dict[str, Source]:
        """Everything that depends on the reference image only."""
        return self.decoder.prepare(self.reference_encoder(reference_image), 1)

    def read_face(self, structure: Tensor) -> FaceReading | None:
        """What the flow prior "curves" derives from one structure alone; None for models with another prior."""
        return self.flow_estimator.read_face(structure) if self.config.flow_prior == "curves" else None

    def estimate_flow(
        self,
        target_structure: Tensor,
        previous_image: Tensor,
        previous_structure: Tensor,
        reference_image: Tensor,
        reference_structure: Tensor,
        faces: Sequence[FaceReading] | None = None,
    ) -> list[FrameFlows]:
        """The flows only, coarse to fine."""
        if self.config.task == "face":
            inputs = [target_structure, previous_image, previous_structure, reference_image, reference_structure]
            levels = self.flow_estimator(inputs, faces=faces)
            return [FrameFlows(*level) for level in levels]
        previous = self.previous_flow([previous_image, previous_structure, target_structure])
        reference = self.reference_flow([reference_image, reference_structure, target_structure])
        return [FrameFlows(p[0], r[0]) for p, r in zip(previous, reference, strict=True)]
