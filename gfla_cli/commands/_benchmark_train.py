"""`gfla benchmark train`: training steps on this machine."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from gfla_cli.commands._options import AsJson, Device, DeviceChoice, Threads, say, set_threads
from gfla_cli.commands._tables import print_table


class PoseDatasetChoice(StrEnum):
    """Values of --dataset: the recipes of pose transfer."""

    people = "people"
    photos = "photos"
    fashion = "fashion"
    market = "market"


def train(
    dataset: Annotated[PoseDatasetChoice, typer.Option(help="Whose recipe.")] = PoseDatasetChoice.people,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 3,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare data.")] = 1,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Also torch.compile. [default: on CUDA]")
    ] = None,
    as_json: AsJson = False,
    device: Device = DeviceChoice.auto,
    threads: Threads = None,
) -> None:
    """Training steps: pictures a second with and without each thing that speeds them up, and waiting for data.

    Example: gfla benchmark train --threads 2
    """
    import torch
    from rich.table import Table

    from gfla_cli.benchmarks.training import measure_training
    from gfla_cli.errors import UsageError
    from gfla_cli.runtime.allocator import keep_freed_memory
    from gfla_cli.runtime.device import choose_device
    from gfla_cli.training.recipe import recipe

    keep_freed_memory()
    set_threads(threads)
    placement = choose_device(device.value, "fp32")
    on_cuda = placement.device.type == "cuda"
    if compiled and not on_cuda:
        raise UsageError("--compile is for CUDA devices", hint="leave it out")
    speed = measure_training(
        recipe(dataset.value),
        placement,
        batch=batch,
        rounds=rounds,
        workers=workers,
        compiled=on_cuda if compiled is None else compiled,
    )
    machine = f"{placement.device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    if as_json:
        typer.echo(json.dumps({"machine": machine} | speed.to_json(), indent=2))
        return
    say(f"{dataset.value}, {speed.image_size[1]}x{speed.image_size[0]}, batch {batch}, on {machine}")
    table = Table("step", "ms", "images/s", "times faster")
    for way in speed.ways:
        table.add_row(way.name, f"{way.milliseconds:.0f}", f"{way.images_per_second:.1f}", f"{way.ratio:.1f}")
    print_table(table)
    typer.echo(
        f"{speed.images_per_second:.1f} images/s from disk with --workers {workers}, {speed.waiting:.0%} waiting"
    )
