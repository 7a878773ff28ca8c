"""Which of ONNX Runtime's providers can really be used here: the GPU build lists CUDA on machines without a GPU.

Asking ONNX Runtime itself would print a wall of warnings, so the driver and the libraries are asked.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
from collections.abc import Sequence

import onnxruntime

from gfla_cli.distributed.launch import current_launch
from gfla_cli.errors import UsageError
from gfla_cli.inference.session import DeviceName

CPU = "CPUExecutionProvider"
_CUDA, _TENSORRT, _COREML = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CoreMLExecutionProvider"
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_TENSORRT_LIBRARY = "nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10"
_SHORT = {CPU: "CPU", _CUDA: "CUDA", _TENSORRT: "TensorRT", _COREML: "CoreML"}


def providers_for(device: DeviceName) -> list[str]:
    """Providers to try, best first, the CPU last; raises UsageError for a named device that is not there."""
    built_for = set(onnxruntime.get_available_providers())
    if device == "cpu":
        return [CPU]
    if device == "mps":
        if _COREML not in built_for:
            raise UsageError("--device mps: this ONNX Runtime has no CoreML", hint="--device auto finds a place")
        return [_COREML, CPU]
    has_gpu = _CUDA in built_for and _has_nvidia_gpu()
    if device == "cuda" and not has_gpu:
        raise UsageError("--device cuda: no NVIDIA GPU that ONNX Runtime can use", hint="--device auto finds a place")
    if not has_gpu:
        return [CPU]
    _load_cuda_libraries()
    return [*([_TENSORRT] if _TENSORRT in built_for and _loads(_TENSORRT_LIBRARY) else []), _CUDA, CPU]


def with_own_gpu(providers: Sequence[str]) -> list[str | tuple[str, dict[str, int]]]:
    """Providers as a session takes them: of several processes on a machine each has the GPU of its local rank.

    Where there are more processes than GPUs the others share the first, as with torch.
    """
    number = current_launch().local_rank
    options = {"device_id": number if number < _gpus() else 0} if number else {}
    return [(name, options) if options and name in (_CUDA, _TENSORRT) else name for name in providers]


def short_name(provider: str) -> str:
    """For people: CPU, CUDA, TensorRT, CoreML."""
    return _SHORT.get(provider, provider.removesuffix("ExecutionProvider"))


def cpu_threads(wanted: int | None) -> int:
    """Threads for ONNX Runtime: those asked for, else those this process may use; 0 leaves it to ONNX Runtime.

    By itself it starts one per core of the machine, and on a few allowed ones they wait for each other.
    """
    if wanted is not None:
        return wanted
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return allowed if allowed < (os.cpu_count() or 1) else 0


def _has_nvidia_gpu() -> bool:
    return _gpus() > 0


def _gpus() -> int:
    """How many GPUs NVIDIA's driver lets this process see."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(_DRIVER)
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return 0
    return 0 if failed else count.value


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _load_cuda_libraries() -> None:
    """Loads CUDA and cuDNN from NVIDIA's Python packages, where pip puts them; elsewhere the system finds them."""
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()
