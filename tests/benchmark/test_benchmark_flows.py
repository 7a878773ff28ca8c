"""The benchmark of flows: nearer to the renderer's, step by step, and refused where there is nothing to compare."""

from __future__ import annotations

import json

import pytest
from paths import ROOT
from tiny_models import save_tiny, tiny

WAYS = ("no motion", "the joints alone", "solids", "chosen", "the network")
SHIPPED = ROOT / "models/pose-people"


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A shelf with a model of poses and one that has no flow."""
    save_tiny(tmp_path / "shelf/tiny", tiny())
    save_tiny(tmp_path / "shelf/flowless", tiny(sampler="none"))
    monkeypatch.setenv("GFLA_MODELS", str(tmp_path / "shelf"))
    return tmp_path


@pytest.mark.shared
def test_every_way_to_a_flow_and_every_picture_is_judged(gfla, shelf, shared):
    asked = ("benchmark", "flows", str(shared / "humans"), "--pairs", "4", "--threads", "1", "--json")
    result = gfla(*asked, "--model", "tiny")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [error["name"] for error in report["errors"]] == list(WAYS)
    assert all(set(picture["figures"]) == {"ssim", "l1"} for picture in report["pictures"])
    trained = json.loads(gfla(*asked, "--pck", "--model", str(SHIPPED)).stdout)
    errors = [{error["name"]: error["mean"] for error in found["errors"]} for found in (report, trained)]
    assert errors[1]["the network"] < 0.9 * errors[1]["the joints alone"]  # trained
    assert errors[0]["solids"] < 0.9 * errors[0]["the joints alone"]  # not trained at all
    real, copied, own, known = (picture["figures"] for picture in trained["pictures"])
    assert copied["ssim"] < own["ssim"] < known["ssim"]
    assert copied["l1"] > own["l1"] > known["l1"]
    assert copied["pck"] < own["pck"] <= real["pck"]
    assert real["l1"] == 0


@pytest.mark.shared
def test_models_without_such_flows_and_folders_without_people_are_refused(gfla, shelf, shared):
    result = gfla("benchmark", "flows", str(shared / "humans"), "--model", "flowless")
    assert result.exit_code == 2
    assert "flows cannot be compared" in result.stderr
    result = gfla("benchmark", "flows", str(shelf))
    assert result.exit_code == 1
    assert "not a pack" in result.stderr


def test_view_models_are_measured_on_rendered_chairs(gfla, shelf):
    pytest.importorskip("numba")
    save_tiny(shelf / "shelf/view", tiny("view-chairs", view_width=4))
    result = gfla("benchmark", "flows", "--model", "view", "--pairs", "3", "--threads", "1", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [error["name"] for error in report["errors"]] == ["no motion", "the volume", "the network"]
    names = ["copy of the source", "its own flows", "the renderer's flows, its own masks", "the renderer's flows"]
    assert [picture["name"] for picture in report["pictures"]] == names
    assert all(set(picture["figures"]) == {"ssim", "l1", "holes"} for picture in report["pictures"])


def test_people_need_a_pack_and_chairs_have_no_joints(gfla, shelf):
    save_tiny(shelf / "shelf/view", tiny("view-chairs", view_width=4))
    for arguments, why in ((("--model", "tiny"), "pack"), (("--model", "view", "--pck"), "pose models")):
        result = gfla("benchmark", "flows", *arguments, "--pairs", "1")
        assert result.exit_code == 2
        assert why in result.stderr
