"""Working ahead in a thread, and silencing native libraries."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time

import pytest

from gfla_cli.errors import MediaError
from gfla_cli.io import background
from gfla_cli.io.background import native_stderr_silenced, overlapped


def test_overlapping_keeps_items_and_order():
    assert list(overlapped(range(100), 3)) == list(range(100))
    assert list(overlapped([], 1)) == []
    assert list(overlapped(overlapped(overlapped(range(20), 1), 2), 3)) == list(range(20))


def test_stages_work_at_the_same_time():
    together = threading.Barrier(3, timeout=60)  # raises where stages work one after the other

    def stage(items, ahead):
        for number, item in enumerate(items):
            if 0 <= number - ahead < 18:
                together.wait()
            yield item

    assert list(stage(overlapped(stage(overlapped(stage(range(20), 2)), 1)), 0)) == list(range(20))


def test_a_producer_is_at_most_a_queue_ahead():
    produced = []

    def counting():
        for item in range(50):
            produced.append(item)
            yield item

    items = overlapped(counting(), 2)
    next(items)
    time.sleep(0.1)
    assert len(produced) <= 4  # one used, two waiting, one in the producer's hand
    items.close()


def test_exceptions_travel_to_the_consumer():
    def failing():
        yield 1
        raise MediaError("broken")

    items = overlapped(failing())
    assert next(items) == 1
    with pytest.raises(MediaError, match="broken"):
        next(items)


def endless():
    """Items without end, and an event that is set when they are closed."""
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    return items(), closed


def test_a_consumer_that_stops_stops_the_producer():
    items, closed = endless()
    before = threading.active_count()
    for _ in overlapped(items, 2):
        break
    gc.collect()
    assert closed.wait(2)
    assert threading.active_count() <= before  # a thread of an earlier test may have ended meanwhile


def test_ctrl_c_while_the_thread_starts_stops_it(monkeypatch):
    class Interrupted(threading.Thread):
        def start(self):
            super().start()
            raise KeyboardInterrupt

    monkeypatch.setattr(background, "Thread", Interrupted)
    items, closed = endless()
    with pytest.raises(KeyboardInterrupt):
        next(overlapped(items))
    assert closed.is_set()


def test_stderr_is_silent_until_the_last_of_overlapping_blocks_ends(capfd):
    first = second = native_stderr_silenced
    first.__enter__()
    second.__enter__()
    os.write(2, b"both")
    first.__exit__(None, None, None)  # as when two threads silence it, and the one that began ends first
    os.write(2, b"one")
    second.__exit__(None, None, None)
    os.write(2, b"none")
    assert capfd.readouterr().err == "none"


def test_it_comes_back_after_an_error(capfd):
    try:
        with native_stderr_silenced:
            raise ValueError
    except ValueError:
        os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_messages_get_out_while_native_libraries_are_silenced():
    """A thread may start MediaPipe while another one has an error to tell."""
    program = (
        "import os, sys\n"
        "from gfla_cli.io.background import native_stderr_silenced\n"
        "with native_stderr_silenced:\n"
        "    os.write(2, b'from a library\\n')\n"
        "    print('from gfla: caf\\u00e9', file=sys.stderr)\n"
        "print('after', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stderr.splitlines() == ["from gfla: café", "after"]


def test_a_stderr_that_somebody_set_meanwhile_stays():
    program = (
        "import io, sys\n"
        "from gfla_cli.io.background import native_stderr_silenced\n"
        "with native_stderr_silenced:\n"
        "    sys.stderr = io.StringIO()\n"
        "print(type(sys.stderr).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == ["StringIO"]
