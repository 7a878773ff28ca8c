"""Batches of pairs: results, skips and failures, and names that must not lead astray."""

from __future__ import annotations

import csv
import json
import os
import sys

import numpy as np
import pytest
import torch
from jobs import Job
from paths import ROOT
from tiny_models import save_tiny, tiny
from typer.testing import CliRunner

import gfla_cli.pipelines.pose_jobs
from gfla_cli.app import app
from gfla_cli.datasets.tables import read_pairs
from gfla_cli.errors import GflaError
from gfla_cli.inference.runtime import is_out_of_memory
from gfla_cli.io.files import sole_writer
from gfla_cli.io.image import read_image
from gfla_cli.pipelines.pose_transfer import PoseTransfer

pytestmark = pytest.mark.usefixtures("detections_remembered")
PEOPLE = ("anna", "ben", "cleo")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", tiny())


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
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


ALL = [(f"{a}.jpg", f"{b}.jpg") for a in PEOPLE for b in PEOPLE if a != b]


def test_results_have_the_size_that_was_asked_for(infer, tmp_path):
    assert infer(ALL[:1], "--size", "100", "--no-crop").exit_code == 0
    assert max(read_image(tmp_path / "out" / "anna--ben.png").shape) == 100
    result = infer(ALL[:1], "--size", "big")
    assert result.exit_code == 2
    assert "--size big: not a size" in result.stderr


def test_every_pair_becomes_the_image_that_pose_transfer_makes(infer, bundle, photos, tmp_path):
    result = infer(ALL, "--precision", "fp32")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == sorted(f"{a}--{b}.png" for a in PEOPLE for b in PEOPLE if a != b)
    alone = (
        PoseTransfer(bundle, precision="fp32")
        .transfer(photos / "anna.jpg", photos / "cleo.jpg", crop=True, size=None)
        .image
    )
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


def test_a_background_that_fails_in_its_thread_is_a_failure_of_its_own(infer, tmp_path, monkeypatch):
    def fails_for_anna(self, image, scale, pose, others):
        if self.session.config.pixel_blend and np.array_equal(image, anna):
            raise GflaError("mediapipe failed")

    anna = read_image(tmp_path / "photos" / "anna.jpg")
    monkeypatch.setattr(PoseTransfer, "_cover", fails_for_anna)
    result = infer([("anna.jpg", "ben.jpg"), ("ben.jpg", "anna.jpg")], "--size", "source", "--json")
    assert json.loads(result.stdout) == {"pairs": 2, "written": 1, "skipped": 0, "failed": 1}
    assert "anna.jpg,ben.jpg,mediapipe failed" in (tmp_path / "out" / "failures.csv").read_text()
    again = infer([("anna.jpg", "ben.jpg"), ("ben.jpg", "anna.jpg")], "--size", "source", "--json")  # one is left
    assert json.loads(again.stdout) == {"pairs": 2, "written": 0, "skipped": 1, "failed": 1}


def test_a_second_call_does_what_is_missing(infer, tmp_path):
    infer(ALL)
    (tmp_path / "out" / "anna--ben.png").unlink()
    before = (tmp_path / "out" / "ben--anna.png").stat().st_mtime_ns
    result = infer(ALL, "--json")
    assert json.loads(result.stdout) == {"pairs": 6, "written": 1, "skipped": 5, "failed": 0}
    assert (tmp_path / "out" / "ben--anna.png").stat().st_mtime_ns == before


@pytest.mark.parametrize("part", ["head", "body"])
def test_pairs_are_refined_unless_switched_off(infer, monkeypatch, part):
    asked = []
    prepare = PoseTransfer.prepare

    def noted(self, *arguments, **options):
        asked.append({name: options[f"refine_{name}"] for name in ("head", "body")})
        return prepare(self, *arguments, **options)

    monkeypatch.setattr(PoseTransfer, "prepare", noted)
    infer([("anna.jpg", "ben.jpg")], f"--no-refine-{part}")
    assert asked == [{"head": True, "body": True} | {part: False}]


def render_together(folder, bundle, photos):
    """`gfla infer`, with a note of what this process wrote."""
    write = gfla_cli.pipelines.pose_jobs.write_image

    def noted(path, *rest, **options):
        write(path, *rest, **options)
        (folder / "notes" / f"{os.environ['RANK']} {path.name}").touch()

    gfla_cli.pipelines.pose_jobs.write_image = noted
    fixed = ["infer", str(folder / "pairs.csv"), "--images", str(photos), "-o", str(folder / "out"), "--no-crop"]
    app([*fixed, "--model", str(bundle), "--batch", "2", "--json"])


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork server")
def test_two_processes_share_the_missing_pairs_and_report_as_one(bundle, photos, tmp_path):
    rows = [*ALL[:5], ("broken.jpg", "ben.jpg"), ("nobody.jpg", "ben.jpg")]
    (tmp_path / "pairs.csv").write_text("\n".join(["from,to", *(",".join(row) for row in rows)]) + "\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "anna--cleo.png").touch()
    (tmp_path / "notes").mkdir()
    job = Job(tmp_path, 2)
    assert job.run(render_together, bundle, photos) == [1, 0], job.output(0) + job.output(1)
    assert json.loads(job.output(0)[: job.output(0).index("}") + 1]) == {
        "pairs": 7,
        "written": 4,
        "skipped": 1,
        "failed": 2,
    }
    assert job.output(1) == ""
    written = [name.split() for name in names(tmp_path / "notes")]
    assert sorted(name for _, name in written) == ["anna--ben.png", "ben--anna.png", "ben--cleo.png", "cleo--anna.png"]
    assert sorted(rank for rank, _ in written) == ["0", "0", "1", "1"]
    with (tmp_path / "out" / "failures.csv").open() as file:
        assert [row["from"] for row in csv.DictReader(file)] == ["broken.jpg", "nobody.jpg"]


def test_two_calls_in_one_folder_are_refused(infer, tmp_path):
    with sole_writer(tmp_path / "out"):
        result = infer(ALL)
    assert result.exit_code == 1
    assert "another run is writing there" in result.stderr


def test_windows_line_ends_and_a_byte_order_mark_are_read(infer, tmp_path, bundle, photos):
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbffrom,to\r\nanna.jpg,ben.jpg\r\n")
    arguments = ["infer", "excel.csv", "--images", str(photos), "-o", "out", "--model", str(bundle)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert names(tmp_path / "out") == ["anna--ben.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "should begin"), ("a,b\n1,2\n", "should begin"), ("from,to\n", "no pairs"), ("from,to\nx\n", "line 2")],
)
def test_a_wrong_csv_is_refused(infer, tmp_path, bundle, photos, text, said):
    (tmp_path / "odd.csv").write_text(text)
    arguments = ["infer", "odd.csv", "--images", str(photos), "-o", "out", "--model", str(bundle)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_rows_of_a_keypoint_table_have_results_of_their_own(infer, photos, tmp_path):
    rows = [f"p{k}.jpg: {list(range(20, 164, 8))}: {[60 + k + j % 5 for j in range(18)]}" for k in range(3)]
    (photos / "poses.csv").write_text("\n".join(["name:keypoints_y:keypoints_x", *rows]) + "\n")
    result = infer([("anna.jpg", f"poses.csv#p{k}.jpg") for k in range(3)])
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == [f"anna--poses_p{k}.png" for k in range(3)]


def test_names_that_no_file_can_have_are_failures_of_their_own(infer, tmp_path):
    long = "x" * 300 + ".jpg"
    odd = [("", "ben.jpg"), (".", "ben.jpg"), (long, "ben.jpg"), ("a\\b.jpg", "ben.jpg"), ("/", "ben.jpg")]
    result = infer([ALL[0], *odd], "--json")
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout) == {"pairs": 6, "written": 1, "skipped": 0, "failed": 5}


def test_two_pairs_with_the_same_result_do_not_overwrite_each_other(infer, photos, tmp_path):
    (photos / "anna.png").write_bytes((photos / "anna.jpg").read_bytes())
    result = infer([("anna.jpg", "ben.jpg"), ("anna.png", "ben.jpg"), ("cleo.jpg", "ben.jpg")], "--json")
    assert json.loads(result.stdout) == {"pairs": 3, "written": 2, "skipped": 0, "failed": 1}
    with (tmp_path / "out" / "failures.csv").open() as file:
        (failure,) = csv.DictReader(file)
    assert failure["from"] == "anna.png"
    assert "its result would be that of anna.jpg and ben.jpg" in failure["error"]


@pytest.mark.parametrize("content", [b"from,to\n\xff\xfe,b\n", b"from,to\n" + b"x" * 200_000 + b",b\n", b"\0\0\0"])
def test_a_csv_that_no_program_wrote_is_refused_in_one_line(infer, tmp_path, bundle, photos, content):
    (tmp_path / "odd.csv").write_bytes(content)
    arguments = ["infer", "odd.csv", "--images", str(photos), "-o", "out", "--model", str(bundle)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "odd.csv" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_csv_is_reported_without_mention_of_data_sets(infer, tmp_path, bundle, photos):
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
    def generate(self, prepared, *, inside=False):
        raise error

    monkeypatch.setattr(PoseTransfer, "generate", generate)
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


def test_neither_a_result_nor_the_list_of_failures_replaces_an_input(infer, bundle, photos, tmp_path):
    (photos / "anna--ben.png").write_bytes((photos / "ben.jpg").read_bytes())
    rows = [("anna.jpg", "ben.jpg"), ("anna--ben.png", "ben.jpg")]
    result = infer(rows, "-o", str(photos), "--overwrite")
    assert result.exit_code == 1
    assert "is an input, too" in (photos / "failures.csv").read_text()
    assert (photos / "anna--ben.png").read_bytes() == (photos / "ben.jpg").read_bytes()
    table = tmp_path / "failures.csv"
    table.write_text("from,to\nbroken.jpg,ben.jpg\n")
    arguments = ["infer", str(table), "--images", str(photos), "-o", str(tmp_path), "--model", str(bundle)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "failures.csv is an input, too" in result.stderr
    assert table.read_text() == "from,to\nbroken.jpg,ben.jpg\n"


@pytest.mark.parametrize(
    "text",
    [
        "from;to\nanna.jpg;ben.jpg\n",
        "from\tto\nanna.jpg\tben.jpg\n",
        "\ufeffFrom,To\nanna.jpg,ben.jpg\n",
        'From, To\n"anna.jpg", "ben.jpg"\n',
        '"from" ; "to"\r\n"anna.jpg" ; "ben.jpg"\r\n',
    ],
)
def test_pairs_as_spreadsheets_write_them_are_read(tmp_path, text):
    (tmp_path / "pairs.csv").write_text(text, encoding="utf-8", newline="")
    assert read_pairs(tmp_path / "pairs.csv") == [("anna.jpg", "ben.jpg")]
