"""`gfla benchmark models`: what one result costs each model."""

from __future__ import annotations

import json
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
    say,
)
from gfla_cli.commands._tables import print_table


def models(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all that come with gfla by default.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 7,
    as_json: AsJson = False,
    device: Device = DeviceChoice.auto,
    precision: Precision = PrecisionChoice.auto,
    runtime: RuntimeOption = RuntimeChoice.auto,
    threads: Threads = None,
) -> None:
    """One picture, frame or view of each model: milliseconds in the network, for a new source and for the same again.

    Example: gfla benchmark models pose-people face-people --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmarks.models import MADE, measure_models
    from gfla_cli.bundles.shelves import bundle_names
    from gfla_cli.runtime.session import Execution

    execution = Execution(device=device.value, precision=precision.value, runtime=runtime.value, threads=threads)
    results = measure_models(names or bundle_names(), execution, rounds)
    if as_json:
        typer.echo(json.dumps({"models": [result.to_json() for result in results]}, indent=2))
        return
    table = Table("model", "of", "first, ms", "further ones, ms")
    for result in results:
        times = (f"{result.first_milliseconds:.0f}", f"{result.further_milliseconds:.0f}")
        table.add_row(result.name, MADE[result.task], *times)
        say(f"{result.name}: {result.place}")
    print_table(table)
