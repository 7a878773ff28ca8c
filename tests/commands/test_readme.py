"""The commands and the Python of the README and its pages run as they stand there; files that they name exist."""

from __future__ import annotations

import re
import shlex
import shutil

import numpy as np
import pytest
import torch
from paths import ROOT, SHARED
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.io.image import read_image, write_image

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "assets" / "pages").glob("*.md"))]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", "\n".join([README, *PAGES]), flags=re.DOTALL)
LINES = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines() if line]
# The first two lines install; what they run afterwards is here without the path of the environment.
COMMANDS = [
    re.sub(r".*\.venv/bin/gfla", "gfla", line) for line in LINES if "gfla " in line and "pip install" not in line
]
COMMANDS = list(dict.fromkeys([re.sub(r".*\.venv/bin/gfla", "gfla", LINES[0]), *COMMANDS]))
NEEDS_SHARED = ("PACK", "people-mini")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "assets").rglob("*.md"))]


@pytest.fixture(scope="module")
def desk(tmp_path_factory, seeded):
    """A folder with everything that the README's commands name."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(ROOT / "assets", folder / "assets")
    for name in ("anna.jpg", "ben.jpg"):
        shutil.copy(ROOT / "assets" / name, folder)
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
    """The same command, on less data where it would take hours."""
    if arguments[0] == "train":
        return [*arguments, "--steps", "0"]
    if arguments[:2] == ["data", "render"]:
        return [*arguments, "--most", "1"]
    if arguments[0] == "evaluate":
        return [*arguments, "--limit", "4"]
    return arguments


def test_the_readme_opens_with_two_complete_commands():
    assert LINES[0].startswith(
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/gfla pose-transfer assets/"
    )
    install, test = LINES[1].split(" && .venv/bin/python ")
    assert install == 'python3 -m venv .venv && .venv/bin/pip install -e ".[test]"'
    assert test.startswith("-m pytest")
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_run(command, desk, monkeypatch):
    if any(word in command for word in NEEDS_SHARED) and not SHARED.is_dir():
        pytest.skip("needs the training material")
    monkeypatch.chdir(desk)
    program, *arguments = shlex.split(command)
    assert program == "gfla"
    result = CliRunner().invoke(app, shortened(arguments))
    assert result.exit_code == 0, result.output


def test_the_python_of_the_readme_runs(desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    (code,) = [block for kind, block in BLOCKS if kind == "python"]
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == "(640, 480, 3) (18, 3)"


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
