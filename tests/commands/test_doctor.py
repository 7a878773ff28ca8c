"""`gfla doctor`: complete, and without secrets."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from paths import ROOT
from typer.testing import CliRunner

from gfla_cli import __version__
from gfla_cli.app import app
from gfla_cli.commands import doctor


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home-of-jane"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home-of-jane"))
    monkeypatch.setenv("GFLA_CACHE", str(tmp_path / "home-of-jane" / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    def go(*arguments):
        return CliRunner().invoke(app, ["doctor", *arguments])

    return go


def test_the_report_is_complete_and_tells_no_secrets(run):
    result = run()
    assert result.exit_code == 0, result.output
    lines = dict(line.split(None, 1) for line in result.stdout.splitlines() if not line.startswith(("person", "model")))
    assert lines["gfla"].startswith(__version__)
    assert "torch " in lines["packages"]
    assert "GFLA_CACHE=~/cache" in lines["settings"]
    assert "model pose-people" in result.stdout
    assert "jane" not in result.stdout
    assert "hf_secret" not in result.stdout


def test_a_damaged_model_is_named(run, tmp_path, monkeypatch):
    bad = tmp_path / "models" / "bad"
    bad.mkdir(parents=True)
    (bad / "config.json").write_text("{}")
    monkeypatch.setenv("GFLA_MODELS", str(tmp_path / "models"))
    result = run("--json")
    assert result.exit_code == 1
    broken = [finding["name"] for finding in json.loads(result.stdout) if not finding["fine"]]
    assert broken == ["model bad"]


def test_one_broken_library_does_not_end_the_report(run, monkeypatch):
    def missing():
        raise ImportError("no module named onnxruntime")

    monkeypatch.setattr(doctor, "_onnxruntime", missing)
    result = run()
    assert result.exit_code == 1
    assert "BROKEN: ImportError: no module named onnxruntime" in result.stdout
    assert "settings" in result.stdout


_NO_GL = """
import sys
from importlib.abc import MetaPathFinder
class NoGl(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
sys.meta_path.insert(0, NoGl())
from gfla_cli.app import app
app(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "arguments",
    [["doctor"], ["pose-transfer", "assets/anna.jpg", "--pose", "assets/ben.jpg", "-o", "{}/x.png"],
     ["animate", "assets/eve.jpg", "assets/dora.mp4", "-o", "{}/x.mp4"],
     ["view-synthesis", "assets/armchair.jpg", "--azimuth", "60", "-o", "{}/x.png"]],
)  # fmt: skip
def test_without_libgl_the_package_to_install_is_named(tmp_path, arguments):
    arguments = [argument.replace("{}", str(tmp_path)) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-c", _NO_GL, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in said
    assert "libGL.so.1" in said
    assert "libgl1" in said


def test_the_version_of_opencv_is_that_of_the_module(run):
    import cv2

    (line,) = [line for line in run().stdout.splitlines() if line.startswith("opencv")]
    assert line.split()[1] == cv2.__version__
