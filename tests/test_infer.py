"""Batches of pairs: results, skips and failures, and names that must not lead astray."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.config import preset
from gfla_cli.errors import GflaError
from gfla_cli.media.image import read_image
from gfla_cli.networks.build import build
from gfla_cli.pipelines.pose import PoseTransfer
from gfla_cli.runtime.memory import is_out_of_memory

PEOPLE = ("anna", "ben", "cleo")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = replace(preset("pose-people"), image_size=(64, 64), heatmap_sigma=2, width=8, flow_width=8)
    save_bundle(folder, config, build(config).state_dict())
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in PEOPLE:
        (folder / f"{name}.jpg").write_bytes((ROOT / "assets" / f"{name}.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not much of a picture")
    return folder


@pytest.fixture
def infer(bundle, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(rows, *arguments, newline="\n"):
        lines = ["from,to", *(",".join(row) for row in rows)]
        (tmp_path / "pairs.csv").write_bytes((newline.join(lines) + newline).encode())
        fixed = ["infer", "pairs.csv", "--images", str(photos), "-o", "out", "--model", str(bundle), "--batch", "2"]
        return CliRunner().invoke(app, [*fixed, *arguments])

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


ALL = [(f"{a}.jpg", f"{b}.jpg") for a in PEOPLE for b in PEOPLE if a != b]


def test_every_pair_becomes_the_picture_that_pose_transfer_makes(infer, bundle, photos, tmp_path):
    result = infer(ALL, "--precision", "fp32")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == sorted(f"{a}--{b}.png" for a in PEOPLE for b in PEOPLE if a != b)
    alone = PoseTransfer(bundle, precision="fp32").transfer(photos / "anna.jpg", photos / "cleo.jpg").image
    batched = read_image(tmp_path / "out" / "anna--cleo.png")
    assert np.abs(alone.astype(int) - batched.astype(int)).max() <= 1


def test_failures_are_listed_and_the_rest_is_done(infer, tmp_path):
    rows = [*ALL[:3], ("broken.jpg", "ben.jpg"), ("nobody.jpg", "ben.jpg"), ("../pairs.csv", "ben.jpg")]
    result = infer(rows, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"pairs": 6, "written": 3, "skipped": 0, "failed": 3}
    with (tmp_path / "out" / "failures.csv").open() as file:
        failures = {row["from"]: row["error"] for row in csv.DictReader(file)}
    assert set(failures) == {"broken.jpg", "nobody.jpg", "../pairs.csv"}
    assert "leads out" in failures["../pairs.csv"]


def test_a_second_call_does_what_is_missing(infer, tmp_path):
    infer(ALL)
    (tmp_path / "out" / "anna--ben.png").unlink()
    before = (tmp_path / "out" / "ben--anna.png").stat().st_mtime_ns
    result = infer(ALL, "--json")
    assert json.loads(result.stdout) == {"pairs": 6, "written": 1, "skipped": 5, "failed": 0}
    assert (tmp_path / "out" / "ben--anna.png").stat().st_mtime_ns == before


def test_under_torchrun_every_process_takes_its_share(infer, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert json.loads(infer(ALL, "--json").stdout)["pairs"] == 3
    assert len(names(tmp_path / "out")) == 6


def test_windows_line_ends_and_a_byte_order_mark_are_read(infer, tmp_path, bundle, photos):
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbffrom,to\r\nanna.jpg,ben.jpg\r\n")
    arguments = ["infer", "excel.csv", "--images", str(photos), "-o", "out", "--model", str(bundle)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert names(tmp_path / "out") == ["anna--ben.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "should begin"), ("a,b\n1,2\n", "should begin"), ("from,to\n", "no pairs"), ("from,to\nx\n", "line 2")],
)
def test_a_csv_that_says_something_else_is_named(infer, tmp_path, bundle, photos, text, said):
    (tmp_path / "odd.csv").write_text(text)
    arguments = ["infer", "odd.csv", "--images", str(photos), "-o", "out", "--model", str(bundle)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_csv_is_told_without_talk_of_data_sets(infer, tmp_path, bundle, photos):
    arguments = ["infer", "none.csv", "--images", str(photos), "-o", "out", "--model", str(bundle)]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "none.csv: no such file" in result.stderr
    assert "--data-root" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "batch", "hint"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 4, "--batch 2"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 2, "--batch 1"),
        (MemoryError("Unable to allocate 9 GiB for an array"), 1, "--precision bf16"),
    ],
)
def test_a_batch_too_large_for_memory_names_the_option_that_helps(infer, tmp_path, monkeypatch, error, batch, hint):
    def render_all(self, prepared):
        raise error

    monkeypatch.setattr(PoseTransfer, "render_all", render_all)
    result = infer(ALL, "--batch", str(batch))
    assert result.exit_code == 1
    assert f"a batch of {batch} is too large for the memory" in result.stderr
    assert hint in result.stderr
    assert names(tmp_path / "out") == []


def test_a_memory_error_is_known_behind_the_error_of_a_session_and_others_are_not_taken_for_one():
    wrapped = GflaError("ONNX Runtime failed")
    wrapped.__cause__ = RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 9")
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(RuntimeError("shapes differ"))
