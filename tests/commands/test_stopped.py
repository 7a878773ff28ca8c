"""A command that is stopped from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from paths import ROOT

ASSETS = ROOT / "assets"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals on Windows")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_clip_that_was_begun_is_removed(number, code, tmp_path):
    arguments = ["gfla", "animate", str(ASSETS / "eve.jpg"), str(ASSETS / "finn.mp4"), "-o", "out.mp4"]
    started = [sys.executable, "-c", _RUN, *arguments]
    with subprocess.Popen(started, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.iterdir()):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(number)
        process.wait(60)
    assert process.returncode == code
    assert not list(tmp_path.iterdir())


# A process in the background may ignore Ctrl-C, and passes that on to those that it starts.
_RUN = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = sys.argv[1:]
runpy.run_module("gfla_cli", run_name="__main__", alter_sys=True)
"""
