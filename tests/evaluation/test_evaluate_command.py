"""`gfla evaluate`: tables, files and pages about models and folders, and what does not go together."""

from __future__ import annotations

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from commands import refused
from compared_pictures import SEEDS, picture
from judges import Colours

from gfla_cli.io.image import read_image
from gfla_cli.person.pose import MIRRORED, Pose

pytest.importorskip("torchmetrics")

from gfla_cli.evaluation.loop import COPY


@pytest.fixture
def gfla(gfla, pose_shelf, tmp_path, monkeypatch):
    """Runs a command in an empty folder, with tiny models on the shelf and none of torch's weights."""
    monkeypatch.setenv("GFLA_MODELS", str(pose_shelf))
    monkeypatch.setenv("GFLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return lambda *arguments: gfla(*arguments, "--device", "cpu", "--precision", "fp32")


@pytest.fixture
def colour_network(tmp_path, monkeypatch):
    """A file `weights.pth` that passes for FID's network; what it sees are colours."""
    import gfla_cli.evaluation.features as loading

    monkeypatch.setattr(loading, "read_state", lambda path, what: {})
    monkeypatch.setattr(loading, "build_inception", lambda state, name: Colours())
    (tmp_path / "weights.pth").write_bytes(b"")


def test_models_give_a_table_and_every_kind_of_file(gfla, pose_shelf, tmp_path):
    outputs = ("--csv", "t.csv", "--html", "t.html", "--json-file", "t.json", "--sheet", "t.png")
    result = gfla("evaluate", "tiny-local", "tiny-none", "--data-root", pose_shelf / "set", *outputs)
    assert result.exit_code == 0, result.output
    assert "tiny-none (none)" in result.stdout
    assert "protocol: own" in result.stdout
    assert "fid left out" in result.stderr
    assert result.stdout.splitlines()[-4:] == ["t.csv", "t.json", "t.html", "t.png"]
    report = json.loads((tmp_path / "t.json").read_text())
    assert [row["name"] for row in report] == [COPY, "tiny-local (local)", "tiny-none (none)"]
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(row["name"], row["part"]) for row in rows][:2] == [(COPY, "all"), (COPY, "small change")]
    assert float(rows[0]["ssim"]) == pytest.approx(report[0]["ssim"])
    assert rows[0]["protocol.data.name"] == "set"
    assert rows[2]["model.trained.samples"] == "1200"
    assert read_image(tmp_path / "t.png").shape[1] == 2 * 4 * 64
    again = gfla("evaluate", "tiny-local", "--data-root", pose_shelf / "set", "--csv", "t.csv")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_json_on_stdout_is_json_and_keeps_its_form(gfla, pose_shelf):
    result = gfla("evaluate", "tiny-local", "--data-root", pose_shelf / "set", "--json", "--html", "t.html")
    report = json.loads(result.stdout)
    assert {"name", "pairs", "ssim", "l1", "by_change"} <= set(report[0])
    assert report[0]["skipped"].keys() == {"lpips", "fid"}
    assert "written: t.html" in result.stderr


def test_the_page_holds_everything_and_loads_nothing(gfla, result_folders, tmp_path):
    made = result_folders("made & <b>", **{f"{name}_DOT_png": picture(seed + 1) for name, seed in SEEDS.items()})
    result = gfla("evaluate", "--real", "real", "--generated", made, "--html", "t.html", "--rank-by", "l1")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "t.html").read_text()
    assert "made &amp; &lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("data:image/jpeg;base64,") == 2 * (2 + 2)  # worst and best two, each with result and real
    assert "Worst by l1" in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "url(" not in page
    assert "LPIPS left out: no alexnet" in page
    assert "Gaussian window of 11" in page


def test_folders_are_measured_from_the_command_line(gfla, result_folders, colour_network):
    result_folders("made", a_0__a_1_DOT_png=picture(1), b_0_2_b_1_vis_DOT_jpg=picture(2))
    run = ("evaluate", "--real", "real", "--generated", "made", "--inception", "weights.pth", "--json")
    (row,) = json.loads(gfla(*run).stdout)
    assert row["pairs"] == 2
    assert row["fid"] > 0
    assert row["protocol"]["metrics"]["fid"]["weights"] == "weights.pth"
    (row,) = json.loads(gfla(*run, "--metrics", "fid").stdout)
    assert (row["pictures"], row["fid"] > 0, "ssim" in row, "pairs" in row) == (2, True, False, False)
    (row,) = json.loads(gfla(*run, "--protocol", "patn", "--metrics", "ssim").stdout)
    assert row["protocol"]["size"] == "256x176"
    assert row["protocol"]["ssim_padding"] == "white to 256x256"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to evaluate"),
        (("--table",), "--table needs reports"),
        (("--real", "real"), "belong together"),
        (("--generated", "real"), "belong together"),
        (("tiny-local", "--real", "real", "--generated", "real"), "models: not together with folders"),
        (("--real", "real", "--generated", "real", "--data-root", "set"), "--data-root: not together with folders"),
        (("tiny-local", "--data-root", "set", "--pairs", "p.csv"), "--pairs: not together with models"),
        (("--table", "a.json", "--html", "b.html"), "--html: --table measures nothing"),
        (("tiny-local",), "measured on a data set"),
        (("--real", "real", "--generated", "real", "--size", "big"), "not a size"),
        (("--real", "real", "--generated", "real", "--metrics", "beauty"), "unknown metric: beauty"),
        (("--real", "real", "--generated", "real", "--rank-by", "beauty"), "not a metric of single images"),
    ],
)
def test_what_does_not_go_together_is_refused(gfla, result_folders, arguments, said):
    result = gfla("evaluate", *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (("--sheet", "sheet.xyz"), "known: .png"),
        (("--html", "one.txt", "--csv", "./one.txt"), "a name of its own"),
        (("--html", "t.html", "--rank-by", "fid"), "known: ssim"),
        (("--html", "t.html", "--rank-by", "vgg"), "taken: ssim"),
        (("--html", "t.html", "--rank-by", "ssim", "--metrics", "l1"), "taken: l1"),
        (("--html", "t.html", "--rank-by", "mask-ssim", "--layout", "market"), "no masks"),
        (("--sheet", "sheet.png", "--metrics", "fid", "--inception", "weights.pth"), "leave --sheet out"),
    ],
)
def test_what_could_not_be_written_is_refused_before_anything_is_measured(
    gfla, result_folders, colour_network, monkeypatch, output, said
):
    from gfla_cli.evaluation.folders import ComparedFolders

    made = result_folders("made", a_0_DOT_png=picture(1))
    monkeypatch.setattr(ComparedFolders, "batches", lambda _: pytest.fail("measured"))
    assert refused(gfla("evaluate", "--real", "real", "--generated", made, *output), 2, said)


def test_a_page_needs_no_pairs(gfla, result_folders, colour_network, tmp_path):
    result_folders("made", x_DOT_png=picture(1), y_DOT_png=picture(2))
    run = ("evaluate", "--real", "real", "--generated", "made", "--metrics", "fid", "--inception", "weights.pth")
    result = gfla(*run, "--html", "t.html")
    assert result.exit_code == 0, result.output
    assert "2 unpaired images" in (tmp_path / "t.html").read_text()


@pytest.fixture
def detections(monkeypatch, pose_shelf):
    """A detector that finds the annotated people of the set, with depths; gives the images it has looked at."""
    import gfla_cli.evaluation.poses as poses
    from gfla_cli.datasets.deepfashion import read_annotations

    annotated = read_annotations(pose_shelf / "set" / "fasion-annotation-test.csv")
    images = {name: read_image(pose_shelf / "set" / "test" / name) for name in annotated}
    seen = []

    class Detector:
        def detect(self, image):
            (name,) = [name for name, other in images.items() if np.array_equal(image, other)]
            seen.append(name)
            points = annotated[name] * (64 / 256, 64 / 256, 1)
            return [SimpleNamespace(pose=Pose(points, (64, 64), np.linspace(-20, 20, 18)))]

    monkeypatch.setattr(poses, "PersonDetector", Detector)
    return seen


def test_depth_adds_a_row_whose_joints_have_the_depth_that_is_found(gfla, pose_shelf, detections):
    run = ("evaluate", "tiny-local", "tiny-none", "--data-root", pose_shelf / "set")
    plain = json.loads(gfla(*run, "--json").stdout)
    assert detections == []
    result = gfla(*run, "--depth", "--json")
    assert result.exit_code == 0, result.output
    copy, local, deep, none = json.loads(result.stdout)
    assert [copy["name"], local["name"], none["name"]] == [row["name"] for row in plain]
    assert [copy["l1"], local["l1"], none["l1"]] == [row["l1"] for row in plain]
    assert deep["name"] == "tiny-local (local), detected depth"
    assert deep["model"] == local["model"] | {"depth": "detected by mediapipe"}
    assert deep["l1"] != local["l1"]
    assert sorted(detections) == ["a_0.jpg", "a_1.jpg", "b_0.jpg", "b_1.jpg"]  # each once
    shown = gfla(*run, "--depth", "--html", "t.html").stdout
    assert "tiny-local (local), detected depth" in shown


def test_depth_is_refused_where_nothing_uses_it(gfla, pose_shelf, view_shelf, result_folders):
    made = result_folders("made", a_0_DOT_png=picture(1))
    for of in (
        ("tiny-none", "--data-root", pose_shelf / "set"),
        (view_shelf / "tiny-view",),
        ("--real", "real", "--generated", made),
    ):
        assert refused(gfla("evaluate", *of, "--depth"), 2, "--depth")


def test_mirrored_results_are_counted_where_pck_is_measured(gfla, pose_shelf, result_folders, monkeypatch, tmp_path):
    import gfla_cli.evaluation.metrics as metrics
    from gfla_cli.datasets.tables import read_poses

    table = pose_shelf / "set" / "fasion-annotation-test.csv"
    pose = read_poses(table, "square")["a_0"].scaled((64, 64))

    class Detector:
        """Finds the front of the person in bright images, the back in dark ones."""

        def detect(self, image):
            dark = image.mean() < 60
            return [SimpleNamespace(pose=Pose(pose.points[list(MIRRORED)], pose.size) if dark else pose)]

    monkeypatch.setattr(metrics, "PersonDetector", Detector)
    made = result_folders("made", a_0_DOT_png=picture(0), b_0_DOT_png=picture(1) // 4)
    run = ("evaluate", "--real", "real", "--generated", made, "--keypoints", table, "--metrics", "l1")
    (row,) = json.loads(gfla(*run, "--pck", "--json", "--html", "t.html", "--csv", "t.csv").stdout)
    assert row["mirrored"] == 1
    assert 0.5 < row["pck"] < 1
    assert re.search(r"mirrored ↓.*<td>1</td>", (tmp_path / "t.html").read_text(), re.DOTALL)
    assert next(csv.DictReader((tmp_path / "t.csv").open()))["mirrored"] == "1"
    assert re.search(r"│ all +│ made +│ \S+ │ \S+ │ 1 +│", gfla(*run, "--pck").stdout)
    (row,) = json.loads(gfla(*run, "--json").stdout)
    assert "mirrored" not in row


def test_no_report_replaces_what_is_measured(gfla, result_folders, pose_shelf, tmp_path):
    made = result_folders("made", a_0_DOT_png=picture(0))
    before = (tmp_path / "real" / "a_0.jpg").read_bytes()
    folders = ("evaluate", "--real", "real", "--generated", made, "--overwrite")
    assert refused(gfla(*folders, "--sheet", "real/a_0.jpg"), 2, "real/a_0.jpg is an input, too")
    assert (tmp_path / "real" / "a_0.jpg").read_bytes() == before
    table = pose_shelf / "set" / "fasion-pairs-test.csv"
    assert refused(gfla("evaluate", "tiny-none", "--data-root", pose_shelf / "set", "--csv", table, "--overwrite"), 2)
