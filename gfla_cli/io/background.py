"""Threads, forks and resources: closing, working ahead in a thread, locks, and silencing libraries."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO, TextIOWrapper
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Protocol, Self, TextIO, TypeVar
from weakref import WeakSet

Say = Callable[[str], None]
Progress = Callable[[int, int], None]  # done, expected


def silent(*_: object) -> None:
    """For `Say` and `Progress`: takes anything and does nothing."""


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


SLOW_S = 1.0  # from then on a wait is said


@contextmanager
def said_when_slow(say: Say, what: str) -> Iterator[None]:
    """Calls `say` with what the block does, from another thread, if it takes more than a second."""
    timer = threading.Timer(SLOW_S, say, [f"{what} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _ForkAware(Protocol):
    def forked(self) -> None:
        """Called in a forked child before anything else runs there."""


_fork_aware: WeakSet[_ForkAware] = WeakSet()


def tell_of_forks(owner: _ForkAware) -> None:
    """From now on calls `owner.forked()` in every forked child: it has no threads but the one that forked."""
    _fork_aware.add(owner)


def _forked() -> None:
    for owner in list(_fork_aware):
        owner.forked()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)


def never_freed(thing: object) -> None:
    """Keeps an object for ever: in a forked child its destructor would wait for threads that are not there."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class ProcessLock:
    """A reentrant lock that is free in a forked child, even if another thread held it during the fork."""

    def __init__(self) -> None:
        self.forked()
        tell_of_forks(self)

    def forked(self) -> None:
        """See `tell_of_forks`."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


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
    try:
        producer.start()  # waits until the thread runs, where Ctrl-C may come
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
        if producer.is_alive():
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


class ProcessWide:
    """A context manager for settings that belong to the whole process, such as filters of warnings.

    The first thread to enter changes them, the last one to leave restores them. In a forked child they are restored at
    once: the blocks of other threads do not end there.
    """

    def __init__(self, change: Callable[[ExitStack], None]) -> None:
        """`change` makes the changes, and puts onto the stack what undoes them."""
        self._change = change
        self._lock = ProcessLock()
        self._inside = 0
        self._restore = ExitStack()
        tell_of_forks(self)

    def forked(self) -> None:
        """See `tell_of_forks`."""
        self._inside = 0
        self._restore.close()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                try:
                    self._change(self._restore)
                except BaseException:
                    self._restore.close()
                    raise
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside = max(0, self._inside - 1)  # 0 already in a forked child
            if self._inside == 0:
                self._restore.close()


def _silence_stderr(restore: ExitStack) -> None:
    saved = _redirect_to_null()
    if saved is None:
        return
    restore.callback(_point_stderr_to, saved)
    if _is_of_process(sys.stderr):  # Python's own is not silenced: another thread may have something to say
        raw = FileIO(os.dup(saved), "w")
        own = TextIOWrapper(raw, "utf-8", "backslashreplace", newline="\n", write_through=True)
        restore.callback(_put_back, own, sys.stderr)
        sys.stderr = own


def _put_back(own: TextIO, before: TextIO) -> None:
    """Ends the use of Python's stderr, unless somebody has set another one meanwhile."""
    if sys.stderr is own:
        sys.stderr = before


def _ignore_warnings(restore: ExitStack) -> None:
    restore.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")


# Discards what native libraries write to stderr. Keep its blocks short.
native_stderr_silenced = ProcessWide(_silence_stderr)
# All code that silences Python's warnings in threads shares these blocks.
python_warnings_silenced = ProcessWide(_ignore_warnings)


def _is_of_process(stream: TextIO | None) -> bool:
    """Whether a stream writes to the process's stderr; tests have others."""
    try:
        return stream is not None and stream.fileno() == _STDERR
    except (OSError, ValueError, AttributeError):
        return False


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


def _point_stderr_to(descriptor: int) -> None:
    """Points stderr back to a copy that `_redirect_to_null` has made, and closes the copy."""
    os.dup2(descriptor, _STDERR)
    os.close(descriptor)
