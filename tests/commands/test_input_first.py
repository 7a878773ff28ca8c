"""Wrong input is named before anything heavy is loaded."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from paths import ANNA, BEN

HEAVY = ("torch", "onnxruntime", "mediapipe")
COMMANDS = {
    "pose-transfer, source": ("pose-transfer", "INPUT", "--pose", str(BEN), "-o", "out.png"),
    "pose-transfer, pose": ("pose-transfer", str(ANNA), "--pose", "INPUT", "-o", "out.png"),
    "animate, source": ("animate", "INPUT", str(BEN), "-o", "out.mp4"),
    "view-synthesis": ("view-synthesis", "INPUT", "--azimuth", "60", "-o", "out.png"),
    "extract": ("extract", "INPUT", "-o", "out.json"),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((8, 8, 3), np.uint8))
    (folder / "text.jpg").write_text("no image", encoding="utf-8")
    (folder / "empty.png").write_bytes(b"")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_input_loads_nothing_heavy(command, bad):
    wrong = {"tiny.png": "too small", "text.jpg": "text.jpg", "empty.png": "empty", "missing.png": "no such file"}
    code = (
        "import contextlib, io, sys\nfrom gfla_cli.app import app\n"
        f"for name, words in {wrong!r}.items():\n"
        "    said = io.StringIO()\n"
        "    with contextlib.redirect_stderr(said):\n"
        f"        try:\n            app([name if part == 'INPUT' else part for part in {COMMANDS[command]!r}])\n"
        "        except SystemExit as end:\n            assert end.code in (1, 2), end.code\n"
        "    assert name in said.getvalue() and words in said.getvalue(), said.getvalue()\n"
        f"    loaded = [module for module in {HEAVY!r} if module in sys.modules]\n"
        "    assert not loaded, (name, loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=bad, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {file.name for file in bad.iterdir()} == {"tiny.png", "text.jpg", "empty.png"}
