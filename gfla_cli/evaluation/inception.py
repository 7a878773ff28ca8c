"""Inception-v3 as the FID was defined with it: 2048 features of an image.

It differs from the network of the same name in image libraries: trained in December 2015 on 1008 classes, averages
leave the padding out, and the last block pools by maximum. Tensors are named as in the converted weights that
pytorch-fid and torch-fidelity publish (the same file), so those load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.errors import BundleError

FEATURES = 2048
SIDE = 299  # pixels; every image is resized to this square

_Kernel = tuple[int, int]
_POOL = "pool"
_RIGHT = "pt_inception-2015-12-05-6726825d.pth of pytorch-fid is the right file"


class _Step(NamedTuple):
    name: str  # after the branch; "" = the branch has one step
    channels: int
    kernel: _Kernel = (1, 1)
    stride: int = 1


class _Branch(NamedTuple):
    """Steps one after another; those of `fork` all see the last one's result, and their results are joined."""

    name: str
    steps: tuple[_Step, ...]
    fork: tuple[_Step, ...] = ()


def _branch(name: str, *steps: tuple[int, _Kernel] | tuple[int, _Kernel, int]) -> _Branch:
    """A chain whose steps are numbered from 1; one alone has no number."""
    numbers = [""] if len(steps) == 1 else [f"_{k}" for k in range(1, len(steps) + 1)]
    return _Branch(name, tuple(_Step(number, *step) for number, step in zip(numbers, steps, strict=True)))


_ONE, _THREE, _FIVE, _ROW, _COLUMN = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def _a(pooled: int) -> tuple[_Branch, ...]:
    return (
        _branch("branch1x1", (64, _ONE)),
        _branch("branch5x5", (48, _ONE), (64, _FIVE)),
        _branch("branch3x3dbl", (64, _ONE), (96, _THREE), (96, _THREE)),
        _branch("branch_pool", (pooled, _ONE)),
    )


def _c(middle: int) -> tuple[_Branch, ...]:
    double = ((middle, _ONE), (middle, _COLUMN), (middle, _ROW), (middle, _COLUMN), (192, _ROW))
    return (
        _branch("branch1x1", (192, _ONE)),
        _branch("branch7x7", (middle, _ONE), (middle, _ROW), (192, _COLUMN)),
        _branch("branch7x7dbl", *double),
        _branch("branch_pool", (192, _ONE)),
    )


def _e() -> tuple[_Branch, ...]:
    def fork(number: int) -> tuple[_Step, ...]:
        return _Step(f"_{number}a", 384, (1, 3)), _Step(f"_{number}b", 384, (3, 1))

    return (
        _branch("branch1x1", (320, _ONE)),
        _Branch("branch3x3", (_Step("_1", 384),), fork(2)),
        _Branch("branch3x3dbl", (_Step("_1", 448), _Step("_2", 384, _THREE)), fork(3)),
        _branch("branch_pool", (192, _ONE)),
    )


_B = (
    _branch("branch3x3", (384, _THREE, 2)),
    _branch("branch3x3dbl", (64, _ONE), (96, _THREE), (96, _THREE, 2)),
    _Branch(_POOL, ()),
)
_D = (
    _branch("branch3x3", (192, _ONE), (320, _THREE, 2)),
    _branch("branch7x7x3", (192, _ONE), (192, _ROW), (192, _COLUMN), (192, _THREE, 2)),
    _Branch(_POOL, ()),
)
# Name -> branches and channels that come in, in order.
_BLOCKS: dict[str, tuple[tuple[_Branch, ...], int]] = {
    "Mixed_5b": (_a(32), 192),
    "Mixed_5c": (_a(64), 256),
    "Mixed_5d": (_a(64), 288),
    "Mixed_6a": (_B, 288),
    "Mixed_6b": (_c(128), 768),
    "Mixed_6c": (_c(160), 768),
    "Mixed_6d": (_c(160), 768),
    "Mixed_6e": (_c(192), 768),
    "Mixed_7a": (_D, 768),
    "Mixed_7b": (_e(), 1280),
    "Mixed_7c": (_e(), 2048),
}


class _Conv(nn.Module):
    def __init__(self, channels: int, step: _Step, padding: _Kernel) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, step.channels, step.kernel, step.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(step.channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    """Branches side by side, joined over channels."""

    def __init__(self, branches: tuple[_Branch, ...], channels: int, *, pools_by_maximum: bool) -> None:
        super().__init__()
        self.branches, self.pools_by_maximum = branches, pools_by_maximum
        for branch in branches:
            width = channels
            for step in branch.steps:
                self.add_module(branch.name + step.name, _Conv(width, step, _padding(step)))
                width = step.channels
            for step in branch.fork:
                self.add_module(branch.name + step.name, _Conv(width, step, _padding(step)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x) for branch in self.branches], dim=1)

    def _run(self, branch: _Branch, x: Tensor) -> Tensor:
        if branch.name == _POOL:
            return F.max_pool2d(x, 3, stride=2)
        if branch.name == "branch_pool":
            mean = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
            x = F.max_pool2d(x, 3, stride=1, padding=1) if self.pools_by_maximum else mean
        for step in branch.steps:
            x = self.get_submodule(branch.name + step.name)(x)
        if branch.fork:
            x = torch.cat([self.get_submodule(branch.name + step.name)(x) for step in branch.fork], dim=1)
        return x


def _padding(step: _Step) -> _Kernel:
    return (0, 0) if step.stride > 1 else (step.kernel[0] // 2, step.kernel[1] // 2)


class FidInception(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1] -> (B, 2048) features, float32."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, _Step("", 32, _THREE, 2), (0, 0))
        self.Conv2d_2a_3x3 = _Conv(32, _Step("", 32, _THREE), (0, 0))
        self.Conv2d_2b_3x3 = _Conv(32, _Step("", 64, _THREE), (1, 1))
        self.Conv2d_3b_1x1 = _Conv(64, _Step("", 80), (0, 0))
        self.Conv2d_4a_3x3 = _Conv(80, _Step("", 192, _THREE), (0, 0))
        for name, (branches, channels) in _BLOCKS.items():
            self.add_module(name, _Block(branches, channels, pools_by_maximum=name == "Mixed_7c"))

    def forward(self, image: Tensor) -> Tensor:
        # As pytorch-fid does it: bilinear without antialiasing; the original's own filter differs by a fraction.
        x = F.interpolate(image.float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)  # (B, 192, 35, 35)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))


def build_inception(state: Mapping[str, Tensor]) -> FidInception:
    """The frozen network with these weights; raises BundleError when they are not those of FID's Inception."""
    classifier = state.get("fc.weight")
    if classifier is not None and classifier.shape[0] != 1008:
        raise BundleError(
            f"an Inception for {classifier.shape[0]} classes, not the one that FID is defined with (1008)",
            hint=_RIGHT,
        )
    with torch.device("meta"):
        network = FidInception()
    wanted = network.state_dict()
    found = {name: state[name].float() for name in wanted if name in state}
    counters = {name: torch.zeros((), dtype=torch.long) for name in wanted if name.endswith("num_batches_tracked")}
    complete = counters | found
    wrong = [name for name, tensor in wanted.items() if name not in complete or complete[name].shape != tensor.shape]
    if wrong:
        what = f"not the weights of FID's Inception: {len(wrong)} tensors do not fit, first {wrong[0]}"
        raise BundleError(what, hint=_RIGHT)
    network.load_state_dict(complete, assign=True)
    return network.eval().requires_grad_(False)
