"""Training of view synthesis: from one view of an object to another, and a classifier of views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.conditioning.view_code import AZIMUTHS, CODE_LENGTH
from gfla_cli.datasets.sample import ViewPair
from gfla_cli.losses.flow import middle_loss, ray_loss, surface_flow_loss, thinness
from gfla_cli.networks.discriminator import Discriminator
from gfla_cli.networks.generator import Generated
from gfla_cli.networks.view import AppearanceFlow, ViewFlow, ViewGenerator
from gfla_cli.training.batch import GroundTruthFlow, image_batch, mix_ground_truth_flows, on_device
from gfla_cli.training.recipe import LossWeights, Stage
from gfla_cli.training.tasks.base import CriticInput, Outcome, Terms, TrainingTask, blend_losses, total

# Augmentation of the view estimator's images:
_ZOOM, _SHIFT = 0.1, 0.06  # standard deviations of log scale and of shift, the latter as a fraction of the frame
_THIN_PARTS = 2.0  # extra weight of thin parts, relative to the object's
_GAIN, _BASE = 0.3, 0.15  # standard deviations of log contrast and of brightness


@dataclass(frozen=True, slots=True)
class ViewBatch:
    """One training step's inputs and ground truth. B images of H x W."""

    source_image: Tensor  # (B, 3, H, W) in [-1, 1]
    target_image: Tensor  # (B, 3, H, W)
    source_code: Tensor  # (B, 21, 1, 1)
    target_code: Tensor  # (B, 21, 1, 1)
    target_mask: Tensor  # (B, 1, H, W) in [0, 1], 1 on the object
    true_flow: GroundTruthFlow
    depth: Tensor  # (B, 2, g, g) of the surface in both images, see ObjectGeometry
    middle: Tensor  # (B, 2)

    def pixel_weight(self, extra: float) -> Tensor:
        """(B, 1, H, W) of mean 1: the object counts `extra` times more than the background, thin parts even more."""
        weight = 1 + extra * (self.target_mask + _THIN_PARTS * thinness(self.target_mask))
        return weight / weight.mean(dim=(2, 3), keepdim=True)


def view_batch(pair: ViewPair, device: torch.device) -> ViewBatch:
    """`pair` holds collated tensors (a leading B everywhere)."""
    source, target, source_code, target_code, mask = (torch.as_tensor(x) for x in pair[:5])
    return ViewBatch(
        source_image=image_batch(source, device),
        target_image=image_batch(target, device),
        source_code=on_device(source_code, device)[..., None, None],
        target_code=on_device(target_code, device)[..., None, None],
        target_mask=on_device(mask, device)[:, None].float().div(255),
        true_flow=GroundTruthFlow.of(pair.correspondence, device),
        depth=on_device(torch.as_tensor(pair.geometry[0]), device),
        middle=on_device(torch.as_tensor(pair.geometry[1]), device),
    )


class ViewTask(TrainingTask):
    """Training of view synthesis, by the view generator or by appearance flow."""

    def discriminators(self) -> nn.ModuleDict:
        """One, for single images."""
        return nn.ModuleDict({"image": Discriminator(blocks=self.recipe.discriminator_blocks)})

    def batches(self, sample: ViewPair, device: torch.device) -> Iterator[ViewBatch]:
        """The collated pairs, on their device."""
        yield view_batch(sample, device)

    def flow_modules(self, generator: nn.Module) -> list[nn.Module]:
        """The flow estimator, and the view estimator if there is one, which is independent of the rest."""
        generator = _checked(generator)
        view = getattr(generator, "view_estimator", None)
        return [generator.flow_estimator, *([view] if view is not None else [])]

    def forward(self, generator: nn.Module, batch: ViewBatch, stage: Stage) -> Outcome:
        """The flows and views alone, or the generated image and its flows."""
        generator = _checked(generator)
        terms = self._view_terms(generator, batch, stage.weights)
        found, weights = generator.estimate_flow(*_inputs(batch)), stage.weights
        truth = batch.true_flow.at
        terms |= self.flow_losses(found.flows, batch.source_image, batch.target_image, truth, weights)
        if found.shape is not None and (weights.volume or weights.rays or weights.middle):
            terms |= _volume_terms(batch, found)
        if stage.train == "flow":
            return Outcome(terms, {})
        if isinstance(generator, AppearanceFlow):  # it would learn nothing from the renderer's flows
            made = Generated(generator.warp(batch.source_image, found), found.flows)
        else:
            if stage.ground_truth_flows:
                found = found._replace(flows=mix_ground_truth_flows(found.flows, truth, stage.ground_truth_flows))
            made = generator.render(batch.source_image, batch.target_code, found)
        weight = batch.pixel_weight(weights.person) if weights.person else None
        terms |= self.image_losses.pixels(made.image, batch.target_image, weight)
        terms |= self.image_losses.features(made.image, batch.target_image, weights, weight)
        terms |= blend_losses(made.blend, made.flows[-1:], [truth], batch.target_mask, weights)
        return Outcome(terms, {"image": CriticInput(batch.target_image, made.image)})

    def _view_terms(self, generator: nn.Module, batch: ViewBatch, weights: LossWeights) -> Terms:
        """Cross-entropy of azimuth and elevation on both images, under domain augmentation."""
        if not weights.view or not isinstance(generator, ViewGenerator) or generator.view_estimator is None:
            return {}
        images = _augmented(torch.cat([batch.source_image, batch.target_image]))
        codes = torch.cat([batch.source_code, batch.target_code]).flatten(1)
        parts = [len(AZIMUTHS), CODE_LENGTH - len(AZIMUTHS)]
        scores = generator.estimate_view(images).split(parts, dim=1)
        return {"view": total(F.cross_entropy(s, c) for s, c in zip(scores, codes.split(parts, dim=1), strict=True))}

    def rows(self, generator: nn.Module, batch: ViewBatch) -> Tensor:
        """Source, generated, target: (B, 3, H, 3W)."""
        made = generator(*_inputs(batch)).image
        return torch.cat([batch.source_image, made.clamp(-1, 1), batch.target_image], dim=3)


def _checked(generator: nn.Module) -> ViewGenerator | AppearanceFlow:
    assert isinstance(generator, ViewGenerator | AppearanceFlow)
    return generator


def _inputs(batch: ViewBatch) -> tuple[Tensor, Tensor, Tensor]:
    return batch.source_image, batch.source_code, batch.target_code


def _volume_terms(batch: ViewBatch, found: ViewFlow) -> Terms:
    """Losses of the volume and of its projection."""
    volume, shape = found.volume, found.shape
    assert volume is not None
    assert shape is not None
    height, width = shape.opacity.shape[-2:]
    mask = F.adaptive_avg_pool2d(batch.target_mask, (height, width))
    depths = batch.depth[:, :, :: batch.depth.shape[2] // height, :: batch.depth.shape[3] // width].split(1, dim=1)
    hits = volume.hit(), shape.hit
    return {
        "volume": surface_flow_loss(shape, mask, *batch.true_flow.at(height, width)),
        "rays": total(ray_loss(hit, depth) for hit, depth in zip(hits, depths, strict=True)),
        "middle": middle_loss(volume.camera[:, :2].flatten(1), batch.middle),
    }


@torch.no_grad()
def _augmented(images: Tensor) -> Tensor:
    """(B, 3, H, W) images on white, each shifted, resized and relit at random, with torch's global generator."""
    count = len(images)

    def draw(*shape: int) -> Tensor:
        return on_device(torch.randn(count, *shape), images.device)

    place = torch.zeros(count, 2, 3, device=images.device)
    zoom = torch.exp(_ZOOM * draw())
    place[:, 0, 0] = place[:, 1, 1] = zoom
    place[:, :, 2] = 2 * _SHIFT * draw(2)
    grid = F.affine_grid(place, list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float() - 1, grid, align_corners=False)  # outside is 0, which is white here
    gain = torch.exp(_GAIN * draw(3, 1, 1).clamp(-2, 2))
    return (moved * gain + _BASE * draw(1, 1, 1) * moved.lt(-0.02)).clamp(-2, 0) + 1
