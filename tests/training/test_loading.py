"""Workers that read samples: which signals they mind, and when."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager

import pytest
from jobs import fork_server
from torch.utils.data import Dataset

from gfla_cli.training.loading import load_samples


class SlowToStart(Dataset):
    """Its worker says that it starts, and then needs a while before it can do anything else."""

    def __reduce__(self):
        return SlowToStart, (), {"any": 1}

    def __setstate__(self, state):
        os.write(1, b"starting\n")
        time.sleep(0.5)

    def __getitem__(self, index):
        return index


def load_slowly(output):
    """What the process does that is signalled together with its worker. Both write to `output`."""
    os.setsid()
    os.dup2(output.fileno(), 1)
    seen = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: seen.append(signal.Signals(number).name))
    loaded = load_samples(SlowToStart(), [[0, 1], [2, 3]], workers=1)
    batches = [batch.sample.tolist() for batch in loaded]
    os.write(1, f"{sorted(seen)} {batches}\n".encode())


@contextmanager
def loading_slowly():
    """The process, and a function that gives what it and its worker write from now on."""
    context = fork_server()
    read, write = context.Pipe(duplex=False)
    process = context.Process(target=load_slowly, args=(write,))
    process.start()
    write.close()
    with read, open(read.fileno(), closefd=False) as output:
        assert output.readline() == "starting\n"
        yield process, lambda: read.poll(60) and output.read()  # when no process can write there any more
    process.join()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_worker_that_is_still_starting_survives_signals_to_all_processes():
    with loading_slowly() as (process, rest):
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGTERM)
        out = rest()
    assert process.exitcode == 0
    assert out == "['SIGINT', 'SIGTERM'] [[0, 1], [2, 3]]\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a process keeps its parent's number there")
def test_a_worker_whose_run_was_killed_while_it_started_ends():
    with loading_slowly() as (process, rest):
        process.kill()
        out = rest()
    assert out == ""
