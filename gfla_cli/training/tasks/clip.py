"""Training of animation: clips of faces and bodies, a few frames a step, each generated from the one before it.

One clip serves several steps. The last generated frame of a step is the start of the next step, without gradients.
The trainer passes it on and keeps it in its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from gfla_cli.conditioning.face_map import EYE, LABELS
from gfla_cli.conditioning.structure import structure_of
from gfla_cli.config import ModelConfig
from gfla_cli.datasets.sample import ClipSample, Correspondence
from gfla_cli.losses.image import Vgg19
from gfla_cli.networks.discriminator import Discriminator
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.renderer import Blend
from gfla_cli.networks.sequence import FrameFlows, SequenceGenerator
from gfla_cli.training.batch import (
    GroundTruthFlow,
    close_up,
    draw_teacher_forced,
    feature_boxes,
    head_boxes,
    image_batch,
    on_device,
    with_ground_truth_flows,
)
from gfla_cli.training.recipe import LossWeights, Recipe, Stage
from gfla_cli.training.tasks.base import CriticInput, Outcome, Terms, TrainingTask, blend_losses

_HEAD_AND_HANDS = (0, 3, 6, 13, 14, 15, 16)  # channels of the body structure: nose, wrists, eyes, ears


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """One step's part of B clips: T frames of H x W, S structure channels."""

    reference_image: Tensor  # (B, 3, H, W) in [-1, 1]
    reference_structure: Tensor  # (B, S, H, W)
    before_image: Tensor  # (B, 3, H, W) the real frame before the first one, or the reference
    before_structure: Tensor  # (B, S, H, W)
    images: Tensor  # (B, T, 3, H, W) the targets
    structures: Tensor  # (B, T, S, H, W)
    masks: Tensor  # (B, T, 1, H, W) in [0, 1], 1 on the person
    to_previous: GroundTruthFlow  # of B*T frames
    to_reference: GroundTruthFlow
    close_ups: Tensor  # (B, T, K, 3) middle x, y and side of eyes and mouth (K = 2), or of a body's head (K = 1)
    carried: Tensor | None = None  # (B, 3, H, W) the last frame that the previous step generated, if any

    def continued(self, carried: Tensor) -> SequenceBatch:
        """The same batch, which starts from a generated frame."""
        return replace(self, carried=carried)

    def pixel_weight(self, extra: float, task: str) -> Tensor:
        """(B, T, 1, H, W) of mean 1. The person counts `extra` times more; eyes and mouth, or head and hands, more."""
        weight = 1 + extra * (self.masks + _details(self.structures, task)) / 2
        return weight / weight.mean(dim=(3, 4), keepdim=True)


def sequence_batches(
    sample: ClipSample, config: ModelConfig, frames_per_step: int, device: torch.device
) -> Iterator[SequenceBatch]:
    """The steps of collated clips (a leading B everywhere). Frames that do not fill a step are left out.

    Structures are drawn step by step: they are fifty times larger than the points.
    """
    images = image_batches(torch.as_tensor(sample.images), device)  # (B, 1 + F, 3, H, W)
    masks = on_device(torch.as_tensor(sample.masks), device)[:, :, None].float().div(255)
    points, edges, size = np.asarray(sample.points), np.asarray(sample.edges), (images.shape[3], images.shape[4])

    def drawn(rows: list[int]) -> Tensor:
        """(B, len(rows), S, H, W)."""
        clips = [
            np.stack([structure_of(config, of_clip[row], size, edges_of_clip[row]) for row in rows])
            for of_clip, edges_of_clip in zip(points, edges, strict=True)
        ]
        return on_device(torch.from_numpy(np.stack(clips)), device)

    reference = before = drawn([0])[:, 0]
    for first in range(1, images.shape[1] - frames_per_step + 1, frames_per_step):
        rows = list(range(first, first + frames_per_step))
        structures = drawn(rows)
        details = _details(structures, config.task).flatten(0, 1)
        yield SequenceBatch(
            reference_image=images[:, 0],
            reference_structure=reference,
            before_image=images[:, first - 1],
            before_structure=before,
            images=images[:, rows],
            structures=structures,
            masks=masks[:, rows],
            to_previous=_ground_truth(sample.to_previous, rows, details),
            to_reference=_ground_truth(sample.to_reference, rows, details),
            close_ups=_close_up_boxes(on_device(torch.from_numpy(points[:, rows]).float(), device), config.task, size),
        )
        before = structures[:, -1]


def image_batches(images: Tensor, device: torch.device) -> Tensor:
    """(B, N, H, W, 3) bytes on the host -> (B, N, 3, H, W) in [-1, 1] on the device."""
    flat = image_batch(images.flatten(0, 1), device)
    return flat.view(*images.shape[:2], *flat.shape[1:])


def _close_up_boxes(points: Tensor, task: str, size: tuple[int, int]) -> Tensor:
    """(B, T, K, 3) boxes of eyes and mouth, or of the head, of people with points (B, T, J, 2 or 3)."""
    if task == "face":
        return feature_boxes(points[..., :2])
    return head_boxes(points.flatten(0, 1), size).view(*points.shape[:2], 1, 3)


def _details(structures: Tensor, task: str) -> Tensor:
    """(B, T, 1, H, W) extra weight of what people look at first: eyes and lips, or head and hands."""
    if task == "face":
        labels = structures[:, :, LABELS : LABELS + 1]
        return (labels >= EYE).float() * 2 + (labels >= 2).float() + (labels >= 1).float()
    return structures[:, :, _HEAD_AND_HANDS].amax(dim=2, keepdim=True)


def _ground_truth(stored: Correspondence, rows: list[int], details: Tensor) -> GroundTruthFlow:
    """The ground truth of some frames. `details` (B*T, 1, H, W) count more.

    Eyelids and lips cover a hundredth of a frame: without this weight their flow would not be learnt.
    """
    offset, weight, visible = (
        on_device(torch.as_tensor(part)[:, [row - 1 for row in rows]].flatten(0, 1), details.device) for part in stored
    )
    return GroundTruthFlow(offset, weight * (1 + F.adaptive_max_pool2d(details, weight.shape[-2:])), visible)


class SequenceTask(TrainingTask):
    """Training of the face and body generators."""

    def __init__(self, recipe: Recipe, dataset: Callable[[Stage], Dataset[ClipSample]], vgg: Vgg19 | None) -> None:
        super().__init__(recipe, dataset, vgg)
        self.steps_per_sample = recipe.frames // recipe.frames_per_step

    def discriminators(self) -> nn.ModuleDict:
        """One for single images, and one for motion: two frame differences of a face, all frames of a body."""
        blocks = self.recipe.discriminator_blocks
        clips = self.recipe.model.task == "body"
        motion = Discriminator(3 if clips else 6, blocks, clips=clips)
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
        """The flows between real frames, all at once; or the frames, generated one after the other, and their flows."""
        generator = _checked(generator)
        if stage.train == "flow":
            flows = generator.estimate_flow(*_real_inputs(batch))
            return Outcome(self._flow_terms(batch, flows, stage.weights), {})
        clip = _generated(generator, batch, stage.ground_truth_flows)
        made = clip.images
        terms = self._flow_terms(batch, clip.estimated, stage.weights) | self._picture_terms(batch, made, stage.weights)
        truth = [batch.to_previous.at, batch.to_reference.at]
        terms |= blend_losses(clip.blend, clip.finest, truth, batch.masks.flatten(0, 1), stage.weights)
        judged = {"image": CriticInput(batch.images.flatten(0, 1), made.flatten(0, 1))}
        is_face, both = self.recipe.model.task == "face", (batch.images, made)
        judged["motion"] = CriticInput(*(_differences(x) if is_face else x.transpose(1, 2) for x in both))
        if stage.weights.close_up:
            judged["close_up"] = CriticInput(*(_close_ups(batch, pair) for pair in judged["image"]))
            terms["close_up"] = self.image_losses.content(judged["close_up"].fake, judged["close_up"].real)
        return Outcome(terms, judged, carried=made[:, -1].detach())

    def _flow_terms(self, batch: SequenceBatch, flows: list[FrameFlows], weights: LossWeights) -> Terms:
        """Both flows of every frame; those of B x T frames come as one batch."""
        terms: Terms = {}
        sources = _real_sources(batch)
        target = batch.images.flatten(0, 1)
        for side, source, true in zip((0, 1), sources, (batch.to_previous, batch.to_reference), strict=True):
            found = [level[side] for level in flows]
            for name, value in self.flow_losses(found, source, target, true.at, weights).items():
                terms[name] = terms[name] + value if name in terms else value
        return terms

    def _picture_terms(self, batch: SequenceBatch, made: Tensor, weights: LossWeights) -> Terms:
        """l1 of all frames; VGG19 losses, which cost more than the network itself, of `perceptual_frames` of them."""
        weight = batch.pixel_weight(weights.person, self.recipe.model.task) if weights.person else None
        terms = self.image_losses.pixels(made, batch.images, weight)
        if not (weights.content or weights.style):
            return terms
        # Spread over the step, and with its last frame, where errors have accumulated longest.
        count, frames = min(self.recipe.perceptual_frames, made.shape[1]), made.shape[1]
        seen = [frames - 1 - k * frames // count for k in range(count)]
        made, real = (x[:, seen].flatten(0, 1) for x in (made, batch.images))
        weight = weight[:, seen].flatten(0, 1) if weight is not None else None
        return terms | self.image_losses.features(made, real, weights, weight)

    @torch.no_grad()
    def rows(self, generator: nn.Module, batch: SequenceBatch) -> Tensor:
        """Reference, structure, generated, real of the step's last frame: (B, 3, H, 4W)."""
        made = _generated(_checked(generator), batch).images
        structure = batch.structures[:, -1]
        lines = structure[:, :1].expand(-1, 3, -1, -1) if self.recipe.model.task == "face" else structure[:, -3:]
        images = [batch.reference_image, lines * 2 - 1, made[:, -1].clamp(-1, 1), batch.images[:, -1]]
        return torch.cat(images, dim=3)


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


class _GeneratedClip(NamedTuple):
    """T frames of B clips, each from the one generated before it."""

    images: Tensor  # (B, T, 3, H, W)
    estimated: list[FrameFlows]  # per level, of B x T frames
    finest: FrameFlows  # that warped the images: estimated or ground truth
    blend: Blend | None  # of B x T frames, of models with `pixel_blend`


def _generated(generator: SequenceGenerator, batch: SequenceBatch, ground_truth_flows: float = 0.0) -> _GeneratedClip:
    """The frames of a step. The renderer's flows warp a fraction `ground_truth_flows` of the clips."""
    reference = generator.encode_reference(batch.reference_image)
    previous = batch.before_image if batch.carried is None else batch.carried
    previous_structure = batch.before_structure
    chosen = draw_teacher_forced(len(previous), ground_truth_flows, previous.device) if ground_truth_flows else None
    frames, flows = [], []
    for k in range(batch.images.shape[1]):
        structure = batch.structures[:, k]
        estimated = generator.estimate_flow(
            structure, previous, previous_structure, batch.reference_image, batch.reference_structure
        )
        moved = estimated if chosen is None else _with_ground_truth(estimated, batch, k, chosen)
        made = generator.render(structure, previous, batch.reference_image, reference, moved)
        previous, previous_structure = made.image, structure
        frames.append(made)
        flows.append(estimated)
    levels = [FrameFlows(*(_joined(sides) for sides in zip(*level, strict=True))) for level in zip(*flows, strict=True)]
    finest = FrameFlows(*(_joined(sides) for sides in zip(*(made.flows[-1] for made in frames), strict=True)))
    blends = [made.blend for made in frames if made.blend is not None]
    return _GeneratedClip(
        images=torch.stack([made.image for made in frames], dim=1),
        estimated=levels,
        finest=finest,
        blend=Blend(*map(_flattened, zip(*blends, strict=True))) if blends else None,
    )


def _with_ground_truth(flows: list[FrameFlows], batch: SequenceBatch, k: int, chosen: Tensor) -> list[FrameFlows]:
    """The flows of frame `k`, replaced by the ground truth in the chosen clips."""
    sides = []
    frames = batch.images.shape[1]
    for side, true in zip(zip(*flows, strict=True), (batch.to_previous, batch.to_reference), strict=True):
        of_frame = GroundTruthFlow(*(x.unflatten(0, (-1, frames))[:, k] for x in true))
        sides.append(with_ground_truth_flows(side, of_frame.at, chosen))
    return [FrameFlows(*level) for level in zip(*sides, strict=True)]


def _joined(flows: tuple[Flow, ...]) -> Flow:
    """Flows of T frames, (B, ...) each, as those of B x T frames."""
    return Flow(*map(_flattened, zip(*flows, strict=True)))


def _flattened(frames: Sequence[Tensor]) -> Tensor:
    """T tensors (B, ...) as one of B x T, in the order of `flatten`."""
    return torch.stack(list(frames), dim=1).flatten(0, 1)


def _close_ups(batch: SequenceBatch, images: Tensor) -> Tensor:
    """(K*B*T, 3, SIDE, SIDE): crops of eyes, then mouths, or of heads, from (B*T, 3, H, W) images."""
    boxes = batch.close_ups.flatten(0, 1)  # (B*T, K, 3)
    return torch.cat([close_up(box, images) for box in boxes.unbind(dim=1)])


def _differences(frames: Tensor) -> Tensor:
    """(B*(T-2), 6, H, W): of every three consecutive frames (B, T, 3, H, W) the two differences."""
    change = frames[:, 1:] - frames[:, :-1]  # (B, T-1, 3, H, W)
    pairs = torch.cat([change[:, :-1], change[:, 1:]], dim=2)
    return pairs.flatten(0, 1)
