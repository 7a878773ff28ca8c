"""Pose sets checked row by row: every mistake is named with its file and line."""

from __future__ import annotations

import json

import pytest
from photographs import X18, Y18, edit
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.datasets.check import check_set
from gfla_cli.datasets.deepfashion import BenchmarkPairs
from gfla_cli.datasets.tables import DEEPFASHION, SQUARE


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"a.jpg: {Y18[:17]}: {X18[:17]}", "17 joints instead of 18 (COCO"),
        (f"a.jpg: {Y18[:17]}: {X18}", "17 and 18 joints"),
        (f"a.jpg: {X18}: {Y18}", "none if x and y change places"),
        (f"a.jpg: {[300, *Y18[1:]]}: {X18}", "outside the frame of 176x256"),
        (f"a.jpg: {Y18}", "2 columns instead of 3"),
        (f"a.jpg: {Y18}: [1, 2", "keypoints_x is no list of numbers"),
        (f"a.jpg: {[-1, *Y18[1:]]}: {X18}", "only one of x and y is missing"),
        (f"a.jpg: {[-1] * 18}: {[-1] * 18}", "not one joint"),
        (f"a.jpg: {Y18}: {X18}", "a.jpg is missing"),
        (f"../a.jpg: {Y18}: {X18}", "leads out of"),
    ],
)
def test_a_broken_row_is_named_with_its_line(good_set, row, said):
    table = good_set / "fasion-annotation-train.csv"
    edit(table, lambda lines: [*lines[:2], row, *lines[2:]])
    found = [f for f in check_set(good_set, DEEPFASHION) if said in f.what]
    assert [(f.file, f.line, f.broken) for f in found] == [(table.name, 3, True)], found


def test_doubles_are_named_with_both_lines(good_set):
    table = good_set / "fasion-annotation-train.csv"
    edit(table, lambda lines: [*lines, lines[1]])
    last = len(table.read_text().splitlines())
    assert any(f.line == last and "line 2 already" in f.what and f.broken for f in check_set(good_set, DEEPFASHION))


def test_a_picture_of_training_is_not_for_testing(good_set):
    first = (good_set / "fasion-annotation-train.csv").read_text().splitlines()[1]
    edit(good_set / "fasion-annotation-test.csv", lambda lines: [*lines, first])
    assert any("is in train already" in f.what and f.broken for f in check_set(good_set, DEEPFASHION))


def test_marks_and_line_ends_of_spreadsheets_are_named_and_harmless(good_set):
    for table in ("annotation", "pairs"):
        path = good_set / f"fasion-{table}-train.csv"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    found = check_set(good_set, DEEPFASHION)
    assert [("BOM" in f.what, "Windows" in f.what, f.line, f.broken) for f in found] == 2 * [
        (True, False, 1, False),
        (False, True, 1, False),
    ]
    assert len(BenchmarkPairs(good_set, "train", DEEPFASHION, (64, 64))) > 0


@pytest.mark.parametrize(
    ("table", "header", "said"),
    [
        ("annotation", "name:keypoints_y", "the column keypoints_x is missing"),
        ("annotation", "name:keypoints_x:keypoints_y", "another order"),
        ("pairs", "source,target", "the column from and to is missing"),
    ],
)
def test_a_wrong_header_is_named(good_set, table, header, said):
    path = good_set / f"fasion-{table}-test.csv"
    edit(path, lambda lines: [header, *lines[1:]])
    assert any((f.file, f.line) == (path.name, 1) and said in f.what for f in check_set(good_set, DEEPFASHION))


def test_pictures_that_do_not_decode_are_found(good_set):
    picture = max((good_set / "train").iterdir(), key=lambda path: (path.stat().st_size, path.name))
    picture.write_bytes(picture.read_bytes()[:-2000])
    assert check_set(good_set, DEEPFASHION) == []
    (found,) = check_set(good_set, DEEPFASHION, decode=True)
    assert picture.name in found.what
    assert str(good_set) not in found.what
    picture.write_bytes(b"")
    assert check_set(good_set, DEEPFASHION)[0].line == found.line


def test_exchanged_axes_in_a_square_frame_are_noticed_by_everybody_lying(good_set):
    for split in ("train", "test"):
        for path in good_set.glob(f"fasion-annotation-{split}.csv"):
            rows = [line.split(":") for line in path.read_text().splitlines()]
            path.write_text("\n".join([":".join(rows[0]), *(f"{n}:{x}:{y}" for n, y, x in rows[1:])]) + "\n")
    broken = [f for f in check_set(good_set, SQUARE) if f.broken]
    assert len(broken) == 2
    assert all("x and y are exchanged" in f.what for f in broken)


def test_pairs_without_keypoints_are_named(good_set):
    edit(good_set / "fasion-pairs-train.csv", lambda lines: [*lines[:4], "x.jpg,y.jpg", *lines[4:], lines[1]])
    found = check_set(good_set, DEEPFASHION)
    assert [(f.line, f.what) for f in found[:2]] == [(5, "x.jpg has no keypoints"), (5, "y.jpg has no keypoints")]
    assert found[2].what == "the pair of line 2 again"
    assert not found[2].broken


def test_the_check_command_prints_and_exits(good_set, tmp_path):
    edit(good_set / "fasion-pairs-train.csv", lambda lines: [*lines, "x.jpg"])
    result = CliRunner().invoke(app, ["data", "check", str(good_set)])
    assert result.exit_code == 1
    assert "1 columns instead of 2" in result.stdout
    assert json.loads(CliRunner().invoke(app, ["data", "check", str(good_set), "--json"]).stdout)[0]["broken"]
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert result.exit_code == 1
    assert "looked for fasion-annotation-train.csv" in result.stderr
