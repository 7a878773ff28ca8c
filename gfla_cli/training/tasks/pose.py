"""Training of pose transfer: from one image of a person to another, with ground-truth flow if the data has it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gfla_cli.datasets.sample import PosePair
from gfla_cli.losses.flow import choice_loss, refined_loss, visible_flow_loss
from gfla_cli.losses.image import JOINT_SIGMA
from gfla_cli.networks.discriminator import STRIDE, Discriminator, PoseReader
from gfla_cli.networks.generator import EstimatedFlow, PoseGenerator
from gfla_cli.networks.priors import PRIOR_STRIDE
from gfla_cli.networks.priors.solids import BodyPrior
from gfla_cli.training.batch import PoseBatch, close_up, mix_ground_truth_flows, to_device
from gfla_cli.training.recipe import LossWeights, Stage
from gfla_cli.training.tasks.base import CriticInput, Outcome, PoseReaderInput, Terms, TrainingTask, blend_losses


class PoseTask(TrainingTask):
    """Training of pose transfer."""

    def discriminators(self) -> nn.ModuleDict:
        """One for whole images; one for heads and a pose reader if the recipe asks for them."""
        networks: dict[str, nn.Module] = {"image": Discriminator(blocks=self.recipe.discriminator_blocks)}
        if self.recipe.has_close_ups:
            networks["close_up"] = Discriminator(blocks=3)
        if self.recipe.reads_poses:
            networks["joints"] = PoseReader()
        return nn.ModuleDict(networks)

    def batches(self, sample: PosePair, device: torch.device) -> Iterator[PoseBatch]:
        """The collated pairs, on their device."""
        yield to_device(sample, self.recipe.model, device)

    def flow_modules(self, generator: nn.Module) -> list[nn.Module]:
        """The flow estimator."""
        assert isinstance(generator, PoseGenerator)
        return [generator.flow_estimator]

    def forward(self, generator: nn.Module, batch: PoseBatch, stage: Stage) -> Outcome:
        """The flows alone, or the generated image and its flows."""
        assert isinstance(generator, PoseGenerator)
        bodies = generator.body_prior(*_inputs(batch))
        estimated = generator.estimate_flow(*_inputs(batch), bodies)
        terms = self._flow_terms(batch, estimated, stage.weights)
        if bodies is not None:
            terms |= _body_terms(batch, bodies, stage.weights)
        if stage.train == "flow":
            return Outcome(terms, {})
        if generator.config.sampler == "none":
            made = generator(*_inputs(batch))
        else:
            flows = estimated.flows
            if stage.ground_truth_flows:
                flows = mix_ground_truth_flows(flows, batch.true_flow.at, stage.ground_truth_flows)
            made = generator.render(batch.source_image, batch.target_structure, flows, bodies)
        truth = [batch.true_flow.at]
        terms |= blend_losses(made.blend, made.flows[-1:], truth, batch.target_mask, stage.weights)
        terms |= self._picture_terms(batch, made.image, stage.weights)
        judged: dict[str, CriticInput | PoseReaderInput] = {"image": CriticInput(batch.target_image, made.image)}
        if stage.weights.close_up:
            heads = CriticInput(*(close_up(batch.target_head, image) for image in (batch.target_image, made.image)))
            terms["close_up"] = self.image_losses.content(heads.fake, heads.real)
            judged["close_up"] = heads
        if stage.weights.joints:
            judged["joints"] = PoseReaderInput(batch.target_image, made.image, batch.joint_maps(STRIDE, JOINT_SIGMA))
        return Outcome(terms, judged)

    def _flow_terms(self, batch: PoseBatch, estimated: EstimatedFlow, weights: LossWeights) -> Terms:
        images = batch.source_image, batch.target_image
        terms = self.flow_losses(estimated.flows, *images, batch.weighted_flow_at, weights)
        if weights.choice and (choice := estimated.choice) is not None:
            offset, weight, _ = batch.weighted_flow_at(*choice.logits.shape[-2:])
            terms["choice"] = choice_loss(choice, offset, weight)
        return terms

    def _picture_terms(self, batch: PoseBatch, image: Tensor, weights: LossWeights) -> Terms:
        target = batch.target_image
        weight = batch.pixel_weight(weights.person) if weights.person else None
        terms = self.image_losses.pixels(image, target, weight)
        if (share := self.recipe.perceptual_window) < 1 and (weights.content or weights.style):
            image, target = batch.crop_around_person(share, image, target)
            weight = batch.crop_around_person(share, weight)[0] if weight is not None else None
        return terms | self.image_losses.features(image, target, weights, weight)

    def rows(self, generator: nn.Module, batch: PoseBatch) -> Tensor:
        """Source, target joints, generated, target: (B, 3, H, 4W)."""
        made = generator(*_inputs(batch)).image
        joints = batch.target_structure.amax(dim=1, keepdim=True).expand(-1, 3, -1, -1) * 2 - 1
        return torch.cat([batch.source_image, joints, made.clamp(-1, 1), batch.target_image], dim=3)


def _inputs(batch: PoseBatch) -> tuple[Tensor, Tensor, Tensor]:
    return batch.source_image, batch.source_structure, batch.target_structure


def _body_terms(batch: PoseBatch, bodies: BodyPrior, weights: LossWeights) -> Terms:
    """Losses of the flow prior "solids": its flow, and its joints."""
    terms: Terms = {}
    if weights.solids:
        offset = bodies.flow() / PRIOR_STRIDE
        height, width = offset.shape[-2:]
        terms["solids"] = visible_flow_loss(offset, *batch.true_flow.at(height, width))
    if weights.refined:
        reduction = batch.target_image.shape[-1] // (PRIOR_STRIDE * bodies.logits.shape[-1])
        terms["refined"] = refined_loss(bodies.joints, batch.true_points, reduction)
    return terms
