"""`gfla train`: a recipe, a data set, and a folder that fills with checkpoints, samples and, at the end, a bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gfla_cli.commands.options import (
    Device,
    Precision,
    Threads,
    say,
    set_threads,
)
from gfla_cli.config import Sampler, Task
from gfla_cli.distributed.launch import joined, launched
from gfla_cli.errors import UsageError

if TYPE_CHECKING:
    from gfla_cli.training.recipe import Recipe


Dataset = Literal["people", "photos", "fashion", "market", "chairs", "shapenet", "faces", "people-faces", "bodies"]
_LEFT = "What a run leaves behind"


def train(
    dataset: Annotated[Dataset, typer.Option(help="What to train on, and with it the recipe.")],
    task: Annotated[
        Task | None, typer.Option(help="What the data set has to be for; every data set is for one task.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data set, of the pack of people, or of extra .glb objects.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run. [default: runs/NAME-N]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --output.")] = False,
    sampler: Annotated[Sampler, typer.Option(help="How source features are fetched.")] = "local",
    steps: Annotated[float, typer.Option(min=0, help="Scale the number of steps of every stage.")] = 1.0,
    recipe: Annotated[
        Path | None,
        typer.Option(help="JSON as --show prints it, changed as you like: stages, batches, learning rates, weights."),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="End after so many steps; --resume with more goes on.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Train for so long: stages share the time, and learning rates fall by the clock."),
    ] = None,
    vgg: Annotated[Path | None, typer.Option(help="VGG19 weights; from the hub when not given.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where rendered pictures are kept. [default: RUN/cache]")] = None,
    render: Annotated[
        bool,
        typer.Option("--render/--no-render", help="Render pictures when they are asked for, or use those there are."),
    ] = True,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare data, for each that trains.")] = 1,
    seed: Annotated[int, typer.Option(help="Another seed, another run.")] = 0,
    flow: Annotated[
        str | None, typer.Option("--flow", help="Model whose flow estimator to start from; its stage is left out.")
    ] = None,
    init: Annotated[
        str | None, typer.Option("--init", help="Model to train on from: all of its weights, on your data for example.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the resolved recipe and stop.")] = False,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.", rich_help_panel=_LEFT)] = 500,
    sample_every: Annotated[
        int, typer.Option(min=1, help="Steps between pictures to look at.", rich_help_panel=_LEFT)
    ] = 500,
    keep: Annotated[
        int, typer.Option(min=1, help="Newest checkpoints to keep, beside the best one.", rich_help_panel=_LEFT)
    ] = 1,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Losses and pictures for TensorBoard, too.", rich_help_panel=_LEFT)
    ] = False,
    accumulate: Annotated[
        int,
        typer.Option(min=1, help="Parts that a batch is computed in: less memory.", rich_help_panel="Execution"),
    ] = 1,
    channels_last: Annotated[
        bool | None,
        typer.Option(
            "--channels-last/--no-channels-last",
            help="Colours innermost in memory. [default: in bf16 on the CPU]",
            rich_help_panel="Execution",
        ),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="torch.compile; for CUDA, slow to start.", rich_help_panel="Execution")
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
) -> None:
    """Train a model, stage by stage; Ctrl-C and SIGTERM keep what was learnt.

    Example: gfla train --dataset people --data-root humans/ --vgg vgg19.npz -o runs/mine

    On several GPUs: torchrun --standalone --nproc-per-node 4 -m gfla_cli train ... Each process computes a batch of
    the recipe's size, so a step sees four times as many samples; with --steps 0.25 the run sees as many as before.
    """
    launch = launched()
    if recipe is not None:
        plan = _own_recipe(recipe, dataset, task, launch.processes)
    else:
        plan = _recipe(dataset, task, sampler, steps, seed, launch.processes, flow, init)
    if minutes is not None:
        plan = replace(plan, minutes=minutes)
    if show:
        if launch.is_first:
            typer.echo(json.dumps(plan.to_json(), indent=2))
        return
    import torch

    from gfla_cli.inference.device import choose_own_device
    from gfla_cli.inference.memory import keep_freed_memory
    from gfla_cli.training.learner import Engine
    from gfla_cli.training.run import RunOptions, run_training
    from gfla_cli.training.trainer import Pace

    keep_freed_memory()
    set_threads(threads)
    tell = partial(say, quiet=not launch.is_first)
    with joined(launch) as team:
        placement = team.agreed(lambda: choose_own_device(launch, device, precision))
        if channels_last is None:  # in fp32 it gains nothing (`gfla benchmark train`)
            channels_last = placement.device.type == "cpu" and placement.dtype is torch.bfloat16
        tell(f"training on {placement}" + (f", {launch.processes} processes" if launch.processes > 1 else ""))
        bundle = run_training(
            plan,
            data_root,
            output=output,
            resume=resume,
            vgg=vgg,
            cache=cache,
            render=render,
            placement=placement,
            options=RunOptions(
                workers=workers,
                engine=Engine(accumulate=accumulate, channels_last=channels_last, compile=compiled),
                pace=Pace(save=save_every, sample=sample_every, keep=keep, max_steps=max_steps),
                tensorboard=tensorboard,
                flow=flow,
                init=init,
            ),
            team=team,
            say=tell,
        )
    if launch.is_first:
        typer.echo(bundle)


def _own_recipe(file: Path, dataset: Dataset, task: Task | None, processes: int) -> Recipe:
    """The recipe of a file; raises UsageError when it is none, or not for this data set."""
    from gfla_cli.training.recipe import Recipe, for_processes, refuse_other_task

    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read: {error.strerror}", hint="--show prints a recipe to begin with"
        ) from error
    except ValueError as error:
        raise UsageError(f"{file}: not JSON: {error}", hint="--show prints a recipe to begin with") from error
    plan = Recipe.from_json(values)
    if plan.dataset != dataset:
        raise UsageError(f"{file}: a recipe for --dataset {plan.dataset}", hint="name the same data set")
    if task is not None:
        refuse_other_task(plan, task)
    return for_processes(plan, processes)


def _recipe(
    dataset: Dataset,
    task: Task | None,
    sampler: Sampler,
    steps: float,
    seed: int,
    processes: int,
    flow: str | None,
    init: str | None,
) -> Recipe:
    """The recipe of a data set, as the options change it; without the stage of the flow for who starts from one."""
    from gfla_cli.training.recipe import for_processes, recipe, refuse_other_task, scaled, with_sampler

    plan = replace(scaled(with_sampler(recipe(dataset), sampler), steps), seed=seed)
    if task is not None:
        refuse_other_task(plan, task)
    if flow is not None and init is not None:
        raise UsageError("--flow and --init both say what to start from", hint="--init brings its flow estimator along")
    if flow is not None:
        from gfla_cli.training.start import without_flow_stage

        plan = without_flow_stage(plan)
    if init is not None:
        from gfla_cli.training.start import going_on_from

        if sampler != "local":
            raise UsageError("--sampler: a model that is trained on keeps its own", hint="leave --sampler out")
        plan = going_on_from(plan, init)
    return for_processes(plan, processes)
