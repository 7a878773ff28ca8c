"""The help of every command has an example, and no option of any command changes unnoticed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gfla_cli import commands as commands_room
from gfla_cli.app import COMMANDS as SUMMARIES
from gfla_cli.app import RENAMED_OPTIONS, app, load_command

OPTIONS = Path(__file__).resolve().parents[1] / "golden" / "options.json"
RENEW = "if this is wanted, renew the file and list the change in assets/pages/changelog.md: python {}"
TYPES = {"text": "str", "integer": "int", "integer range": "int range", "boolean": "bool"}  # names of other versions
COMPLETION = ("install_completion", "show_completion")  # typer's own


def commands(command, path=()):
    """The words of every command, and the command; groups too."""
    inner = getattr(command, "commands", {})
    found = [(" ".join(path), command)]
    return found + [one for name, below in inner.items() for one in commands(below, (*path, name))]


ROOT = typer.main.get_command(app)
ROOT.commands = {name: load_command(name) for name in SUMMARIES}  # it loads them one by one, when they run
COMMANDS = commands(ROOT)


def plain(value):
    return str(getattr(value, "value", value))


def described(parameter):
    """Type, choices or limits, and default, as text."""
    kind = parameter.type
    if choices := getattr(kind, "choices", None):
        parts = ["|".join(plain(choice) for choice in choices)]
    else:
        parts = [TYPES.get(kind.name, kind.name)]
        for sign, limit in ((">=", getattr(kind, "min", None)), ("<=", getattr(kind, "max", None))):
            if limit is not None:
                parts.append(f"{sign} {limit:g}")
    if parameter.nargs != 1 or parameter.multiple:
        parts.append("several")
    if parameter.required:
        parts.append("required")
    elif parameter.default not in (None, [], ()) and "UNSET" not in repr(parameter.default):
        parts.append(f"default {plain(parameter.default)}")
    return ", ".join(parts)


def options():
    """Every command with its arguments and options, and the old names of options."""
    found = {
        f"gfla {name}".strip(): {
            "/".join([*parameter.opts, *parameter.secondary_opts]): described(parameter)
            for parameter in command.params
            if parameter.name not in (*COMPLETION, "help")
        }
        for name, command in COMMANDS
    }
    return {**found, "old names": RENAMED_OPTIONS}


def changes(before, now):
    """Each difference as a line."""
    lines = []
    for name in {**before, **now}:
        old, new = before.get(name, {}), now.get(name, {})
        for option in {**old, **new}:
            if old.get(option) != new.get(option):
                lines.append(f"{name} {option}: {old.get(option, 'new')} -> {new.get(option, 'gone')}")
    return lines


@pytest.mark.parametrize(
    ("name", "said"),
    [(name, command.help or "") for name, command in COMMANDS if not hasattr(command, "commands")],
    ids=lambda text: text[:20],
)
def test_every_command_has_an_example(name, said):
    assert re.search(rf"Example: gfla {name}( |$)", said, re.MULTILINE)


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_help_of_gfla_shows_the_first_lines_of_its_commands(name):
    first, *_ = (ROOT.commands[name].help or "").split("\n\n")
    assert SUMMARIES[name] == " ".join(first.split())
    assert name in CliRunner().invoke(app, ["--help"]).output


def test_every_command_is_listed():
    modules = {file.stem.replace("_", "-") for file in Path(commands_room.__file__).parent.glob("*.py")}
    assert set(SUMMARIES) == modules - {"--init--", "options"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["pose-transfer", "--help"], ["models", "--help"]])
def test_only_the_command_that_runs_is_imported(arguments):
    code = (
        f"import sys\nfrom gfla_cli.app import app\ntry:\n    app({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print([name.split('.')[2] for name in sys.modules if name.startswith('gfla_cli.commands.')])\n"
        "print([name for name in ('numpy', 'cv2', 'PIL', 'torch', 'rich.markdown') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, heavy = map(literal_eval, done.stdout.splitlines()[-2:])
    own = set() if arguments[0].startswith("--") else {arguments[0].replace("-", "_")}
    assert set(imported) - {"options"} == set(own)
    assert not heavy


def test_no_option_changes_unnoticed():
    differences = changes(json.loads(OPTIONS.read_text(encoding="utf-8")), options())
    assert not differences, "\n".join([*differences, RENEW.format("tests/commands/test_help.py")])


def test_an_option_that_vanishes_is_named():
    now = options()
    before = {**now, "gfla infer": {**now["gfla infer"], "--old": "path"}}
    assert changes(before, now) == ["gfla infer --old: path -> gone"]


def test_old_names_lead_to_options_that_exist():
    names = {name for described in options().values() for option in described for name in option.split("/")}
    assert set(RENAMED_OPTIONS.values()) <= names
    assert not set(RENAMED_OPTIONS) & (names - set(RENAMED_OPTIONS))


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("pose-transfer", "SOURCE--POSE.png here"),
        ("extract", "[default: here]"),
        ("animate", "SOURCE--DRIVING.mp4 here"),
    ],
)
def test_defaults_that_the_help_explains_are_shown(command, default):
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert default in " ".join(said.replace("│", " ").split())


if __name__ == "__main__":
    OPTIONS.write_text(json.dumps(options(), indent=1) + "\n", encoding="utf-8")
