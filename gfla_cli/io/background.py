"""What holds networks, files or processes until it is closed, as a context manager."""

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


class Closing(ABC):
    """Closed at the end of its `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Frees what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# Work on the next items while this one is being used: one thread a stage, with a short queue between them.


_Item = TypeVar("_Item")
_LOOK_UP_S = 0.1  # how often a producer whose queue is full looks whether anybody still wants the items


class _End:
    """The last thing in a queue: nothing more, or what went wrong."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def overlapped(items: Iterable[_Item], size: int = 4) -> Generator[_Item]:
    """The same items in the same order, produced in a thread of their own, at most `size` ahead.

    An exception of `items` is raised here, in its place. When the consumer stops, or the iterator is closed or
    collected, the producer is stopped and waited for, and `items` is closed in its thread.
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
        with suppress(Empty):  # makes room, so that the producer notices at once
            while True:
                queue.get_nowait()
        producer.join()


def _produce(items: Iterable[_Item], queue: Queue[_Item | _End], stopped: Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(item, queue, stopped):
                break
    except BaseException as raised:  # also KeyboardInterrupt from inside `items`: it belongs to the consumer
        error = raised
    finally:
        close = getattr(items, "close", None)
        if stopped.is_set() and close is not None:
            with suppress(Exception):  # nobody is left to tell
                close()
    _put(_End(error), queue, stopped)


def _put(item: _Item | _End, queue: Queue[_Item | _End], stopped: Event) -> bool:
    """False when nobody wants the item any more."""
    while not stopped.is_set():
        with suppress(Full):
            queue.put(item, timeout=_LOOK_UP_S)
            return True
    return False


# Native libraries that write to stderr behind Python's back, and how to keep them from it.


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
