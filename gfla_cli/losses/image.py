"""Losses of generated images: adversarial, matte, joints, and content and style by the features of VGG19."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.bundles.convert import read_state
from gfla_cli.errors import BundleError
from gfla_cli.ops.warp import max_pooled

JOINT_SIGMA = 1.75  # of a joint in a pose reader's heat maps, in their cells
_CONVS_PER_BLOCK = (2, 2, 4, 4, 4)
_HUB = ("timm/vgg19.tv_in1k", "model.safetensors")


# Name of every activation -> torchvision's number of the convolution before it: each has a ReLU, each block a pool.
LAYERS = {
    f"relu{block}_{i}": 2 * (sum(_CONVS_PER_BLOCK[: block - 1]) + i - 1) + block - 1
    for block, count in enumerate(_CONVS_PER_BLOCK, start=1)
    for i in range(1, count + 1)
}


class Vgg19(nn.Module):
    """Frozen VGG19 convolutions. Files may have fewer than 16; `available` names the activations that exist.

    The input is RGB in [-1, 1] without normalisation, as the authors trained. Files whose first layer includes the
    original mean subtraction expect the same.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.convs = nn.ModuleDict()
        inside = 3
        for name, number in LAYERS.items():
            weight, bias = state.get(f"features.{number}.weight"), state.get(f"features.{number}.bias")
            if weight is None or bias is None:
                break
            outside = len(bias)
            if tuple(weight.shape) != (outside, inside, 3, 3):
                what = f"features.{number} is {tuple(weight.shape)} instead of {(outside, inside, 3, 3)}"
                raise BundleError(f"no VGG19 weights: {what}", hint="use the network without batch normalisation")
            conv = nn.Conv2d(inside, outside, 3, padding=1)
            conv.weight.data, conv.bias.data = weight.float(), bias.float()  # type: ignore[union-attr]
            self.convs[name], inside = conv, outside
        if not self.convs:
            raise BundleError(
                "no VGG19 weights in this file", hint="expected tensors named features.0.weight and so on"
            )
        self.requires_grad_(False)

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the activations that the weights provide, shallow to deep."""
        return tuple(self.convs)

    def forward(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Activations by name for (B, 3, H, W) images in [-1, 1]; computes no deeper than needed."""
        wanted = set(layers)
        if missing := wanted - set(self.convs):
            raise BundleError(f"these VGG19 weights stop before {', '.join(sorted(missing))}")
        found: dict[str, Tensor] = {}
        x = image
        for name, conv in self.convs.items():
            if name.endswith("_1") and name != "relu1_1":
                x = max_pooled(x, 2)
            x = F.relu(conv(x))
            if name in wanted:
                found[name] = x
                if len(found) == len(wanted):
                    break
        return found


def load_vgg19(path: Path | None) -> Vgg19:
    """VGG19 from a local .npz, .safetensors or .pth file, or from the hub when no path is given.

    Raises BundleError when the file is missing, damaged, or holds no VGG19 weights.
    """
    return Vgg19(read_state(path or fetch_vgg19(), "a VGG19 state dict"))


def fetch_vgg19() -> Path:
    """The file of VGG19's weights, downloaded from the hub on first use. Raises BundleError when that fails."""
    from gfla_cli.bundles.hub import fetch

    return fetch(*_HUB)


def generator_loss(fake_scores: Tensor) -> Tensor:
    """Least squares: 0 when the discriminator scores all generated images 1, as real ones (paper, eq. 10)."""
    return (fake_scores.float() - 1).square().mean()


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Least squares: 0 when real images score 1 and generated ones 0. Halved, so that it learns at half the pace."""
    return ((real_scores.float() - 1).square().mean() + fake_scores.float().square().mean()) / 2


def matte_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy of the matte's logits (B, 1, H, W) and the silhouette (B, 1, H, W) in [0, 1], a scalar."""
    return F.binary_cross_entropy_with_logits(logits.float(), mask)


def joint_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared distance of joint heat maps (B, J, h, w), a scalar: the mean over joints, in units of one joint's energy.

    1 when a wanted joint is not found at all, 2 when it is found in another place.
    """
    difference = found.float() - wanted.float()
    return difference.square().sum(dim=(2, 3)).mean() / (math.pi * JOINT_SIGMA**2)


class VggDistance(NamedTuple):
    """Content and style distance (paper, eq. 11 and 12), two scalars."""

    content: Tensor
    style: Tensor


class PerceptualLoss(nn.Module):
    """Distances between images in the features of a frozen VGG19. Layers that the weights lack are left out."""

    def __init__(self, vgg: Vgg19, content: tuple[str, ...], style: tuple[str, ...]) -> None:
        super().__init__()
        self.vgg = vgg
        self.content = tuple(name for name in content if name in vgg.available)
        self.style = tuple(name for name in style if name in vgg.available)

    def forward(
        self, generated: Tensor, target: Tensor, weight: Tensor | None = None, *, with_style: bool = True
    ) -> VggDistance:
        """Both distances between (B, 3, H, W) images in [-1, 1]; gradients flow into `generated` only.

        `weight` (B, 1, H, W), of mean 1, weights the pixels in the content distance.
        """
        styles = self.style if with_style else ()
        layers = {*self.content, *styles}
        with torch.no_grad():
            expected = self.vgg(target, layers)
        found = self.vgg(generated, layers)
        content = style = generated.new_zeros(())
        for name in self.content:
            difference = (found[name] - expected[name]).abs().mean(dim=1, keepdim=True, dtype=torch.float32)
            if weight is not None:
                difference = difference * F.adaptive_avg_pool2d(weight, difference.shape[-2:])
            content = content + difference.mean()
        for name in styles:
            style = style + (gram(found[name]) - gram(expected[name])).abs().mean()
        return VggDistance(content, style)


def gram(features: Tensor) -> Tensor:
    """(B, C, C) channel correlations, divided by C·H·W. In float32: the sum over pixels needs its precision."""
    _, C, H, W = features.shape
    x = features.float().flatten(2)
    with torch.autocast(x.device.type, enabled=False):
        return x @ x.transpose(1, 2) / (C * H * W)
