"""The paper's ablation study, and ours beside it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torchmetrics")


def report(path, *rows, data="people-mini", weights="a", **figures):
    said = {
        "name": "own",
        "size": "256x256",
        "data": {"name": data, "pairs": "800 of 800"},
        "metrics": {"lpips": {"sha256": weights}},
    }
    content = [
        {"name": name, "pairs": 800, "lpips": lpips, **figures, "protocol": {**said, "run": {"torch": name}}}
        | ({"model": {"sampler": name, "trained": {"samples": samples, "dataset": "people"}}} if name else {})
        for name, lpips, samples in rows
    ]
    path.write_text(json.dumps(content))
    return path


def test_ours_stand_beside_the_papers_figures(gfla, tmp_path):
    one = report(tmp_path / "one.json", ("none", 0.31, 6000), ("local", 0.29, 6000), ("", 0.5, 0))
    two = report(tmp_path / "two.json", ("bilinear", 0.3, 6000))
    result = gfla("evaluate", "--table", one, two)
    assert result.exit_code == 0, result.output
    lines = {line.split()[1]: line for line in result.stdout.splitlines() if line.startswith("│")}
    assert list(lines) == ["Baseline", "Global-Attn", "Bi-Sample", "Full"]
    assert "16.008" in lines["Baseline"]
    assert "0.2473" in lines["Baseline"]
    assert "0.3100" in lines["Baseline"]
    assert "0.3000" in lines["Bi-Sample"]
    assert "0.2900" in lines["Full"]
    assert "(1) people-mini, 256x256, protocol own, 800 pairs; 6 000 samples of people" in result.stdout
    assert "(2)" not in result.stdout


def test_other_data_weights_or_runs_get_columns_of_their_own(gfla, tmp_path):
    files = [
        report(tmp_path / "a.json", ("none", 0.31, 6000), ("local", 0.29, 9000)),
        report(tmp_path / "b.json", ("bilinear", 0.1, 9000), data="people-hard"),
        report(tmp_path / "c.json", ("global", 0.2, 9000), weights="b"),
        report(tmp_path / "d.json", ("local", 0.28, 20000)),
    ]
    result = gfla("evaluate", "--table", *files, "--json")
    ours = json.loads(result.stdout)["ours"]
    assert [[row["lpips"] for row in column["rows"]] for column in ours] == [[0.31, 0.29], [0.1], [0.2], [0.28]]
    assert "budgets differ" in ours[0]["conditions"]
    assert "people-hard" in ours[1]["conditions"]
    shown = gfla("evaluate", "--table", *files).stdout
    assert "none: 6 000 samples of people" in shown


def test_files_that_are_no_reports_are_refused(gfla, tmp_path):
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "other.json").write_text("[1]")
    (tmp_path / "old.json").write_text('[{"name": "x", "ssim": 1}]')
    (tmp_path / "plain.json").write_text('[{"name": "x", "protocol": {}}]')
    for name, said in (
        ("nothing", "not a report"),
        ("text", "not a report"),
        ("other", "not a report of"),
        ("old", "conditions"),
        ("plain", "no model of a known sampler"),
    ):
        result = gfla("evaluate", "--table", tmp_path / f"{name}.json")
        assert result.exit_code == 1, result.output
        assert said in result.stderr
        assert len(result.stderr.strip().splitlines()) == 2
