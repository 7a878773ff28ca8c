"""Wrong input is named before anything heavy is loaded."""

from __future__ import annotations

import subprocess
import sys
from ast import literal_eval

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


# Command -> words of its message. `files` has empty/, text.txt, wrong.csv, pairs.csv and bad.json.
OTHERS = {
    "infer missing.csv --images empty -o out": "missing.csv: no such file",
    "infer pairs.csv --images missing -o out": "missing: no such folder",
    "infer wrong.csv --images empty -o out": "should begin with the line from,to",
    "infer pairs.csv --images empty -o text.txt": "text.txt",
    "infer pairs.csv --images empty -o out --size 7": "not a size",
    "evaluate nomodel --data-root empty": "unknown model",
    "evaluate pose-people": "--data-root names its folder",
    "evaluate pose-people --data-root empty": "no fasion set to measure with",
    "evaluate pose-people face-people --data-root empty": "no table in common",
    "evaluate view-chairs --data-root missing": "missing: no such file or folder",
    "evaluate face-people --data-root empty": "not a pack",
    "evaluate --real missing --generated empty": "missing: no such folder",
    "evaluate --real empty --generated empty": "no images in this folder",
    "evaluate --real images --generated images --pairs missing.csv": "missing.csv: no such file",
    "evaluate --real images --generated images --pairs wrong.csv": "should begin with",
    "evaluate --real images --generated images --keypoints missing.csv": "missing.csv: no such file",
    "evaluate --real images --generated images --vgg missing.npz": "missing.npz: no such file",
    "evaluate --real images --generated images --size big": "not a size",
    "evaluate --real images --generated images --metrics nonsense": "unknown metric",
    "evaluate --real images --generated images --html text.txt": "text.txt",
    "evaluate --table bad.json": "bad.json",
    "export-onnx --model nomodel": "unknown model",
    "export-onnx -o text.txt": "an .onnx file",
    "export-onnx -o there.onnx": "there.onnx exists",
    "data build missing -o out": "missing: no such folder",
    "data build empty -o out": "empty",
    "data check empty": "no pose set in it",
    "data fashion missing -o out": "train.lst: not found",
    "data people empty -o out": "not a pack",
    "data faces missing.mp4 -o out": "missing.mp4: no such file",
    "data faces empty -o out": "no videos in this folder",
    "data faces text.txt -o out": "not a video",
    "data faces text.txt -o out --trim nonsense": "not a time range",
    "data humans missing -o out": "missing: no such folder",
    "data render missing -o out": "missing: no such folder",
    "data render empty -o out": "not a pack",
    "train --dataset photos": "needs --data-root",
    "train --dataset photos --data-root missing": "missing: no such folder",
    "train --dataset photos --data-root empty": "no fasion set to train on",
    "train --dataset people --data-root empty": "not a pack",
    "train --dataset chairs --data-root missing": "missing: no such folder",
    "train --dataset photos --data-root empty --no-render": "is not rendered",
    "train --dataset photos --data-root empty --recipe bad.json": "not JSON",
    "train --dataset photos --data-root empty --init nomodel": "unknown model",
    "train --dataset photos --data-root empty --init face-people": "for the task face",
    "train --dataset photos --data-root empty --flow nomodel": "unknown model",
    "train --dataset photos --data-root empty --vgg missing.npz": "missing.npz: no such file",
    "train --dataset photos --data-root empty -o missing --resume": "no checkpoint to resume from",
    "train --dataset photos --data-root empty -o run": "there is a run already",
    "train --dataset photos --data-root empty -o text.txt": "text.txt is a file",
    "benchmark models nomodel": "unknown model",
    "benchmark network --model view-chairs": "for the task view",
    "benchmark pose-transfer missing.jpg": "missing.jpg: no such file",
    "benchmark pose-transfer --pose text.txt": "not an image",
    "benchmark pose-transfer --model missing.onnx": "missing.onnx: no such file",
    "benchmark infer missing.csv --images empty": "missing.csv: no such file",
    "benchmark infer pairs.csv --images missing": "missing: no such folder",
    "benchmark animate missing.jpg text.txt": "missing.jpg: no such file",
    "benchmark animate text.txt missing.mp4 --size big": "not a size",
    "benchmark flows empty": "not a pack",
    "benchmark flows --model nomodel": "unknown model",
    "benchmark flows --vgg missing.npz": "missing.npz: no such file",
    "models graph missing": "unknown model",
    "models import missing.pth --preset pose-fashion -o out": "missing.pth: no such file",
    "models export-pth nomodel -o x.pth": "unknown model",
    "models export-pth pose-people -o text.txt": "text.txt exists",
}
ONE_BY_ONE = (
    "import contextlib, io, sys\nfrom gfla_cli.app import app\n"
    "for line in sys.argv[1:]:\n"
    "    said, code = io.StringIO(), 0\n"
    "    with contextlib.redirect_stderr(said):\n"
    "        try:\n            app(line.split())\n"
    "        except SystemExit as end:\n            code = end.code\n"
    f"    print([line, code, said.getvalue(), [module for module in {HEAVY!r} if module in sys.modules]])\n"
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Command -> exit code, message, heavy modules; one process runs all, which saves its start."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("empty", "images", "run"):
        (folder / name).mkdir()
    (folder / "run" / "checkpoint.pt").touch()
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((64, 64, 3), np.uint8))
    texts = {
        "text.txt": "text",
        "wrong.csv": "no,table\n",
        "pairs.csv": "from,to\na,b\n",
        "bad.json": "no",
        "there.onnx": "",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, *OTHERS], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(folder.rglob("*")) == before
    return {line: rest for line, *rest in map(literal_eval, done.stdout.splitlines()) if line in OTHERS}


@pytest.mark.parametrize("command", OTHERS)
def test_every_command_checks_its_input_first(command, answers):
    code, said, loaded = answers[command]
    assert code in (1, 2)
    assert OTHERS[command] in said
    assert not loaded
