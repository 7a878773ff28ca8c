"""What one training step makes small: every term of the paper and ours, by name, each weighted by the stage."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.losses.adversarial import generator_loss
from gfla_cli.losses.flow import affine_regularisation, correspondence_loss, sampling_correctness
from gfla_cli.losses.perceptual import PerceptualLoss
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.generator import Generated
from gfla_cli.training.batch import PoseBatch
from gfla_cli.training.recipe import LossWeights, Recipe

Terms = dict[str, Tensor]

# Features that see as much of the picture as a flow cell does: (layer, pooled by) per stride, best first.
_MATCHED_AT = {8: (("relu4_1", 1), ("relu3_4", 2)), 4: (("relu3_1", 1),), 2: (("relu2_1", 1),)}


class PoseObjective:
    """Terms of the flow stage and of the joint stage; those with weight 0 are not computed."""

    def __init__(self, recipe: Recipe, vgg: Vgg19 | None) -> None:
        self.levels = recipe.model.levels
        self.vgg = vgg
        self.window = recipe.perceptual_window
        self.perceptual = PerceptualLoss(vgg, recipe.content_layers, recipe.style_layers) if vgg else None

    def flow_terms(self, batch: PoseBatch, flows: list[Flow], weights: LossWeights) -> Terms:
        """Unweighted losses of the flows alone."""
        terms: Terms = {}
        if not flows:
            return terms
        if weights.correctness:
            terms["correctness"] = self._correctness(batch, flows)
        if weights.affine:
            terms["affine"] = _sum(
                affine_regularisation(flow.offset, level.patch) for flow, level in zip(flows, self.levels, strict=True)
            )
        if weights.correspondence or weights.visibility:
            pairs = [correspondence_loss(f, *batch.correspondence_at(*f.offset.shape[-2:])) for f in flows]
            terms["correspondence"] = _sum(error for error, _ in pairs)
            terms["visibility"] = _sum(mask for _, mask in pairs)
        return terms

    def joint_terms(
        self, batch: PoseBatch, made: Generated, weights: LossWeights, discriminator: nn.Module | None
    ) -> Terms:
        """Unweighted losses of the picture and of the flows behind it."""
        terms = self.flow_terms(batch, made.flows, weights)
        pixel_weight = batch.pixel_weight(weights.person) if weights.person else None
        difference = (made.image - batch.target_image).abs()
        terms["l1"] = (difference * pixel_weight).mean() if pixel_weight is not None else difference.mean()
        if weights.content or weights.style:
            terms |= self._perceptual(batch, made.image, pixel_weight, with_style=weights.style > 0)
        if discriminator is not None:
            terms["adversarial"] = generator_loss(discriminator(made.image))
        return terms

    def _perceptual(self, batch: PoseBatch, image: Tensor, weight: Tensor | None, *, with_style: bool) -> Terms:
        assert self.perceptual is not None
        target = batch.target_image
        if self.window < 1:
            looked_at = [image, target] if weight is None else [image, target, weight]
            image, target, *rest = batch.around_person(self.window, *looked_at)
            weight = rest[0] if rest else None
        distance = self.perceptual(image, target, weight, with_style=with_style)
        return {"content": distance.content} | ({"style": distance.style} if with_style else {})

    def _correctness(self, batch: PoseBatch, flows: list[Flow]) -> Tensor:
        assert self.vgg is not None
        chosen = [_layer_for(level.stride, self.vgg.available) for level in self.levels]
        layers = [layer for layer, _ in chosen]
        with torch.no_grad():
            source, target = self.vgg(batch.source_image, layers), self.vgg(batch.target_image, layers)
        total = batch.source_image.new_zeros(())
        for flow, (layer, pool) in zip(flows, chosen, strict=True):
            at_flow = [F.avg_pool2d(x[layer].float(), pool) for x in (source, target)]
            total = total + sampling_correctness(at_flow[0], at_flow[1], flow.offset)
        return total


def weighted(terms: Terms, weights: LossWeights) -> Tensor:
    """The scalar that is minimised."""
    return _sum(getattr(weights, name) * value for name, value in terms.items())


def _layer_for(stride: int, available: tuple[str, ...]) -> tuple[str, int]:
    return next((layer, pool) for layer, pool in _MATCHED_AT[stride] if layer in available)


def _sum(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()
