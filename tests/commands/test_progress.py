"""What commands say while people wait, and that completion installs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from paths import ROOT
from tiny_models import save_tiny, tiny

from gfla_cli.commands import options
from gfla_cli.io import background
from gfla_cli.io.background import said_when_slow

ANNA, BEN = ROOT / "assets" / "anna.jpg", ROOT / "assets" / "ben.jpg"


@pytest.fixture
def impatient(monkeypatch):
    """Every step takes long."""
    monkeypatch.setattr(background, "SLOW_S", 0.0)


def test_only_slow_steps_are_said(monkeypatch):
    said, heard = [], threading.Event()

    def say(message):
        said.append(message)
        heard.set()

    monkeypatch.setattr(background, "SLOW_S", 600.0)
    before = set(threading.enumerate())
    with said_when_slow(say, "a quick step"):
        (timer,) = (thread for thread in threading.enumerate() if thread not in before)
    timer.join(60)
    assert not timer.is_alive()
    monkeypatch.setattr(background, "SLOW_S", 0.0)
    with said_when_slow(say, "a slow step"):
        assert heard.wait(60)
    assert said == ["a slow step ..."]


def test_a_single_transfer_says_its_steps(gfla, impatient, tmp_path, monkeypatch):
    save_tiny(tmp_path / "shelf" / "pose-people", tiny())
    monkeypatch.setenv("GFLA_MODELS", str(tmp_path / "shelf"))
    said = gfla("pose-transfer", ANNA, "--pose", BEN, "-o", "a.png").stderr
    for step in ("loading pose-people ...", "finding the person and the pose ...", "generating the image ..."):
        assert f"gfla: {step}\n" in said
    assert gfla("pose-transfer", ANNA, "--pose", BEN, "-o", "b.png", "--quiet").stderr == ""


def test_views_say_their_steps(gfla, impatient):
    said = gfla("view-synthesis", ROOT / "assets" / "armchair.jpg", "--azimuth", "60", "-o", "a.png").stderr
    assert "loading view-chairs ..." in said
    assert "generating 1 view ..." in said


def test_progress_in_a_file_is_a_line_a_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(options.time, "monotonic", lambda: now[0])
    with options.progress_bar("frames") as progress:
        for done in range(200):
            now[0] += 1.0
            progress(done, 200)
    assert capsys.readouterr().err.splitlines() == [
        "gfla: frames: 59 of 200",
        "gfla: frames: 119 of 200",
        "gfla: frames: 179 of 200",
    ]
    with options.progress_bar("frames", quiet=True) as progress:
        now[0] += 1000
        progress(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("shell", "file", "words"),
    [
        ("bash", ".bash_completions/gfla.sh", "_GFLA_COMPLETE=complete_bash"),
        ("zsh", ".zfunc/_gfla", "_GFLA_COMPLETE=complete_zsh"),
        ("fish", ".config/fish/completions/gfla.fish", "_GFLA_COMPLETE=complete_fish"),
    ],
)
def test_completion_is_installed_and_completes(tmp_path, shell, file, words):
    program = "import sys; sys.argv[0] = 'gfla'; from gfla_cli.app import app; app(prog_name='gfla')"
    # The variable lets a test name the shell, which Typer otherwise finds out.
    detect = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    environment = {**os.environ, **detect, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def run(*arguments, **more):
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={**environment, **more}, check=False)

    installed = run("--install-completion", shell)
    assert installed.returncode == 0, installed.stderr
    assert words in (tmp_path / file).read_text()
    asked = {
        "bash": {"COMP_WORDS": "gfla pose", "COMP_CWORD": "1", "_GFLA_COMPLETE": "complete_bash"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "gfla pose", "_GFLA_COMPLETE": "complete_zsh"},
        "fish": {
            "_TYPER_COMPLETE_ARGS": "gfla pose",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_GFLA_COMPLETE": "complete_fish",
        },
    }[shell]
    assert "pose-transfer" in run(**asked).stdout
