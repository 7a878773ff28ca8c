"""The losses that several tasks share: of flows, and of a picture against the real one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.config import Level
from gfla_cli.losses.flow import affine_regularisation, correspondence_loss, sampling_correctness
from gfla_cli.losses.image import PerceptualLoss, VggDistance, discriminator_loss, generator_loss
from gfla_cli.losses.joints import joint_loss
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.networks.flow import Flow
from gfla_cli.training.batch import KnownAt
from gfla_cli.training.recipe import LossWeights, Recipe
from gfla_cli.training.task import Judged, Read, Terms

# Features that see as much of the picture as a flow cell does: (layer, pooled by) per stride, best first.
_MATCHED_AT = {8: (("relu4_1", 1), ("relu3_4", 2)), 4: (("relu3_1", 1),), 2: (("relu2_1", 1),)}


class FlowObjective:
    """Sampling correctness and affine regularisation of flows, level by level."""

    def __init__(self, levels: Sequence[Level], vgg: Vgg19 | None) -> None:
        self.levels = levels
        self.vgg = vgg

    def __call__(self, flows: Sequence[Flow], source: Tensor, target: Tensor, weights: LossWeights) -> Terms:
        """Unweighted losses of one flow per level between (B, 3, H, W) pictures; those of weight 0 are left out."""
        terms: Terms = {}
        if flows and weights.correctness:
            terms["correctness"] = self._correctness(flows, source, target)
        if flows and weights.affine:
            terms["affine"] = total(
                affine_regularisation(flow.offset, level.patch) for flow, level in zip(flows, self.levels, strict=True)
            )
        return terms

    def _correctness(self, flows: Sequence[Flow], source: Tensor, target: Tensor) -> Tensor:
        assert self.vgg is not None
        chosen = [_layer_for(level.stride, self.vgg.available) for level in self.levels]
        layers = [layer for layer, _ in chosen]
        with torch.no_grad():
            features = self.vgg(source, layers), self.vgg(target, layers)
        parts = []
        for flow, (layer, pool) in zip(flows, chosen, strict=True):
            at_flow = [F.avg_pool2d(x[layer].float(), pool) for x in features]
            parts.append(sampling_correctness(at_flow[0], at_flow[1], flow.offset))
        return total(parts)


def known_terms(flows: Sequence[Flow], known_at: KnownAt, weights: LossWeights) -> Terms:
    """How far flows of every level, and their masks, are from what the renderer knows; nothing where nobody asks."""
    if not flows or not (weights.correspondence or weights.visibility):
        return {}
    pairs = [correspondence_loss(flow, *known_at(*flow.offset.shape[-2:])) for flow in flows]
    return {"correspondence": total(error for error, _ in pairs), "visibility": total(mask for _, mask in pairs)}


class PictureObjective:
    """l1, content and style distance of a generated picture from the real one."""

    def __init__(self, recipe: Recipe, vgg: Vgg19 | None) -> None:
        self.perceptual = PerceptualLoss(vgg, recipe.content_layers, recipe.style_layers) if vgg else None

    def pixels(self, made: Tensor, real: Tensor, pixel_weight: Tensor | None = None) -> Terms:
        """l1 of (B, 3, H, W) pictures; `pixel_weight` (B, 1, H, W) of mean 1 says what counts more."""
        difference = (made - real).abs()
        return {"l1": (difference if pixel_weight is None else difference * pixel_weight).mean()}

    def features(self, made: Tensor, real: Tensor, weights: LossWeights, pixel_weight: Tensor | None = None) -> Terms:
        """Content and style distance; those of weight 0 are left out."""
        if not (weights.content or weights.style):
            return {}
        assert self.perceptual is not None
        distance: VggDistance = self.perceptual(made, real, pixel_weight, with_style=weights.style > 0)
        return {"content": distance.content} | ({"style": distance.style} if weights.style else {})

    def content(self, made: Tensor, real: Tensor) -> Tensor:
        """Content distance alone."""
        assert self.perceptual is not None
        distance: VggDistance = self.perceptual(made, real, with_style=False)
        return distance.content


def weighted(terms: Terms, weights: LossWeights) -> Tensor:
    """The scalar that is minimised."""
    return total(getattr(weights, name) * value for name, value in terms.items())


def total(values: Iterable[Tensor]) -> Tensor:
    """Sum of scalars."""
    return torch.stack(list(values)).sum()


def _layer_for(stride: int, available: tuple[str, ...]) -> tuple[str, int]:
    return next((layer, pool) for layer, pool in _MATCHED_AT[stride] if layer in available)


# The networks that learn beside the generator and tell it what is wrong with its pictures.
#
# Discriminators score pictures as real or made (paper, eq. 10); a pose reader, not in the paper, finds joints in them.


def playing(judged: Mapping[str, Judged | Read], *, adversarial: bool) -> dict[str, Judged | Read]:
    """What there is to judge in this step: discriminators wait for theirs, a pose reader never does."""
    return {name: pair for name, pair in judged.items() if adversarial or isinstance(pair, Read)}


def generator_terms(critics: nn.ModuleDict, judged: Mapping[str, Judged | Read]) -> Terms:
    """What the generator is told: "adversarial" by discriminators, "joints" by a pose reader.

    The latter compares what it sees in both pictures, and not the joints asked for: a hidden hand is no mistake.
    """
    found: dict[str, list[Tensor]] = {"adversarial": [], "joints": []}
    for name, pair in judged.items():
        critic = critics[name]
        if isinstance(pair, Read):
            with torch.no_grad():
                seen = critic(pair.real)
            found["joints"].append(joint_loss(critic(pair.fake), seen))
        else:
            found["adversarial"].append(generator_loss(critic(pair.fake)))
    return _totals(found)


def critic_terms(critics: nn.ModuleDict, judged: Mapping[str, Judged | Read]) -> Terms:
    """What the critics learn from: "discriminator", and "reader" of a pose reader."""
    found: dict[str, list[Tensor]] = {"discriminator": [], "reader": []}
    for name, pair in judged.items():
        critic = critics[name]
        if isinstance(pair, Read):
            found["reader"].append(joint_loss(critic(pair.real), pair.joints))
        else:
            real, fake = critic(torch.cat([pair.real, pair.fake])).chunk(2)
            found["discriminator"].append(discriminator_loss(real, fake))
    return _totals(found)


def _totals(found: Mapping[str, list[Tensor]]) -> Terms:
    return {name: total(values) for name, values in found.items() if values}
