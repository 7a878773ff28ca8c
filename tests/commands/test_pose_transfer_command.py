"""The command line as a user meets it: results on stdout, one line and a hint for whatever is wrong, exit codes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from commands import names_in, refused
from paths import ANNA, BEN
from PIL import Image
from tiny_models import save_tiny, tiny

from gfla_cli.app import app
from gfla_cli.io.image import read_image, write_image
from gfla_cli.pipelines.pose_jobs import plan_transfers

pytestmark = pytest.mark.usefixtures("detections_remembered")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    """A shelf with two untrained little models, so that commands answer fast."""
    folder = tmp_path_factory.mktemp("shelf")
    save_tiny(folder / "tiny", tiny(), license="MIT", card="# Tiny\nKnows nothing.\n")
    save_tiny(folder / "tiny-face", tiny("face"))
    return folder


@pytest.fixture
def gfla(gfla, shelf, monkeypatch):
    monkeypatch.setenv("GFLA_MODELS", str(shelf))
    return gfla


@pytest.fixture
def transfer(gfla):
    return lambda *arguments: gfla("pose-transfer", *arguments, "--model", "tiny")


def test_two_photographs_in_one_photograph_out(transfer, tmp_path):
    result = transfer(ANNA, "--pose", BEN, "-o", "out.png")
    assert result.exit_code == 0, result.output
    assert result.stdout == "out.png\n"
    assert read_image(tmp_path / "out.png").shape == read_image(ANNA).shape
    assert names_in(tmp_path) == ["out.png"]


def test_the_output_is_named_after_both_inputs(transfer, tmp_path):
    assert transfer(ANNA, "--pose", BEN, "--quiet").stdout == "anna--ben.png\n"
    assert (tmp_path / "anna--ben.png").is_file()


def test_side_by_side_shows_source_pose_and_result(transfer, tmp_path):
    transfer(ANNA, "--pose", BEN, "-o", "row.png", "--side-by-side")
    height, width, _ = read_image(ANNA).shape
    assert read_image(tmp_path / "row.png").shape == (height, 3 * width, 3)


def test_the_head_is_drawn_from_near_unless_that_is_not_wanted(transfer, tmp_path):
    for name, options in (("near.png", []), ("far.png", ["--no-near-head"])):
        transfer(ANNA, "--pose", BEN, "-o", name, "--no-refine-body", "--precision", "fp32", *options)
    near, far = (read_image(tmp_path / name).astype(int) for name in ("near.png", "far.png"))
    changed = np.abs(near - far).max(axis=2) > 1  # body and head in one batch, which rounds differently
    height = len(changed)
    assert changed[: height // 3].any()
    assert not changed[height // 2 :].any()


def test_halves_of_the_body_are_drawn_from_near_unless_that_is_not_wanted(transfer, tmp_path):
    for name, options in (("near.png", []), ("far.png", ["--no-refine-body"])):
        transfer(ANNA, "--pose", BEN, "-o", name, *options)
    near, far = (read_image(tmp_path / name).astype(int) for name in ("near.png", "far.png"))
    changed = np.abs(near - far).max(axis=2) > 8
    height = len(changed)
    assert changed[: height // 2].any()
    assert changed[height // 2 :].any()


def test_folders_give_every_source_every_pose_and_skip_what_exists(transfer, tmp_path):
    people = tmp_path / "people"
    people.mkdir()
    for path in (ANNA, BEN):
        (people / path.name).write_bytes(path.read_bytes())
    (people / "broken.jpg").write_bytes(ANNA.read_bytes()[:5000])
    result = transfer(people, "--pose", BEN, "-o", "out", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1  # one failed, the others are there
    assert sorted(report["written"]) == ["out/anna--ben.png", "out/ben--ben.png"]
    assert list(report["failed"]) == [f"{people / 'broken.jpg'}, {BEN}"]
    again = transfer(people, "--pose", BEN, "-o", "out", "--json")
    assert sorted(json.loads(again.stdout)["skipped"]) == ["out/anna--ben.png", "out/ben--ben.png"]


def test_sources_and_poses_of_one_name_have_results_of_their_own(tmp_path):
    people, poses = tmp_path / "people", tmp_path / "poses"
    for folder, names in ((people, ("a.jpg", "a.png", "c.jpg", "c--d.jpg")), (poses, ("b.png", "d--b.png"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(ANNA.read_bytes())
    jobs = plan_transfers(people, str(poses), Path("out"), overwrite=False)
    assert sorted(job.output.name for job in jobs) == [
        *("a.jpg--b.png.png", "a.jpg--d--b.png.png", "a.png--b.png.png", "a.png--d--b.png.png"),
        *("c--b.png", "c--d--d--b.png", "c--d.jpg--b.png.png", "c.jpg--d--b.png.png"),
    ]


def test_keypoints_from_a_file_do_as_well_as_a_photograph(transfer, tmp_path):
    from gfla_cli.person.detect import PersonDetector
    from gfla_cli.person.keypoint_files import write_pose

    with PersonDetector() as detector:
        write_pose(tmp_path / "ben.json", detector.detect(read_image(BEN))[0].pose)
    assert transfer(ANNA, "--pose", BEN, "-o", "photo.png").exit_code == 0
    assert transfer(ANNA, "--pose", "ben.json", "-o", "file.png").exit_code == 0
    assert np.array_equal(read_image(tmp_path / "photo.png"), read_image(tmp_path / "file.png"))


def test_an_image_without_a_person_is_refused(transfer, tmp_path):
    write_image(tmp_path / "wall.png", np.full((300, 300, 3), 200, np.uint8))
    assert refused(transfer("wall.png", "--pose", BEN), 1, "wall.png", "no person")
    assert refused(transfer(ANNA, "--pose", "wall.png"), 1, "wall.png", "no person")


def test_of_several_people_the_largest_is_taken_and_said(transfer, tmp_path):
    anna, ben = read_image(ANNA), read_image(BEN)
    ground = np.full((640, 1100, 3), 240, np.uint8)
    ground[:, :480] = anna
    ground[200:, 700:1030] = np.asarray(Image.fromarray(ben).resize((330, 440)))
    write_image(tmp_path / "two.png", ground)
    result = transfer("two.png", "--pose", BEN, "-o", "out.png")
    assert result.exit_code == 0, result.output
    assert "2 people found, took the largest" in result.stderr
    assert "people found" not in transfer("two.png", "--pose", BEN, "-o", "r.png", "--person", "right").stderr
    assert not np.array_equal(read_image(tmp_path / "out.png"), read_image(tmp_path / "r.png"))
    assert refused(transfer("two.png", "--pose", BEN, "--person", "5"), 1, "person 5")
    assert refused(transfer("two.png", "--pose", BEN, "--person", "tallest"), 2, "tallest")


def test_half_a_body_is_rendered_and_said(transfer, tmp_path):
    write_image(tmp_path / "half.png", read_image(ANNA)[:300])
    result = transfer("half.png", "--pose", BEN, "-o", "out.png")
    assert result.exit_code == 0, result.output
    assert "no feet" in result.stderr


def test_tiny_huge_and_broken_images(transfer, tmp_path):
    write_image(tmp_path / "small.png", np.zeros((20, 10, 3), np.uint8))
    assert refused(transfer("small.png", "--pose", BEN), 1, "small.png")
    (tmp_path / "cut.jpg").write_bytes(ANNA.read_bytes()[:9000])
    assert refused(transfer("cut.jpg", "--pose", BEN), 1, "cut.jpg")
    (tmp_path / "text.jpg").write_text("dear diary")
    assert refused(transfer("text.jpg", "--pose", BEN), 1, "text.jpg")
    (tmp_path / "empty.jpg").touch()
    assert refused(transfer("empty.jpg", "--pose", BEN), 1, "empty.jpg")
    Image.fromarray(read_image(ANNA)).resize((12_000, 9_000), Image.Resampling.BOX).save(
        tmp_path / "huge.jpg", quality=30
    )
    assert transfer("huge.jpg", "--pose", BEN, "-o", "huge.png").exit_code == 0


def test_missing_files_and_empty_folders(transfer, tmp_path):
    assert refused(transfer("nobody.jpg", "--pose", BEN), 1, "nobody.jpg", "no such file")
    assert refused(transfer(ANNA, "--pose", "nobody.jpg"), 1, "nobody.jpg", "no such file")
    # Since Python 3.14 `is_dir` says no about such a name, and the file that is read then is the first to tell.
    code, said = (1, "File name too long") if sys.version_info >= (3, 14) else (2, "the name is too long")
    assert refused(transfer("n" * 300, "--pose", BEN), code, said)
    (tmp_path / "empty").mkdir()
    assert refused(transfer("empty", "--pose", BEN), 1, "no images")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "closed/a.jpg"), OSError("no such luck")])
def test_what_the_system_refuses_is_one_line(transfer, monkeypatch, error):
    def refuse(self):
        raise error

    monkeypatch.setattr(Path, "is_dir", refuse)  # of a file in a folder that may not be searched
    said = "closed/a.jpg: Permission denied" if error.errno else "no such luck"
    assert refused(transfer("closed/a.jpg", "--pose", BEN), 1, said)
    monkeypatch.setenv("GFLA_DEBUG", "1")
    assert transfer("closed/a.jpg", "--pose", BEN).exception is error


def test_a_reader_that_had_enough_is_no_error(gfla, monkeypatch):
    def closed():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("gfla_cli.bundles.shelf.installed_bundles", closed)
    result = gfla("models", "list")
    assert (result.exit_code, result.stderr) == (1, "")


def test_outputs_that_cannot_be_written(transfer, tmp_path):
    (tmp_path / "out.png").write_text("precious")
    assert refused(transfer(ANNA, "--pose", BEN, "-o", "out.png"), 2, "out.png", "--overwrite")
    assert (tmp_path / "out.png").read_text() == "precious"
    assert transfer(ANNA, "--pose", BEN, "-o", "out.png", "--overwrite").exit_code == 0
    assert refused(transfer(ANNA, "--pose", BEN, "-o", "out.xyz"), 2, "out.xyz", ".png")
    assert refused(transfer(ANNA, "--pose", BEN, "-o", "out.png/out.png"), 2, "out.png is a file, not a folder")
    assert refused(transfer(tmp_path, "--pose", BEN, "-o", "out.png"), 2, "out.png is a file")


def test_models_that_are_unknown_damaged_or_for_something_else(gfla, shelf, tmp_path, monkeypatch):
    run = lambda model: gfla("pose-transfer", ANNA, "--pose", BEN, "--model", model)  # noqa: E731
    assert refused(run("nobody"), 1, "unknown model: nobody", "tiny")
    assert refused(run("tiny-face"), 1, "face")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in (shelf / "tiny").iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[:-7])
    assert refused(run("damaged/"), 1, "damaged")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"people": [{"pose_keypoints_2d": [1, 2, 1] * 17}]}, "17"),
        ({"people": []}, "no person"),
        ({"hello": "world"}, "pose.json"),
        ([1, 2, 3], "pose.json"),
    ],
)
def test_keypoint_files_that_say_something_else(transfer, tmp_path, content, word):
    (tmp_path / "pose.json").write_text(json.dumps(content))
    assert refused(transfer(ANNA, "--pose", "pose.json"), 1, word)
    assert names_in(tmp_path) == ["pose.json"]


def test_a_device_that_is_not_there_is_named(transfer):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert refused(transfer(ANNA, "--pose", BEN, "--device", "cuda"), 2, "cuda", "--device auto")


def test_usage_errors_exit_with_2(gfla):
    for arguments in ((), ("dance",), ("pose-transfer", ANNA), ("train",), ("pose-transfer", ANNA, "--pose")):
        assert gfla(*arguments).exit_code == 2, arguments


def test_models_are_listed_and_shown(gfla):
    listed = gfla("models", "list").stdout
    assert "tiny" in listed
    assert "pose" in listed
    assert "Knows nothing." in gfla("models", "show", "tiny").stdout


def test_no_folder_of_the_list_is_cut_in_a_pipe(gfla, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / ("deep-" * 20) / "tiny"
    folder.parent.mkdir()
    save_tiny(folder, tiny())
    monkeypatch.setenv("GFLA_MODELS", str(folder.parent))
    assert str(folder) in gfla("models", "list").stdout


def test_a_recipe_is_shown_without_training(gfla, tmp_path):
    result = gfla("train", "--dataset", "people", "--sampler", "none", "--show")
    recipe = json.loads(result.stdout)
    assert recipe["model"]["sampler"] == "none"
    assert names_in(tmp_path) == []


def test_training_without_data_says_what_it_needs(gfla, tmp_path):
    result = gfla("train", "--dataset", "market")
    assert result.exit_code == 2
    assert "--data-root" in result.stderr
    result = gfla("train", "--dataset", "people", "--data-root", "nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr


def test_the_operator_benchmark_gives_ratios_as_json(gfla, monkeypatch):
    timed = lambda forms, rounds: {name: float(number) for number, name in enumerate(forms, 1)}  # noqa: E731
    monkeypatch.setattr("gfla_cli.benchmark.networks.interleaved_times", timed)
    result = gfla("benchmark", "ops", "--json", "--rounds", "1")
    cases = json.loads(result.stdout)["cases"]
    keys = {"name", "channels", "height", "width", "patch", "time_ratio", "memory_ratio"}
    assert all(keys <= case.keys() for case in cases)
    assert {(case["channels"], case["height"], case["patch"]) for case in cases} == {(128, 64, 5), (256, 32, 3)}
    assert all(case["time_ratio"] == 0.5 for case in cases)
    assert all(case["memory_ratio"] > 1 for case in cases)  # counted, not timed: the same on every machine


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([c, "--help"] for c in ("pose-transfer", "view-synthesis", "train", "evaluate"))],
)
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys\nfrom gfla_cli.app import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit as end:\n    assert end.code in (0, None)\n"
        "heavy = {'torch', 'torchmetrics', 'mediapipe', 'cv2', 'onnxruntime', 'scipy', 'numba', 'h5py'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_importing_the_package_loads_no_torch_and_offers_its_names():
    code = (
        "import sys, gfla_cli\nassert 'torch' not in sys.modules\n"
        "assert {'PoseTransfer', 'load_bundle'} <= set(dir(gfla_cli))\n"
        "assert gfla_cli.PoseTransfer.__name__ == 'PoseTransfer'"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_the_installed_command_resolves_and_answers():
    (script,) = entry_points(group="console_scripts", name="gfla")
    assert script.load() is app
    command = Path(sys.executable).with_name("gfla")
    result = subprocess.run([command, "--version"], capture_output=True, text=True, check=False, timeout=60)
    assert result.stdout.startswith("gfla "), result.stderr


def test_the_python_api_takes_arrays_and_gives_poses(shelf, monkeypatch):
    import gfla_cli

    monkeypatch.setenv("GFLA_MODELS", str(shelf))
    model = gfla_cli.PoseTransfer(model="tiny")
    result = model.transfer(read_image(ANNA), BEN)
    expected = read_image(ANNA).shape
    assert (result.image.shape, result.image.dtype) == (expected, np.uint8)
    assert (result.frame.image.shape, result.frame.image.dtype) == ((64, 64, 3), np.uint8)
    assert result.source_pose.shape == result.target_pose.shape == (18, 3)
    there = result.source_pose[:, 2] > 0
    assert there.sum() >= 16
    assert ((result.source_pose[there, :2] >= 0) & (result.source_pose[there, :2] < expected[1::-1])).all()
    assert (result.source_pose[~there] == [-1, -1, 0]).all()
    whole = model.transfer(ANNA, BEN, crop=False, align=False)
    assert whole.image.shape == whole.source_image.shape
    small = model.transfer(ANNA, BEN, crop=True, size=None)
    np.testing.assert_array_equal(small.image, small.frame.image)


@pytest.fixture
def own(tmp_path):
    """Copies of both photographs in the folder of the command, and a function that tells whether they are whole."""
    for path in (ANNA, BEN):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return lambda: all((tmp_path / path.name).read_bytes() == path.read_bytes() for path in (ANNA, BEN))


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "anna.jpg"),
        ("-o", "ben.jpg"),
        ("-o", "link.jpg"),
        ("-o", "new.png", "--background", "new.png"),
        ("--background", "anna--ben.png"),
        ("-o", "row.png", "--show", "flow", "--background", "row--flow.png"),
    ],
)
def test_no_result_replaces_an_input(transfer, own, tmp_path, arguments):
    (tmp_path / "link.jpg").symlink_to("anna.jpg")
    for name in ("new.png", "anna--ben.png", "row--flow.png"):
        (tmp_path / name).write_bytes(ANNA.read_bytes())
    result = transfer("anna.jpg", "--pose", "ben.jpg", "--overwrite", *arguments)
    assert refused(result, 2, "is an input, too")
    assert own()
    assert (tmp_path / "new.png").read_bytes() == ANNA.read_bytes()


def test_in_a_batch_the_job_that_would_replace_an_input_fails(transfer, own, tmp_path):
    (tmp_path / "anna--ben.png").write_bytes(BEN.read_bytes())
    (tmp_path / "pose.png").write_bytes(BEN.read_bytes())
    result = transfer(".", "--pose", "anna--ben.png", "-o", "out", "--overwrite", "--json")
    assert result.exit_code == 0, result.output
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses" / "ben.png").write_bytes(BEN.read_bytes())
    (tmp_path / "people").mkdir()
    for name in ("anna.jpg", "anna--ben.png"):
        (tmp_path / "people" / name).write_bytes(ANNA.read_bytes())
    result = transfer("people", "--pose", "poses", "-o", "people", "--overwrite", "--json")
    assert result.exit_code == 1
    assert "people/anna--ben.png is an input, too" in next(iter(json.loads(result.stdout)["failed"].values()))
    assert (tmp_path / "people" / "anna--ben.png").read_bytes() == ANNA.read_bytes()
    assert own()


def test_a_second_run_over_a_folder_takes_none_of_its_own_results(transfer, own, tmp_path):
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "anna.jpg").write_bytes(ANNA.read_bytes())
    assert transfer("people", "--pose", BEN, "-o", "people", "--show", "flow").exit_code == 0
    results = ["anna--ben--flow.png", "anna--ben.png", "anna.jpg"]
    assert names_in(tmp_path / "people") == results
    again = transfer("people", "--pose", BEN, "-o", "people", "--show", "flow", "--json")
    assert json.loads(again.stdout) == {"written": [], "skipped": ["people/anna--ben.png"], "failed": {}}
    assert "people: 2 of 3 files are results of gfla and were left out" in again.stderr
    assert names_in(tmp_path / "people") == results
    for target in ("people", "elsewhere"):  # with another pose, and with the folder as poses, too
        assert transfer("people", "--pose", "anna.jpg", "-o", target, "-q").stdout == f"{target}/anna--anna.png\n"
    assert transfer(BEN, "--pose", "people", "-o", "poses", "-q").stdout == "poses/ben--anna.png\n"


def test_a_folder_of_results_alone_is_taken_but_not_onto_itself(transfer, tmp_path):
    (tmp_path / "results").mkdir()
    transfer(ANNA, "--pose", BEN, "-o", "results/a.png")
    assert transfer("results", "--pose", BEN, "-o", "more", "-q").stdout == "more/a--ben.png\n"
    assert refused(transfer("results", "--pose", BEN, "-o", "results"), 1, "nothing but results of gfla")


def test_folders_appear_with_the_first_result_only(transfer, tmp_path):
    (tmp_path / "walls").mkdir()
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "walls" / name, np.full((90, 90, 3), 80, np.uint8))
    assert transfer("walls", "--pose", BEN, "-o", "out/of").exit_code == 1
    assert names_in(tmp_path) == ["walls"]
    assert transfer(ANNA, "--pose", BEN, "-o", "new/folder/x.png", "-q").stdout == "new/folder/x.png\n"


def test_json_is_printed_for_a_failure_too(transfer, tmp_path):
    for arguments, code in ((("-o", "out.xyz"), 2), (("--person", "7"), 1)):
        result = transfer(ANNA, "--pose", BEN, "--json", *arguments)
        assert result.exit_code in (code, 2)
        report = json.loads(result.stdout)
        assert report["written"] == []
        assert f"gfla: {report['error']}" in result.stderr
        assert report["hint"]
