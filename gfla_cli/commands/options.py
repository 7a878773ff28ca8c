"""Options that several commands share, and how they speak, so that they read and behave the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer

from gfla_cli import config
from gfla_cli.config import DeviceName, Runtime

# Options of the release before, which are not shown in the help any more.
RENAMED_OPTIONS = {"--near-head": "--refine-head", "--no-near-head": "--no-refine-head"}


RuntimeOption = Annotated[
    Runtime,
    typer.Option("--runtime", help="auto: ONNX Runtime for .onnx files, else torch.", rich_help_panel="Execution"),
]
Device = Annotated[DeviceName, typer.Option(help="Where to compute.", rich_help_panel="Execution")]
Precision = Annotated[
    config.Precision, typer.Option(help="Number format; auto takes bf16 where it is fast.", rich_help_panel="Execution")
]
Layout = Literal["square", "fashion", "market"]  # of the files of a data set
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.", rich_help_panel="Output")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print result paths only.", rich_help_panel="Output")]
AsJson = Annotated[bool, typer.Option("--json", help="Print results as JSON.", rich_help_panel="Output")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.", rich_help_panel="Execution")]


def printable(text: str) -> str:
    """A stranger's text without the control characters by which it could rewrite what a terminal shows."""
    return "".join(c for c in text.replace("\xa0", " ") if c.isprintable() or c in "\n\t")


RefineHead = Annotated[
    bool,
    typer.Option(
        "--refine-head/--no-refine-head", help="Draw a small head again at a larger scale; takes twice as long."
    ),
]


def say(line: str, *, quiet: bool = False) -> None:
    """A message for people, on stderr: stdout is for results."""
    if not quiet:
        typer.echo(printable(f"gfla: {line}"), err=True)


class Report(Protocol):
    """What became of a command's work."""

    written: list[Path]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""


def print_results(report: Report, *, as_json: bool) -> None:
    """On stdout the paths of what was made, or all of the report."""
    if as_json:
        import json

        typer.echo(json.dumps(report.to_json(), indent=2))
        return
    for path in report.written:
        typer.echo(path)


def set_threads(threads: int | None) -> None:
    """Limits torch to that many CPU threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
