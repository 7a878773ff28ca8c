"""Runs that are stopped, by signals, another run or their end, and resumed exactly."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

import pytest
import torch
from jobs import fork_server
from noisy_training import STOPPABLE, STOPPED_AT, child, train_noisily
from small_training import plan
from tiny_models import tiny
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.errors import DataError
from gfla_cli.io.files import sole_writer
from gfla_cli.training.checkpoint import load_checkpoint
from gfla_cli.training.run import Interruption


@pytest.fixture(scope="module")
def unbroken(small_set, tmp_path_factory):
    """The folder of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    train_noisily(small_set, folder)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize(("name", "code", "workers"), [("SIGKILL", -9, 0), ("SIGTERM", 143, 1), ("SIGINT", 1, 1)])
def test_the_losses_of_a_stopped_and_resumed_run_are_those_of_an_unbroken_one(
    small_set, unbroken, tmp_path, name, code, workers
):
    number, context = signal.Signals[name], fork_server()
    waits, reached = context.Pipe(duplex=False)
    arguments = small_set, tmp_path / "run", torch.get_num_threads(), workers, reached
    process = context.Process(target=child, args=arguments)
    process.start()
    reached.close()
    assert waits.recv()  # EOFError if it ends before
    os.killpg(process.pid, number)  # as terminals and schedulers do: the workers, too
    process.join()
    assert process.exitcode in (code, -number)
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["position"][:2] == [1, STOPPED_AT - 1 if number == signal.SIGKILL else STOPPED_AT]
    assert (
        load_bundle(tmp_path / "run" / "bundle").about["trained"]["samples"] == state["position"][2]
    )  # written on the way
    train_noisily(small_set, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "losses.csv").read_text() == (unbroken / "losses.csv").read_text()
    assert (tmp_path / "run" / "recipe.json").read_text() == (unbroken / "recipe.json").read_text()
    whole, resumed = (load_checkpoint(folder / "checkpoint.pt") for folder in (unbroken, tmp_path / "run"))
    for part in ("generator", "discriminators", "average"):
        assert all(torch.equal(tensor, resumed[part][name]) for name, tensor in whole[part].items()), part
    assert torch.equal(whole["random"], resumed["random"])


@pytest.fixture
def python_handles_interrupts():
    """A process that was started in the background may have inherited that Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_handles_interrupts")
def test_a_second_signal_ends_at_once():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):  # Ctrl-C is Python's own again
        signal.raise_signal(signal.SIGINT)


def test_two_runs_in_one_folder_are_refused_and_leftovers_go(small_set, tmp_path):
    leftover = tmp_path / "run" / ".gfla-0123456789ab.pt"
    leftover.parent.mkdir()
    leftover.touch()
    with sole_writer(tmp_path / "run"), pytest.raises(DataError, match="another run is writing there"):
        train_noisily(small_set, tmp_path / "run")
    train_noisily(small_set, tmp_path / "run", flow=1, joint=1)
    assert not leftover.exists()


def test_a_finished_run_resumes_to_its_bundle(small_set, tmp_path):
    short = {"flow": 1, "joint": 1}
    bundle = train_noisily(small_set, tmp_path / "run", **short)
    (bundle / "config.json").unlink()
    assert train_noisily(small_set, tmp_path / "run", **short, resume=True) == bundle
    assert load_bundle(bundle).config == tiny()


def test_the_command_trains_keeps_refuses_and_resumes(small_set, tmp_path, monkeypatch):
    small = plan(flow=1, joint=3, weights=STOPPABLE)
    monkeypatch.setattr("gfla_cli.training.recipe.recipe", lambda name: replace(small, dataset=name))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "losses.csv").write_text("step,stage,samples,loss,value\n20,flow,160,affine,0.5\n")

    def train(*more):
        arguments = f"train --data-root {small_set} -o {tmp_path / 'run'} --workers 0 --device cpu --save-every 1"
        return CliRunner().invoke(app, [*arguments.split(), *more])

    result = train("--dataset", "fashion", "--keep", "2", "--accumulate", "2", "--channels-last")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "run" / "bundle")
    assert "joint 3/3" in result.stderr
    assert "images/s" in result.stderr
    assert len(list((tmp_path / "run").glob("checkpoint-0*.pt"))) == 2
    assert (tmp_path / "run" / "losses.csv").read_text() == "step,stage,samples,loss,value\n"
    again = train("--dataset", "fashion")
    assert again.exit_code == 1
    assert "continue it with --resume" in again.stderr
    assert train("--dataset", "fashion", "--resume").exit_code == 0
    other = train("--dataset", "market", "--resume")
    assert other.exit_code == 1
    assert "looked for market-annotation-train.csv" in other.stderr
    other = train("--dataset", "fashion", "--resume", "--seed", "4")
    assert other.exit_code == 1
    assert "--seed 0, not 4" in other.stderr
