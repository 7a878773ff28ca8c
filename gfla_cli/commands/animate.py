"""`gfla animate`: the face or body of a picture moves as the one of a film does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gfla_cli.commands.options import (
    AsJson,
    Device,
    Overwrite,
    Precision,
    Quiet,
    RefineHead,
    RuntimeOption,
    Threads,
    print_results,
    say,
)

_WHICH = "Of several: largest, left, right, or a number counted from the left."


def animate(
    source: Annotated[Path, typer.Argument(help="Picture of a face or of a whole person.", show_default=False)],
    driving: Annotated[
        Path, typer.Argument(help="Film, picture, or landmarks of --save-landmarks (.json).", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Clip to write: .mp4 .mov .mkv .webm .gif. [default: SOURCE--DRIVING.mp4 here]",
            rich_help_panel="Output",
        ),
    ] = None,
    task: Annotated[Literal["auto", "face", "body"], typer.Option(help="auto: what SOURCE mostly shows.")] = "auto",
    model: Annotated[
        str | None,
        typer.Option(help="Name, folder, .onnx file or hf:owner/name of a model. [default: that of the task]"),
    ] = None,
    person: Annotated[str, typer.Option(help=f"Who of SOURCE. {_WHICH}")] = "largest",
    driving_person: Annotated[str, typer.Option(help=f"Who of DRIVING. {_WHICH}")] = "largest",
    crop: Annotated[bool, typer.Option(help="Frame the person; --no-crop takes the whole picture, stretched.")] = True,
    refine_head: RefineHead = True,
    absolute: Annotated[
        bool, typer.Option("--absolute", help="Take over shape and place too: the driver is the person of SOURCE.")
    ] = False,
    smooth: Annotated[bool, typer.Option(help="Calm the driver's landmarks over time.")] = True,
    trim: Annotated[str | None, typer.Option(help="Stretch of DRIVING, START:END in seconds.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frames a second, such as 25 or 29.97. [default: as DRIVING]")] = None,
    on_missing: Annotated[
        Literal["hold", "skip", "fail"],
        typer.Option(help="Frames of DRIVING without anybody: hold the last, skip them, or fail."),
    ] = "hold",
    paste_back: Annotated[
        bool | None,
        typer.Option(
            help="Blend the result into the whole SOURCE. [default: yes, with --crop]", rich_help_panel="Output"
        ),
    ] = None,
    concat: Annotated[
        bool,
        typer.Option("--concat", help="Also write source, driver, result side by side.", rich_help_panel="Output"),
    ] = False,
    save_landmarks: Annotated[
        Path | None, typer.Option(help="Also write the driver's landmarks (.json).", rich_help_panel="Output")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: RuntimeOption = "auto",
    threads: Threads = None,
) -> None:
    """Let the person of SOURCE move as the person of DRIVING does.

    Example: gfla animate face.jpg talking.mp4 -o out.mp4
    """
    from gfla_cli.commands.console import progress_bar
    from gfla_cli.inference.session import Execution
    from gfla_cli.pipelines.animation import Staging
    from gfla_cli.pipelines.animation_files import AnimateOptions, animate_file, parse_rate, parse_trim, plan_animation

    stretch, rate = parse_trim(trim), parse_rate(fps)
    plan = plan_animation(source, driving, output, concat=concat, landmarks=save_landmarks, overwrite=overwrite)
    options = AnimateOptions(
        staging=Staging(person=person, crop=crop, absolute=absolute, refine_head=refine_head, smooth=smooth),
        task=task,
        model=model,
        driving_person=driving_person,
        paste_back=crop if paste_back is None else paste_back,
        trim=stretch,
        fps=rate,
        on_missing=on_missing,
        execution=Execution(device=device, precision=precision, runtime=runtime, threads=threads),
    )
    with progress_bar("frames", quiet=quiet) as progress:
        report = animate_file(plan, options, say=lambda line: say(line, quiet=quiet), progress=progress)
    say(f"{report.frames} frames, {report.frames_per_second:.1f} a second", quiet=quiet)
    print_results(report, as_json=as_json)
    if report.damaged:
        raise typer.Exit(1)
