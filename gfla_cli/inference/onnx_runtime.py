"""One graph in ONNX Runtime: which providers can be used here, and arrays in, arrays out. Imports no torch.

The GPU build of ONNX Runtime lists CUDA on machines without a GPU, and asking it prints many warnings. So the driver
and the libraries are asked.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array
from gfla_cli.bundles.files import WEIGHTS
from gfla_cli.config import DeviceName
from gfla_cli.distributed.launch import current_launch
from gfla_cli.errors import BundleError, GflaError, UsageError
from gfla_cli.inference.runtime import gpu_count, is_out_of_memory
from gfla_cli.io.background import native_stderr_silenced

CPU = "CPUExecutionProvider"
_CUDA, _TENSORRT, _COREML = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CoreMLExecutionProvider"
_TENSORRT_LIBRARY = "nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10"
_SHORT = {CPU: "CPU", _CUDA: "CUDA", _TENSORRT: "TensorRT", _COREML: "CoreML"}
_LOCATION = b"location"  # key of the name of an external data file
# The entry of a weight whose value a bundle gives. Without one, ONNX Runtime finds no such file and refuses the graph.
_IN_BUNDLE = b"\n\x08" + _LOCATION + b"\x12" + bytes([len(WEIGHTS)]) + WEIGHTS.encode()
# Searches that ONNX Runtime need not repeat on the graph of a bundle: `export.write_graph` has done them. They are the
# slowest ones, half of the start. Constants are still folded, for some kernels are computed from the weights.
_DONE_BEFORE = {
    *("Level1_RuleBasedTransformer", "CommonSubexpressionElimination", "TransposeOptimizer", "ReshapeFusion"),
    *("Level2_RuleBasedTransformer", "TransposeOptimizer_CPUExecutionProvider", "GroupQueryAttentionFusion"),
    *("GemmActivationFusion", "ConvActivationFusion", "GatherSliceToSplitFusion", "MatmulTransposeFusion"),
    *("MatMulScaleFusion", "GroupQueryAttentionPreNormFusion", "SimplifiedLayerNormFusion", "ConstantSharing"),
}
Tensors = dict[str, NDArray[Any]]


class OnnxGraph:
    """A graph on the best provider that is available."""

    def __init__(
        self,
        model: Path | bytes,
        name: str,
        device: DeviceName = "auto",
        threads: int | None = None,
        weights: Mapping[str, Float32Array] | None = None,
    ) -> None:
        """`model`: a file or its content. `name`: for messages. `threads`: on the CPU, else all that are allowed.

        `weights`: of a bundle, for a graph that was written without them; it is for one image of one size.
        Raises BundleError when ONNX Runtime cannot read the model, UsageError when the device is not available.
        """
        self.name = name
        wanted = providers_for(device)
        self._session, reason = _start_session(model, name, wanted, threads, weights)
        self._one_by_one, self._threads = weights is not None, cpu_threads(threads) or os.cpu_count() or 1
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.inputs = [given.name for given in self._session.get_inputs()]
        self._provider = self._session.get_providers()[0]
        self._fell_back = self._provider == CPU and wanted[0] != CPU
        if device not in ("auto", "cpu") and self._fell_back:
            raise UsageError(
                f"--device {device}: ONNX Runtime cannot use it ({reason or 'its libraries are missing'})",
                hint="--device auto chooses one that works",
            )

    @property
    def place(self) -> str:
        """The provider in use, for people."""
        return short_name(self._provider) + (" (the GPU's libraries are missing)" if self._fell_back else "")

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Tensors:
        """All outputs by name. Inputs that the graph does not take are ignored. Raises GflaError when it fails."""
        given = {name: inputs[name] for name in self.inputs}
        try:
            if self._one_by_one and len(next(iter(given.values()))) > 1:
                made = self._each(given)
            else:
                made = self._session.run(self.outputs, given)
        except Exception as error:  # ONNX Runtime raises a dozen private types
            if is_out_of_memory(error):
                raise GflaError(
                    f"{self.name}: out of memory on {short_name(self._provider)}",
                    hint="smaller batches, or --device cpu",
                ) from error
            raise GflaError(
                f"{self.name}: ONNX Runtime failed: {_first_line(error)}", hint="--runtime torch"
            ) from error
        return {name: np.asarray(value) for name, value in zip(self.outputs, made, strict=True)}

    def _each(self, inputs: Tensors) -> list[NDArray[Any]]:
        """The outputs for several images, which are computed side by side: that fills the cores better than one."""
        count = len(next(iter(inputs.values())))

        def one(k: int) -> list[NDArray[Any]]:
            found: list[NDArray[Any]] = self._session.run(self.outputs, {n: v[k : k + 1] for n, v in inputs.items()})
            return found

        with ThreadPoolExecutor(min(count, self._threads)) as pool:
            return [np.concatenate(values) for values in zip(*pool.map(one, range(count)), strict=True)]


def _start_session(
    model: Path | bytes,
    name: str,
    providers: list[str],
    threads: int | None,
    weights: Mapping[str, Float32Array] | None,
) -> tuple[Any, str]:
    """The session, and why the last GPU provider failed, if ONNX Runtime gave a reason."""
    content = _content(model, name, weights)
    onnxruntime.set_default_logger_severity(4)  # the session's own setting does not cover provider loading
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = cpu_threads(threads)
    # Idle threads sleep. Spinning, they took the cores from the other image of a pair, and from MediaPipe.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if providers == [CPU]:
        # Planning which results may share memory takes most of the start, and saves nothing: results that are no longer
        # needed are freed in any case.
        options.enable_mem_reuse = options.enable_mem_pattern = False
    if weights is not None:
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in weights.items()}
        options.add_external_initializers(list(values), list(values.values()))
    reason = ""
    for chosen in dict.fromkeys([tuple(providers), tuple(providers[-2:]), (CPU,)]):
        try:
            # GPU providers print about missing libraries; `OnnxGraph` reports that in one line.
            with native_stderr_silenced if chosen != (CPU,) else contextlib.nullcontext():
                session = onnxruntime.InferenceSession(
                    content,
                    options,
                    providers=with_own_gpu(chosen),
                    disabled_optimizers=None if weights is None else _DONE_BEFORE,
                    enable_fallback=0,  # it would print to stdout
                )
        except Exception as error:  # a dozen private types; a damaged file fails on the CPU, too
            if chosen == (CPU,):
                raise _load_error(name, error) from error
            reason = _first_line(error)
        else:
            return session, reason
    raise AssertionError("the CPU is always tried")


def _content(model: Path | bytes, name: str, weights: Mapping[str, Any] | None) -> bytes:
    """The model's bytes. Raises BundleError when it keeps its weights in other files; `weights` may be missing there.

    An untrusted model could name any file. ONNX Runtime refuses only files outside the model's folder, and older
    versions refuse none.
    """
    try:
        # Read, not memory-mapped: truncating a mapped file would kill the process.
        content = model.read_bytes() if isinstance(model, Path) else model
    except OSError as error:
        raise unreadable(name, str(error)) from error
    if _names_a_file(content if weights is None else content.replace(_IN_BUNDLE, b"")):
        raise BundleError(f"{name}: keeps its weights in other files", hint="gfla export-onnx writes a single one")
    return content


def _names_a_file(content: bytes) -> bool:
    # In protobuf a key follows its length, which may be padded with zero groups.
    at = content.find(_LOCATION)
    while at > 0 and content[at - 1] not in (len(_LOCATION), 0):
        at = content.find(_LOCATION, at + 1)
    return at > 0


def unreadable(name: str, reason: str) -> BundleError:
    """The error for a file that is not an ONNX model."""
    return BundleError(f"{name}: not a model that ONNX Runtime reads ({reason})", hint="export it again")


def _load_error(name: str, error: Exception) -> BundleError:
    if any(sign in str(error) for sign in ("released onnx opset", "Unsupported model IR version")):
        return BundleError(
            f"{name}: made for a newer ONNX than onnxruntime {onnxruntime.__version__} knows",
            hint="pip install --upgrade onnxruntime, or export it again with gfla export-onnx",
        )
    return unreadable(name, _first_line(error))


def _first_line(error: Exception) -> str:
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    return (text.splitlines() or [type(error).__name__])[0][:160]


def providers_for(device: DeviceName) -> list[str]:
    """Providers to try, best first, the CPU last. Raises UsageError when a named device is not available."""
    built_for = set(onnxruntime.get_available_providers())
    if device == "cpu":
        return [CPU]
    if device == "mps":
        if _COREML not in built_for:
            raise UsageError("--device mps: this ONNX Runtime has no CoreML", hint="--device auto chooses a device")
        return [_COREML, CPU]
    has_gpu = _CUDA in built_for and gpu_count() > 0
    if device == "cuda" and not has_gpu:
        raise UsageError(
            "--device cuda: no NVIDIA GPU that ONNX Runtime can use", hint="--device auto chooses a device"
        )
    if not has_gpu:
        return [CPU]
    _load_cuda_libraries()
    return [*([_TENSORRT] if _TENSORRT in built_for and _loads(_TENSORRT_LIBRARY) else []), _CUDA, CPU]


def with_own_gpu(providers: Sequence[str]) -> list[str | tuple[str, dict[str, int]]]:
    """Providers with the GPU of this process's local rank, as `InferenceSession` takes them.

    If there are more processes than GPUs, the rest share the first one.
    """
    number = current_launch().local_rank
    options = {"device_id": number if number < gpu_count() else 0} if number else {}
    return [(name, options) if options and name in (_CUDA, _TENSORRT) else name for name in providers]


def short_name(provider: str) -> str:
    """A provider's name for people: CPU, CUDA, TensorRT or CoreML."""
    return _SHORT.get(provider, provider.removesuffix("ExecutionProvider"))


def cpu_threads(wanted: int | None) -> int:
    """The number of threads for ONNX Runtime: `wanted`, else the cores that this process may use; 0 means all.

    ONNX Runtime starts one thread per core of the machine; on fewer allowed cores they would wait for each other.
    """
    if wanted is not None:
        return wanted
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return allowed if allowed < (os.cpu_count() or 1) else 0


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _load_cuda_libraries() -> None:
    """Loads CUDA and cuDNN from NVIDIA's Python packages, if pip installed them."""
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it cannot find
            onnxruntime.preload_dlls()
