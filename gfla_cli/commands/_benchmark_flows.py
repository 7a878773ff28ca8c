"""`gfla benchmark flows`: how right a pose model's flows are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands._options import AsJson, Device, DeviceChoice, Precision, PrecisionChoice, Threads, set_threads
from gfla_cli.commands._tables import print_table


def flows(
    pack: Annotated[Path, typer.Argument(help="Pack of people to render, see gfla data humans.", show_default=False)],
    model: Annotated[str, typer.Option(help="Name or folder of a pose model.")] = "pose-people",
    pairs: Annotated[int, typer.Option(min=1, help="Rendered pairs to compare.")] = 60,
    vgg: Annotated[Path | None, typer.Option(help="VGG19 weights; adds its distance.", show_default=False)] = None,
    pck: Annotated[
        bool, typer.Option("--pck", help="Find the pose in every picture: share of joints in place.")
    ] = False,
    as_json: AsJson = False,
    device: Device = DeviceChoice.auto,
    precision: Precision = PrecisionChoice.auto,
    threads: Threads = None,
) -> None:
    """How far flows are from the renderer's, in pixels, and what pictures would be if they were right.

    Example: gfla benchmark flows PACK --vgg vgg19.npz --pck
    """
    from rich.table import Table

    from gfla_cli.benchmarks.flows import measure_flows
    from gfla_cli.losses.vgg import load_vgg19
    from gfla_cli.rendering.pack import check_pack
    from gfla_cli.runtime.device import choose_device

    set_threads(threads)
    check_pack(pack)
    placement = choose_device(device.value, precision.value)
    judge = load_vgg19(vgg).to(placement.device) if vgg is not None else None
    report = measure_flows(model, pack, placement, pairs=pairs, vgg=judge, pck=pck)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
        return
    table = Table("flows by", "mean error, px", "median, px")
    for error in report.errors:
        table.add_row(error.name, f"{error.mean:.1f}", f"{error.median:.1f}")
    print_table(table)
    names = list(report.pictures[0].figures)
    table = Table("pictures by", *names)
    for picture in report.pictures:
        table.add_row(picture.name, *(f"{picture.figures[name]:.3f}" for name in names))
    print_table(table)
