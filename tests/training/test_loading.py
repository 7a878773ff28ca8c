"""Workers that read samples: which signals they mind, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
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


def load_slowly():
    """What the process does that is signalled together with its worker."""
    seen = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: seen.append(signal.Signals(number).name))
    loaded = load_samples(SlowToStart(), [[0, 1], [2, 3]], workers=1)
    batches = [batch.sample.tolist() for batch in loaded]
    os.write(1, f"{sorted(seen)} {batches}\n".encode())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_worker_that_is_still_starting_survives_signals_to_all_processes():
    here = Path(__file__).parent
    command = f"import sys; sys.path.insert(0, {str(here)!r}); import test_loading; test_loading.load_slowly()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", command], **pipes, start_new_session=True) as process:
        assert process.stdout.readline() == "starting\n"
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGTERM)
        out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert out == "['SIGINT', 'SIGTERM'] [[0, 1], [2, 3]]\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a process keeps its parent's number there")
def test_a_worker_whose_run_was_killed_while_it_started_ends():
    here = Path(__file__).parent
    command = f"import sys; sys.path.insert(0, {str(here)!r}); import test_loading; test_loading.load_slowly()"
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "starting\n"
        process.kill()
        out, _ = process.communicate(timeout=60)  # until the last process that could write there has ended
    assert out == ""
