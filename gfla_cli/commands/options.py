"""Options, messages, progress bars and results that several commands share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gfla_cli import config
from gfla_cli.config import DeviceName, Runtime
from gfla_cli.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from gfla_cli.pipelines.jobs import JobReport

_LINE_EVERY_S = 60.0
OutputOption = partial(typer.Option, rich_help_panel="Output")
ExecutionOption = partial(typer.Option, rich_help_panel="Execution")
RuntimeOption = Annotated[
    Runtime, ExecutionOption("--runtime", help="auto: ONNX Runtime where it is faster, else torch.")
]
Device = Annotated[DeviceName, ExecutionOption(help="Where to compute.")]
Precision = Annotated[config.Precision, ExecutionOption(help="Number format; auto takes bf16 where it is fast.")]
Layout = Literal["square", "fashion", "market"]  # of the files of a data set
Overwrite = Annotated[bool, OutputOption("--overwrite", help="Replace existing output.")]
Quiet = Annotated[bool, OutputOption("--quiet", "-q", help="Print result paths only.")]
AsJson = Annotated[bool, OutputOption("--json", help="Print results as JSON.")]
Threads = Annotated[int | None, ExecutionOption(min=1, help="CPU threads; all by default.")]
Crop = Annotated[bool, typer.Option(help="Crop around the person; --no-crop resizes the whole image.")]
Align = Annotated[bool, typer.Option(help="Give the pose the size, place and build of the source's body.")]
RefineHead = Annotated[
    bool,
    typer.Option(
        "--refine-head/--no-refine-head", help="Draw a small head again at a larger scale; takes twice as long."
    ),
]
RefineBody = Annotated[
    bool,
    typer.Option(
        "--refine-body/--no-refine-body", help="Draw hands and feet again at a larger scale; takes twice as long."
    ),
]
PoseModel = Annotated[str, typer.Option("--model", help="Name, folder, .onnx file or hf:owner/name of a pose model.")]
WHICH_PERSON = "Of several: largest, left, right, or a number counted from the left."


def was_given(context: typer.Context, parameter: str) -> bool:
    """Whether the command line names this parameter, also if it gives the default."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def refuse_unused(context: typer.Context, why: str, *parameters: str, hint: str = "leave it out") -> None:
    """Raises UsageError when the command line names one of these parameters: it would do nothing, because of `why`."""
    names = {parameter.name: max(parameter.opts, key=len) for parameter in context.command.params}
    for parameter in parameters:
        if was_given(context, parameter):
            raise UsageError(f"{names[parameter]}: {why}", hint=hint)


def printable(text: str) -> str:
    """Untrusted text without control characters, which could change what a terminal shows."""
    return "".join(c for c in text.replace("\xa0", " ") if c.isprintable() or c in "\n\t")


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number of things: "1 frame", "2 frames"; `several` where that is no s."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def say(line: str, *, quiet: bool = False) -> None:
    """Prints a message on stderr; stdout is for results."""
    if not quiet:
        typer.echo(printable(f"gfla: {line}"), err=True)


def finish(report: JobReport, *, as_json: bool) -> None:
    """Prints the paths of the results, or the whole report, on stdout. Exits with the report's exit code."""
    if as_json:
        print_json(report.to_json())
    else:
        for path in report.written:
            typer.echo(path)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


@contextmanager
def progress_bar(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Gives a function (done, expected) that moves a bar on stderr, with the remaining time; silent with `quiet`.

    In a file or pipe it prints a line a minute instead.
    """
    if quiet:
        yield lambda done, expected: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:  # in a file or pipe a bar leaves empty lines
        yield _lines(what)
        return
    columns = (TextColumn(what), *Progress.get_default_columns()[1:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(what, total=None)
        # The length of a long video is an estimate, and a bar must not run over its end.
        yield lambda done, expected: bars.update(task, completed=done, total=max(done, expected))


def _lines(what: str) -> Callable[[int, int], None]:
    """A function (done, expected) that prints a line a minute, the first one after a minute."""
    said_s = time.monotonic()

    def show(done: int, expected: int) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if now_s - said_s >= _LINE_EVERY_S:
            said_s = now_s
            say(f"{what}: {done} of {max(done, expected)}")

    return show


def print_json(values: object) -> None:
    typer.echo(json.dumps(values, indent=2))


def print_table(table: Table) -> None:
    """Prints a table on stdout at its full width, also in a narrow terminal: it must not cut numbers."""
    from rich.console import Console

    console = Console()
    # Measured at a width that no table exceeds.
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    Console(width=max(console.width, needed)).print(table)
