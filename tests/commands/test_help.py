"""Every command says how it is used: what it does, and an example that names it."""

from __future__ import annotations

import re

import pytest
import typer

from gfla_cli.app import app


def commands(command, path=()):
    """The words of every command and its help."""
    if not hasattr(command, "commands"):
        return [(" ".join(path), command.help or "")]
    return [found for name, inner in command.commands.items() for found in commands(inner, (*path, name))]


@pytest.mark.parametrize(("name", "said"), commands(typer.main.get_command(app)), ids=lambda text: text[:20])
def test_every_command_has_an_example(name, said):
    assert re.search(rf"Example: gfla {name}( |$)", said, re.MULTILINE)
