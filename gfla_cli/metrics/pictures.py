"""Distances between a generated picture and the real one."""

from __future__ import annotations

import torch
from torch import Tensor

from gfla_cli.errors import MissingExtraError
from gfla_cli.losses.perceptual import PerceptualLoss
from gfla_cli.losses.vgg import Vgg19

try:
    from torchmetrics.functional.image import structural_similarity_index_measure
except ImportError as error:
    raise MissingExtraError("evaluation needs torchmetrics", "metrics") from error

# Stated with every figure: VGG distances of other layers or other weights cannot be compared.
VGG_LAYERS = ("relu1_1", "relu2_1", "relu3_1")


class PictureDistances:
    """Figures of one picture by name: `ssim`, `l1`, and `vgg` when its weights are at hand.

    SSIM: window 11, sigma 1.5, range [0, 1], mean over RGB (torchmetrics). l1: mean absolute difference of values in
    [-1, 1]. vgg: sum over `VGG_LAYERS` of the mean absolute difference of VGG19 activations.
    """

    def __init__(self, vgg: Vgg19 | None) -> None:
        self._distance = PerceptualLoss(vgg, VGG_LAYERS, ()) if vgg else None

    @torch.inference_mode()
    def __call__(self, made: Tensor, real: Tensor) -> dict[str, float]:
        """Of one pair of (1, 3, H, W) pictures in [-1, 1]."""
        ssim = structural_similarity_index_measure((made + 1) / 2, (real + 1) / 2, data_range=1.0)
        assert isinstance(ssim, Tensor)
        figures = {"ssim": float(ssim), "l1": float((made - real).abs().mean())}
        if self._distance is not None:
            figures["vgg"] = float(self._distance(made, real).content)
        return figures
