"""`gfla view-synthesis`: an object from other sides than its image shows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from gfla_cli.commands import options
from gfla_cli.commands.options import OutputOption, finish, say


def view_synthesis(
    source: Annotated[Path, typer.Argument(help="Image of the object.", show_default=False)],
    azimuth: Annotated[
        list[float] | None,
        typer.Option(help="Degrees around the object: 0 its front, 90 its left side. May be given several times."),
    ] = None,
    output: Annotated[
        Path | None,
        OutputOption("--output", "-o", help="Image to write, or a folder. \\[default: SOURCE--AZIMUTH.png here]"),
    ] = None,
    turntable: Annotated[Path | None, OutputOption(help="Write one turn around the object, .mp4 or .gif.")] = None,
    grid: Annotated[Path | None, OutputOption(help="Write a contact sheet of all views.")] = None,
    model: Annotated[
        str, typer.Option(help="Name, folder, .onnx file or hf:owner/name of a view model.")
    ] = "view-chairs",
    source_azimuth: Annotated[
        float | None, typer.Option(help="Where SOURCE was taken from; estimated when not given.")
    ] = None,
    source_elevation: Annotated[float | None, typer.Option(help="The same above the horizon, 0 to 20.")] = None,
    elevation: Annotated[
        float | None, typer.Option(help="Of the new views, 0 to 20. \\[default: as SOURCE]", show_default=False)
    ] = None,
    between: Annotated[
        Literal["nearest", "blend"],
        typer.Option(help="Angles between the trained ones: take the nearest, or blend both."),
    ] = "nearest",
    size: Annotated[
        str | None,
        typer.Option(
            help="Side of a view in pixels; source: as large as SOURCE shows the object, up to 1024. "
            "\\[default: the network's, 256]",
            show_default=False,
        ),
    ] = None,
    symmetric: Annotated[
        bool | None,
        typer.Option(
            "--symmetric/--no-symmetric",
            help="The object's left half mirrors its right half; its mirrored image then helps. "
            "\\[default: decided by the image]",
            show_default=False,
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
    """Show the object of SOURCE from other sides.

    Example: gfla view-synthesis chair.png --azimuth 60 -o chair-60.png --turntable turn.mp4
    """
    from gfla_cli.conditioning.view_code import view_angles
    from gfla_cli.inference.session import Execution
    from gfla_cli.pipelines.framing import parse_size
    from gfla_cli.pipelines.view_jobs import ViewOptions, plan_views, run_views

    frame_size = None if size is None else parse_size(size)
    view_angles(source_azimuth or 0, source_elevation or 0)
    view_angles(0, elevation or 0)
    job = plan_views(source, azimuth or [], output, turntable=turntable, grid=grid, model=model, overwrite=overwrite)
    how = ViewOptions(
        model=model,
        source_azimuth=source_azimuth,
        source_elevation=source_elevation,
        elevation=elevation,
        between=between,
        size=frame_size,
        symmetric=symmetric,
        execution=Execution(device=device, precision=precision, runtime=runtime, threads=threads),
        overwrite=overwrite,
    )
    report = run_views(job, how, say=partial(say, quiet=quiet))
    finish(report, as_json=as_json)
