"""Native libraries that write to stderr behind Python's back, and how to keep them from it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2


class _Silence:
    """Where stderr went, and how many blocks of all threads want it silent: the last to end brings it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._saved: int | None = None

    def begin(self) -> None:
        with self._lock:
            if self._blocks == 0:
                self._saved = _sent_nowhere()
            self._blocks += 1

    def end(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0 and self._saved is not None:
                os.dup2(self._saved, _STDERR)
                os.close(self._saved)
                self._saved = None


_silence = _Silence()


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Sends file descriptor 2 to nowhere meanwhile. It is the whole process's, so keep the block short."""
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


def _sent_nowhere() -> int | None:
    """A copy of what file descriptor 2 was; None without any stderr, as under pythonw."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    try:
        saved = os.dup(_STDERR)
    except OSError:
        return None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)
    return saved
