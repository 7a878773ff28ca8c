"""The benchmark of many pairs: three ways that do the same work, and rates that fit together."""

from __future__ import annotations

import json
import shutil

import pytest
from commands import in_this_process
from tiny_models import save_tiny, tiny

from gfla_cli.benchmark.pipelines import ONE_BY_ONE
from gfla_cli.bundles.shelf import assets

pytestmark = pytest.mark.usefixtures("detections_remembered")


@pytest.fixture
def pairs(gfla, tmp_path, monkeypatch):
    """Two pairs; commands run in this process, which has imported everything, and with a small model."""
    monkeypatch.setattr("gfla_cli.benchmark.measure.subprocess.run", in_this_process(gfla))
    monkeypatch.setattr("gfla_cli.benchmark.pipelines._COMMANDS", 1)
    save_tiny(tmp_path / "shelf" / "pose-people", tiny())
    monkeypatch.setenv("GFLA_MODELS", str(tmp_path / "shelf"))
    for name in ("anna.jpg", "ben.jpg"):
        shutil.copy(assets() / name, tmp_path)
    file = tmp_path / "pairs.csv"
    file.write_text("from,to\nanna.jpg,ben.jpg\nben.jpg,anna.jpg\n")
    return file


def test_many_pairs_are_compared_with_a_command_for_each(gfla, pairs):
    arguments = ("--images", pairs.parent, "--rounds", "1", "--threads", "1", "--json")
    result = gfla("benchmark", "infer", pairs, *arguments)
    assert result.exit_code == 0, result.output
    ways = {way["name"]: way for way in json.loads(result.stdout)["ways"]}
    assert {name: way["pairs"] for name, way in ways.items()} == {
        ONE_BY_ONE: 1,
        "pose-transfer, one process": 2,
        "infer": 2,
    }
    for way in ways.values():
        assert way["ratio"] == pytest.approx(way["pairs_per_second"] / ways[ONE_BY_ONE]["pairs_per_second"])


def test_pairs_that_fail_are_not_measured(gfla, pairs):
    (pairs.parent / "ben.jpg").write_bytes(b"no picture")
    result = gfla("benchmark", "infer", pairs, "--images", pairs.parent, "--rounds", "1", "--threads", "1")
    assert result.exit_code == 1
    assert "ben.jpg" in result.stderr
    pairs.write_text("from,to\n")
    result = gfla("benchmark", "infer", pairs, "--images", pairs.parent)
    assert "no pairs" in result.stderr
