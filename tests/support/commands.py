"""Commands as a user types them: how tests run one, and what a refusal has to look like."""

from __future__ import annotations

import re
import subprocess
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from gfla_cli.app import app


@pytest.fixture
def gfla(monkeypatch, tmp_path):
    """Runs a command in an empty folder and returns its result."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


def in_this_process(gfla):
    """A `subprocess.run` for which `python -m gfla_cli ...` runs in this process, which has imported everything."""
    in_another = subprocess.run

    def run(command, **options):
        if command[1:3] != ["-m", "gfla_cli"]:
            return in_another(command, **options)
        done = gfla(*command[3:])
        return SimpleNamespace(returncode=done.exit_code, stderr=done.output)

    return run


def refused(result, code, *words):
    """One line of what and a hint, no traceback, the expected exit code, and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    where_it_runs = re.compile(r"gfla: \S+ on ")
    lines = [line for line in result.stderr.splitlines() if not where_it_runs.match(line)]
    assert [line[:6] for line in lines] == ["gfla: ", "      "], result.stderr
    for word in words:
        assert word in result.stderr
    return True


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())
