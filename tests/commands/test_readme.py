"""The commands and the Python of the README and its pages run as they stand there; files that they name exist."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from paths import ROOT, SHARED
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.datasets.tables import read_annotations, read_pairs
from gfla_cli.io.image import read_image, write_image
from gfla_cli.person.keypoint_files import read_pose
from gfla_cli.training.recipe import recipe

pytestmark = pytest.mark.usefixtures("detections_remembered")

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "assets" / "pages").glob("*.md"))}
# In the order in which a newcomer reads them.
TEXTS = {"README.md": README, "tutorial.md": PAGES["tutorial.md"], **PAGES}
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "assets").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```", re.DOTALL | re.MULTILINE
)
NEEDS_SHARED = ("PACK", "people-mini")
WRITTEN_BY = (
    "-o",
    "--output",
    "--turntable",
    "--grid",
    "--save-landmarks",
    "--html",
    "--csv",
    "--json-file",
    "--sheet",
)
FILE = re.compile(r"[\w./-]+\.(?:jpg|png|mp4|gif|json|csv|npz|pth|onnx|html)")
# Of gfla's commands; `pip` and `source` prepare the shell that the reader has.
PREPARES = ("pip install", "source ")


def blocks(text, kind):
    """The blocks of a kind with the reason why they are not run, or None."""
    return [(found["body"], found["reason"]) for found in BLOCK.finditer(text) if found["kind"] == kind]


def shell_lines(text):
    """Every line that a reader types: (line, reason why it is not run or None)."""
    typed = [(line, reason) for body, reason in blocks(text, "sh") for line in body.splitlines() if line]
    for body, reason in blocks(text, "console"):
        typed += [(line.removeprefix("$ "), reason) for line in body.splitlines() if line.startswith("$ ")]
    return [(line.split("  #")[0].rstrip(), reason) for line, reason in typed]


def commands_of(text):
    """The commands of gfla that are run. The first line of the README installs; what it runs then is one, too."""
    lines = [line for line, reason in shell_lines(text) if reason is None and not line.startswith(PREPARES)]
    return [re.sub(r".*\.venv/bin/gfla", "gfla", line) for line in lines if "-m pytest" not in line]


def without_name(command):
    """A pose transfer without the name of its result: another name makes no other test."""
    return re.sub(r" -o \S+", "", command) if command.startswith("gfla pose-transfer") else command


def each_once(commands):
    first = {}
    for command in commands:
        first.setdefault(without_name(command), command)
    return list(first.values())


COMMANDS = each_once(command for text in TEXTS.values() for command in commands_of(text))
PYTHON = [(name, body) for name, text in TEXTS.items() for body, _ in blocks(text, "python")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory, seeded):
    """A folder like a clone, with the files that the text says the reader has."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(ROOT / "assets", folder / "assets")
    for person in ("anna", "ben", "cleo"):
        (folder / "photos" / person).mkdir(parents=True)
        picture = read_image(ROOT / "assets" / f"{person}.jpg")
        for name, variant in {"one": picture, "other": np.ascontiguousarray(picture[:, ::-1])}.items():
            write_image(folder / "photos" / person / f"{name}.jpg", variant)
    torch.save(seeded.state("pose_fashion"), folder / "latest_net_G.pth")
    (folder / "real").mkdir()
    (folder / "results").mkdir()
    for k in range(5):
        write_image(folder / "real" / f"{k}.png", np.full((32, 32, 3), 40 * k, np.uint8))
        write_image(folder / "results" / f"{k}.png", np.full((32, 32, 3), 255 - 40 * k, np.uint8))
    (folder / "people").symlink_to(ROOT / "assets")
    (folder / "pairs.csv").write_text("from,to\nanna.jpg,ben.jpg\nben.jpg,cleo.jpg\n")
    if SHARED.is_dir():
        (folder / "PACK").symlink_to(SHARED / "humans")
        (folder / "people-mini").symlink_to(SHARED / "people-mini")
        (folder / "vgg19.npz").symlink_to(SHARED / "weights" / "vgg19_to_relu3_4.npz")
    return folder


def shortened(arguments):
    """The same command, on less data where it would take minutes or hours, and run again where another page has it."""
    if arguments[0] == "train" and "--show" not in arguments:
        return [*arguments, "--steps", "0", "--workers", "0"]
    if arguments[:2] == ["data", "render"]:
        return [*arguments, "--most", "1", "--processes", "1"]
    if arguments[0] == "animate":
        return [*arguments, "--overwrite", *([] if "--trim" in arguments else ["--trim", "0:0.12"])]
    if arguments[0] == "evaluate":
        return [*arguments, "--overwrite", "--limit", "2"]
    if arguments[0] in ("pose-transfer", "view-synthesis", "extract", "export-onnx"):
        return [*arguments, "--overwrite"]
    return arguments


def in_small_batches(name):
    """The recipe: all stages, in full size, but of few images."""
    plan = recipe(name)
    return replace(plan, stages=tuple(replace(stage, batch=2) for stage in plan.stages))


def test_the_readme_opens_with_two_complete_commands():
    first, second = (line for body, _ in blocks(README, "sh")[:2] for line in body.splitlines())
    assert first.startswith("python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/gfla pose-transfer assets/")
    install, test = second.split(" && .venv/bin/python ")
    assert install == 'python3 -m venv .venv && .venv/bin/pip install -e ".[test]"'
    assert test.startswith("-m pytest")
    assert len(commands_of(README)) >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_and_the_pages_run(command, desk, monkeypatch):
    if any(word in command for word in NEEDS_SHARED) and not SHARED.is_dir():
        pytest.skip("needs the training material")
    monkeypatch.chdir(desk)
    monkeypatch.setattr("gfla_cli.training.recipe.recipe", in_small_batches)
    program, *arguments = shlex.split(command)
    assert program == "gfla", "mark the block with <!-- not run: REASON -->"
    result = CliRunner().invoke(app, shortened(arguments))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(("name", "code"), PYTHON, ids=[name for name, _ in PYTHON])
def test_the_python_of_the_readme_and_the_pages_runs(name, code, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    exec(compile(code, name, "exec"), {})
    if name == "README.md":
        assert capsys.readouterr().out.strip() == "(640, 480, 3) (18, 3)"


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_a_page_reads_are_in_the_clone_or_made_or_explained(name):
    text = TEXTS[name]
    prose = BLOCK.sub("", text)
    made, missing = set(), []
    for line, reason in shell_lines(text):
        if reason is not None or not line.startswith("gfla"):
            continue
        arguments = shlex.split(line)
        for before, argument in itertools.pairwise(arguments):
            file = argument.split("#")[0]
            if before in WRITTEN_BY:
                made.add(file)
            elif FILE.fullmatch(file) and not (ROOT / file).exists() and file not in made and f"`{file}`" not in prose:
                missing.append(file)
    assert missing == []


def test_json_examples_of_the_formats_are_read_and_hold_one_pose(tmp_path):
    examples = [body for body, _ in blocks(PAGES["keypoints.md"], "json")]
    poses = []
    for number, example in enumerate(examples):
        (tmp_path / f"{number}.json").write_text(example)
        poses.append(read_pose(tmp_path / f"{number}.json"))
    assert len(poses) == 3
    for pose in poses:
        assert pose.size == (640, 480)
        known = pose.points[:, 2] > 0
        assert known.sum() == 17
        np.testing.assert_allclose(pose.points[known, :2], poses[0].points[known, :2], atol=4)  # necks differ


def test_rows_of_the_tables_are_read(tmp_path):
    examples = [body for page in ("data.md", "keypoints.md") for body, _ in blocks(PAGES[page], "text")]
    rows = [body for body in examples if body.startswith("name:keypoints_y")]
    pairs = [body for body in examples if body.startswith("from,to")]
    assert (len(rows), len(pairs)) == (2, 2)
    for body in rows:
        (tmp_path / "rows.csv").write_text(body)
        assert len(read_annotations(tmp_path / "rows.csv")) == 1
    for body in pairs:
        (tmp_path / "pairs.csv").write_text(body)
        assert read_pairs(tmp_path / "pairs.csv")


def test_messages_that_the_readme_explains_are_those_of_the_code():
    table = README.split("| it says | do |")[1].split("\n\n")[0]
    cells = "".join(row.split("|")[1] for row in table.splitlines() if row.count("|") == 3)
    said = [part for message in re.findall(r"`([^`]+)`", cells) for part in message.split("...") if len(part) > 4]
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gfla_cli").rglob("*.py"))
    assert len(said) >= 8
    assert [part for part in said if part not in code] == []


def rooms(text):
    """The rooms of the package that a text lists, in its order, as `gfla_cli/NAME/` or `NAME/`."""
    return re.findall(r"^(?:gfla_cli/|\|[^|]*\| `)(\w+)/", text, re.MULTILINE)


def test_readme_and_architecture_list_every_room_in_one_order():
    there = {path.parent.name for path in (ROOT / "gfla_cli").glob("*/__init__.py")}
    listed = rooms(README)
    layers = (ROOT / "assets" / "pages" / "architecture.md").read_text(encoding="utf-8").split("\n## ")[1]
    assert set(listed) == there
    assert listed == rooms(layers)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    links = [document.parent / link for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text)]
    missing = [link for link in links if not link.exists()]
    # `changelog.md` also names what is not there any more, in the first column of a table.
    text = re.sub(r"^\| `gfla_cli/\w+/` \|", "|", text, flags=re.MULTILINE)
    for path in re.findall(r"`((?:\w[\w-]*/)+(?:\w+\.(?:py|json|md))?)`", text):
        if path.split("/")[0] in ("train", "test"):  # folders of data sets
            continue
        if not any((root / path).exists() for root in (ROOT, ROOT / "gfla_cli")):
            missing.append(path)
    assert not missing
