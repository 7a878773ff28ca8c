"""`gfla extract`: landmarks of pictures and films into files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gfla_cli.commands.options import AsJson, Overwrite, Quiet, print_results, say


def extract(
    source: Annotated[Path, typer.Argument(help="Picture, film, or a folder of them.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write (.json), or a folder. [default: here]", rich_help_panel="Output"
        ),
    ] = None,
    task: Annotated[
        Literal["auto", "face", "body"], typer.Option(help="auto: what the picture mostly shows.")
    ] = "auto",
    person: Annotated[
        str, typer.Option(help="Of several faces: largest, left, right, or a number counted from the left.")
    ] = "largest",
    trim: Annotated[str | None, typer.Option(help="Stretch of a film, START:END in seconds.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frames a second of a film. [default: its own]")] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write the landmarks over their pictures.", rich_help_panel="Output")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find faces or bodies, and write where their landmarks are.

    Example: gfla extract talking.mp4 -o talking.json --overlay
    """
    from gfla_cli.commands.console import progress_bar
    from gfla_cli.pipelines.animation_files import parse_rate, parse_trim
    from gfla_cli.pipelines.extraction import ExtractOptions, extract_files, plan_extraction

    options = ExtractOptions(task=task, person=person, trim=parse_trim(trim), fps=parse_rate(fps), overwrite=overwrite)
    jobs = plan_extraction(source, output, overlay=overlay, overwrite=overwrite)
    with progress_bar("frames" if len(jobs) == 1 else "files", quiet=quiet) as progress:
        report = extract_files(jobs, options, say=lambda line: say(line, quiet=quiet), progress=progress)
    print_results(report, as_json=as_json)
    if report.failed or report.damaged:
        raise typer.Exit(1)
