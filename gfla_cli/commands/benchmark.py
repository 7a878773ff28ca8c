"""`gfla benchmark`: speed and memory on this machine, and how right flows are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands._benchmark_flows import flows
from gfla_cli.commands._benchmark_infer import infer
from gfla_cli.commands._benchmark_models import models
from gfla_cli.commands._benchmark_train import train
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
    set_threads,
)
from gfla_cli.commands._tables import print_table

app = typer.Typer(
    help="Speed and memory on this machine as ratios measured in one run, and how right flows are.",
    no_args_is_help=True,
)
app.command()(models)
app.command()(infer)
app.command()(train)
app.command()(flows)


@app.callback()
def benchmark() -> None:
    """Speed and memory on this machine as ratios measured in one run, and how right flows are."""


@app.command()
def ops(
    as_json: AsJson = False,
    device: Device = DeviceChoice.auto,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 15,
) -> None:
    """Local attention without patches against the paper's patch-by-patch definition: time and extra memory.

    Example: gfla benchmark ops --threads 2
    """
    import torch
    from rich.table import Table

    from gfla_cli.benchmarks.ops import CASES, measure
    from gfla_cli.runtime.device import choose_device

    set_threads(threads)
    placement = choose_device(device.value, "fp32")
    say(f"fp32 on {placement.device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    results = [measure(case, placement.device, rounds=rounds) for case in CASES]
    if as_json:
        typer.echo(json.dumps({"cases": [result.to_json() for result in results]}, indent=2))
        return
    table = Table("case", "C", "map", "patch", "definition", "without patches", "times faster", "times less memory")
    for result in results:
        case = result.case
        table.add_row(
            case.name,
            str(case.channels),
            f"{case.height}x{case.width}",
            str(case.patch),
            f"{result.reference_ms:.1f} ms, {result.reference_mb:.0f} MB",
            f"{result.fast_ms:.1f} ms, {result.fast_mb:.0f} MB",
            f"{result.time_ratio:.1f}",
            f"{result.memory_ratio:.1f}",
        )
    print_table(table)


@app.command()
def network(
    model: Annotated[str, typer.Option(help="Name or folder of a compact pose model.")] = "pose-people",
    as_json: AsJson = False,
    device: Device = DeviceChoice.auto,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 7,
    onnx: Annotated[bool, typer.Option(help="Also export the model and time ONNX Runtime.")] = True,
) -> None:
    """Whole pose networks at 256x256: times faster than the paper's formulation, and share of the machine's peak.

    Example: gfla benchmark network --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmarks.network import measure_networks
    from gfla_cli.runtime.device import choose_device

    set_threads(threads)
    placement = choose_device(device.value)
    results = measure_networks(placement, model, rounds=rounds, onnx=onnx)
    if as_json:
        typer.echo(json.dumps({"networks": [result.to_json() for result in results]}, indent=2))
        return
    table = Table("network", "ms", "times faster", "GFLOP/s", "share of a matrix product")
    for result in results:
        cells = (
            f"{result.milliseconds:.0f}",
            f"{result.ratio:.1f}",
            f"{result.gflops:.0f}",
            f"{result.share_of_peak:.0%}",
        )
        table.add_row(result.name, *cells)
    print_table(table)


@app.command()
def pose_transfer(
    source: Annotated[Path | None, typer.Argument(help="Picture of a person.", show_default="anna.jpg")] = None,
    pose: Annotated[Path | None, typer.Option(help="Picture with the pose.", show_default="ben.jpg")] = None,
    model: Annotated[str, typer.Option(help="Name or folder of a pose model.")] = "pose-people",
    as_json: AsJson = False,
    device: Device = DeviceChoice.auto,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 5,
) -> None:
    """From two files to a third: the first result of a fresh process, and every further one; torch and ONNX Runtime.

    Example: gfla benchmark pose-transfer --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmarks.end_to_end import measure_transfers
    from gfla_cli.bundles.shelves import assets

    speeds = measure_transfers(
        source or assets() / "anna.jpg",
        pose or assets() / "ben.jpg",
        model,
        device=device.value,
        threads=threads,
        rounds=rounds,
    )
    if as_json:
        typer.echo(json.dumps({"transfers": [speed.to_json() for speed in speeds]}, indent=2))
        return
    table = Table("runtime", "first result", "CPU time", "times faster", "further ones", "network", "times faster")
    for speed in speeds:
        table.add_row(
            speed.name,
            f"{speed.cold_seconds:.2f} s",
            f"{speed.cold_cpu_seconds:.2f} s",
            f"{speed.cold_ratio:.2f}",
            f"{speed.warm_milliseconds:.0f} ms",
            f"{speed.network_milliseconds:.0f} ms",
            f"{speed.warm_ratio:.2f}",
        )
    print_table(table)
    for speed in speeds:
        say(f"{speed.name}: {speed.place}")


@app.command()
def animate(
    source: Annotated[Path, typer.Argument(help="Picture of a face or of a whole person.", show_default=False)],
    driving: Annotated[Path, typer.Argument(help="Film that drives it.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="Name or folder of a model. [default: that of what SOURCE shows]")
    ] = None,
    as_json: AsJson = False,
    device: Device = DeviceChoice.auto,
    precision: Precision = PrecisionChoice.auto,
    runtime: RuntimeOption = RuntimeChoice.auto,
    threads: Threads = None,
) -> None:
    """A whole clip: frames a second end to end, and milliseconds a frame of every stage.

    Example: gfla benchmark animate face.jpg talking.mp4 --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmarks.animation import measure_animation
    from gfla_cli.runtime.session import Execution

    execution = Execution(device=device.value, precision=precision.value, runtime=runtime.value, threads=threads)
    speed = measure_animation(source, driving, model, execution)
    if as_json:
        typer.echo(json.dumps(speed.to_json(), indent=2))
        return
    table = Table("stage", "ms a frame")
    for stage, spent in speed.milliseconds.items():
        table.add_row(stage, f"{spent:.1f}")
    print_table(table)
    typer.echo(f"{speed.frames_per_second:.1f} frames a second, {speed.network_share:.0%} of the work is the network's")
