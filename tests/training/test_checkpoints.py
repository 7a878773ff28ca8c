"""Checkpoints: of another model, of another recipe, cut, and which of them stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_training import plan, trainer
from tiny_models import tiny

from gfla_cli.errors import DataError
from gfla_cli.training.checkpoint import load_checkpoint
from gfla_cli.training.learner import StepResult
from gfla_cli.training.recipe import LossWeights
from gfla_cli.training.trainer import Pace


def test_a_checkpoint_of_another_recipe_says_what_differs(open_data, tmp_path):
    trainer(plan(), open_data, tmp_path, None).save()
    for other, said in (
        (replace(plan(), model=replace(tiny(), width=16)), "another model.*width 8 instead of 16"),
        (replace(plan(), dataset="people"), "--dataset fashion, not people"),
        (replace(plan(), seed=3), "--seed 0, not 3"),
        (replace(plan(), stages=plan().stages[1:]), "the stages flow, joint, not joint"),
    ):
        with pytest.raises(DataError, match=said):
            trainer(other, open_data, tmp_path, None).resume()
    trainer(plan(joint=9), open_data, tmp_path, None).resume()  # going on for longer is no other recipe


def test_a_cut_checkpoint_is_named(open_data, tmp_path):
    run = trainer(plan(), open_data, tmp_path, None)
    run.checkpoint.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match="damaged"):
        run.resume()


def test_the_newest_and_the_best_checkpoints_stay(open_data, tmp_path, monkeypatch):
    run = trainer(plan(flow=1, joint=10, weights=LossWeights(l1=5)), open_data, tmp_path, None)
    values = iter([9, *[5, 4], *[3, 1], *[7, 8], *[2, 6], *[9, 9]])
    told = lambda *_: StepResult({"l1": float(next(values)), "total": 1.0}, None)  # noqa: E731
    monkeypatch.setattr(run.learner, "step", told)
    run.run(lambda progress: None, Pace(save=2, keep=3))
    names = sorted(path.name for path in tmp_path.glob("*.pt"))
    assert names == [f"checkpoint-{n}.pt" for n in ("0000007", "0000009", "0000011", "best")] + ["checkpoint.pt"]
    assert load_checkpoint(tmp_path / "checkpoint-best.pt")["position"][:2] == [1, 4]
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match="damaged") as raised:
        run.resume()
    assert "copy checkpoint-0000011.pt over it" in raised.value.hint
