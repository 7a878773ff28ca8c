"""The `gfla` command: its sub-commands, and the only place that turns errors into text."""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import json
import os
import signal
import sys
import threading
from io import TextIOWrapper
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gfla_cli import __version__
from gfla_cli.errors import GflaError, UsageError, import_failed

atexit.register(gc.freeze)  # else Python searches all objects for garbage when it ends
# Else numpy asks for huge pages, and its first large arrays wait while the kernel makes room for them.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
_LONGEST = 1000  # characters of a message; a name from a file may be much longer


# Names of the previous release. They still work, but the help does not show them.
RENAMED_OPTIONS = {"--near-head": "--refine-head", "--no-near-head": "--no-refine-head"}
# The commands and the first lines of their help, in its order. Only the command that runs is imported.
COMMANDS = {
    "pose-transfer": "Redraw the person of SOURCE in the pose of the person of --pose.",
    "animate": "Make the person of SOURCE move like the person of DRIVING.",
    "view-synthesis": "Show the object of SOURCE from other sides.",
    "app": "Open a page on which poses are dragged, faces are moved and objects are turned.",
    "infer": "Pose transfer for every row of a CSV: what exists is skipped, what fails is listed, the rest goes on.",
    "extract": "Find faces or bodies, and write their landmarks.",
    "train": "Train a model, stage by stage. Ctrl-C and SIGTERM save the run.",
    "evaluate": "Measure models against copying the source, or folders of images from any code.",
    "export-onnx": "Export a model of any task to ONNX with standard operators, for any batch and frame size, "
    "and check it.",
    "doctor": "Describe this installation, paste-ready for a bug report: versions, devices, models; no secrets, "
    "no home folder.",
    "models": "List, show, pull and push models, and convert the authors' checkpoints.",
    "data": "Data sets to train on and to measure with, made on this machine.",
    "study": "User study: raters tell real images from generated ones.",
    "benchmark": "Measure speed and memory on this machine, and errors of flows.",
}


def load_command(name: str) -> Any:
    """The command or group of commands with that name: its module's `app`, or the function that is named like it."""
    module = importlib.import_module(f"gfla_cli.commands.{name.replace('-', '_')}")
    found = getattr(module, "app", None) or getattr(module, name.replace("-", "_"))
    holder = typer.Typer(rich_markup_mode="rich", pretty_exceptions_show_locals=False)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    return typer.main.get_group(holder).commands[name]


class _Commands(TyperGroup):
    """Loads the command that runs. Prints a GflaError as one line and a hint, also in tests of commands."""

    _wants_json = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, line in COMMANDS.items():  # what the help and suggestions of names need
            self.add_command(TyperCommand(name, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in COMMANDS:
            self.add_command(load_command(args[0]))
        return super().resolve_command(ctx, args)

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

    def main(self, *args: Any, **settings: Any) -> Any:
        """Schedulers and containers stop a command by SIGTERM. Files that it has begun are removed, as after Ctrl-C."""
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return super().main(*args, **settings)
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().main(*args, **settings)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _exit_with(self, error: GflaError) -> typer.Exit:
        """Prints the error; raising the result ends the process with its exit code."""
        typer.secho(_line(f"gfla: {error}"), fg=typer.colors.RED, err=True)
        if error.hint:
            typer.echo(_line(f"      {error.hint}"), err=True)
        if self._wants_json:  # the line on stderr is for people, this is for programs
            typer.echo(json.dumps({"written": [], "error": str(error), "hint": error.hint}, indent=2))
        return typer.Exit(error.exit_code)


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the tidying up
    raise SystemExit(128 + signal.SIGTERM)


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
    from gfla_cli.commands.options import printable

    line = printable(text).replace("\n", " ")
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " ..."


app = typer.Typer(
    cls=_Commands,
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
