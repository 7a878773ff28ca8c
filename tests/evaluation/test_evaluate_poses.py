"""Models measured: beside copying the source, beside their exported form, under a protocol."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compared_pictures import colour_fid, plain_measures, pose_pairs

from gfla_cli.datasets.tables import DEEPFASHION, SQUARE

pytest.importorskip("torchmetrics")

from gfla_cli.evaluation.loop import COPY, REAL, measure
from gfla_cli.evaluation.protocols import GFLA, OWN, OWN_FILES, PATN


def test_bundles_are_measured_beside_copying_the_source(pose_shelf):
    test = pose_pairs([pose_shelf / "tiny-local", pose_shelf / "tiny-none"], pose_shelf / "set")
    found = measure(test, colour_fid())
    assert [score.name for score in found.scores] == [COPY, "tiny-local (local)", "tiny-none (none)"]
    report = found.to_json()
    assert report[1]["model"]["sampler"] == "local"
    assert report[1]["model"]["trained"] == {"samples": 1200, "dataset": "people"}
    assert report[0]["protocol"]["fid_reference"]["kind"] == "the real pictures of these pairs"
    assert report[0]["protocol"]["data"]["pairs"] == "2 of 2"
    assert {"ssim", "psnr", "l1", "fid"} <= set(report[0])
    assert "fid" not in report[0]["by_change"]["small change"]
    assert measure(test, replace(colour_fid(), metrics=("fid",))).scores[1].means().keys() == {"fid"}
    _, shown = found.test.shown("tiny-local (local)", 1)
    assert list(shown) == ["source", "target pose", "result", "real"]
    assert {image.shape for image in shown.values()} == {(64, 64, 3)}
    assert found.test.shown(COPY, 1)[0] == "b_0.jpg to b_1.jpg"


def test_an_exported_model_stands_beside_its_bundle(pose_shelf, tiny_bundle, tiny_export):
    test = pose_pairs([tiny_bundle, tiny_export.path], pose_shelf / "set", limit=2)
    scores = measure(test, plain_measures()).scores
    assert [score.name for score in scores[1:]] == ["pose-people (local)", "pose-people (local, ONNX Runtime, CPU)"]
    assert scores[2].means() == pytest.approx(scores[1].means(), abs=1e-3)
    assert scores[2].about == scores[1].about


def test_against_training_pictures_the_real_ones_have_a_row_too(pose_shelf):
    test = pose_pairs([pose_shelf / "tiny-local"], pose_shelf / "set", SQUARE, GFLA)
    found = measure(test, colour_fid())
    assert [score.name for score in found.scores] == [COPY, REAL, "tiny-local (local)"]
    assert found.conditions["fid_reference"]["kind"] == "training pictures"
    real = found.scores[1].means()
    assert real["fid"] > 0
    assert real["psnr"] == 100


def test_a_protocol_reads_the_real_pictures_from_their_files(pose_shelf):
    test = pose_pairs([pose_shelf / "tiny-local"], pose_shelf / "set", DEEPFASHION, PATN)
    assert test.size == (256, 176)
    (pair,) = test.generated([0])
    assert pair.real.shape == pair.made["tiny-local (local)"].shape == (1, 3, 256, 176)
    assert float(pair.joints[0][:, 1].max()) == pytest.approx(228 * 256 / 256, rel=0.02)
    own = pose_pairs([pose_shelf / "tiny-local"], pose_shelf / "set", SQUARE, OWN, (32, 32))
    assert own.protocol is OWN_FILES
    assert next(own.generated([0])).real.shape == (1, 3, 32, 32)


def test_a_limit_and_a_sheet_are_spread_over_the_pairs(pose_shelf):
    found = measure(pose_pairs([pose_shelf / "tiny-local"], pose_shelf / "set", limit=1), plain_measures())
    assert [list(score.means()) for score in found.scores] == [["ssim", "psnr", "l1"]] * 2
    assert found.count == "1 pairs"
    rows = pose_pairs([pose_shelf / "tiny-local"], pose_shelf / "set").sheet(5)
    assert [list(row) for row in rows] == [[COPY, "tiny-local (local)", REAL]] * 2
    assert {image.shape for row in rows for image in row.values()} == {(64, 64, 3)}
