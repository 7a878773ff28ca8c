"""Memory that torch frees stays with the process.

glibc gives large blocks back to the kernel at once, so every tensor of every step is mapped, zeroed and unmapped
again. Keeping them saves about a quarter of a training step, and as much of a small network's picture, on the CPU.
"""

from __future__ import annotations

import ctypes
import sys

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
