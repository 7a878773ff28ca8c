"""Figures of clips: what counts, and what models are compared with."""

from __future__ import annotations

import pytest
from commands import refused
from compared_pictures import empty_pack, plain_measures
from tiny_models import CPU

pytest.importorskip("torchmetrics")

from gfla_cli.evaluation.loop import measure
from gfla_cli.evaluation.rendered import HELD, REAL_FRAMES, UnseenClips
from gfla_cli.evaluation.run import open_compared
from gfla_cli.evaluation.scores import ImageFigures, Score


def test_figures_that_do_not_exist_do_not_count():
    figures = {"landmarks": 0.02, "found": 1.0}, {"landmarks": float("nan"), "found": 0.0}
    score = Score("m", [ImageFigures(0, None, row) for row in figures])
    assert score.means() == {"landmarks": 0.02, "found": 0.5}
    assert Score("m", score.images[1:]).to_json()["landmarks"] is None


@pytest.mark.parametrize("asked", [("--metrics", "pck"), ("--metrics", "ssim", "--pck")])
def test_joints_are_measured_of_bodies_and_refused_of_faces(gfla, animators, tmp_path, asked):
    pack = empty_pack(tmp_path)

    def evaluate(task):
        return gfla("evaluate", animators / f"tiny-{task}", "--data-root", pack, *asked)

    assert refused(evaluate("face"), 2, "pck cannot be measured", "whole people")
    assert "pck" not in evaluate("body").stderr  # there it is the pack that is damaged


@pytest.mark.shared
@pytest.mark.parametrize("task", ["face", "body"])
def test_models_are_measured_beside_holding_the_source(animators, shared, monkeypatch, task):
    monkeypatch.setattr("gfla_cli.evaluation.rendered._FRAMES", 2)
    models = open_compared([animators / f"tiny-{task}"], CPU, task)
    test = UnseenClips(models, shared / "humans", clips=1)
    scores = measure(test, plain_measures()).scores
    assert [score.name for score in scores] == [HELD, REAL_FRAMES, f"tiny-{task} (local)"]
    held, real, made = (score.means() for score in scores)
    assert real["ssim"] == pytest.approx(1)
    assert real["l1"] == 0 < held["l1"] < made["l1"]
