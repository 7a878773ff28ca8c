"""Speed of networks: local attention, pose networks against the paper's formulation, and each model as it is used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gfla_cli.arrays import Float32Array
from gfla_cli.benchmark.measure import interleaved_times, peak_bytes
from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.conditioning.view_code import CODE_LENGTH
from gfla_cli.config import ModelConfig, Task, preset
from gfla_cli.errors import GflaError
from gfla_cli.inference.device import Placement
from gfla_cli.inference.runtime import keep_freed_memory
from gfla_cli.inference.session import Execution, Session, ViewSession, model_config, open_session, start_clip
from gfla_cli.networks.build import build, convolutions_in
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.samplers import LocalAttention, Source
from gfla_cli.ops.local_attention import Attended, AttentionWeights, local_attention, local_attention_reference

REFERENCE = "pose-fashion, paper's formulation, fp32"
_KEPT = f"{REFERENCE}, freed memory kept"
_MATRIX = 2048  # side of the square matrices whose product measures the peak of the machine
_HIDDEN = 128  # channels of the scoring layer, as in the released models


@dataclass(frozen=True, slots=True)
class AttentionCase:
    """One input size of local attention, as in the pose generator at 256x256."""

    name: str
    channels: int
    height: int
    width: int
    patch: int
    backward: bool = False


ATTENTION_CASES = (
    AttentionCase("stride 4", 128, 64, 64, 5),
    AttentionCase("stride 8", 256, 32, 32, 3),
    AttentionCase("stride 4, with gradients", 128, 64, 64, 5, backward=True),
    AttentionCase("stride 8, with gradients", 256, 32, 32, 3, backward=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSpeed(AttentionCase):
    """The paper's definition, patch by patch, against the form without patches, at one input size."""

    time_ratio: float  # of the definition to the fast form
    memory_ratio: float
    reference_ms: float
    fast_ms: float
    reference_mb: float  # memory on top of the inputs
    fast_mb: float


def measure_attention(case: AttentionCase, device: torch.device, rounds: int = 15) -> AttentionSpeed:
    """Times and memory of both forms in float32, at batch 1, on random features and flows of a few pixels."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device).requires_grad_(case.backward)

    C, n = case.channels, case.patch
    source, target = (random(1, C, case.height, case.width) for _ in range(2))
    offset = random(1, 2, case.height, case.width).detach().mul(4).requires_grad_(case.backward)
    weights = AttentionWeights(
        random(_HIDDEN, 2 * C, n, n).detach().div(n * C**0.5).requires_grad_(case.backward),
        random(_HIDDEN),
        random(n * n, _HIDDEN, 1, 1),
        random(n * n),
    )

    def runner(form: Callable[..., Attended]) -> Callable[[], None]:
        def run() -> None:
            with torch.set_grad_enabled(case.backward):
                features = form(source, target, offset, weights).features
            if case.backward:
                features.sum().backward()

        return run

    forms = {"reference": runner(local_attention_reference), "fast": runner(local_attention)}
    seconds = interleaved_times(forms, rounds)
    peaks = {name: peak_bytes(form, device) for name, form in forms.items()}
    return AttentionSpeed(
        **asdict(case),
        time_ratio=round(seconds["reference"] / seconds["fast"], 3),
        memory_ratio=round(peaks["reference"] / peaks["fast"], 3),
        reference_ms=round(seconds["reference"] * 1e3, 3),
        fast_ms=round(seconds["fast"] * 1e3, 3),
        reference_mb=round(peaks["reference"] / 1e6, 3),
        fast_mb=round(peaks["fast"] / 1e6, 3),
    )


class PatchByPatch(LocalAttention):
    """Local attention as the paper defines it. See `attend_by_patches`."""

    def prepare(self, features: Tensor) -> Source:
        """Nothing is derived: this form uses the features as they are."""
        return Source(features, features)

    def forward(self, source: Source, target: Tensor, flow: Flow) -> Tensor:
        """Source features warped to the target, (B, C, h, w)."""
        return local_attention_reference(source.features, target, flow.offset, self.weights(), self.reduction).features


def attend_by_patches(network: nn.Module) -> None:
    """Turns the local attention of a generator into PatchByPatch."""
    for module in network.modules():
        if isinstance(module, LocalAttention):
            module.__class__ = PatchByPatch


@dataclass(frozen=True, slots=True)
class NetworkSpeed:
    name: str
    milliseconds: float
    ratio: float  # how many times faster than REFERENCE in the same run
    gflops: float  # GFLOP/s of convolutions and matrix products
    share_of_peak: float  # gflops divided by that of a large matrix product in the same number format


def measure_networks(placement: Placement, model: str, *, rounds: int = 7, onnx: bool = True) -> list[NetworkSpeed]:
    """Pose generators at 256x256, batch 1: the full-width one with random weights, and the compact `model`.

    REFERENCE runs first: `keep_freed_memory` cannot be undone, and the reference has to run without it. All other ways
    run in turns.
    """
    generator, device = torch.Generator().manual_seed(0), placement.device
    inputs = tuple(torch.rand(1, channels, 256, 256, generator=generator).to(device) for channels in (3, 18, 18))
    laid_out = tuple(x.contiguous(memory_format=torch.channels_last) for x in inputs)
    full = build(preset("pose-fashion")).eval().requires_grad_(False).to(placement.device)
    compact = load_bundle(model).network.to(placement.device)
    by_patches = copy.deepcopy(full)
    attend_by_patches(by_patches)
    plain = _runner(by_patches, inputs, torch.float32)
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
    results = []
    for name, spent in seconds.items():
        gflops = operations[name.split(",")[0]] / spent / 1e9
        share = gflops / peak[torch.bfloat16 if "bf16" in name else torch.float32]
        results.append(NetworkSpeed(name, spent * 1e3, seconds[REFERENCE] / spent, gflops, share))
    return results


def _fast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in the form that inference uses."""
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
    """Peak GFLOP/s by number format: a large matrix product, as `matmul` or as a convolution.

    Torch uses different libraries for the two. The faster one counts.
    """
    matrices = {
        dtype: torch.randn(_MATRIX, _MATRIX, device=device).to(dtype) for dtype in (torch.float32, torch.bfloat16)
    }
    ways: dict[str, Callable[[], object]] = {}
    for dtype, matrix in matrices.items():
        ways[f"{dtype} product"] = partial(torch.matmul, matrix, matrix)
        # The same product as a 1x1 convolution: pixels, channels last, are the rows of the matrix.
        pixels = matrix.view(1, _MATRIX, 1, _MATRIX).permute(0, 3, 1, 2)
        ways[f"{dtype} convolution"] = partial(F.conv2d, pixels, matrix[:, :, None, None])
    with torch.inference_mode():
        seconds = interleaved_times(ways, rounds=7)
    return {
        dtype: 2 * _MATRIX**3 / min(seconds[f"{dtype} product"], seconds[f"{dtype} convolution"]) / 1e9
        for dtype in matrices
    }


@contextmanager
def _exported(model: str, *, enabled: bool) -> Iterator[Any]:
    """An ONNX Runtime session of the model, exported for this run; None if it is disabled or cannot be exported."""
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


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """Network time of one model for one result; without detection, cropping, reading and writing."""

    name: str
    task: Task
    place: str  # device and number format
    first_milliseconds: float  # for a new source
    further_milliseconds: float  # for another result of the same source


def measure_models(models: list[str], execution: Execution, rounds: int = 7) -> list[ModelSpeed]:
    """One result of each model at its own frame size, from random input; medians of runs in turns."""
    sessions = {model: open_session(model, model_config(model).task, **execution) for model in models}
    rng = np.random.default_rng(0)
    ways = {model: _ways(session, rng) for model, session in sessions.items()}
    first = interleaved_times({model: whole for model, (whole, _) in ways.items()}, rounds)
    further = interleaved_times({model: again for model, (_, again) in ways.items()}, rounds)
    return [
        ModelSpeed(session.name, session.config.task, session.place, first[model] * 1e3, further[model] * 1e3)
        for model, session in sessions.items()
    ]


def _ways(session: Session, rng: np.random.Generator) -> tuple[Callable[[], object], Callable[[], object]]:
    """Functions that compute the first result of a source, and a further one."""
    config = session.config
    image = _noise(rng, config, 3)
    if config.task == "view":
        views = cast(ViewSession, session)
        codes = [rng.random((1, CODE_LENGTH), np.float32) for _ in range(2)]
        encoded = views.encode(image)
        return lambda: views.view(views.encode(image), *codes), lambda: views.view(encoded, *codes)
    source, target = (_noise(rng, config, config.structure_channels) for _ in range(2))
    clip = start_clip(session, image, source)
    return lambda: start_clip(session, image, source).next(target), lambda: clip.next(target)


def _noise(rng: np.random.Generator, config: ModelConfig, channels: int) -> Float32Array:
    return rng.random((1, channels, *config.image_size), np.float32)
