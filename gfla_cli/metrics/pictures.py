"""Distances between a generated picture and the real one, averaged over a set."""

from __future__ import annotations

from collections import defaultdict

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


class PictureMetrics:
    """Collects per-picture figures by column name: `ssim`, `l1`, and `vgg` when its weights are at hand.

    SSIM: window 11, sigma 1.5, range [0, 1], mean over RGB (torchmetrics). l1: mean absolute difference of values in
    [-1, 1]. vgg: sum over `VGG_LAYERS` of the mean absolute difference of VGG19 activations.
    """

    def __init__(self, vgg: Vgg19 | None) -> None:
        self._distance = PerceptualLoss(vgg, VGG_LAYERS, ()) if vgg else None
        self.rows: dict[str, list[float]] = defaultdict(list)

    @torch.inference_mode()
    def add(self, generated: Tensor, target: Tensor) -> None:
        """Adds (B, 3, H, W) pictures in [-1, 1]."""
        for made, real in zip(generated.split(1), target.split(1), strict=True):
            ssim = structural_similarity_index_measure((made + 1) / 2, (real + 1) / 2, data_range=1.0)
            assert isinstance(ssim, Tensor)
            self.rows["ssim"].append(float(ssim))
            self.rows["l1"].append(float((made - real).abs().mean()))
            if self._distance is not None:
                self.rows["vgg"].append(float(self._distance(made, real).content))

    def means(self) -> dict[str, float]:
        """Column -> mean over all pictures added."""
        return {name: sum(values) / len(values) for name, values in self.rows.items()}
