"""View models measured: by angle, beside copying the source, on rendered chairs and on ShapeNet's."""

from __future__ import annotations

import json

import pytest
from chairs import TINY, write_shapenet
from commands import refused
from compared_pictures import plain_measures
from tiny_glb import glb_bytes
from tiny_models import CPU, save_tiny

from gfla_cli.commands.options import print_table
from gfla_cli.errors import BundleError, DataError
from gfla_cli.evaluation.report import score_tables
from gfla_cli.evaluation.scores import ImageFigures, Score
from gfla_cli.io.image import read_image


@pytest.fixture
def gfla(gfla, view_shelf, monkeypatch):
    monkeypatch.setenv("GFLA_MODELS", str(view_shelf))
    return gfla


def measured(models, root, limit):
    """Scores, and the test set."""
    pytest.importorskip("torchmetrics")
    from gfla_cli.evaluation.loop import measure
    from gfla_cli.evaluation.rendered import ViewPairs
    from gfla_cli.evaluation.run import open_compared

    test = ViewPairs(open_compared(models, CPU, "view"), root, CPU.device, limit)
    return measure(test, plain_measures()).scores, test


def test_view_models_are_measured_by_angle_beside_copying(view_shelf):
    pytest.importorskip("numba")
    pytest.importorskip("torchmetrics")
    models = [view_shelf / "tiny-view", view_shelf / "tiny-pixels"]
    scores, test = measured(models, None, 9)
    assert [score.name for score in scores] == ["copy of the source", "tiny-view (local)", "tiny-pixels (pixels)"]
    assert scores[0].parts == [str(k) for k in range(20, 181, 20)]
    assert [bool(score.views) for score in scores] == [False, True, False]
    report = scores[1].to_json()
    assert report["pairs"] == report["view_accuracy"]["pictures"] == 9
    assert 0 < report["l1"] < 1
    assert -1 < report["ssim"] < 1
    assert list(report["by_difference"]) == [str(k) for k in range(20, 181, 20)]
    assert 0 <= report["view_accuracy"]["azimuth"] <= report["view_accuracy"]["neighbour"] <= 1
    shown = test.sheet(2)
    assert [list(pictures) for pictures in shown] == [[score.name for score in scores] + ["target"]] * 2
    assert shown[0]["target"].shape == (64, 64, 3)


def test_two_models_of_one_name_are_told_apart(view_shelf, tmp_path):
    pytest.importorskip("numba")
    pytest.importorskip("torchmetrics")
    save_tiny(tmp_path / "other" / "tiny-view", TINY)
    models = [view_shelf / "tiny-view", tmp_path / "other" / "tiny-view"]
    scores, _ = measured(models, None, 1)
    assert [len(score.images) for score in scores] == [1, 1, 1]
    assert scores[2].name == "other/tiny-view (local)"


def test_shapenets_test_list_is_measured_too(view_shelf, tmp_path):
    pytest.importorskip("torchmetrics")
    write_shapenet(tmp_path)
    scores, test = measured([view_shelf / "tiny-view"], tmp_path, 2)
    assert scores[0].parts
    assert test.describe()[0] == {"name": tmp_path.name, "what": "pairs of the paper's list"}
    with pytest.raises(BundleError, match="only view models"):
        measured([view_shelf / "tiny-pose"], tmp_path, 2)


def test_objects_of_a_folder_are_measured_too(view_shelf, tmp_path):
    pytest.importorskip("numba")
    pytest.importorskip("torchmetrics")
    (tmp_path / "box.glb").write_bytes(glb_bytes())
    scores, test = measured([view_shelf / "tiny-view"], tmp_path, 2)
    assert [len(score.images) for score in scores] == [2, 2]
    assert "holes" in scores[1].images[0].figures
    assert test.describe()[0] == {"name": tmp_path.name, "what": "rendered objects of a folder"}
    (tmp_path / "box.glb").write_bytes(glb_bytes()[:50])
    with pytest.raises(DataError, match=r"box\.glb"):
        measured([view_shelf / "tiny-view"], tmp_path, 2)


def test_view_scores_are_shown_as_tables(capsys):
    images = [ImageFigures(0, "20", {"l1": 0.1}), ImageFigures(1, "180", {"l1": 0.3})]
    views = [{"azimuth": right, "neighbour": 1.0, "elevation": 1.0} for right in (0.0, 1.0)]
    copy, mine = (Score(name, images, parted_by="difference") for name in ("copy", "mine"))
    mine.views = views
    for table in score_tables([copy.to_json(), mine.to_json()]):
        print_table(table)
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
