"""LPIPS: how different two images look, by the features of a network and weights fitted to people's judgements.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (CVPR 2018), version 0.1. The
fitted weights come with torchmetrics (the same files as in the package lpips), the network's own from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.bundles.convert import read_state
from gfla_cli.errors import BundleError, MissingExtraError
from gfla_cli.evaluation.weights import ALEXNET, VGG16, KnownWeights, find_weights
from gfla_cli.io.background import Say, silent

Backbone = Literal["alex", "vgg"]

VERSION = "0.1"
_MEAN, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of ImageNet's RGB in [-1, 1]
_EPSILON = 1e-10


class _Conv(NamedTuple):
    number: int  # torchvision's, in `features`
    stride: int = 1
    padding: int = 1
    pool: int = 0  # side of the maximum pooling before it, with stride 2; 0 = none
    judged: bool = True  # whether its activation is compared


_ALEX = (_Conv(0, 4, 2), _Conv(3, 1, 2, pool=3), _Conv(6, pool=3), _Conv(8), _Conv(10))
_VGG = tuple(
    _Conv(number, pool=2 if number in (5, 10, 17, 24) else 0, judged=number in (2, 7, 14, 21, 28))
    for number in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
)
_NETWORKS: dict[Backbone, tuple[tuple[_Conv, ...], KnownWeights]] = {"alex": (_ALEX, ALEXNET), "vgg": (_VGG, VGG16)}


class Lpips(nn.Module):
    """The distance, 0 for equal images; frozen."""

    def __init__(self, backbone: Backbone, state: Mapping[str, Tensor], judgements: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.plan = _NETWORKS[backbone][0]
        for conv in self.plan:
            name = f"features.{conv.number}"
            if f"{name}.weight" not in state or f"{name}.bias" not in state:
                what = f"no weights of LPIPS's {backbone} network: {name} is missing"
                raise BundleError(what, hint=f"{_NETWORKS[backbone][1].names[0]} of torchvision is the right file")
            self.register_buffer(f"weight{conv.number}", state[f"{name}.weight"].float())
            self.register_buffer(f"bias{conv.number}", state[f"{name}.bias"].float())
        for level, conv in enumerate(conv for conv in self.plan if conv.judged):
            fitted = judgements[f"lin{level}.model.1.weight"].float()  # (1, C, 1, 1)
            if state[f"features.{conv.number}.weight"].shape[0] != fitted.shape[1]:
                what = f"these are not the weights of LPIPS's {backbone} network: layers of other widths"
                raise BundleError(what, hint="--lpips-net names the network of the file")
            self.register_buffer(f"fitted{conv.number}", fitted)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor(_SPREAD).view(1, 3, 1, 1))

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """(B,) distances between (B, 3, H, W) images in [-1, 1]."""
        x = (torch.cat([made, real]).float() - self.get_buffer("mean")) / self.get_buffer("spread")
        distance = x.new_zeros(len(made))
        for conv in self.plan:
            x = F.max_pool2d(x, conv.pool, stride=2) if conv.pool else x
            weight, bias = self.get_buffer(f"weight{conv.number}"), self.get_buffer(f"bias{conv.number}")
            x = F.relu(F.conv2d(x, weight, bias, conv.stride, conv.padding))
            if conv.judged:
                unit = x / (x.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON)  # (2B, C, h, w)
                made_unit, real_unit = unit.chunk(2)
                difference = F.conv2d((made_unit - real_unit).square(), self.get_buffer(f"fitted{conv.number}"))
                distance = distance + difference.mean(dim=(1, 2, 3))
        return distance


def load_lpips(backbone: Backbone = "alex", given: Path | None = None, *, say: Say = silent) -> tuple[Lpips, Path]:
    """The distance and the file of its network, see `find_weights`. Raises BundleError when there is none."""
    try:
        folder = files("torchmetrics")
    except ModuleNotFoundError as error:
        raise MissingExtraError("LPIPS needs torchmetrics", "metrics") from error
    with as_file(folder / "functional" / "image" / "lpips_models" / f"{backbone}.pth") as fitted:
        judgements = read_state(fitted, "LPIPS's fitted weights")
    known = _NETWORKS[backbone][1]
    file = find_weights(known, given, say=say)
    return Lpips(backbone, read_state(file, known.what), judgements), file
