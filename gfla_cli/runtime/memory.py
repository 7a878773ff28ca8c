"""Telling a device that ran out of memory from other errors."""

from __future__ import annotations

# CUDA and MPS; torch on the CPU (Linux and macOS) and ONNX Runtime; torch on the CPU (Windows); ONNX Runtime
_WORDS = ("out of memory", "allocate memory", "not enough memory", "bad allocation")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether torch, ONNX Runtime or numpy had too little memory, as an error or its cause says, mostly in words."""
    while error is not None:
        if isinstance(error, MemoryError) or any(word in str(error) for word in _WORDS):
            return True
        error = error.__cause__
    return False
