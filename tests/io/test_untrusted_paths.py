"""Untrusted files: no code is run, no path leads out of a folder, and names cannot control the terminal."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from paths import ANNA, ROOT
from tiny_models import save_tiny, tiny
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.errors import DataError
from gfla_cli.io.files import leads_out, path_inside

_SPOKEN = re.compile(r"\b(load|loads|Unpickler|eval|exec|system|run|Popen)\(")


@pytest.fixture(scope="module")
def calls():
    """A function from a name to every call in the package of something so called: file and keywords."""
    found = defaultdict(list)
    for path in (ROOT / "gfla_cli").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if _SPOKEN.search(text) else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                found[ast.unparse(node.func)].append((path.name, keywords))
    return lambda name: found.get(name, [])


def test_pickles_are_read_as_tensors_only_and_in_two_places_only(calls):
    found = list(calls("torch.load"))
    assert {file for file, _ in found} == {"convert.py", "checkpoint.py"}  # other people's weights and our checkpoints
    assert all(keywords["weights_only"] == "True" for _, keywords in found)
    assert all(keywords["allow_pickle"] == "False" for _, keywords in calls("np.load"))
    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "eval", "exec", "os.system", "yaml.load"):
        assert not list(calls(name)), name


def test_programs_are_started_with_lists_and_never_by_a_shell(calls):
    ours = ("measure.py",)  # gfla itself, to be measured
    for name in ("subprocess.run", "subprocess.Popen"):
        for file, keywords in calls(name):
            assert file in ("ffmpeg.py", "doctor.py", *ours)
            assert "shell" not in keywords


OUTSIDE = [
    "../x.png",
    "/etc/passwd",
    "a/../../x.png",
    "..",
    "C:\\x.png",
    "C:x.png",
    "\\\\host\\x.png",
    "..\\x.png",
    "a\0b",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_of_a_folder_are_known(tmp_path, name):
    assert leads_out(name)
    with pytest.raises(DataError, match="leads out"):
        path_inside(tmp_path, name)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_is_followed_before_a_name_is_believed(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "secret.png").touch()
    (tmp_path / "photos" / "a.png").touch()
    (tmp_path / "photos" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "photos" / "round.png").symlink_to("round.png")
    assert path_inside(tmp_path / "photos", "a.png") == tmp_path / "photos" / "a.png"
    with pytest.raises(DataError, match="leads out"):
        path_inside(tmp_path / "photos", "link.png")
    assert not path_inside(tmp_path / "photos", "round.png").exists()


@pytest.fixture
def bundle(tmp_path):
    return save_tiny(tmp_path / "tiny", tiny())


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_a_hostile_name_cannot_steer_the_terminal(tmp_path):
    name = tmp_path / "a\x1b]0;owned\x07\x1b[2Jb.json"
    name.write_text("{}")
    result = CliRunner().invoke(app, ["animate", str(ANNA), str(name), "-o", str(tmp_path / "o.mp4")])
    assert result.exit_code != 0
    assert not set("\x1b\x07") & set(result.stderr)
    assert Path(name).is_file()


def test_a_card_is_shown_whatever_the_terminal_can_show(bundle):
    (bundle / "README.md").write_text("6 px, 点\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "gfla_cli", "models", "show", str(bundle)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 px, ?" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_a_path_that_is_no_text_comes_out_as_it_is(bundle, tmp_path):
    name = os.fsdecode(b"out-\xff")
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "gfla_cli", "models", "show", str(bundle.rename(tmp_path / name))]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"out-")
