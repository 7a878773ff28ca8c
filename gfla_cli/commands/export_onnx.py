"""`gfla export-onnx`: a model as one ONNX file that every command takes as --model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands._options import AsJson, Overwrite, Quiet, say


def export_onnx(
    model: Annotated[str, typer.Option(help="Name or folder of a model, or hf:owner/name.")] = "pose-people",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write. [default: MODEL.onnx]")] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Weights and arithmetic in half precision, for GPUs.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Export a model to ONNX with standard operators, for any batch and frame size, and check it against torch.

    Example: gfla export-onnx --model pose-people -o pose.onnx
    """
    from gfla_cli.bundles.shelves import bundle_name, find_bundle
    from gfla_cli.media.atomic import refuse_output

    output = output or Path(f"{bundle_name(find_bundle(model))}.onnx")
    refuse_output(output, overwrite=overwrite)
    from gfla_cli.runtime.export import export_onnx as export

    say("exporting; this takes about half a minute", quiet=quiet)
    report = export(model, output, half=fp16, overwrite=overwrite)
    for check in report.checks:
        size = f"{check.batch} x {check.width}x{check.height}"
        say(f"ONNX Runtime and torch at {size}: largest difference {check.largest_difference:.1e}", quiet=quiet)
    if as_json:
        checks = [
            {"batch": c.batch, "height": c.height, "width": c.width, "largest_difference": c.largest_difference}
            for c in report.checks
        ]
        typer.echo(json.dumps({"path": str(output), "megabytes": report.megabytes, "checks": checks}, indent=2))
    else:
        typer.echo(output)
