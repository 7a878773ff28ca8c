"""Untrusted data sets: they name images inside them only, numbers are numbers, and every mistake is named."""

from __future__ import annotations

import json

import pytest
from tiny_images import png

from gfla_cli.datasets.check import check_set
from gfla_cli.datasets.deepfashion import BenchmarkPairs
from gfla_cli.datasets.photos import read_found
from gfla_cli.datasets.tables import SQUARE
from gfla_cli.errors import DataError


@pytest.fixture
def pose_set(tmp_path):
    row = f"a.png: {list(range(18))}: {list(range(18))}"
    (tmp_path / "fasion-annotation-test.csv").write_text(f"name:keypoints_y:keypoints_x\n{row}\n")
    (tmp_path / "fasion-pairs-test.csv").write_text("from,to\na.png,a.png\n")
    (tmp_path / "test").mkdir()
    return tmp_path


def test_a_set_does_not_name_pictures_elsewhere(pose_set):
    (pose_set / "secret.png").write_bytes(png(64, 64, bytes(64 * 193)))
    for table in ("annotation", "pairs"):
        path = pose_set / f"fasion-{table}-test.csv"
        path.write_text(path.read_text().replace("a.png", "../secret.png"))
    with pytest.raises(DataError, match="leads out"):
        BenchmarkPairs(pose_set, "test", SQUARE, (64, 64))
    assert any("leads out" in finding.what for finding in check_set(pose_set, SQUARE))


@pytest.mark.parametrize(
    "column",
    ["[1e400" + ", 1" * 17 + "]", "[NaN" + ", 1" * 17 + "]", "[1e300" + ", 1" * 17 + "]", "[" * 50_000,
     f"[{10**400}" + ", 1" * 17 + "]", "[" + "9" * 5000 + "]", "[[1]" + ", 1" * 17 + "]", "{}", "x" * 200_000],
    ids=["infinite", "NaN", "huge", "nested", "a huge whole number", "thousands of digits", "ragged", "object", "long"],
)  # fmt: skip
def test_coordinates_that_are_none_are_named_with_their_line(pose_set, column):
    table = f"name:keypoints_y:keypoints_x\na.png: {column}: {list(range(18))}\n"
    (pose_set / "fasion-annotation-test.csv").write_text(table)
    with pytest.raises(DataError, match=r"fasion-annotation-test\.csv"):
        BenchmarkPairs(pose_set, "test", SQUARE, (64, 64))
    assert any(finding.broken for finding in check_set(pose_set, SQUARE))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"from,to\n\xe4.png,b.png\n", b"from,to\na\0b,c\n\0,\0\n"])
def test_tables_that_are_no_text_are_refused(pose_set, content):
    (pose_set / "fasion-pairs-test.csv").write_bytes(content)
    with pytest.raises(DataError):
        BenchmarkPairs(pose_set, "test", SQUARE, (64, 64))
    check_set(pose_set, SQUARE)


def test_what_is_known_about_photos_names_none_elsewhere(tmp_path):
    entry = {"photo": "a/b.jpg", "stamp": [1, 2], "digest": "", "name": "../../b.jpg"}
    (tmp_path / "found.jsonl").write_text(json.dumps(entry) + "\n")
    with pytest.raises(DataError, match="line 1"):
        read_found(tmp_path / "found.jsonl")
