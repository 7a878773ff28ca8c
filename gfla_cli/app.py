"""The `gfla` command: its sub-commands, and the only place that turns errors into text."""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import json
import os
import sys
from io import TextIOWrapper
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gfla_cli import __version__
from gfla_cli.commands.animate import animate
from gfla_cli.commands.app import app as web_app
from gfla_cli.commands.benchmark import app as benchmark
from gfla_cli.commands.data import app as data
from gfla_cli.commands.doctor import doctor
from gfla_cli.commands.evaluate import evaluate
from gfla_cli.commands.export_onnx import export_onnx
from gfla_cli.commands.extract import extract
from gfla_cli.commands.infer import infer
from gfla_cli.commands.models import app as models
from gfla_cli.commands.options import RENAMED_OPTIONS, printable
from gfla_cli.commands.pose_transfer import pose_transfer
from gfla_cli.commands.study import app as study
from gfla_cli.commands.train import train
from gfla_cli.commands.view_synthesis import view_synthesis
from gfla_cli.errors import GflaError, UsageError, import_failed

atexit.register(gc.freeze)  # else Python searches all objects for garbage when it ends
_LONGEST = 1000  # characters of a message; a name from a file may be much longer


class _OneLineErrors(TyperGroup):
    """Prints a GflaError as one line and a hint. Part of the group, so that tests of commands see it, too."""

    _wants_json = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accepts the old names of renamed options."""
        self._wants_json = "--json" in args
        if not args or {"--help", "-h"} & set(args):
            _import_help()
        return super().parse_args(ctx, [RENAMED_OPTIONS.get(argument, argument) for argument in args])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except GflaError as error:
            if os.environ.get("GFLA_DEBUG"):
                raise
            raise self._exit_with(error) from None
        except ImportError as error:
            if os.environ.get("GFLA_DEBUG"):
                raise
            raise self._exit_with(import_failed(error)) from None
        except OSError as error:  # a path that cannot be used, or a failing disk
            # click handles a closed pipe, as in `gfla ... | head`: it ends without a message.
            if error.errno == errno.EPIPE or os.environ.get("GFLA_DEBUG"):
                raise
            raise self._exit_with(_from_system(error)) from None
        except KeyboardInterrupt:
            typer.echo("gfla: interrupted, nothing half-written", err=True)
            raise typer.Exit(130) from None

    def _exit_with(self, error: GflaError) -> typer.Exit:
        """Prints the error; raising the result ends the process with its exit code."""
        typer.secho(_line(f"gfla: {error}"), fg=typer.colors.RED, err=True)
        if error.hint:
            typer.echo(_line(f"      {error.hint}"), err=True)
        if self._wants_json:  # the line on stderr is for people, this is for programs
            typer.echo(json.dumps({"written": [], "error": str(error), "hint": error.hint}, indent=2))
        return typer.Exit(error.exit_code)


def _import_help() -> None:
    """Imports typer's help without what it needs for Markdown and tracebacks, which takes most of the time."""
    unused = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}
    if "typer.rich_utils" in sys.modules or unused.keys() & sys.modules.keys():
        return
    for module, name in unused.items():
        sys.modules[module] = ModuleType(module)
        setattr(sys.modules[module], name, type(name, (), {}))
    try:
        importlib.import_module("typer.rich_utils")
    finally:
        for module in unused:
            del sys.modules[module]


def _from_system(error: OSError) -> GflaError:
    """The message of the operating system, with the names of the files."""
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{error.filename}: the name is too long", hint="check the spelling")
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    what = error.strerror or str(error) or type(error).__name__
    return GflaError(": ".join([*files, what]), hint="check paths, permissions and disks; GFLA_DEBUG=1 shows the place")


def _line(text: str) -> str:
    """One line that is safe for a terminal; it may quote names and values from untrusted files."""
    line = printable(text).replace("\n", " ")
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " ..."


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gfla {__version__}")
        raise typer.Exit


@app.callback()
def gfla(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """One photograph into another: a person into a new pose, a face into a moving clip, an object into a new view."""
    # Names may hold characters that the terminal's encoding lacks; on POSIX also bytes that are no text.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape" if sys.stdout.encoding.lower() == "utf-8" else "replace")


app.command()(pose_transfer)
app.command()(animate)
app.command()(view_synthesis)
app.command("app")(web_app)
app.command()(infer)
app.command()(extract)
app.command()(train)
app.command()(evaluate)
app.command()(export_onnx)
app.command()(doctor)
app.add_typer(models, name="models")
app.add_typer(data, name="data")
app.add_typer(study, name="study")
app.add_typer(benchmark, name="benchmark")
