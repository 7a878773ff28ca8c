"""`gfla infer`: pose transfer for the pairs of a CSV file, in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands import options
from gfla_cli.commands.options import print_json, progress_bar, say


def infer(
    pairs: Annotated[Path, typer.Argument(help="CSV with the columns from,to.", show_default=False)],
    images: Annotated[Path, typer.Option(help="Folder that the names in the CSV are in.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results and the list of failures.")],
    model: options.PoseModel = "pose-people",
    crop: options.Crop = True,
    align: options.Align = True,
    refine_head: options.RefineHead = True,
    refine_body: options.RefineBody = True,
    size: Annotated[
        str | None,
        typer.Option(
            help="Longer side of the results in pixels, or source: as large as it shows the person. "
            "\\[default: the network's own size]",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per pass of the network.")] = 8,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    runtime: options.RuntimeOption = "auto",
    threads: options.Threads = None,
) -> None:
    """Pose transfer for every row of a CSV: what exists is skipped, what fails is listed, the rest goes on.

    Example: gfla infer pairs.csv --images photos/ -o results/

    On several GPUs: torchrun --standalone --nproc-per-node 4 -m gfla_cli infer ... shares the missing pairs.
    """
    from dataclasses import asdict

    from gfla_cli.distributed.launch import current_launch, init_distributed
    from gfla_cli.inference.session import Execution
    from gfla_cli.pipelines.framing import parse_size
    from gfla_cli.pipelines.pose_jobs import FAILURES, TransferOptions, transfer_pairs

    how = TransferOptions(
        model=model,
        crop=crop,
        align=align,
        refine_head=refine_head,
        refine_body=refine_body,
        size=parse_size(size) if size is not None else None,
        batch=batch,
        overwrite=overwrite,
        execution=Execution(device=device, precision=precision, runtime=runtime, threads=threads),
    )
    with init_distributed(current_launch()) as group, progress_bar("pairs", quiet=not group.is_rank0) as show:
        report = transfer_pairs(pairs, images, output, how, group=group, progress=show)
    if not group.is_rank0:
        return
    if as_json:
        print_json(asdict(report))
    else:
        say(f"{report.written} written, {report.skipped} existed, {report.failed} failed")
        typer.echo(output)
    if report.failed:
        say(f"the failures are listed in {output / FAILURES}")
        raise typer.Exit(1)
