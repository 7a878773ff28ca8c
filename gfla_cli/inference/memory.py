"""Recognise out-of-memory errors, and keep freed memory in the process. Imports no torch."""

from __future__ import annotations

import ctypes
import sys

# What errors say: CUDA and MPS; torch on the CPU, and ONNX Runtime; torch on Windows; ONNX Runtime
_WORDS = ("out of memory", "allocate memory", "not enough memory", "bad allocation")
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # parameters of mallopt(3)


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
