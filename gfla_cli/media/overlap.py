"""Work on the next items while this one is being used: one thread a stage, with a short queue between them."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

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
