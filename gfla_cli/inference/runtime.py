"""Which runtime computes a bundle, ONNX Runtime or torch, and the memory of both. Imports neither.

On the CPU, ONNX Runtime is ready in a tenth of the time that torch takes. Torch takes less time for each image: about
half in bfloat16, on processors that have instructions for it, and about two thirds in float32 (assets/pages/speed.md).
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from gfla_cli.config import DeviceName, Precision, Runtime

MANY, VERY_MANY = 16, 150  # images, from which on torch is worth its start: in bfloat16, in float32
LONG = 75  # frames of a clip, from which on it is worth to record what the network does for one
# What errors say: CUDA and MPS; torch on the CPU, and ONNX Runtime; torch on Windows; ONNX Runtime
_WORDS = ("out of memory", "allocate memory", "not enough memory", "bad allocation")
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # parameters of mallopt(3)
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class Choice(NamedTuple):
    """A runtime, and why."""

    runtime: Runtime  # "torch" or "onnx"
    reason: str  # for people; empty when the user chose it


def choose_runtime(
    runtime: Runtime, device: DeviceName, precision: Precision, *, has_graph: bool, images: int = 1
) -> Choice:
    """The runtime for a bundle. `has_graph`: one for ONNX Runtime. `images`: how many will be generated."""
    if runtime != "auto":
        return Choice(runtime, "")
    if device in ("cuda", "mps") or precision in ("bf16", "fp16"):
        return Choice("torch", "")
    if device == "auto" and (gpu_count() or (sys.platform == "darwin" and platform.machine() == "arm64")):
        return Choice("torch", "")
    if not has_graph:
        return Choice("torch", "no graph for ONNX Runtime; gfla models graph makes one")
    if images >= VERY_MANY or (images >= MANY and precision == "auto" and has_bf16()):
        return Choice("torch", f"faster for {images} images")
    return Choice("onnx", "starts faster than torch")


@cache
def gpu_count() -> int:
    """How many GPUs NVIDIA's driver shows to this process."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(_DRIVER)
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return 0
    return 0 if failed else count.value


@cache
def has_bf16() -> bool:
    """Whether the processor has instructions for bfloat16, as far as Linux tells."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or one of its causes, says that torch, ONNX Runtime or numpy had too little memory."""
    while error is not None:
        if isinstance(error, MemoryError) or any(word in str(error) for word in _WORDS):
            return True
        error = error.__cause__
    return False


def keep_freed_memory() -> None:
    """Makes glibc reuse large blocks, also those of other threads; does nothing with other C libraries.

    By default glibc returns them to the kernel, so every tensor of every step is mapped and zeroed again. On the CPU
    this takes about a quarter of a training step, or of the time for one image of a small network. Early is best:
    threads keep the memory areas that they have already.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 64 << 20)
