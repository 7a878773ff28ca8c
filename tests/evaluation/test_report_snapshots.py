"""The JSON of `gfla evaluate` keeps its form: keys, nesting, types, and figures within what machines differ by.

After an intended change, run this file with GFLA_WRITE_GOLDEN=1 to write the golden files again.
"""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from compared_pictures import empty_pack, picture
from judges import Colours, lpips_state
from paths import GOLDEN

from gfla_cli.io.image import read_image

pytestmark = pytest.mark.usefixtures("detections_remembered")

pytest.importorskip("torchmetrics")

_OF_THE_MACHINE = ("sha256", "gfla", "torch", "torchmetrics", "place")  # keys whose text differs from one to another


@pytest.fixture
def evaluate(gfla, tmp_path, monkeypatch, seeded):
    """Runs `gfla evaluate --json` in an empty folder with seeded networks for FID and LPIPS; gives what it prints."""
    import torch

    from gfla_cli.evaluation import features

    monkeypatch.setenv("GFLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", "torch")
    monkeypatch.setattr(features, "build_inception", lambda state, name: Colours())
    torch.save(lpips_state(seeded, "alex"), tmp_path / "alex.pth")
    torch.save({"x": torch.zeros(1)}, tmp_path / "inception.pth")

    def run(*arguments, networks=True):
        files = ("--inception", "inception.pth", "--lpips-backbone", "alex.pth") if networks else ()
        place = () if "--table" in arguments else ("--device", "cpu", "--precision", "fp32")
        result = gfla("evaluate", *arguments, *files, *place, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout.replace(tmp_path.name, "FOLDER"))

    return run


def keeps(name, report):
    """Whether a report is the one in the golden file: the same, but for numbers near the kept ones."""
    path = GOLDEN / f"evaluate-{name}.json"
    if os.environ.get("GFLA_WRITE_GOLDEN"):
        path.write_text(json.dumps(_masked(report), indent=1) + "\n", encoding="utf-8")
    expected = json.loads(path.read_text(encoding="utf-8"))
    assert json.dumps(_skeleton(report), indent=1) == json.dumps(_skeleton(expected), indent=1)
    assert _numbers(report) == pytest.approx(_numbers(expected), rel=0.05, abs=0.02)
    return True


def _masked(value, key=""):
    if isinstance(value, dict):
        return {name: _masked(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_masked(part) for part in value]
    if isinstance(value, float):
        return round(value, 4)
    return "..." if key in _OF_THE_MACHINE else value


def _skeleton(value, key=""):
    """Everything but floating-point numbers, in order."""
    if isinstance(value, dict):
        return [(name, _skeleton(part, name)) for name, part in value.items()]
    if isinstance(value, list):
        return [_skeleton(part) for part in value]
    if isinstance(value, float):
        return "a number"
    return "..." if key in _OF_THE_MACHINE else value


def _numbers(value):
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [number for part in parts for number in _numbers(part)]
    return [value] if isinstance(value, float) else []


def test_pose_models(evaluate, pose_shelf):
    models = [pose_shelf / "tiny-local", pose_shelf / "tiny-none"]
    assert keeps("poses", evaluate(*models, "--data-root", pose_shelf / "set", "--layout", "square", "--pck"))
    plain = evaluate(models[1], "--data-root", pose_shelf / "set", "--protocol", "gfla", networks=False)
    assert keeps("poses-protocol", plain)


def test_folders(evaluate, result_folders, tmp_path, pose_shelf):
    real = read_image(tmp_path / "real" / "a_1.jpg")
    result_folders("made", a_0__a_1_DOT_png=real // 2, b_0__b_1_DOT_png=picture(7))
    result_folders("fewer", a_0__a_1_DOT_png=real)
    both = ("--real", "real", "--generated", "made")
    table = pose_shelf / "set" / "fasion-annotation-test.csv"
    assert keeps(
        "folders", evaluate(*both, "--generated", "fewer", "--keypoints", table, "--metrics", "ssim,mask-ssim")
    )
    assert keeps("folders-fid", evaluate(*both, "--keypoints", table, "--pck"))
    assert keeps("folders-unpaired", evaluate(*both, "--metrics", "fid"))


def test_view_models(evaluate, view_shelf):
    pytest.importorskip("numba")
    assert keeps("views", evaluate(view_shelf / "tiny-view", view_shelf / "tiny-pixels", "--limit", "3"))


@pytest.mark.shared
def test_models_that_animate(evaluate, animators, shared):
    pytest.importorskip("numba")
    assert keeps("clips", evaluate(animators / "tiny-body", "--data-root", shared / "humans", "--limit", "1"))


def test_clips_of_faces(evaluate, animators, monkeypatch, tmp_path):
    import gfla_cli.evaluation.rendered as clips
    from gfla_cli.datasets.sample import ClipSample, unknown_correspondence

    class Still:
        """A clip in which nothing moves and no face is found."""

        def __init__(self, *_, size, frames, **__):
            self._size, self._frames = size, frames

        def __getitem__(self, number):
            count, side = self._frames + 1, self._size
            images = np.stack([picture(k, (side, side)) for k in range(count)])
            points = np.tile(np.linspace(8, side - 8, 68, dtype=np.float32)[:, None], (count, 1, 2))
            nothing = unknown_correspondence()
            return ClipSample(
                images,
                points,
                np.full((count, side, side), 255, np.uint8),
                np.zeros((count, side, side), bool),
                nothing,
                nothing,
            )

    monkeypatch.setattr(clips, "UnseenFaces", Still)
    assert keeps("clips-faces", evaluate(animators / "tiny-face", "--data-root", empty_pack(tmp_path), "--limit", "1"))


def test_the_table_of_ablations(evaluate, tmp_path):
    said = {"name": "own", "size": "256x256", "data": {"name": "people-mini", "pairs": "800 of 800"}}
    rows = [
        {
            "name": name,
            "pairs": 800,
            "ssim": 0.8,
            "lpips": lpips,
            "protocol": said,
            "model": {"sampler": name} | trained,
        }
        for name, lpips, trained in (
            ("none", 0.31, {}),
            ("local", 0.29, {"trained": {"samples": 6000, "dataset": "people"}}),
            ("local", None, {"trained": {"samples": 9000}}),
        )
    ]
    (tmp_path / "report.json").write_text(json.dumps(rows))
    assert keeps("table", evaluate("--table", "report.json", networks=False))
