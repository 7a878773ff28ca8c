"""`gfla benchmark flows`: how right a pose model's flows are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from gfla_cli.commands.console import print_table
from gfla_cli.commands.options import (
    AsJson,
    Device,
    Precision,
    RuntimeOption,
    Threads,
    say,
    set_threads,
)


def flows(
    pack: Annotated[Path, typer.Argument(help="Pack of people to render, see gfla data humans.", show_default=False)],
    model: Annotated[str, typer.Option(help="Name or folder of a pose model.")] = "pose-people",
    pairs: Annotated[int, typer.Option(min=1, help="Rendered pairs to compare.")] = 60,
    vgg: Annotated[Path | None, typer.Option(help="VGG19 weights; adds its distance.", show_default=False)] = None,
    pck: Annotated[
        bool, typer.Option("--pck", help="Find the pose in every picture: share of joints in place.")
    ] = False,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
) -> None:
    """How far flows are from the renderer's, in pixels, and what pictures would be if they were right.

    Example: gfla benchmark flows PACK --vgg vgg19.npz --pck
    """
    from rich.table import Table

    from gfla_cli.evaluation.flows import measure_flows
    from gfla_cli.inference.device import choose_device
    from gfla_cli.losses.vgg import load_vgg19
    from gfla_cli.synth.pack import check_pack

    set_threads(threads)
    check_pack(pack)
    placement = choose_device(device, precision)
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


# `gfla benchmark infer`: what doing many pairs at once saves.


def infer(
    pairs: Annotated[Path, typer.Argument(help="CSV with the columns from,to.", show_default=False)],
    images: Annotated[Path, typer.Option(help="Folder that the names in the CSV are in.")],
    limit: Annotated[int, typer.Option(min=1, help="Pairs to measure with.")] = 48,
    batch: Annotated[int, typer.Option(min=1, help="Pictures per pass of the network.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 3,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: RuntimeOption = "auto",
    threads: Threads = None,
) -> None:
    """Many pairs: `gfla infer` against pose transfers one after another, from files to files.

    Example: gfla benchmark infer pairs.csv --images photos/ --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmark.infer import measure_throughput
    from gfla_cli.inference.session import Execution

    execution = Execution(device=device, precision=precision, runtime=runtime, threads=threads)
    results = measure_throughput(pairs, images, execution=execution, limit=limit, batch=batch, rounds=rounds)
    if as_json:
        typer.echo(json.dumps({"ways": [result.to_json() for result in results]}, indent=2))
        return
    table = Table("way", "pairs", "pairs/s", "times faster")
    for result in results:
        table.add_row(result.name, str(result.pairs), f"{result.pairs_per_second:.2f}", f"{result.ratio:.1f}")
    print_table(table)


# `gfla benchmark models`: what one result costs each model.


def models(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all that come with gfla by default.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 7,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: RuntimeOption = "auto",
    threads: Threads = None,
) -> None:
    """One picture, frame or view of each model: milliseconds in the network, for a new source and for the same again.

    Example: gfla benchmark models pose-people face-people --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmark.models import MADE, measure_models
    from gfla_cli.bundles.shelf import bundle_names
    from gfla_cli.inference.session import Execution

    execution = Execution(device=device, precision=precision, runtime=runtime, threads=threads)
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


# `gfla benchmark train`: training steps on this machine.


def train(
    dataset: Annotated[Literal["people", "photos", "fashion", "market"], typer.Option(help="Whose recipe.")] = "people",
    batch: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 3,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare data.")] = 1,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Also torch.compile. [default: on CUDA]")
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Training steps: pictures a second with and without each thing that speeds them up, and waiting for data.

    Example: gfla benchmark train --threads 2
    """
    import torch
    from rich.table import Table

    from gfla_cli.benchmark.training import measure_training
    from gfla_cli.errors import UsageError
    from gfla_cli.inference.device import choose_device
    from gfla_cli.inference.memory import keep_freed_memory
    from gfla_cli.training.recipe import recipe

    keep_freed_memory()
    set_threads(threads)
    placement = choose_device(device, "fp32")
    on_cuda = placement.device.type == "cuda"
    if compiled and not on_cuda:
        raise UsageError("--compile is for CUDA devices", hint="leave it out")
    speed = measure_training(
        recipe(dataset),
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
    say(f"{dataset}, {speed.image_size[1]}x{speed.image_size[0]}, batch {batch}, on {machine}")
    table = Table("step", "ms", "images/s", "times faster")
    for way in speed.ways:
        table.add_row(way.name, f"{way.milliseconds:.0f}", f"{way.images_per_second:.1f}", f"{way.ratio:.1f}")
    print_table(table)
    typer.echo(
        f"{speed.images_per_second:.1f} images/s from disk with --workers {workers}, {speed.waiting:.0%} waiting"
    )


# `gfla benchmark`: speed and memory on this machine, and how right flows are.


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
    device: Device = "auto",
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 15,
) -> None:
    """Local attention without patches against the paper's patch-by-patch definition: time and extra memory.

    Example: gfla benchmark ops --threads 2
    """
    import torch
    from rich.table import Table

    from gfla_cli.benchmark.ops import CASES, measure
    from gfla_cli.inference.device import choose_device

    set_threads(threads)
    placement = choose_device(device, "fp32")
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
    device: Device = "auto",
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 7,
    onnx: Annotated[bool, typer.Option(help="Also export the model and time ONNX Runtime.")] = True,
) -> None:
    """Whole pose networks at 256x256: times faster than the paper's formulation, and share of the machine's peak.

    Example: gfla benchmark network --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmark.network import measure_networks
    from gfla_cli.inference.device import choose_device

    set_threads(threads)
    placement = choose_device(device)
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
    device: Device = "auto",
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")] = 5,
) -> None:
    """From two files to a third: the first result of a fresh process, and every further one; torch and ONNX Runtime.

    Example: gfla benchmark pose-transfer --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmark.pose_transfer import measure_transfers
    from gfla_cli.bundles.shelf import assets

    speeds = measure_transfers(
        source or assets() / "anna.jpg",
        pose or assets() / "ben.jpg",
        model,
        device=device,
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
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: RuntimeOption = "auto",
    threads: Threads = None,
) -> None:
    """A whole clip: frames a second end to end, and milliseconds a frame of every stage.

    Example: gfla benchmark animate face.jpg talking.mp4 --threads 2
    """
    from rich.table import Table

    from gfla_cli.benchmark.animation import measure_animation
    from gfla_cli.inference.session import Execution

    execution = Execution(device=device, precision=precision, runtime=runtime, threads=threads)
    speed = measure_animation(source, driving, model, execution)
    if as_json:
        typer.echo(json.dumps(speed.to_json(), indent=2))
        return
    table = Table("stage", "ms a frame")
    for stage, spent in speed.milliseconds.items():
        table.add_row(stage, f"{spent:.1f}")
    print_table(table)
    typer.echo(f"{speed.frames_per_second:.1f} frames a second, {speed.network_share:.0%} of the work is the network's")
