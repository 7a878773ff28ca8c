"""Training of view synthesis: one view of an object to another, and a classifier that tells views apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from gfla_cli.conditioning.view_code import AZIMUTHS, CODE_LENGTH
from gfla_cli.datasets.sample import ViewPair
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.networks.discriminator import Discriminator
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.generator import Generated
from gfla_cli.networks.view import AppearanceFlow, ViewGenerator
from gfla_cli.training.batch import partly_known, picture_batch, pooled_correspondence
from gfla_cli.training.objective import FlowObjective, PictureObjective, known_terms, total
from gfla_cli.training.recipe import LossWeights, Recipe, Stage
from gfla_cli.training.task import Judged, Outcome, Terms

_ZOOM, _SHIFT = 0.1, 0.06  # how far the view estimator's pictures are from the usual framing, shares of the frame
_GAIN, _BASE = 0.3, 0.15  # and from the usual contrast and brightness


@dataclass(frozen=True, slots=True)
class ViewBatch:
    """One training step's inputs and expectations. B pictures of H x W."""

    source_image: Tensor  # (B, 3, H, W) in [-1, 1]
    target_image: Tensor  # (B, 3, H, W)
    source_code: Tensor  # (B, 21, 1, 1)
    target_code: Tensor  # (B, 21, 1, 1)
    target_mask: Tensor  # (B, 1, H, W) in [0, 1], 1 on the object
    offset: Tensor  # (B, 2, g, g) known correspondences, fractions of the frame
    offset_weight: Tensor  # (B, 1, g, g)
    visible: Tensor  # (B, 1, g, g)

    def correspondence_at(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Known offsets in pixels of a height x width grid, their weights, and visibility, (B, ·, height, width)."""
        return pooled_correspondence(self.offset, self.offset_weight, self.visible, (height, width))

    def pixel_weight(self, extra: float) -> Tensor:
        """(B, 1, H, W) of mean 1: the object counts `extra` times more than the paper around it."""
        weight = 1 + extra * self.target_mask
        return weight / weight.mean(dim=(2, 3), keepdim=True)


def view_batch(pair: ViewPair, device: torch.device) -> ViewBatch:
    """`pair` holds collated tensors (a leading B everywhere)."""
    source, target, source_code, target_code, mask = (torch.as_tensor(x) for x in pair[:5])
    known = pair.correspondence
    return ViewBatch(
        source_image=picture_batch(source, device),
        target_image=picture_batch(target, device),
        source_code=source_code.to(device)[..., None, None],
        target_code=target_code.to(device)[..., None, None],
        target_mask=mask.to(device)[:, None].float().div(255),
        offset=torch.as_tensor(known.offset).to(device),
        offset_weight=torch.as_tensor(known.weight).to(device),
        visible=torch.as_tensor(known.visible).to(device),
    )


class ViewTask:
    """The part of the view generator, or of appearance flow, in the training loop."""

    steps_per_sample = 1

    def __init__(self, recipe: Recipe, data: Callable[[Stage], Dataset[ViewPair]], vgg: Vgg19 | None) -> None:
        self.recipe = recipe
        self.dataset = data
        self._flows = FlowObjective(recipe.model.levels, vgg)
        self._picture = PictureObjective(recipe, vgg)

    def discriminators(self) -> nn.ModuleDict:
        """One, on single pictures."""
        return nn.ModuleDict({"image": Discriminator(blocks=self.recipe.discriminator_blocks)})

    def batches(self, sample: ViewPair, device: torch.device) -> Iterator[ViewBatch]:
        """The collated pairs, on their device."""
        yield view_batch(sample, device)

    def flow_modules(self, generator: nn.Module) -> list[nn.Module]:
        """The flow estimator, and the view estimator where there is one: it depends on nothing else."""
        generator = _checked(generator)
        view = getattr(generator, "view_estimator", None)
        return [generator.flow_estimator, *([view] if view is not None else [])]

    def forward(self, generator: nn.Module, batch: ViewBatch, stage: Stage) -> Outcome:
        """Flows and views alone, or the picture and the flows behind it."""
        generator = _checked(generator)
        terms = self._view_terms(generator, batch, stage.weights)
        if stage.train == "flow":
            flows = generator.estimate_flow(*_inputs(batch))
            return Outcome(terms | self._flow_terms(batch, flows, stage.weights), {})
        made = _made(generator, batch, stage.known_flows)
        terms |= self._flow_terms(batch, made.flows, stage.weights)
        weight = batch.pixel_weight(stage.weights.person) if stage.weights.person else None
        terms |= self._picture.pixels(made.image, batch.target_image, weight)
        terms |= self._picture.features(made.image, batch.target_image, stage.weights, weight)
        return Outcome(terms, {"image": Judged(batch.target_image, made.image)})

    def _flow_terms(self, batch: ViewBatch, flows: list[Flow], weights: LossWeights) -> Terms:
        terms = self._flows(flows, batch.source_image, batch.target_image, weights)
        return terms | known_terms(flows, batch.correspondence_at, weights)

    def _view_terms(self, generator: nn.Module, batch: ViewBatch, weights: LossWeights) -> Terms:
        """Cross entropy of azimuth and elevation, on both pictures, framed and lit as strangers would."""
        if not weights.view or not isinstance(generator, ViewGenerator) or generator.view_estimator is None:
            return {}
        pictures = _as_from_strangers(torch.cat([batch.source_image, batch.target_image]))
        codes = torch.cat([batch.source_code, batch.target_code]).flatten(1)
        parts = [len(AZIMUTHS), CODE_LENGTH - len(AZIMUTHS)]
        scores = generator.estimate_view(pictures).split(parts, dim=1)
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


def _made(generator: ViewGenerator | AppearanceFlow, batch: ViewBatch, known_flows: float) -> Generated:
    """The view, of a share of the pairs by known flows, and the flows that the network estimates itself.

    Pixels that only move have nothing to learn from known flows.
    """
    if not known_flows or isinstance(generator, AppearanceFlow):
        made: Generated = generator(*_inputs(batch))
        return made
    flows = generator.estimate_flow(*_inputs(batch))
    moved = partly_known(flows, batch.correspondence_at, known_flows)
    return Generated(generator.render(batch.source_image, batch.target_code, moved), flows)


@torch.no_grad()
def _as_from_strangers(images: Tensor) -> Tensor:
    """(B, 3, H, W) pictures on white, each moved, resized, relit; drawn with torch's global generator."""
    count = len(images)

    def draw(*shape: int) -> Tensor:
        return torch.randn(count, *shape).to(images.device)

    place = torch.zeros(count, 2, 3, device=images.device)
    zoom = torch.exp(_ZOOM * draw())
    place[:, 0, 0] = place[:, 1, 1] = zoom
    place[:, :, 2] = 2 * _SHIFT * draw(2)
    grid = F.affine_grid(place, list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float() - 1, grid, align_corners=False)  # outside is 0, which is white here
    gain = torch.exp(_GAIN * draw(3, 1, 1).clamp(-2, 2))
    return (moved * gain + _BASE * draw(1, 1, 1) * moved.lt(-0.02)).clamp(-2, 0) + 1
