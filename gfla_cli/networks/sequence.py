"""The sequence generators: each frame is made from the previous frame and from a fixed reference (paper, Sec. 4.3).

B batch, S structure channels, H x W frame. Images are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.flow import FaceReading, Flow, FlowEstimator
from gfla_cli.networks.renderer import Blend, Decoder, Encoder
from gfla_cli.networks.samplers import Source


def with_irises(state: dict[str, Tensor], before: ModelConfig, now: ModelConfig) -> dict[str, Tensor]:
    """The tensors of a face generator that sees the structure channels of `before`, for one that sees those of `now`.

    The convolutions that see structures get weights of zero for the channels that are new, so the network computes the
    same as before. Any other difference between the configs is left to the caller: `state` is returned as it is.
    """
    old, new = before.structure_channels, now.structure_channels
    if now.task != "face" or old >= new or replace(before, structure_channels=new) != now:
        return state
    # Channels of an input part, and whether the part is a structure: see `estimate_flow` and `render`.
    parts = {"target_encoder.": [1], "flow_estimator.": [1, 0, 1, 0, 1]}
    widened = dict(state)
    for prefix, order in parts.items():
        ends = np.cumsum([old if structure else 3 for structure in order])
        places = [int(end) for end, structure in zip(ends, order, strict=True) if structure]
        first = f"{prefix}down.0."
        for name, axis, value in (("down.weight", 1, 0.0), ("norm1.weight", 0, 1.0), ("norm1.bias", 0, 0.0)):
            if (tensor := state.get(first + name)) is not None:
                widened[first + name] = _with_channels(tensor, axis, places, new - old, value)
    return widened


def _with_channels(tensor: Tensor, axis: int, places: Sequence[int], count: int, value: float) -> Tensor:
    """The tensor with `count` channels of this value before each of these places of an axis."""
    shape = list(tensor.shape)
    shape[axis] = count
    pieces = []
    for piece in tensor.tensor_split(list(places), dim=axis):
        pieces += [piece, tensor.new_full(shape, value)]
    return torch.cat(pieces[:-1], dim=axis)


class FrameFlows(NamedTuple):
    """The two flows of one attention level."""

    previous: Flow
    reference: Flow


class GeneratedFrame(NamedTuple):
    """One generated frame and what it was made from."""

    image: Tensor  # (B, 3, H, W) in [-1, 1]
    flows: list[FrameFlows]  # one per attention level, coarse to fine
    blend: Blend | None = None  # of models with `pixel_blend`; the sources are the previous frame, then the reference
    warped: Tensor | None = None  # (B, 3, H, W) the reference image where its flow leads, of the same models


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
        target: Tensor | None = None,
    ) -> GeneratedFrame:
        """Renders one frame; at the first one, previous = reference.

        Images (B, 3, H, W) in [-1, 1], structures (B, S, H, W). `reference` is the result of `encode_reference`,
        `target` that of `encode_target`, and `faces` those of `read_face` for the structures of target, previous frame
        and reference: pass them for every frame of a clip to avoid recomputing them.
        """
        flows = self.estimate_flow(
            target_structure, previous_image, previous_structure, reference_image, reference_structure, faces
        )
        if reference is None:
            reference = self.encode_reference(reference_image)
        return self.render(target_structure, previous_image, reference_image, reference, flows, target)

    def render(
        self,
        target_structure: Tensor,
        previous_image: Tensor,
        reference_image: Tensor,
        reference: dict[str, Source],
        flows: list[FrameFlows],
        target: Tensor | None = None,
    ) -> GeneratedFrame:
        """The frame for given flows, one pair per attention level. `reference` and `target`: see `forward`."""
        previous = self.decoder.prepare(self.previous_encoder(previous_image), 0)
        if target is None:
            target = self.encode_target(target_structure)
        decoded = self.decoder(target, [previous, reference], flows, [previous_image, reference_image])
        return GeneratedFrame(decoded.image, flows, decoded.blend, decoded.warped)

    def encode_reference(self, reference_image: Tensor) -> dict[str, Source]:
        """Everything that depends on the reference image only."""
        return self.decoder.prepare(self.reference_encoder(reference_image), 1)

    def encode_target(self, target_structure: Tensor) -> Tensor:
        """Everything that the renderer derives from the target structure only: (B, C, H/8, W/8)."""
        features: Tensor = self.target_encoder(target_structure)[-1]
        return features

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
