"""`gfla pose-transfer`: the person of one image in the pose of another."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands import options
from gfla_cli.commands.options import WHICH_PERSON, OutputOption, finish, progress_bar, say


def pose_transfer(
    source: Annotated[Path, typer.Argument(help="Image of the person, or a folder of images.", show_default=False)],
    pose: Annotated[
        str, typer.Option(help="Image or keypoint file (JSON, or CSV as FILE.csv#name) with the pose, or a folder.")
    ],
    output: Annotated[
        Path | None,
        OutputOption("--output", "-o", help="Image to write, or a folder. \\[default: SOURCE--POSE.png here]"),
    ] = None,
    model: options.PoseModel = "pose-people",
    size: Annotated[
        str,
        typer.Option(
            help="Longer side of the person's frame in pixels; source: as large as the source shows it, up to 2048."
        ),
    ] = "source",
    background: Annotated[
        str, typer.Option(help="keep that of the source, white, transparent (PNG or WebP), or an image file.")
    ] = "keep",
    crop: Annotated[
        bool | None,
        typer.Option(
            help="Write the frame around the person alone; --no-crop takes the whole image, stretched to a frame. "
            "\\[default: the whole image as it is]",
            show_default=False,
        ),
    ] = None,
    align: options.Align = True,
    refine_head: options.RefineHead = True,
    refine_body: options.RefineBody = True,
    person: Annotated[str, typer.Option(help=f"Person of the source. {WHICH_PERSON}")] = "largest",
    target_person: Annotated[str, typer.Option(help=f"Person of the pose image. {WHICH_PERSON}")] = "largest",
    side_by_side: Annotated[
        bool, OutputOption("--side-by-side", help="Write source, pose and result in one image.")
    ] = False,
    show: Annotated[
        str | None,
        OutputOption(
            help="Also write images of what the network does: flow, mask, attention, solids, or several with commas."
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    runtime: options.RuntimeOption = "auto",
    threads: options.Threads = None,
) -> None:
    """Redraw the person of SOURCE in the pose of the person of --pose.

    Example: gfla pose-transfer anna.jpg --pose ben.jpg -o anna-as-ben.png
    """
    from gfla_cli.inference.session import Execution
    from gfla_cli.pipelines.framing import parse_background, parse_size
    from gfla_cli.pipelines.pose_jobs import TransferOptions, parse_shows, plan_transfers, run_transfers

    frame_size, behind = parse_size(size), parse_background(background, output)
    jobs = plan_transfers(
        source,
        pose,
        output,
        shows=parse_shows(show),
        reads=(background, model),
        overwrite=overwrite,
        say=partial(say, quiet=quiet),
    )
    how = TransferOptions(
        model=model,
        crop=crop,
        size=frame_size,
        background=behind,
        align=align,
        refine_head=refine_head,
        refine_body=refine_body,
        person=person,
        target_person=target_person,
        side_by_side=side_by_side,
        overwrite=overwrite,
        execution=Execution(device=device, precision=precision, runtime=runtime, threads=threads),
    )
    with progress_bar("images", quiet=quiet or len(jobs) == 1) as progress:
        report = run_transfers(jobs, how, say=partial(say, quiet=quiet), progress=progress)
    finish(report, as_json=as_json)
