"""Ctrl-C and SIGTERM as a question that long work asks between two steps, when everything fits together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """A context manager in which the first signal is noted and the second raises KeyboardInterrupt.

    Inside of `raising(error)`, which is for work that can be given up, the first signal raises that error, too.

    Outside the main thread, where Python handles no signals, it notes nothing.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        self.signal: signal.Signals | None = None
        self._say = say
        self._before: dict[signal.Signals, Any] = {}
        self._raised: type[Exception] | None = None

    @contextmanager
    def raising(self, error: type[Exception]) -> Iterator[None]:
        """Raises `error` at a signal inside of the block, or at its begin where there was one before."""
        try:
            self._raised = error
            if self.signal is not None:
                raise error
            yield
        finally:
            self._raised = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        self._say("stopping; once more stops at once, without saving")
        if self._raised is not None:
            raise self._raised
