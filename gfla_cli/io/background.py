"""Threads and resources: closing, working ahead in a thread, and silencing native libraries."""

from __future__ import annotations

import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Self, TypeVar


class Closeable(ABC):
    """An owner of networks, files or processes, closed at the end of its `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Frees the resources."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_Item = TypeVar("_Item")
_POLL_S = 0.1  # how often a producer with a full queue checks whether it should stop


class _End:
    """The last entry of a queue, with the producer's error, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def overlapped(items: Iterable[_Item], size: int = 4) -> Generator[_Item]:
    """The same items in the same order, produced by another thread that works at most `size` items ahead.

    An exception of `items` is raised here, at its position. When the iterator is closed or garbage collected, the
    thread stops, closes `items`, and is joined. Raises ValueError when `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"a queue holds at least one item, got {size}")
    queue: Queue[_Item | _End] = Queue(size)
    stopped = Event()
    producer = Thread(target=_produce, args=(items, queue, stopped), name="overlapped", daemon=True)
    producer.start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        with suppress(Empty):  # makes room, so that the producer stops at once
            while True:
                queue.get_nowait()
        producer.join()


def _produce(items: Iterable[_Item], queue: Queue[_Item | _End], stopped: Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(item, queue, stopped):
                break
    except BaseException as raised:  # KeyboardInterrupt, too: the consumer raises it
        error = raised
    finally:
        close = getattr(items, "close", None)
        if stopped.is_set() and close is not None:
            with suppress(Exception):  # the consumer has left
                close()
    _put(_End(error), queue, stopped)


def _put(item: _Item | _End, queue: Queue[_Item | _End], stopped: Event) -> bool:
    """Waits for room in the queue; False when the consumer has stopped."""
    while not stopped.is_set():
        with suppress(Full):
            queue.put(item, timeout=_POLL_S)
            return True
    return False


_STDERR = 2  # file descriptor


class _Silence:
    """Counts the blocks, of all threads, that silence stderr. The last one to end restores it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._saved: int | None = None

    def begin(self) -> None:
        with self._lock:
            if self._blocks == 0:
                self._saved = _redirect_to_null()
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
    """Discards what native libraries write to stderr. This affects the whole process: keep the block short."""
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


def _redirect_to_null() -> int | None:
    """Points stderr to the null device. Returns a copy of the old one, or None if there was none (pythonw)."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    try:
        saved = os.dup(_STDERR)
    except OSError:
        return None
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, _STDERR)
    os.close(null)
    return saved
