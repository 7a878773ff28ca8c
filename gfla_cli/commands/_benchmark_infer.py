"""`gfla benchmark infer`: what doing many pairs at once saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands._options import (
    AsJson,
    Device,
    DeviceChoice,
    Precision,
    PrecisionChoice,
    RuntimeChoice,
    RuntimeOption,
    Threads,
)
from gfla_cli.commands._tables import print_table


def infer(
    pairs: Annotated[Path, typer.Argument(help="CSV with the columns from,to.", show_default=False)],
    images: Annotated[Path, typer.Option(help="Folder that the names in the CSV are in.")],
    limit: Annotated[int, typer.Option(min=1, help="Pairs to measure with.")] = 48,
    batch: Annotated[int, typer.Option(min=1, help="Pictures per pass of the network.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 3,
    as_json: AsJson = False,
    device: Device = DeviceChoice.auto,
    precision: Precision = PrecisionChoice.auto,
    runtime: RuntimeOption = RuntimeChoice.auto,
    threads: Threads = None,
) -> None:
    """Many pairs: `gfla infer` against pose transfers one after another, from files to files.

    Example: gfla benchmark infer pairs.csv --images photos/ --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmarks.throughput import measure_throughput
    from gfla_cli.runtime.session import Execution

    execution = Execution(device=device.value, precision=precision.value, runtime=runtime.value, threads=threads)
    results = measure_throughput(pairs, images, execution=execution, limit=limit, batch=batch, rounds=rounds)
    if as_json:
        typer.echo(json.dumps({"ways": [result.to_json() for result in results]}, indent=2))
        return
    table = Table("way", "pairs", "pairs/s", "times faster")
    for result in results:
        table.add_row(result.name, str(result.pairs), f"{result.pairs_per_second:.2f}", f"{result.ratio:.1f}")
    print_table(table)
