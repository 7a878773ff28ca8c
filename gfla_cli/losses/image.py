"""Losses of generated images: adversarial, matte, joints, content and style."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.losses.vgg import Vgg19

JOINT_SIGMA = 1.75  # of a joint in a pose reader's heat maps, in their cells

# The authors' layers.
CONTENT_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
STYLE_LAYERS = ("relu2_2", "relu3_4", "relu4_4", "relu5_2")


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

    def __init__(
        self, vgg: Vgg19, content: tuple[str, ...] = CONTENT_LAYERS, style: tuple[str, ...] = STYLE_LAYERS
    ) -> None:
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
