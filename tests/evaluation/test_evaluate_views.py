"""View models measured: by angle, beside copying the source, on rendered chairs and on ShapeNet's."""

from __future__ import annotations

import json

import pytest
from chairs import TINY, write_shapenet
from commands import refused
from tiny_models import CPU, save_tiny

from gfla_cli.errors import BundleError, DataError
from gfla_cli.evaluation.tables import print_view_scores
from gfla_cli.evaluation.views import ViewAccuracy, ViewScore, evaluate_views
from gfla_cli.io.image import read_image


@pytest.fixture
def gfla(gfla, view_shelf, monkeypatch):
    monkeypatch.setenv("GFLA_MODELS", str(view_shelf))
    return gfla


def test_view_models_are_measured_by_angle_beside_copying(view_shelf):
    pytest.importorskip("numba")
    pytest.importorskip("torchmetrics")
    models = [view_shelf / "tiny-view", view_shelf / "tiny-pixels"]
    scores, shown = evaluate_views(models, None, vgg=None, placement=CPU, limit=9, examples=2)
    assert [score.name for score in scores] == ["copy of the source", "tiny-view (local)", "tiny-pixels (pixels)"]
    assert scores[0].differences == list(range(20, 181, 20))
    assert [score.accuracy is None for score in scores] == [True, False, True]
    report = scores[1].to_json()
    assert report["pairs"] == report["view_accuracy"]["pictures"] == 9
    assert 0 < report["l1"] < 1
    assert -1 < report["ssim"] < 1
    assert list(report["by_difference"]) == [str(k) for k in range(20, 181, 20)]
    assert 0 <= report["view_accuracy"]["azimuth"] <= report["view_accuracy"]["neighbour"] <= 1
    assert [list(pictures) for pictures in shown] == [[score.name for score in scores] + ["target"]] * 2
    assert shown[0]["target"].shape == (64, 64, 3)


def test_two_models_of_one_name_are_told_apart(view_shelf, tmp_path):
    pytest.importorskip("numba")
    pytest.importorskip("torchmetrics")
    save_tiny(tmp_path / "other" / "tiny-view", TINY)
    models = [view_shelf / "tiny-view", tmp_path / "other" / "tiny-view"]
    scores, _ = evaluate_views(models, None, vgg=None, placement=CPU, limit=1)
    assert [len(score.pairs) for score in scores] == [1, 1, 1]
    assert scores[2].name == "other/tiny-view (local)"


def test_shapenets_test_list_is_measured_too(view_shelf, tmp_path):
    pytest.importorskip("torchmetrics")
    write_shapenet(tmp_path)
    scores, _ = evaluate_views([view_shelf / "tiny-view"], tmp_path, vgg=None, placement=CPU, limit=2)
    assert scores[0].differences
    with pytest.raises(DataError, match="no such file"):
        evaluate_views([view_shelf / "tiny-view"], tmp_path / "nothing", vgg=None, placement=CPU)
    with pytest.raises(BundleError, match="only view models"):
        evaluate_views([view_shelf / "tiny-pose"], tmp_path, vgg=None, placement=CPU)


def test_view_scores_are_shown_as_tables(capsys):
    accuracy = ViewAccuracy(pictures=2, azimuth=0.5, neighbour=1.0, elevation=1.0)
    pairs = [(20, {"l1": 0.1}), (180, {"l1": 0.3})]
    print_view_scores([ViewScore("copy", pairs), ViewScore("mine", pairs, accuracy)])
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("180", "0.2000", "azimuth right", "50.0%"))


def test_evaluate_takes_view_models(gfla, tmp_path):
    pytest.importorskip("numba")
    pytest.importorskip("torchmetrics")
    result = gfla("evaluate", "tiny-view", "--limit", "9", "--json", "--sheet", "with-json.png")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (tmp_path / "with-json.png").is_file()
    assert report[1]["name"] == "tiny-view (local)"
    assert report[1]["view_accuracy"]["pictures"] == 9
    table = gfla("evaluate", "tiny-view", "tiny-pixels", "--limit", "9", "--sheet", "sheet.png")
    assert "180" in table.stdout
    assert "azimuth right" in table.stdout
    assert read_image(tmp_path / "sheet.png").shape[1] == 2 * 4 * 64
    assert refused(gfla("evaluate", "tiny-pose"), 2, "--data-root")


def test_models_of_two_tasks_are_not_put_in_one_table(gfla):
    result = gfla("evaluate", "tiny-view", "tiny-pose")
    assert result.exit_code == 1
    assert "pose and view" in result.stderr


@pytest.mark.parametrize("asked", [("--metrics", "pck"), ("--metrics", "ssim", "--pck")])
def test_joints_of_objects_are_not_measured_when_asked_for(gfla, asked):
    pytest.importorskip("torchmetrics")
    assert refused(gfla("evaluate", "tiny-view", *asked), 2, "pck cannot be measured", "whole people")
