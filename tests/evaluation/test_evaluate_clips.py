"""Figures of clips: what counts, and what models are compared with."""

from __future__ import annotations

import pytest
from commands import refused

pytest.importorskip("torchmetrics")

from gfla_cli.evaluation.clips import HELD, REAL, ClipScore, evaluate_clips
from gfla_cli.inference.device import choose_device


def test_figures_that_do_not_exist_do_not_count():
    score = ClipScore("m", [{"landmarks": 0.02, "found": 1.0}, {"landmarks": float("nan"), "found": 0.0}])
    assert score.means() == {"landmarks": 0.02, "found": 0.5}
    assert ClipScore("m", [{"landmarks": float("nan")}]).to_json()["landmarks"] is None


@pytest.mark.parametrize("asked", [("--metrics", "pck"), ("--metrics", "ssim", "--pck")])
def test_joints_are_measured_of_bodies_and_refused_of_faces(gfla, animators, asked):
    def evaluate(task):
        return gfla("evaluate", animators / f"tiny-{task}", "--data-root", "nothing", *asked)

    assert refused(evaluate("face"), 2, "pck cannot be measured", "whole people")
    assert "pck" not in evaluate("body").stderr  # there it is the pack that is missing


@pytest.mark.shared
@pytest.mark.parametrize("task", ["face", "body"])
def test_models_are_measured_beside_holding_the_source(animators, shared, tmp_path, task):
    models, place = [animators / f"tiny-{task}"], choose_device("cpu")
    scores = evaluate_clips(models, shared / "humans", vgg=None, placement=place, clips=1, frames=2, cache=tmp_path)
    assert [score.name for score in scores] == [HELD, REAL, f"tiny-{task} (local)"]
    held, real, made = (score.means() for score in scores)
    assert real["ssim"] == pytest.approx(1)
    assert real["l1"] == 0 < held["l1"] < made["l1"]
