"""Reading samples: which signals workers mind and when, and pictures that cannot be read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_training import plan, small_vgg, trainer
from torch.utils.data import Dataset

from gfla_cli.errors import DataError, MediaError
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


class Damaged(Dataset):
    """The small set, as often as wanted; some of its pictures are damaged."""

    def __init__(self, pairs, damaged, pictures, error=MediaError):
        self.pairs, self.damaged, self.pictures, self.error = pairs, damaged, pictures, error

    def __getitem__(self, index):
        if index % self.pictures in self.damaged:
            raise self.error(f"{index % self.pictures}.jpg: cut off", hint="export it again")
        return self.pairs[index]


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_pictures_are_skipped_counted_and_named(open_data, tmp_path, workers):
    seen = []
    data = lambda stage: Damaged(open_data(stage), {2, 9}, 200)  # noqa: E731
    trainer(plan(flow=4, joint=1), data, tmp_path, small_vgg(), workers=workers).run(seen.append)
    assert len(seen) == 5
    assert [p.unreadable for p in seen] == [("2.jpg: cut off",), (), ("9.jpg: cut off",), (), ()]
    assert (tmp_path / "unreadable.csv").read_text().split() == ["what", "2.jpg:", "cut", "off", "9.jpg:", "cut", "off"]


def test_more_than_one_damaged_picture_in_a_hundred_is_an_error(open_data, tmp_path):
    data = lambda stage: Damaged(open_data(stage), {2, 9, 11}, 200)  # noqa: E731
    with pytest.raises(DataError, match=r"3 of 200 pictures cannot be read, more than 1 %; the last: 11\.jpg"):
        trainer(plan(flow=4), data, tmp_path, None).run(lambda progress: None)
    data = lambda stage: Damaged(open_data(stage), set(range(200)), 200)  # noqa: E731
    with pytest.raises(DataError, match="20 samples in a row"):
        trainer(plan(flow=4), data, tmp_path / "all", None).run(lambda progress: None)


def test_what_goes_wrong_in_a_worker_is_said_in_one_line(open_data, tmp_path):
    data = lambda stage: Damaged(open_data(stage), {2}, 200, error=DataError)  # noqa: E731
    with pytest.raises(DataError) as raised:
        trainer(plan(), data, tmp_path, None, workers=1).run(lambda progress: None)
    assert (str(raised.value), raised.value.hint) == ("2.jpg: cut off", "export it again")
