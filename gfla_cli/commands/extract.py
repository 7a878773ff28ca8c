"""`gfla extract`: landmarks of images and videos into files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from gfla_cli.commands.options import WHICH_PERSON, AsJson, OutputOption, Overwrite, Quiet, finish, progress_bar, say


def extract(
    source: Annotated[Path, typer.Argument(help="Image, video, or a folder of them.", show_default=False)],
    output: Annotated[
        Path | None, OutputOption("--output", "-o", help="File to write (.json), or a folder. \\[default: here]")
    ] = None,
    task: Annotated[Literal["auto", "face", "body"], typer.Option(help="auto: what the image mostly shows.")] = "auto",
    person: Annotated[
        str | None,
        typer.Option(help=f"{WHICH_PERSON} \\[default: largest; of an image all people]", show_default=False),
    ] = None,
    trim: Annotated[str | None, typer.Option(help="Time range of a video, START:END in seconds.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frames per second of a video. \\[default: its own]")] = None,
    overlay: Annotated[
        bool, OutputOption("--overlay", help="Also write images or videos with the landmarks on them.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find faces or bodies, and write their landmarks.

    Example: gfla extract talking.mp4 -o talking.json --overlay
    """
    from gfla_cli.io.video import parse_rate, parse_trim
    from gfla_cli.pipelines.extraction import ExtractOptions, plan_extraction, run_extraction

    options = ExtractOptions(task=task, person=person, trim=parse_trim(trim), fps=parse_rate(fps), overwrite=overwrite)
    jobs = plan_extraction(source, output, overlay=overlay, overwrite=overwrite, say=partial(say, quiet=quiet))
    with progress_bar("frames" if len(jobs) == 1 else "files", quiet=quiet) as progress:
        report = run_extraction(jobs, options, say=partial(say, quiet=quiet), progress=progress)
    finish(report, as_json=as_json)
