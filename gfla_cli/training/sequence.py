"""Training of animation: clips of faces and bodies, a few frames a step, each generated from the one before it.

A clip serves several steps. The frame that ends one, as it was generated, is where the next goes on, without
gradients; the trainer carries it from step to step and keeps it in its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from gfla_cli.data.sample import ClipSample
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.networks.discriminator import ClipDiscriminator, Discriminator
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.sequence import FrameFlows, SequenceGenerator
from gfla_cli.training.close_ups import close_up
from gfla_cli.training.known_flows import drawn_pairs, with_known_flows
from gfla_cli.training.objective import FlowObjective, PictureObjective, known_terms
from gfla_cli.training.recipe import LossWeights, Recipe, Stage
from gfla_cli.training.sequence_batch import KnownFlow, SequenceBatch, sequence_batches
from gfla_cli.training.task import Judged, Outcome, Terms


class SequenceTask:
    """The part of the face and body generators in the training loop."""

    def __init__(self, recipe: Recipe, data: Callable[[Stage], Dataset[ClipSample]], vgg: Vgg19 | None) -> None:
        self.recipe = recipe
        self.dataset = data
        self.steps_per_sample = recipe.frames // recipe.frames_per_step
        self._flows = FlowObjective(recipe.model.levels, vgg)
        self._picture = PictureObjective(recipe, vgg)

    def discriminators(self) -> nn.ModuleDict:
        """One on single pictures, and one on what moves: two differences of a face, all frames of a body."""
        blocks = self.recipe.discriminator_blocks
        motion = Discriminator(6, blocks) if self.recipe.model.task == "face" else ClipDiscriminator(blocks)
        networks = nn.ModuleDict({"image": Discriminator(blocks=blocks), "motion": motion})
        if self.recipe.has_close_ups:
            networks["close_up"] = Discriminator(blocks=3)
        return networks

    def batches(self, sample: ClipSample, device: torch.device) -> Iterator[SequenceBatch]:
        """The steps of the collated clips, on their device."""
        return sequence_batches(sample, self.recipe.model, self.recipe.frames_per_step, device)

    def flow_modules(self, generator: nn.Module) -> list[nn.Module]:
        """The flow estimators: one for faces, two for bodies."""
        generator = _checked(generator)
        if generator.config.task == "face":
            return [generator.flow_estimator]
        return [generator.previous_flow, generator.reference_flow]

    def forward(self, generator: nn.Module, batch: SequenceBatch, stage: Stage) -> Outcome:
        """Flows between real frames, all at once; or frame after frame, and the flows behind them."""
        generator = _checked(generator)
        if stage.train == "flow":
            flows = generator.estimate_flow(*_real_inputs(batch))
            return Outcome(self._flow_terms(batch, flows, stage.weights), {})
        made, flows = _generated(generator, batch, stage.known_flows)  # (B, T, 3, H, W)
        terms = self._flow_terms(batch, flows, stage.weights) | self._picture_terms(batch, made, stage.weights)
        judged = self._judged(batch, made)
        if stage.weights.close_up:
            judged["close_up"] = Judged(*(_close_ups(batch, pair) for pair in judged["image"]))
            terms["close_up"] = self._picture.content(judged["close_up"].fake, judged["close_up"].real)
        return Outcome(terms, judged, carried=made[:, -1].detach())

    def _flow_terms(self, batch: SequenceBatch, flows: list[FrameFlows], weights: LossWeights) -> Terms:
        """Both flows of every frame; those of B x T frames come as one batch."""
        terms: Terms = {}
        sources = _real_sources(batch)
        target = batch.images.flatten(0, 1)
        for side, source, known in zip((0, 1), sources, (batch.to_previous, batch.to_reference), strict=True):
            found = [level[side] for level in flows]
            for name, value in self._terms_of(found, source, target, known, weights).items():
                terms[name] = terms[name] + value if name in terms else value
        return terms

    def _terms_of(
        self, flows: list[Flow], source: Tensor, target: Tensor, known: KnownFlow, weights: LossWeights
    ) -> Terms:
        return self._flows(flows, source, target, weights) | known_terms(flows, known.at, weights)

    def _picture_terms(self, batch: SequenceBatch, made: Tensor, weights: LossWeights) -> Terms:
        """Pixels of all frames; features, which cost more than the network itself, of `perceptual_frames` of them."""
        weight = batch.pixel_weight(weights.person, self.recipe.model.task) if weights.person else None
        terms = self._picture.pixels(made, batch.images, weight)
        if not (weights.content or weights.style):
            return terms
        # Spread over the step and with its last frame, where errors have had the longest time to grow.
        count, frames = min(self.recipe.perceptual_frames, made.shape[1]), made.shape[1]
        seen = [frames - 1 - k * frames // count for k in range(count)]
        pictures = [x[:, seen].flatten(0, 1) if x is not None else None for x in (made, batch.images, weight)]
        assert pictures[0] is not None
        assert pictures[1] is not None
        return terms | self._picture.features(pictures[0], pictures[1], weights, pictures[2])

    def _judged(self, batch: SequenceBatch, made: Tensor) -> dict[str, Judged]:
        pairs = {"image": Judged(batch.images.flatten(0, 1), made.flatten(0, 1))}
        if self.recipe.model.task == "face":
            pairs["motion"] = Judged(_differences(batch.images), _differences(made))
        else:
            pairs["motion"] = Judged(batch.images.transpose(1, 2), made.transpose(1, 2))
        return pairs

    @torch.no_grad()
    def rows(self, generator: nn.Module, batch: SequenceBatch) -> Tensor:
        """Reference, structure, generated, real of the step's last frame: (B, 3, H, 4W)."""
        made, _ = _generated(_checked(generator), batch)
        structure = batch.structures[:, -1]
        lines = structure[:, :1].expand(-1, 3, -1, -1) if self.recipe.model.task == "face" else structure[:, -3:]
        pictures = [batch.reference_image, lines * 2 - 1, made[:, -1].clamp(-1, 1), batch.images[:, -1]]
        return torch.cat(pictures, dim=3)


def _checked(generator: nn.Module) -> SequenceGenerator:
    assert isinstance(generator, SequenceGenerator)
    return generator


def _real_sources(batch: SequenceBatch) -> tuple[Tensor, Tensor]:
    """(B*T, 3, H, W) each: the real frame before every frame, and the reference."""
    frames = batch.images.shape[1]
    previous = torch.cat([batch.before_image[:, None], batch.images[:, :-1]], dim=1)
    return previous.flatten(0, 1), _repeated(batch.reference_image, frames)


def _real_inputs(batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The generator's inputs with the real previous frames, B*T at once."""
    frames = batch.images.shape[1]
    previous, reference = _real_sources(batch)
    previous_structure = torch.cat([batch.before_structure[:, None], batch.structures[:, :-1]], dim=1)
    reference_structure = _repeated(batch.reference_structure, frames)
    return batch.structures.flatten(0, 1), previous, previous_structure.flatten(0, 1), reference, reference_structure


def _repeated(x: Tensor, frames: int) -> Tensor:
    return x[:, None].expand(-1, frames, *x.shape[1:]).flatten(0, 1)


def _generated(
    generator: SequenceGenerator, batch: SequenceBatch, known_flows: float = 0.0
) -> tuple[Tensor, list[FrameFlows]]:
    """(B, T, 3, H, W) frames, each from the one generated before it, and per level the estimated flows of B x T frames.

    In a share of the clips, `known_flows`, the renderer's exact flows move the features instead.
    """
    reference = generator.encode_reference(batch.reference_image)
    previous = batch.before_image if batch.carried is None else batch.carried
    previous_structure = batch.before_structure
    chosen = drawn_pairs(len(previous), known_flows, previous.device) if known_flows else None
    images, flows = [], []
    for k in range(batch.images.shape[1]):
        structure = batch.structures[:, k]
        estimated = generator.estimate_flow(
            structure, previous, previous_structure, batch.reference_image, batch.reference_structure
        )
        moved = estimated if chosen is None else _known(estimated, batch, k, chosen)
        previous = generator.render(structure, previous, reference, moved)
        previous_structure = structure
        images.append(previous)
        flows.append(estimated)
    levels = [FrameFlows(*(_joined(sides) for sides in zip(*level, strict=True))) for level in zip(*flows, strict=True)]
    return torch.stack(images, dim=1), levels


def _known(flows: list[FrameFlows], batch: SequenceBatch, k: int, chosen: Tensor) -> list[FrameFlows]:
    """The flows of frame `k`, of the chosen clips as the renderer knows them."""
    sides = []
    for side, known in zip(zip(*flows, strict=True), (batch.to_previous, batch.to_reference), strict=True):
        sides.append(with_known_flows(side, known.of_frame(k, batch.images.shape[1]).at, chosen))
    return [FrameFlows(*level) for level in zip(*sides, strict=True)]


def _joined(flows: tuple[Flow, ...]) -> Flow:
    """Flows of T frames, (B, ...) each, as those of B x T frames, in the order of `flatten`."""
    return Flow(*(torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*flows, strict=True)))


def _close_ups(batch: SequenceBatch, pictures: Tensor) -> Tensor:
    """(K*B*T, 3, SIDE, SIDE): the eyes, then the mouths, or the heads, of (B*T, 3, H, W) pictures."""
    boxes = batch.close_ups.flatten(0, 1)  # (B*T, K, 3)
    return torch.cat([close_up(box, pictures) for box in boxes.unbind(dim=1)])


def _differences(frames: Tensor) -> Tensor:
    """(B*(T-2), 6, H, W): of every three consecutive frames (B, T, 3, H, W) the two differences."""
    change = frames[:, 1:] - frames[:, :-1]  # (B, T-1, 3, H, W)
    pairs = torch.cat([change[:, :-1], change[:, 1:]], dim=2)
    return pairs.flatten(0, 1)
