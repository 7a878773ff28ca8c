"""Ctrl-C and SIGTERM as a question that long work asks between two steps, when everything fits together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """A context manager in which the first signal is noted and the second raises KeyboardInterrupt.

    Outside the main thread, where Python handles no signals, it notes nothing.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        self.signal: signal.Signals | None = None
        self._say = say
        self._before: dict[signal.Signals, Any] = {}

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
        self._say("stopping after this step; once more stops at once, without saving")
