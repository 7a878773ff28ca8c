"""`gfla animate`: the face or body of an image moves as the one of a video."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from gfla_cli.commands import options
from gfla_cli.commands.options import WHICH_PERSON, OutputOption, counted, finish, progress_bar, say
from gfla_cli.errors import UsageError


def animate(
    source: Annotated[Path, typer.Argument(help="Image of a face or of a whole person.", show_default=False)],
    driving: Annotated[
        Path,
        typer.Argument(
            help="Video, image, landmarks (.json), or a folder of keypoint files, one a frame.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        OutputOption(
            "--output", "-o", help="Video to write: .mp4 .mov .mkv .webm .gif. \\[default: SOURCE--DRIVING.mp4 here]"
        ),
    ] = None,
    task: Annotated[Literal["auto", "face", "body"], typer.Option(help="auto: what SOURCE mostly shows.")] = "auto",
    model: Annotated[
        str | None,
        typer.Option(help="Name, folder, .onnx file or hf:owner/name of a model. \\[default: that of the task]"),
    ] = None,
    person: Annotated[str, typer.Option(help=f"Person of SOURCE. {WHICH_PERSON}")] = "largest",
    driving_person: Annotated[str, typer.Option(help=f"Person of DRIVING. {WHICH_PERSON}")] = "largest",
    size: Annotated[
        str,
        typer.Option(
            help="Longer side of the person's frame in pixels; source: as large as SOURCE shows it, up to 1920."
        ),
    ] = "source",
    background: Annotated[
        str, typer.Option(help="Behind a body: keep that of SOURCE, white, or an image file.")
    ] = "keep",
    crop: options.Crop = True,
    refine_head: options.RefineHead = True,
    absolute: Annotated[
        bool,
        typer.Option(
            "--absolute", help="Also use the driver's shape and place: for a driver who is the person of SOURCE."
        ),
    ] = False,
    smooth: Annotated[bool, typer.Option(help="Smooth the driver's landmarks over time.")] = True,
    every_frame: Annotated[
        bool,
        typer.Option(
            "--every-frame",
            help="Draw each frame of a face; else, from 20 frames per second on, some are mixed from their neighbours. "
            "Takes up to twice the time.",
        ),
    ] = False,
    trim: Annotated[str | None, typer.Option(help="Time range of DRIVING, START:END in seconds.")] = None,
    fps: Annotated[
        str | None, typer.Option(help="Frames per second, such as 25 or 29.97. \\[default: as DRIVING]")
    ] = None,
    on_missing: Annotated[
        Literal["hold", "skip", "fail"],
        typer.Option(help="Frames of DRIVING without a person: hold the last, skip them, or fail."),
    ] = "hold",
    paste_back: Annotated[
        bool | None, OutputOption(help="Blend the result into the whole SOURCE. \\[default: yes, with --crop]")
    ] = None,
    concat: Annotated[bool, OutputOption("--concat", help="Also write source, driver, result side by side.")] = False,
    save_landmarks: Annotated[Path | None, OutputOption(help="Also write the driver's landmarks (.json).")] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    runtime: options.RuntimeOption = "auto",
    threads: options.Threads = None,
) -> None:
    """Make the person of SOURCE move like the person of DRIVING.

    Example: gfla animate face.jpg talking.mp4 -o out.mp4
    """
    if paste_back and not crop:
        hint = "leave one of them out"
        raise UsageError(
            "--paste-back: --no-crop resizes the whole image to one frame, so there is no place", hint=hint
        )
    from gfla_cli.inference.session import Execution
    from gfla_cli.io.video import parse_rate, parse_trim
    from gfla_cli.pipelines.animation import AnimationSettings
    from gfla_cli.pipelines.animation_jobs import AnimateOptions, plan_animation, run_animation
    from gfla_cli.pipelines.framing import parse_background, parse_size

    time_range, rate = parse_trim(trim), parse_rate(fps)
    frame_size, behind = parse_size(size), parse_background(background, None, video=True)
    job = plan_animation(
        source,
        driving,
        output,
        concat=concat,
        landmarks=save_landmarks,
        reads=(background, model or ""),
        overwrite=overwrite,
    )
    how = AnimateOptions(
        settings=AnimationSettings(
            person=person,
            crop=crop,
            absolute=absolute,
            refine_head=refine_head,
            smooth=smooth,
            paste_back=crop if paste_back is None else paste_back,
            size=frame_size,
            background=behind,
            every_frame=every_frame,
        ),
        task=task,
        model=model,
        driving_person=driving_person,
        trim=time_range,
        fps=rate,
        on_missing=on_missing,
        overwrite=overwrite,
        execution=Execution(device=device, precision=precision, runtime=runtime, threads=threads),
    )
    with progress_bar("frames", quiet=quiet) as progress:
        report = run_animation(job, how, say=partial(say, quiet=quiet), progress=progress)
    what = f"{counted(report.frames, 'frame')} of {report.width}x{report.height}"
    say(f"{what}, {report.frames_per_second:.1f} per second", quiet=quiet)
    finish(report, as_json=as_json)
