"""The log of a run: losses in a table, speed, and remaining time."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from small_training import plan, small_vgg, trainer
from tiny_models import CPU

from gfla_cli.errors import MediaError, MissingExtraError
from gfla_cli.training.log import Journal, Progress, StageStats, status_line
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.trainer import Trainer


def test_losses_are_written_as_csv(open_data, tmp_path):
    run = trainer(plan(), open_data, tmp_path, small_vgg())
    run.journal.losses(20, "joint", 160, {"l1": 0.5})
    with (tmp_path / "losses.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {"step": "20", "stage": "joint", "samples": "160", "loss": "l1", "value": "0.5"}
        ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_said(tmp_path):
    journal = Journal(tmp_path)
    (tmp_path / "losses.csv").symlink_to("/dev/full")
    with pytest.raises(MediaError, match=r"losses\.csv cannot be written: the disk is full"):
        journal.losses(20, "joint", 160, {"l1": 0.5})


def test_a_journal_goes_back_to_the_checkpoint(open_data, tmp_path):
    journal = trainer(plan(), open_data, tmp_path, None).journal
    for step in (20, 40, 60):
        journal.losses(step, "joint", 8 * step, {"l1": 0.5})
    with (tmp_path / "losses.csv").open("a") as file:
        file.write("80,joi")
    journal.rewind(40)
    assert (
        tmp_path / "losses.csv"
    ).read_text() == "step,stage,samples,loss,value\n20,joint,160,l1,0.5\n40,joint,320,l1,0.5\n"


def test_speed_counts_the_waiting_and_the_time_left_follows():
    stats = StageStats()
    assert stats.rate(4, 10.0) == 0
    assert stats.rate(4, 12.0) == 2
    progress = Progress(plan(joint=30).stages[1], 1, 10, 60, {"l1": 0.25}, 2.0)
    assert status_line(progress) == "joint 10/30  2.0 images/s  0:00:40 left  l1 0.250"


def test_tensorboard_is_an_extra(open_data, tmp_path):
    recipe = plan()
    start = lambda: Trainer(recipe, PoseTask(recipe, open_data, None), tmp_path, CPU, 0, tensorboard=True)  # noqa: E731
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError) as raised:
            start()
        assert "gfla[tensorboard]" in raised.value.hint
        return
    run = start()
    run.journal.losses(1, "joint", 4, {"l1": 0.5})
    run.journal.close()
    assert list((tmp_path / "tensorboard").glob("events*"))
