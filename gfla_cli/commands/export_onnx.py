"""`gfla export-onnx`: a model as one ONNX file that every command takes as --model."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands.options import AsJson, Overwrite, Quiet, say


def export_onnx(
    model: Annotated[str, typer.Option(help="Name or folder of a model, or hf:owner/name.")] = "pose-people",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. \\[default: MODEL.onnx]")
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Weights and arithmetic in half precision, for GPUs.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Export a model of any task to ONNX with standard operators, for any batch and frame size, and check it.

    Example: gfla export-onnx --model pose-people -o pose.onnx
    """
    from gfla_cli.bundles.shelf import bundle_name, find_bundle
    from gfla_cli.inference.session import refuse_export_name
    from gfla_cli.io.background import said_when_slow
    from gfla_cli.io.files import refuse_output

    output = output or Path(f"{bundle_name(find_bundle(model))}.onnx")
    refuse_export_name(output)
    refuse_output(output, overwrite=overwrite, inputs=[model, *find_bundle(model).iterdir()])
    with said_when_slow(partial(say, quiet=quiet), "loading torch"):
        from gfla_cli.inference.export import TOLERANCE
        from gfla_cli.inference.export import export_onnx as export
    report = export(model, output, half=fp16, overwrite=overwrite, say=partial(say, quiet=quiet))
    for check in report.checks:
        size = f"{check.batch} x {check.width}x{check.height}"
        say(f"ONNX Runtime and torch at {size}: largest difference {check.largest_difference:.1e}", quiet=quiet)
    graphs = f"{len(report.parts)} graphs ({', '.join(report.parts)})" if len(report.parts) > 1 else "one graph"
    allowed = f"{TOLERANCE[report.precision]:.0e} allowed"
    say(f"{report.task}, {report.precision}, {graphs}, {report.megabytes:.1f} MB; {allowed}", quiet=quiet)
    typer.echo(json.dumps(report.to_json(), indent=2) if as_json else output)
