"""Training of pose transfer: from one image of a person to another, with ground-truth flow if the data has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.conditioning.structure import heatmap_batch, joint_map_batch
from gfla_cli.config import ModelConfig
from gfla_cli.datasets.sample import PosePair
from gfla_cli.losses.flow import choice_loss, refined_loss, visible_flow_loss
from gfla_cli.losses.image import JOINT_SIGMA
from gfla_cli.networks.discriminator import STRIDE, Discriminator, PoseReader
from gfla_cli.networks.generator import EstimatedFlow, PoseGenerator
from gfla_cli.networks.priors import PRIOR_STRIDE
from gfla_cli.networks.priors.body import body_shape, trunk_length
from gfla_cli.networks.priors.solids import BodyPrior
from gfla_cli.training.batch import (
    GroundTruthFlow,
    close_up,
    head_boxes,
    image_batch,
    mix_ground_truth_flows,
    on_device,
)
from gfla_cli.training.recipe import LossWeights, Stage
from gfla_cli.training.tasks.base import CriticInput, Outcome, PoseReaderInput, Terms, TrainingTask, blend_losses

# Weights of the losses:
_HEAD_AND_HANDS = (0, 4, 7, 14, 15, 16, 17)
_FOREARMS = ((3, 4), (6, 7))  # elbow, wrist
_ALONG = (0.0, 0.35, 0.7, 1.25)  # positions between elbow (0) and wrist (1), and on into the hand
_USUAL_TRUNK = 0.22  # trunk length of a person seen whole, as a fraction of the frame's height
_DETAILS = 3.0  # extra weight of faces, forearms and hands, relative to the person's


@dataclass(frozen=True, slots=True)
class PoseBatch:
    """One training step's inputs and ground truth. B images of H x W, S = 18 joints."""

    source_image: Tensor  # (B, 3, H, W) in [-1, 1]
    target_image: Tensor  # (B, 3, H, W)
    source_structure: Tensor  # (B, S, H, W) in [0, 1]; with depths 2 S channels
    target_structure: Tensor  # (B, S, H, W)
    target_points: Tensor  # (B, S, 3) x, y, confidence, pixels; missing = -1, -1, 0
    true_points: Tensor  # (2 B, S, 4) x, y, 1 if known, depth: of all sources, then of all targets
    target_mask: Tensor  # (B, 1, H, W) in [0, 1], 1 on the person
    target_details: Tensor  # (B, 1, H, W) in [0, 1], 1 on faces, forearms and hands
    target_head: Tensor  # (B, 3) centre x, y and side of the head, pixels
    true_flow: GroundTruthFlow

    def weighted_flow_at(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `true_flow.at`, for losses: faces, forearms and hands have more weight, as in `pixel_weight`."""
        offset, weight, visible = self.true_flow.at(height, width)
        return offset, weight * (1 + _DETAILS * F.adaptive_avg_pool2d(self.target_details, (height, width))), visible

    def joint_maps(self, stride: int, sigma: float) -> Tensor:
        """(B, S, H/stride, W/stride) heat maps of the target's joints; `sigma` in their pixels."""
        height, width = self.target_image.shape[-2:]
        return heatmap_batch(self.target_points / stride, (height // stride, width // stride), sigma)

    def crop_around_person(self, fraction: float, *images: Tensor) -> list[Tensor]:
        """The columns of (B, C, H, W) images around each target person: `fraction` of the width, in steps of 8."""
        width = self.target_mask.shape[-1]
        kept = min(width, -(-int(width * fraction) // 8) * 8)
        columns = torch.arange(width, device=self.target_mask.device)
        there = self.target_mask.amax(dim=(1, 2)) > 0.5  # (B, W)
        first = torch.where(there, columns, width).amin(dim=1)
        last = torch.where(there, columns, -1).amax(dim=1)
        left = ((first + last + 1 - kept) // 2).clamp(0, width - kept)
        if left.device.type == "cpu":
            return [torch.stack([p[i, ..., x : x + kept] for i, x in enumerate(left.tolist())]) for p in images]
        chosen = (left[:, None] + columns[:kept])[:, None, None]  # (B, 1, 1, kept); tolist() would wait
        return [p.gather(3, chosen.expand(-1, p.shape[1], p.shape[2], -1)) for p in images]

    def pixel_weight(self, person: float) -> Tensor:
        """(B, 1, H, W) of mean 1. The person has `person` times more weight; faces, forearms and hands even more."""
        weight = 1 + person * (self.target_mask + _DETAILS * self.target_details)
        return weight / weight.mean(dim=(2, 3), keepdim=True)


def pose_batch(pair: PosePair, config: ModelConfig, device: torch.device) -> PoseBatch:
    """`pair` holds collated tensors (a leading B everywhere). The size of heat map dots follows that of the images."""
    source, target = (torch.as_tensor(x) for x in (pair.source_image, pair.target_image))
    size = (source.shape[1], source.shape[2])
    sigma = config.heatmap_sigma * size[0] / config.image_size[0]
    source_points, wanted_points = (
        on_device(torch.as_tensor(x), device).float() for x in (pair.source_points, pair.target_points)
    )
    target_points = wanted_points[..., :3]
    true_flow = GroundTruthFlow.of(pair.correspondence, device)
    maps = joint_map_batch if config.has_depth else heatmap_batch
    return PoseBatch(
        source_image=image_batch(source, device),
        target_image=image_batch(target, device),
        source_structure=maps(source_points, size, sigma),
        target_structure=maps(wanted_points, size, sigma),
        target_points=target_points,
        true_points=on_device(torch.as_tensor(pair.true_points), device).float().transpose(0, 1).flatten(0, 1),
        target_mask=on_device(torch.as_tensor(pair.target_mask), device)[:, None].float().div(255),
        target_details=_details(target_points, size, sigma),
        target_head=head_boxes(target_points, size),
        true_flow=true_flow._replace(weight=true_flow.weight * _flow_weight(wanted_points, size[0])),
    )


def _flow_weight(points: Tensor, height: int) -> Tensor:
    """(B, 1, 1, 1) weight of flows: smaller where the person is large in the frame, and so are all errors."""
    place = torch.cat([points[..., :2], torch.zeros_like(points[..., :1])], dim=2)
    shape, _ = body_shape(points.device)
    trunk = trunk_length(place, (points[..., 2] > 0).to(place.dtype), shape)  # (B, 1) pixels
    return (_USUAL_TRUNK * height / trunk).clamp(max=1)[..., None, None]


def _details(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """(B, 1, H, W), 1 on faces and hands, where people look first, and on forearms, which may cross the body."""
    places = [points[:, joint, :2] for joint in _HEAD_AND_HANDS]
    for elbow, wrist in _FOREARMS:
        first, second = points[:, elbow], points[:, wrist]
        there = ((first[:, 2:] > 0) & (second[:, 2:] > 0)).expand(-1, 2)
        for along in _ALONG:
            place = first[:, :2] + along * (second[:, :2] - first[:, :2])
            places.append(place.where(there, -1))
    return heatmap_batch(torch.stack(places, dim=1), size, sigma).amax(dim=1, keepdim=True)


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
        yield pose_batch(sample, self.recipe.model, device)

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
