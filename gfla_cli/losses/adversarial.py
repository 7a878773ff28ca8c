"""Least-squares adversarial losses: the discriminator's scores against 1 for real and 0 for generated."""

from __future__ import annotations

from torch import Tensor


def generator_loss(fake_scores: Tensor) -> Tensor:
    """Small when the discriminator takes the generated pictures for real."""
    return (fake_scores.float() - 1).square().mean()


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Small when the discriminator tells the two apart; halved, so that it learns at half the generator's pace."""
    return ((real_scores.float() - 1).square().mean() + fake_scores.float().square().mean()) / 2
