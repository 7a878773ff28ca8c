"""Whole networks: the paper's formulation in plain float32 against everything that makes them faster."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gfla_cli.benchmark.measure import interleaved_times
from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.config import preset
from gfla_cli.errors import GflaError
from gfla_cli.inference.device import Placement
from gfla_cli.inference.memory import keep_freed_memory
from gfla_cli.networks.build import build, convolutions_in
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.samplers import LocalAttention, Source
from gfla_cli.ops.local_attention import local_attention_reference

_MATRIX = 2048  # side of the square matrices whose product stands for what the machine can do
REFERENCE = "pose-fashion, paper's formulation, fp32"
_KEPT = f"{REFERENCE}, freed memory kept"


class PatchByPatch(LocalAttention):
    """Local attention as the paper defines it, with the parameters of another one."""

    def prepare(self, features: Tensor) -> Source:
        """Nothing is shared between targets in this form."""
        return Source(features, features)

    def forward(self, source: Source, target: Tensor, flow: Flow) -> Tensor:
        """(B, C, h, w) source features arranged for the target."""
        return local_attention_reference(source.features, target, flow.offset, self.weights(), self.reduction).features


def patch_by_patch(network: nn.Module) -> nn.Module:
    """A copy of a generator whose attention works patch by patch."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, LocalAttention):
            module.__class__ = PatchByPatch
    return network


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """One way of computing one network."""

    name: str
    milliseconds: float
    ratio: float  # how many times faster than the reference of the same run
    gflops: float  # arithmetic of convolutions and matrix products; 0 where it is not counted
    share_of_peak: float  # of the machine's matrix product in the same number format; 0 where it is not counted

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def measure_networks(placement: Placement, model: str, *, rounds: int = 7, onnx: bool = True) -> list[NetworkResult]:
    """Pose generators at 256x256, batch 1: the full-width one in four ways, the compact bundle in three.

    Weights do not change the speed, so the full-width network has random ones. The reference runs first, as a process
    would that does nothing for its speed: memory that is kept cannot be given up again. All other ways run in turns.
    """
    inputs = _inputs(placement.device)
    laid_out = tuple(x.contiguous(memory_format=torch.channels_last) for x in inputs)
    full = build(preset("pose-fashion")).eval().requires_grad_(False).to(placement.device)
    compact = load_bundle(model).network.to(placement.device)
    plain = _runner(patch_by_patch(full), inputs, torch.float32)
    seconds = interleaved_times({REFERENCE: plain}, rounds)
    keep_freed_memory()  # as inference and training do
    ways: dict[str, Callable[[], object]] = {_KEPT: plain}
    ways |= {
        f"{name}, {label}": _runner(_fast(network, dtype), laid_out, dtype)
        for name, network in (("pose-fashion", full), (model, compact))
        for label, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    operations = {"pose-fashion": _operations(full, inputs), model: _operations(compact, inputs)}
    with _exported(model, enabled=onnx) as session:
        if session is not None:
            arrays = [x.cpu().numpy() for x in inputs]
            ways[f"{model}, ONNX Runtime"] = lambda: session.image(*arrays)
        seconds |= interleaved_times(ways, rounds)
    peak = _peak(placement.device)
    reference = seconds[REFERENCE]
    return [
        _result(name, spent, reference, operations, peak[torch.bfloat16 if "bf16" in name else torch.float32])
        for name, spent in seconds.items()
    ]


def _result(name: str, seconds: float, reference: float, operations: dict[str, float], peak: float) -> NetworkResult:
    gflops = operations[name.split(",")[0]] / seconds / 1e9
    return NetworkResult(name, seconds * 1e3, reference / seconds, gflops, gflops / peak)


def _inputs(device: torch.device) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(1, channels, 256, 256, generator=generator).to(device) for channels in (3, 18, 18))


def _fast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy as inference has it."""
    ready = convolutions_in(copy.deepcopy(network), dtype)
    return ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _runner(network: nn.Module, inputs: tuple[Tensor, ...], dtype: torch.dtype) -> Callable[[], object]:
    device = inputs[0].device.type

    def run() -> object:
        with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype is not torch.float32):
            return network(*inputs).image

    return run


def _operations(network: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Floating-point operations of convolutions and matrix products in one pass."""
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(*inputs)
    return float(counter.get_total_flops())


def _peak(device: torch.device) -> dict[torch.dtype, float]:
    """GFLOP/s of a large matrix product, by number format.

    Torch leaves products to one library and convolutions to another; the faster one says what the machine can do.
    """
    matrices = {
        dtype: torch.randn(_MATRIX, _MATRIX, device=device).to(dtype) for dtype in (torch.float32, torch.bfloat16)
    }
    ways: dict[str, Callable[[], object]] = {}
    for dtype, matrix in matrices.items():
        ways[f"{dtype} product"] = partial(torch.matmul, matrix, matrix)
        ways[f"{dtype} convolution"] = partial(_product_by_convolution, matrix)
    with torch.inference_mode():
        seconds = interleaved_times(ways, rounds=7)
    return {
        dtype: 2 * _MATRIX**3 / min(seconds[f"{dtype} product"], seconds[f"{dtype} convolution"]) / 1e9
        for dtype in matrices
    }


def _product_by_convolution(matrix: Tensor) -> Tensor:
    """The product of a matrix with itself, transposed: pixels are rows."""
    pixels = matrix.view(1, _MATRIX, 1, _MATRIX).permute(0, 3, 1, 2)  # channels last
    return F.conv2d(pixels, matrix[:, :, None, None])


@contextmanager
def _exported(model: str, *, enabled: bool) -> Iterator[Any]:
    """An ONNX Runtime session of the model, exported for this run; None when it cannot be."""
    if not enabled:
        yield None
        return
    from gfla_cli.inference.export import export_onnx
    from gfla_cli.inference.onnx_backend import open_exported

    with TemporaryDirectory() as folder:
        try:
            path = export_onnx(model, Path(folder) / "model.onnx").path
        except GflaError:
            yield None
            return
        yield open_exported(path, threads=torch.get_num_threads())
