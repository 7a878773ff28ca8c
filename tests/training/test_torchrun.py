"""`gfla train` in several processes: one set of messages, one end for all, and exact resume."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jobs import Job
from noise_pairs import SMALL, NoisePairs
from tiny_models import CPU

import gfla_cli.training.recipe
import gfla_cli.training.run
from gfla_cli.app import app
from gfla_cli.errors import DataError
from gfla_cli.training.checkpoint import load_checkpoint
from gfla_cli.training.run import _folder
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.trainer import Trainer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork server")


def command(folder, arguments="", ends=None):
    """`gfla train` on noise. `ends` says how the second process ends after its third step: by itself, or asked to."""
    gfla_cli.training.recipe.recipe = lambda name: replace(SMALL, dataset=name)
    gfla_cli.training.run.open_training_data = lambda *_, **__: lambda stage: NoisePairs()
    take = Trainer._take

    def take_and_end(self, *step):
        take(self, *step)
        if self.group.rank == 1 and self.steps == 3:
            signal.raise_signal(ends)

    if ends is not None:
        Trainer._take = take_and_end
    fixed = f"train --dataset people -o {folder / 'run'} --workers 0 --device cpu --precision fp32 --save-every 1"
    app([*fixed.split(), *arguments.split()])


def checkpoint(folder):
    return load_checkpoint(folder / "run" / "checkpoint.pt")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("unbroken"), 2)
    assert job.run(command, "--sample-every 2") == [0, 0], job.output(0) + job.output(1)
    return job


def test_only_rank_0_writes_messages(unbroken):
    assert "2 processes" in unbroken.output(0)
    assert "joint 4/4" in unbroken.output(0)
    assert unbroken.output(0).splitlines()[-1] == str(unbroken.folder / "run" / "bundle")
    assert unbroken.output(1) == ""
    assert len(list((unbroken.folder / "run" / "samples").iterdir())) == 2
    recipe = json.loads((unbroken.folder / "run" / "recipe.json").read_text())
    assert [stage["batch"] for stage in recipe["stages"]] == [4, 4]
    assert checkpoint(unbroken.folder)["position"] == [2, 0, 24]


def same(one, other):
    return all(
        torch.equal(tensor, other[part][name])
        for part in ("generator", "discriminators", "average")
        for name, tensor in one[part].items()
    )


def test_a_signal_to_one_process_stops_all_and_the_run_resumes_exactly(unbroken, tmp_path):
    job = Job(tmp_path, 2)
    assert job.run(command, "", signal.SIGTERM) == [143, 143]
    assert "stopped and saved after step 3" in job.output(0)
    assert job.output(1) == ""
    assert checkpoint(tmp_path)["position"] == [1, 1, 12]
    shutil.copytree(tmp_path / "run", tmp_path / "alone")
    before, whole = checkpoint(tmp_path)["generator"], checkpoint(unbroken.folder)["generator"]
    assert job.run(command, "--resume") == [0, 0]
    assert "resuming after step 3" in job.output(0)
    assert same(checkpoint(tmp_path), checkpoint(unbroken.folder))

    alone = Trainer(SMALL, PoseTask(SMALL, lambda stage: NoisePairs(), None), tmp_path / "alone", CPU, 0)
    alone.resume()
    alone.run(lambda progress: None)
    assert [stage.batch for stage in alone.recipe.stages] == [4, 4]
    after = alone.learner.generator.state_dict()
    learnt, differs = (
        torch.cat([(now[n] - then[n]).flatten() for n in whole]) for now, then in ((whole, before), (whole, after))
    )
    assert differs.norm() < 0.05 * learnt.norm()  # Adam makes much of rounding errors


def test_restarted_by_torchrun_a_run_goes_on_from_its_checkpoint(unbroken, tmp_path):
    job = Job(tmp_path, 2)
    assert job.run(command, "", signal.SIGKILL) == [1, -signal.SIGKILL]
    assert re.search("^gfla: another process has ended$", job.output(0), re.MULTILINE)
    assert job.run(command) == [0, 0], job.output(0)
    assert "resuming after step 3" in job.output(0)
    assert same(checkpoint(tmp_path), checkpoint(unbroken.folder))


def test_only_the_same_job_goes_on_without_being_told_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = Path("runs") / "people-1"
    assert _folder("people", None, False, "17") == (first, False)
    first.mkdir(parents=True)
    (first / ".gfla-job").write_text("17")
    (first / "checkpoint.pt").touch()
    assert _folder("people", None, False, "17") == (first, True)
    assert _folder("people", None, False, "18") == (Path("runs") / "people-2", False)
    for other in ("18", ""):
        with pytest.raises(DataError, match="there is a run already"):
            _folder("people", first, False, other)
        assert _folder("people", first, True, other) == (first, True)


def test_torchrun_starts_the_command():
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    gfla = ["-m", "gfla_cli", "train", "--dataset", "people", "--show"]
    result = subprocess.run([sys.executable, *torchrun, *gfla], capture_output=True, text=True, check=True)
    recipe = json.loads(result.stdout)  # rank 0 alone prints, or this would not be JSON
    assert [stage["batch"] for stage in recipe["stages"]] == [16, 16, 8]
