"""What the training loop asks of a task, and the losses that tasks share.

Pose, clips and views differ in their batches and losses, not in how they train.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from gfla_cli.config import Level
from gfla_cli.losses.flow import affine_regularisation, correspondence_loss, sampling_correctness, share_loss
from gfla_cli.losses.image import PerceptualLoss, Vgg19, discriminator_loss, generator_loss, joint_loss, matte_loss
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.renderer import Blend
from gfla_cli.training.batch import GroundTruthAt
from gfla_cli.training.recipe import LossWeights, Recipe, Stage

Terms = dict[str, Tensor]  # name of a loss -> unweighted scalar; the names are those of LossWeights

# Features with the receptive field of a flow cell, by its stride: (layer, pooled by), best first.
_LEAST_WINDOW = 3  # pixels of the affine regularisation; a smaller one has no residual
_FEATURES_AT = {8: (("relu4_1", 1), ("relu3_4", 2)), 4: (("relu3_1", 1),), 2: (("relu2_1", 1),)}


class CriticInput(NamedTuple):
    """What one discriminator compares. Each discriminator has its own shapes."""

    real: Tensor
    fake: Tensor


class PoseReaderInput(NamedTuple):
    """Images for a pose reader, which finds joints in them, and the ground truth of the real one."""

    real: Tensor  # (B, 3, H, W)
    fake: Tensor
    joints: Tensor  # (B, J, h, w) heat maps


class Outcome(NamedTuple):
    """The result of one step's forward pass."""

    terms: Terms
    judged: Mapping[str, CriticInput | PoseReaderInput]  # by critic; empty when no image was generated
    carried: Tensor | None = None  # what the next step of the same sample starts from, see TrainingTask.batches


class TrainingTask(ABC):
    """A task's data, losses and sample images. `dataset` opens the training data at the size of a stage."""

    steps_per_sample = 1  # training steps for which one loaded batch serves

    def __init__(self, recipe: Recipe, dataset: Callable[[Stage], Dataset[Any]], vgg: Vgg19 | None) -> None:
        self.recipe = recipe
        self.dataset = dataset
        self.flow_losses = FlowLosses(recipe.model.levels, vgg)
        self.image_losses = ImageLosses(recipe, vgg)

    @abstractmethod
    def discriminators(self) -> nn.ModuleDict:
        """The critics by name: discriminators, and a pose reader if the recipe asks for one."""

    @abstractmethod
    def batches(self, sample: Any, device: torch.device) -> Iterator[Any]:
        """`steps_per_sample` batches from one collated sample.

        If the outcome of a step has `carried`, the next batch of the same sample becomes `batch.continued(carried)`.
        """

    @abstractmethod
    def flow_modules(self, generator: nn.Module) -> list[nn.Module]:
        """The parts that a flow stage trains."""

    @abstractmethod
    def forward(self, generator: nn.Module, batch: Any, stage: Stage) -> Outcome:
        """Runs the generator for a stage, and computes every loss except those of the critics."""

    @abstractmethod
    def rows(self, generator: nn.Module, batch: Any) -> Tensor:
        """(N, 3, H, W) in [-1, 1] to look at. Each is a row of several small images."""


class FlowLosses:
    """Losses of the flows of all levels: sampling correctness, affine regularisation, and against the ground truth."""

    def __init__(self, levels: Sequence[Level], vgg: Vgg19 | None) -> None:
        self.levels = levels
        self.vgg = vgg

    def __call__(
        self,
        flows: Sequence[Flow],
        source: Tensor,
        target: Tensor,
        ground_truth_at: GroundTruthAt,
        weights: LossWeights,
    ) -> Terms:
        """Unweighted losses of one flow per level between (B, 3, H, W) images, without those of weight 0."""
        terms: Terms = {}
        if not flows:
            return terms
        if weights.correctness:
            terms["correctness"] = self._correctness(flows, source, target)
        if weights.affine:
            windows = [max(level.patch, _LEAST_WINDOW) for level in self.levels]
            terms["affine"] = total(map(affine_regularisation, (flow.offset for flow in flows), windows))
        if weights.correspondence or weights.visibility:
            pairs = [correspondence_loss(flow, *ground_truth_at(*flow.offset.shape[-2:])) for flow in flows]
            terms["correspondence"] = total(error for error, _ in pairs)
            terms["visibility"] = total(mask for _, mask in pairs)
        return terms

    def _correctness(self, flows: Sequence[Flow], source: Tensor, target: Tensor) -> Tensor:
        assert self.vgg is not None
        available = self.vgg.available
        chosen = [
            next((layer, pool) for layer, pool in _FEATURES_AT[level.stride] if layer in available)
            for level in self.levels
        ]
        layers = [layer for layer, _ in chosen]
        with torch.no_grad():
            features = self.vgg(source, layers), self.vgg(target, layers)
        parts = []
        for flow, (layer, pool) in zip(flows, chosen, strict=True):
            at_flow = [F.avg_pool2d(x[layer].float(), pool) for x in features]
            parts.append(sampling_correctness(at_flow[0], at_flow[1], flow.offset))
        return total(parts)


class ImageLosses:
    """l1, content and style distance of a generated image from the real one."""

    def __init__(self, recipe: Recipe, vgg: Vgg19 | None) -> None:
        self.perceptual = PerceptualLoss(vgg, recipe.content_layers, recipe.style_layers) if vgg else None

    def pixels(self, made: Tensor, real: Tensor, pixel_weight: Tensor | None = None) -> Terms:
        """l1 of (B, 3, H, W) images. `pixel_weight` (B, 1, H, W), of mean 1, weights the pixels."""
        difference = (made - real).abs()
        return {"l1": (difference if pixel_weight is None else difference * pixel_weight).mean()}

    def features(self, made: Tensor, real: Tensor, weights: LossWeights, pixel_weight: Tensor | None = None) -> Terms:
        """Content and style distance, without those of weight 0."""
        if not (weights.content or weights.style):
            return {}
        assert self.perceptual is not None
        distance = self.perceptual(made, real, pixel_weight, with_style=weights.style > 0)
        return {"content": distance.content} | ({"style": distance.style} if weights.style else {})

    def content(self, made: Tensor, real: Tensor) -> Tensor:
        """Content distance alone."""
        assert self.perceptual is not None
        content: Tensor = self.perceptual(made, real, with_style=False).content
        return content


def blend_losses(
    blend: Blend | None,
    flows: Sequence[Flow],
    ground_truth: Sequence[GroundTruthAt],
    mask: Tensor,
    weights: LossWeights,
) -> Terms:
    """Losses of models with `pixel_blend`: of the copied shares, and of the matte, without those of weight 0.

    `flows` of the finest level, which warped the source images, and their ground truth; one of each for every source.
    `mask` (B, 1, H, W) in [0, 1] is 1 on the person or the object.
    """
    terms: Terms = {}
    if blend is None:
        return terms
    if weights.share:
        shares = blend.shares.split(1, dim=1)
        terms["share"] = total(
            share_loss(share, flow, *at(*flow.offset.shape[-2:]))
            for share, flow, at in zip(shares, flows, ground_truth, strict=True)
        )
    if weights.matte:
        terms["matte"] = matte_loss(blend.matte, mask)
    return terms


def weighted(terms: Terms, weights: LossWeights) -> Tensor:
    """The scalar that is minimised."""
    return total(getattr(weights, name) * value for name, value in terms.items())


def total(values: Iterable[Tensor]) -> Tensor:
    """Sum of scalars."""
    return torch.stack(list(values)).sum()


# Critics are networks that are trained alongside the generator and give it losses. Discriminators tell real images
# from generated ones (paper, eq. 10). A pose reader, which is not in the paper, finds joints in both.


def active_critics(
    judged: Mapping[str, CriticInput | PoseReaderInput], *, adversarial: bool
) -> dict[str, CriticInput | PoseReaderInput]:
    """The critics of this step: discriminators if it is adversarial, a pose reader always."""
    return {name: pair for name, pair in judged.items() if adversarial or isinstance(pair, PoseReaderInput)}


def adversarial_losses(critics: nn.ModuleDict, judged: Mapping[str, CriticInput | PoseReaderInput]) -> Terms:
    """The generator's losses: "adversarial" from discriminators, "joints" from a pose reader.

    "joints" compares what the reader finds in both images, not the ground truth: a hidden hand is no mistake.
    """
    found: dict[str, list[Tensor]] = {"adversarial": [], "joints": []}
    for name, pair in judged.items():
        critic = critics[name]
        if isinstance(pair, PoseReaderInput):
            with torch.no_grad():
                seen = critic(pair.real)
            found["joints"].append(joint_loss(critic(pair.fake), seen))
        else:
            found["adversarial"].append(generator_loss(critic(pair.fake)))
    return {name: total(values) for name, values in found.items() if values}


def discriminator_losses(critics: nn.ModuleDict, judged: Mapping[str, CriticInput | PoseReaderInput]) -> Terms:
    """The critics' own losses: "discriminator", and "reader" of a pose reader."""
    found: dict[str, list[Tensor]] = {"discriminator": [], "reader": []}
    for name, pair in judged.items():
        critic = critics[name]
        if isinstance(pair, PoseReaderInput):
            found["reader"].append(joint_loss(critic(pair.real), pair.joints))
        else:
            real, fake = critic(torch.cat([pair.real, pair.fake])).chunk(2)
            found["discriminator"].append(discriminator_loss(real, fake))
    return {name: total(values) for name, values in found.items() if values}
