"""The benchmark of pose transfer: every runtime in a process of its own, and failures are no measurements."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.pipelines.pose_transfer import PoseTransfer

pytestmark = pytest.mark.usefixtures("detections_remembered")


@pytest.fixture(autouse=True)
def _exported_already(tiny_export, monkeypatch):
    """What the benchmark exports is a copy: that exporting works is tested elsewhere."""
    monkeypatch.setattr("gfla_cli.inference.session.cached_export", lambda *_, **__: tiny_export.path)


def test_the_benchmark_starts_every_runtime_in_a_process_of_its_own(tiny_bundle, monkeypatch):
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    def prepare(*arguments, prepared=PoseTransfer.prepare, **settings):
        time.sleep(0.2)  # else one round of a busy machine may take the network alone for slower than all of it
        return prepared(*arguments, **settings)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(PoseTransfer, "prepare", prepare)
    arguments = ["benchmark", "pose-transfer", "--model", str(tiny_bundle), "--rounds", "1", "--threads", "1"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    speeds = json.loads(result.stdout)["transfers"]
    assert [speed["name"] for speed in speeds] == ["torch", "torch, fp32", "ONNX Runtime"]
    assert speeds[0]["cold_ratio"] == speeds[0]["warm_ratio"] == 1
    assert all(0 < speed["network_milliseconds"] < speed["warm_milliseconds"] for speed in speeds)
    assert all(speed["cold_in_torch_imports"] > 0 for speed in speeds)
    assert len(commands) == 8  # each once to warm the disk, once to be measured
    imports = [command for command in commands if "import torch" in command]
    assert len(imports) == 2
    commands = [command for command in commands if command not in imports]
    runtimes = [command[command.index("--runtime") + 1] for command in commands[:3]]
    assert runtimes == ["torch", "torch", "onnx"]
    assert all(command[1:4] == ["-m", "gfla_cli", "pose-transfer"] for command in commands)


def test_a_run_that_fails_is_not_measured(tiny_bundle, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "gfla: no person found")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    result = CliRunner().invoke(app, ["benchmark", "pose-transfer", "--model", str(tiny_bundle), "--rounds", "1"])
    assert result.exit_code == 1
    assert "the measured command failed: gfla: no person found" in result.stderr
