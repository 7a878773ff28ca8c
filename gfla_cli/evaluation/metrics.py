"""Distances between a generated picture and the real one."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.errors import MissingExtraError
from gfla_cli.evaluation.lpips import Lpips
from gfla_cli.evaluation.names import BY_PAIR
from gfla_cli.evaluation.protocols import Size, padding
from gfla_cli.losses.image import PerceptualLoss
from gfla_cli.losses.vgg import Vgg19

try:
    from torchmetrics.functional.image import structural_similarity_index_measure
except ImportError as error:
    raise MissingExtraError("evaluation needs torchmetrics", "metrics") from error

# Stated with every figure: VGG distances of other layers or other weights cannot be compared.
VGG_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
SSIM_RULE = "Gaussian window of 11, sigma 1.5, range 1, mean over red, green and blue"
_MASKED = "mask-"
_MOST_DB = 100.0  # of equal pictures, so that means stay finite


class PictureDistances:
    """Figures of a picture by name, as far as `metrics` asks for them and their networks are at hand.

    ssim: window 11, sigma 1.5, range [0, 1], mean over RGB (torchmetrics), on pictures padded with white to `padded`.
    psnr: in dB over RGB, at most 100. l1: mean absolute difference of values in [-1, 1]. vgg: sum over `VGG_LAYERS`
    of the mean absolute difference of VGG19 activations. lpips: as in the package of its authors. mask-ssim and
    mask-lpips: the same of both pictures with everything outside a mask black; NaN where the mask is empty.
    """

    def __init__(
        self,
        vgg: Vgg19 | None = None,
        lpips: Lpips | None = None,
        *,
        metrics: Collection[str] = BY_PAIR,
        padded: Size | None = None,
    ) -> None:
        self._vgg = PerceptualLoss(vgg, VGG_LAYERS, ()) if vgg else None
        self._lpips, self._padded = lpips, padded
        absent = ({"lpips", "mask-lpips"} if lpips is None else set()) | ({"vgg"} if vgg is None else set())
        self.names = tuple(name for name in BY_PAIR if name in metrics and name not in absent)

    def __call__(self, made: Tensor, real: Tensor, mask: Tensor | None = None) -> dict[str, float]:
        """Of one pair of (1, 3, H, W) pictures in [-1, 1]; `mask` (1, 1, H, W), 1 on the person."""
        (figures,) = self.of_batch(made, real, mask)
        return figures

    @torch.inference_mode()
    def of_batch(self, made: Tensor, real: Tensor, masks: Tensor | None = None) -> list[dict[str, float]]:
        """Of each of B pairs of (B, 3, H, W) pictures in [-1, 1]; `masks` (B, 1, H, W)."""
        columns = {name: self._column(name, made, real) for name in self.names if not name.startswith(_MASKED)}
        if masks is not None:
            empty = masks.amax(dim=(1, 2, 3)) == 0
            inside = [(picture + 1) * masks - 1 for picture in (made, real)]
            for name in set(self.names) - set(columns):
                figures = self._column(name.removeprefix(_MASKED), *inside)
                columns[name] = figures.masked_fill(empty, math.nan)
        chosen = {name: columns[name].tolist() for name in self.names if name in columns}
        return [{name: values[k] for name, values in chosen.items()} for k in range(len(made))]

    def _column(self, name: str, made: Tensor, real: Tensor) -> Tensor:
        """(B,) figures of one name."""
        if name == "ssim":
            return self._ssim(made, real)
        if name == "lpips" and self._lpips is not None:
            distances: Tensor = self._lpips(made, real)
            return distances
        if name == "vgg" and self._vgg is not None:
            pairs = zip(made.split(1), real.split(1), strict=True)
            return torch.stack([self._vgg(one, other).content for one, other in pairs])
        difference = made - real
        if name == "l1":
            return difference.abs().mean(dim=(1, 2, 3))
        squares = (difference / 2).square().mean(dim=(1, 2, 3))
        return (-10 * squares.clamp(min=1e-30).log10()).clamp(max=_MOST_DB)

    def _ssim(self, made: Tensor, real: Tensor) -> Tensor:
        if self._padded is not None:
            around = padding((made.shape[2], made.shape[3]), self._padded)
            made, real = (F.pad(picture, around, value=1.0) for picture in (made, real))
        found = structural_similarity_index_measure((made + 1) / 2, (real + 1) / 2, data_range=1.0, reduction="none")
        assert isinstance(found, Tensor)
        return found.reshape(len(made))
