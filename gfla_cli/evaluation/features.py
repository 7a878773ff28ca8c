"""The networks by whose features images are compared: Inception-v3 of FID, AlexNet or VGG16 of LPIPS.

FID's Inception differs from the network of the same name in image libraries: trained in December 2015 on 1008 classes,
averages leave the padding out, and the last block pools by maximum. Tensors are named as in the converted weights that
pytorch-fid and torch-fidelity publish (the same file), so those load as they are.

LPIPS says how different two images look: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric (CVPR 2018), version 0.1. Its weights, fitted to people's judgements, come with torchmetrics (the same files as
in the package lpips), the network's own from a file.
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
from gfla_cli.evaluation.weights import ALEXNET, INCEPTION, VGG16, KnownWeights, find_weights
from gfla_cli.io.background import Say, silent

Backbone = Literal["alex", "vgg"]

FEATURES = 2048
SIDE = 299  # pixels; every image is resized to this square
VERSION = "0.1"  # of LPIPS
_MEAN, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of ImageNet's RGB in [-1, 1]
_EPSILON = 1e-10

_RIGHT = "pt_inception-2015-12-05-6726825d.pth of pytorch-fid is the right file"
_ONE, _THREE, _FIVE, _ROW, _COLUMN = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)

_Kernel = tuple[int, int]
_Conv = tuple[int, _Kernel] | tuple[int, _Kernel, int]  # channels, kernel, stride
# A name, and convolutions one after another. Those of a list all see the same input, and their results are joined.
_Branch = tuple[str, *tuple[_Conv | list[_Conv], ...]]


def _a(pooled: int) -> list[_Branch]:
    return [
        ("branch1x1", (64, _ONE)),
        ("branch5x5", (48, _ONE), (64, _FIVE)),
        ("branch3x3dbl", (64, _ONE), (96, _THREE), (96, _THREE)),
        ("branch_pool", (pooled, _ONE)),
    ]


def _c(middle: int) -> list[_Branch]:
    double: list[_Conv] = [(middle, _ONE), (middle, _COLUMN), (middle, _ROW), (middle, _COLUMN), (192, _ROW)]
    return [
        ("branch1x1", (192, _ONE)),
        ("branch7x7", (middle, _ONE), (middle, _ROW), (192, _COLUMN)),
        ("branch7x7dbl", *double),
        ("branch_pool", (192, _ONE)),
    ]


_B: list[_Branch] = [
    ("branch3x3", (384, _THREE, 2)),
    ("branch3x3dbl", (64, _ONE), (96, _THREE), (96, _THREE, 2)),
    ("pool",),
]
_D: list[_Branch] = [
    ("branch3x3", (192, _ONE), (320, _THREE, 2)),
    ("branch7x7x3", (192, _ONE), (192, _ROW), (192, _COLUMN), (192, _THREE, 2)),
    ("pool",),
]
_ROW_AND_COLUMN: list[_Conv] = [(384, (1, 3)), (384, (3, 1))]
_E: list[_Branch] = [
    ("branch1x1", (320, _ONE)),
    ("branch3x3", (384, _ONE), _ROW_AND_COLUMN),
    ("branch3x3dbl", (448, _ONE), (384, _THREE), _ROW_AND_COLUMN),
    ("branch_pool", (192, _ONE)),
]
# Name -> channels that come in, and branches, in order.
_BLOCKS: dict[str, tuple[int, list[_Branch]]] = {
    "Mixed_5b": (192, _a(32)),
    "Mixed_5c": (256, _a(64)),
    "Mixed_5d": (288, _a(64)),
    "Mixed_6a": (288, _B),
    "Mixed_6b": (768, _c(128)),
    "Mixed_6c": (768, _c(160)),
    "Mixed_6d": (768, _c(160)),
    "Mixed_6e": (768, _c(192)),
    "Mixed_7a": (768, _D),
    "Mixed_7b": (1280, _E),
    "Mixed_7c": (2048, _E),
}


class _Convolution(nn.Module):
    """With a stride the border is cut off, without it is padded."""

    def __init__(self, inside: int, channels: int, kernel: _Kernel, stride: int = 1, *, padded: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded and stride == 1 else 0
        self.conv = nn.Conv2d(inside, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    """Branches side by side, joined over channels."""

    def __init__(self, channels: int, branches: list[_Branch], *, pools_by_maximum: bool) -> None:
        super().__init__()
        self.pools_by_maximum = pools_by_maximum
        self.branches: dict[str, list[list[str]]] = {}  # name -> the modules of every step
        for branch, *steps in branches:
            width, modules = channels, []
            for number, step in enumerate(steps, start=1):
                forks = step if isinstance(step, list) else [step]
                names = [f"{branch}_{number}{letter}" for letter in ("ab" if len(forks) > 1 else [""])]
                names = names if len(steps) > 1 else [branch]
                for name, conv in zip(names, forks, strict=True):
                    self.add_module(name, _Convolution(width, *conv))
                width = forks[0][0]
                modules.append(names)
            self.branches[branch] = modules

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, steps, x) for branch, steps in self.branches.items()], dim=1)

    def _run(self, branch: str, steps: list[list[str]], x: Tensor) -> Tensor:
        if branch == "pool":
            return F.max_pool2d(x, 3, stride=2)
        if branch == "branch_pool" and self.pools_by_maximum:
            x = F.max_pool2d(x, 3, stride=1, padding=1)
        elif branch == "branch_pool":
            x = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        for names in steps:
            x = torch.cat([self.get_submodule(name)(x) for name in names], dim=1)
        return x


class FidInception(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1] -> (B, 2048) features, float32."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, _THREE, 2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, _THREE, padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, _THREE)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, _ONE)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, _THREE, padded=False)
        for name, block in _BLOCKS.items():
            self.add_module(name, _Block(*block, pools_by_maximum=name == "Mixed_7c"))

    def forward(self, image: Tensor) -> Tensor:
        # As pytorch-fid does it: bilinear without antialiasing; the original's own filter differs by a fraction.
        x = F.interpolate(image.float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)  # (B, 192, 35, 35)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))


def build_inception(state: Mapping[str, Tensor], name: str) -> FidInception:
    """The frozen network with the weights of the file `name`; raises BundleError when they are of something else."""
    classifier = state.get("fc.weight")
    if classifier is not None and classifier.shape[0] != 1008:
        raise BundleError(
            f"{name}: an Inception for {classifier.shape[0]} classes, not the one that FID is defined with (1008)",
            hint=_RIGHT,
        )
    with torch.device("meta"):
        network = FidInception()
    wanted = network.state_dict()
    found = {key: torch.zeros((), dtype=torch.long) for key in wanted if key.endswith("num_batches_tracked")}
    found |= {key: state[key].float() for key in wanted if key in state}
    wrong = [key for key, tensor in wanted.items() if key not in found or found[key].shape != tensor.shape]
    if wrong:
        what = f"{name}: not the weights of FID's Inception: {len(wrong)} tensors do not fit, first {wrong[0]}"
        raise BundleError(what, hint=_RIGHT)
    network.load_state_dict(found, assign=True)
    return network.eval().requires_grad_(False)


def load_inception(given: Path | None = None, *, say: Say = silent) -> tuple[FidInception, Path]:
    """The network of FID and its file, see `find_weights`. Raises BundleError when there is none."""
    file = find_weights(INCEPTION, given, say=say)
    return build_inception(read_state(file, INCEPTION.what), file.name), file


class _Layer(NamedTuple):
    """A convolution of LPIPS's network, with a ReLU behind it."""

    number: int  # torchvision's, in `features`
    stride: int = 1
    padding: int = 1
    pool: int = 0  # side of the maximum pooling before it, with stride 2; 0 = none
    judged: bool = True  # whether its activation is compared


_ALEX = (_Layer(0, 4, 2), _Layer(3, 1, 2, pool=3), _Layer(6, pool=3), _Layer(8), _Layer(10))
_VGG = tuple(
    _Layer(number, pool=2 if number in (5, 10, 17, 24) else 0, judged=number in (2, 7, 14, 21, 28))
    for number in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
)
_NETWORKS: dict[Backbone, tuple[tuple[_Layer, ...], KnownWeights]] = {"alex": (_ALEX, ALEXNET), "vgg": (_VGG, VGG16)}


class Lpips(nn.Module):
    """The distance, 0 for equal images; frozen."""

    def __init__(self, backbone: Backbone, state: Mapping[str, Tensor], judgements: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.plan, known = _NETWORKS[backbone]
        for layer in self.plan:
            for kind in ("weight", "bias"):
                name = f"features.{layer.number}"
                if f"{name}.{kind}" not in state:
                    what = f"no weights of LPIPS's {backbone} network: {name} is missing"
                    raise BundleError(what, hint=f"{known.names[0]} of torchvision is the right file")
                self.register_buffer(f"{kind}{layer.number}", state[f"{name}.{kind}"].float())
        for level, layer in enumerate(layer for layer in self.plan if layer.judged):
            fitted = judgements[f"lin{level}.model.1.weight"].float()  # (1, C, 1, 1)
            if len(self.get_buffer(f"weight{layer.number}")) != fitted.shape[1]:
                what = f"these are not the weights of LPIPS's {backbone} network: layers of other widths"
                raise BundleError(what, hint="--lpips-net names the network of the file")
            self.register_buffer(f"fitted{layer.number}", fitted)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor(_SPREAD).view(1, 3, 1, 1))

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """(B,) distances between (B, 3, H, W) images in [-1, 1]."""
        x = (torch.cat([made, real]).float() - self.get_buffer("mean")) / self.get_buffer("spread")
        distance = x.new_zeros(len(made))
        for layer in self.plan:
            x = F.max_pool2d(x, layer.pool, stride=2) if layer.pool else x
            weight, bias = self.get_buffer(f"weight{layer.number}"), self.get_buffer(f"bias{layer.number}")
            x = F.relu(F.conv2d(x, weight, bias, layer.stride, layer.padding))
            if layer.judged:
                unit = x / (x.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON)  # (2B, C, h, w)
                made_unit, real_unit = unit.chunk(2)
                difference = F.conv2d((made_unit - real_unit).square(), self.get_buffer(f"fitted{layer.number}"))
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
