"""`gfla benchmark`: speed and memory on this machine, and the error of flows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, get_args

import typer

from gfla_cli.commands import options
from gfla_cli.commands.options import print_json, print_table, say, set_threads

app = typer.Typer(help="Measure speed and memory on this machine, and errors of flows.", no_args_is_help=True)
_Rounds = Annotated[int, typer.Option(min=1, help="Repetitions; the median counts.")]


def _print(key: str, results: Sequence[Any], columns: Sequence[tuple[str, str]], *, as_json: bool) -> None:
    """Prints results as JSON under a key, or as a table, after the places that they name.

    A column has a heading, and a format of the fields.
    """
    rows = [asdict(result) for result in results]
    if as_json:
        print_json({key: rows})
        return
    for row in rows:
        if "place" in row:
            say(f"{row['name']}: {row['place']}")
    _print_rows(rows, columns)


def _print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str]]) -> None:
    from rich.table import Table

    table = Table(*(heading for heading, _ in columns))
    for row in rows:
        table.add_row(*(cell.format(**row) for _, cell in columns))
    print_table(table)


@app.command()
def models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or folders of models.", show_default="all that come with gfla")
    ] = None,
    rounds: _Rounds = 7,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    runtime: options.RuntimeOption = "auto",
    threads: options.Threads = None,
) -> None:
    """Network time of each model in milliseconds: one image, frame or view, for a new source and for the same source.

    Example: gfla benchmark models pose-people face-people --threads 2
    """
    from gfla_cli.bundles.shelf import bundle_names
    from gfla_cli.config import Task
    from gfla_cli.inference.session import Execution, check_model

    for name in names or ():
        check_model(name, *get_args(Task))
    from gfla_cli.benchmark.networks import measure_models

    execution = Execution(device=device, precision=precision, runtime=runtime, threads=threads)
    results = measure_models(names or bundle_names(), execution, rounds)
    columns = [("model", "{name}"), ("task", "{task}")]
    columns += [("new source, ms", "{first_milliseconds:.0f}"), ("same source, ms", "{further_milliseconds:.0f}")]
    _print("models", results, columns, as_json=as_json)


@app.command()
def network(
    model: Annotated[str, typer.Option(help="Name or folder of a compact pose model.")] = "pose-people",
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    rounds: _Rounds = 7,
    onnx: Annotated[bool, typer.Option(help="Also export the model and time ONNX Runtime.")] = True,
) -> None:
    """Pose networks at 256x256: speed against the paper's formulation, and share of the machine's peak.

    Example: gfla benchmark network --threads 2
    """
    from gfla_cli.inference.session import check_model

    check_model(model, "pose")
    from gfla_cli.benchmark.networks import measure_networks
    from gfla_cli.inference.device import choose_device

    set_threads(threads)
    placement = choose_device(device)
    results = measure_networks(placement, model, rounds=rounds, onnx=onnx)
    columns = [("network", "{name}"), ("ms", "{milliseconds:.0f}"), ("times faster", "{ratio:.1f}")]
    columns += [("GFLOP/s", "{gflops:.0f}"), ("share of peak", "{share_of_peak:.0%}")]
    _print("networks", results, columns, as_json=as_json)


@app.command()
def ops(
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    rounds: _Rounds = 15,
) -> None:
    """Local attention: time and extra memory of the paper's patch-by-patch definition and of the form without patches.

    Example: gfla benchmark ops --threads 2
    """
    import torch

    from gfla_cli.benchmark.networks import ATTENTION_CASES, measure_attention
    from gfla_cli.inference.device import choose_device

    set_threads(threads)
    placement = choose_device(device, "fp32")
    say(f"fp32 on {placement.device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    results = [measure_attention(case, placement.device, rounds=rounds) for case in ATTENTION_CASES]
    columns = [("case", "{name}"), ("C", "{channels}"), ("map", "{height}x{width}"), ("patch", "{patch}")]
    columns += [("definition", "{reference_ms:.1f} ms, {reference_mb:.0f} MB")]
    columns += [("without patches", "{fast_ms:.1f} ms, {fast_mb:.0f} MB")]
    columns += [("times faster", "{time_ratio:.1f}"), ("times less memory", "{memory_ratio:.1f}")]
    _print("cases", results, columns, as_json=as_json)


@app.command()
def pose_transfer(
    source: Annotated[Path | None, typer.Argument(help="Image of a person.", show_default="anna.jpg")] = None,
    pose: Annotated[Path | None, typer.Option(help="Image with the target pose.", show_default="ben.jpg")] = None,
    model: Annotated[str, typer.Option(help="Name or folder of a pose model.")] = "pose-people",
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    rounds: _Rounds = 5,
) -> None:
    """Pose transfer from files to a file: the first result of a new process, and further ones; torch and ONNX Runtime.

    Both are also given as multiples of the time that `python -c "import torch"` takes here.

    Example: gfla benchmark pose-transfer --threads 2
    """
    from gfla_cli.bundles.shelf import assets
    from gfla_cli.inference.session import check_model
    from gfla_cli.io.image import check_image_file

    source, pose = source or assets() / "anna.jpg", pose or assets() / "ben.jpg"
    check_image_file(source)
    check_image_file(pose)
    check_model(model, "pose")
    from gfla_cli.benchmark.pipelines import measure_transfers

    speeds = measure_transfers(source, pose, model, device=device, threads=threads, rounds=rounds)
    columns = [("runtime", "{name}"), ("first result", "{cold_seconds:.2f} s")]
    columns += [("of import torch", "{cold_in_torch_imports:.2f}"), ("CPU time", "{cold_cpu_seconds:.2f} s")]
    columns += [("further results", "{warm_milliseconds:.0f} ms"), ("of import torch", "{warm_in_torch_imports:.2f}")]
    columns += [("of that the network", "{network_milliseconds:.0f} ms")]
    _print("transfers", speeds, columns, as_json=as_json)


@app.command()
def infer(
    pairs: Annotated[Path, typer.Argument(help="CSV with the columns from,to.", show_default=False)],
    images: Annotated[Path, typer.Option(help="Folder of the images that the CSV names.")],
    limit: Annotated[int, typer.Option(min=1, help="Number of pairs.")] = 48,
    batch: Annotated[int, typer.Option(min=1, help="Images per pass of the network.")] = 8,
    rounds: _Rounds = 3,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    runtime: options.RuntimeOption = "auto",
    threads: options.Threads = None,
) -> None:
    """Many pairs, from files to files: `gfla infer` against one pose transfer after another.

    Example: gfla benchmark infer pairs.csv --images photos/ --threads 2
    """
    from gfla_cli.inference.session import Execution
    from gfla_cli.pipelines.pose_jobs import read_pairs_of

    read_pairs_of(pairs, images)
    from gfla_cli.benchmark.pipelines import measure_throughput

    execution = Execution(device=device, precision=precision, runtime=runtime, threads=threads)
    results = measure_throughput(pairs, images, execution=execution, limit=limit, batch=batch, rounds=rounds)
    columns = [("way", "{name}"), ("pairs", "{pairs}"), ("pairs/s", "{pairs_per_second:.2f}")]
    _print("ways", results, [*columns, ("times faster", "{ratio:.1f}")], as_json=as_json)


@app.command()
def animate(
    source: Annotated[Path, typer.Argument(help="Image of a face or of a whole person.", show_default=False)],
    driving: Annotated[Path, typer.Argument(help="Driving video.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="Name or folder of a model.", show_default="by what SOURCE shows")
    ] = None,
    size: Annotated[str, typer.Option(help="Size of the frames, as of gfla animate.")] = "source",
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    runtime: options.RuntimeOption = "auto",
    threads: options.Threads = None,
) -> None:
    """A whole clip from files to a file: a cold start, frames per second, and milliseconds per frame of every stage.

    It is made three times: by a new process, with the model loaded, and one stage at a time for the table.

    Example: gfla benchmark animate face.jpg talking.mp4 --threads 2
    """
    from gfla_cli.inference.session import Execution, check_model
    from gfla_cli.pipelines.animation_jobs import plan_animation
    from gfla_cli.pipelines.framing import parse_size

    frame_size = parse_size(size)
    with TemporaryDirectory() as folder:
        plan_animation(source, driving, Path(folder) / "clip.mp4")
    if model is not None:
        check_model(model, "face", "body", "pose")
    from gfla_cli.benchmark.pipelines import measure_animation

    execution = Execution(device=device, precision=precision, runtime=runtime, threads=threads)
    speed = measure_animation(source, driving, model, execution, frame_size, say)
    if as_json:
        print_json(asdict(speed))
        return
    rows = [{"stage": stage, "ms": spent} for stage, spent in speed.milliseconds.items()]
    _print_rows(rows, [("stage, by itself", "{stage}"), ("ms per frame", "{ms:.1f}")])
    typer.echo(
        f"{speed.frames} frames of {speed.width}x{speed.height}: {speed.frames_per_second:.1f} per second, "
        f"{speed.cpu_milliseconds:.0f} ms of CPU time each; {speed.cold_seconds:.1f} s from a cold start; "
        f"the network takes {speed.network_share:.0%} of the work"
    )


@app.command()
def train(
    dataset: Annotated[
        Literal["people", "photos", "fashion", "market"],
        typer.Option(help="Data set whose recipe is used; its images are not needed."),
    ] = "people",
    batch: Annotated[int, typer.Option(min=1, help="Images per step.")] = 4,
    rounds: _Rounds = 3,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load data.")] = 1,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Also measure torch.compile.", show_default="on CUDA")
    ] = None,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Training steps: images per second with and without each acceleration, and the time spent waiting for data.

    Example: gfla benchmark train --threads 2
    """
    import torch

    from gfla_cli.benchmark.training import measure_training
    from gfla_cli.errors import UsageError
    from gfla_cli.inference.device import choose_device
    from gfla_cli.inference.runtime import keep_freed_memory
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
        print_json({"machine": machine} | asdict(speed))
        return
    say(f"{dataset}, {speed.image_size[1]}x{speed.image_size[0]}, batch {batch}, on {machine}")
    columns = [("step", "{name}"), ("ms", "{milliseconds:.0f}"), ("images/s", "{images_per_second:.1f}")]
    _print_rows(map(asdict, speed.ways), [*columns, ("times faster", "{ratio:.1f}")])
    typer.echo(
        f"{speed.images_per_second:.1f} images/s from disk with --workers {workers}, {speed.waiting:.0%} waiting"
    )


@app.command()
def flows(
    pack: Annotated[
        Path | None,
        typer.Argument(
            help="Pack of people to render; gfla data humans makes one. View models need none.", show_default=False
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Name or folder of a pose or view model.")] = "pose-people",
    pairs: Annotated[int, typer.Option(min=1, help="Number of rendered pairs.")] = 60,
    vgg: Annotated[
        Path | None, typer.Option(help="VGG19 weights; adds the perceptual distance.", show_default=False)
    ] = None,
    pck: Annotated[
        bool, typer.Option("--pck", help="Detect the pose in every image, and print the share of correct joints.")
    ] = False,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
) -> None:
    """Errors of flows against ground truth, in pixels, and of the images they lead to.

    Example: gfla benchmark flows PACK --vgg vgg19.npz --pck
    or, of chairs: gfla benchmark flows --model view-chairs
    """
    from gfla_cli.inference.session import check_model
    from gfla_cli.io.files import require_path

    check_model(model, "pose", "view")
    if pack is not None:
        from gfla_cli.synth.pack import check_pack

        check_pack(pack)
    if vgg is not None:
        require_path(vgg)
    from gfla_cli.evaluation.flows import measure_flows
    from gfla_cli.inference.device import choose_device
    from gfla_cli.losses.image import load_vgg19

    set_threads(threads)
    placement = choose_device(device, precision)
    judge = load_vgg19(vgg).to(placement.device) if vgg is not None else None
    report = measure_flows(model, pack, placement, pairs=pairs, vgg=judge, pck=pck)
    if as_json:
        print_json(report)
        return
    columns = [("flows by", "{name}"), ("mean error, px", "{mean:.1f}"), ("median, px", "{median:.1f}")]
    _print_rows(report["errors"], columns)
    names = report["pictures"][0]["figures"]
    columns = [("images by", "{name}"), *((name, f"{{figures[{name}]:.3f}}") for name in names)]
    _print_rows(report["pictures"], columns)
