"""Telling a device that ran out of memory from other errors."""

from __future__ import annotations

import ctypes
import sys

# CUDA and MPS; torch on the CPU (Linux and macOS) and ONNX Runtime; torch on the CPU (Windows); ONNX Runtime
_WORDS = ("out of memory", "allocate memory", "not enough memory", "bad allocation")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether torch, ONNX Runtime or numpy had too little memory, as an error or its cause says, mostly in words."""
    while error is not None:
        if isinstance(error, MemoryError) or any(word in str(error) for word in _WORDS):
            return True
        error = error.__cause__
    return False


# Memory that torch frees stays with the process.
#
# glibc gives large blocks back to the kernel at once, so every tensor of every step is mapped, zeroed and unmapped
# again. Keeping them saves about a quarter of a training step, and as much of a small network's picture, on the CPU.


# parameters of mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Tells glibc to reuse large blocks; does nothing with other C libraries."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 64 << 20)
