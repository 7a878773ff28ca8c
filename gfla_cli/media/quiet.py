"""Native libraries that write to stderr behind Python's back, and how to keep them from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Sends file descriptor 2 to nowhere meanwhile. It is the whole process's, so keep the block short."""
    with suppress(OSError, ValueError, AttributeError):  # no stderr at all, as under pythonw
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
