"""`gfla train`: trains a model by a recipe; the run's folder gets checkpoints, sample images and a bundle."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gfla_cli.commands import options
from gfla_cli.commands.options import ExecutionOption, print_json, refuse_unused, say, set_threads, was_given
from gfla_cli.config import Sampler, Task
from gfla_cli.distributed.launch import current_launch, init_distributed
from gfla_cli.errors import UsageError

if TYPE_CHECKING:
    from gfla_cli.training.recipe import Recipe


Dataset = Literal[
    "people", "photos", "fashion", "market", "chairs", "objects", "shapenet", "faces", "people-faces", "bodies"
]
_of_run = partial(typer.Option, rich_help_panel="Files of a run")


def train(
    context: typer.Context,
    dataset: Annotated[Dataset, typer.Option(help="The training data, and with it the recipe.")],
    task: Annotated[Task | None, typer.Option(help="Check that the data set is for this task.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data set, of the pack of people, or of .glb objects.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/NAME-N by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in --output.")] = False,
    sampler: Annotated[Sampler, typer.Option(help="How source features are sampled.")] = "local",
    steps: Annotated[
        float, typer.Option(min=0, help="Factor for the number of steps of every stage; --max-steps is a number.")
    ] = 1.0,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Recipe in JSON, as printed by --show: stages, batches, learning rates, weights. --steps, --seed and "
            "--minutes change it."
        ),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many steps; continue with --resume and more.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Time budget, shared by the stages; learning rates follow the time.")
    ] = None,
    vgg: Annotated[Path | None, typer.Option(help="VGG19 weights; downloaded by default.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of rendered images; RUN/cache by default.")] = None,
    render: Annotated[
        bool, typer.Option("--render/--no-render", help="Render images when needed, or use existing ones only.")
    ] = True,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes that load data, per training process.")] = 1,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    flow: Annotated[
        str | None, typer.Option("--flow", help="Start from the flow estimator of this model, and skip the flow stage.")
    ] = None,
    init: Annotated[
        str | None, typer.Option("--init", help="Start from all weights of this model, to fine-tune it for example.")
    ] = None,
    narrow: Annotated[
        str | None,
        typer.Option(
            "--narrow",
            help="Make this model faster: fewer channels, trained to give the same images. See --bottleneck.",
        ),
    ] = None,
    bottleneck: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --narrow: how many times fewer channels are inside a block of the renderer.",
            show_default="2, or that of MODEL with --attention",
        ),
    ] = None,
    attention: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="With --narrow: how many levels keep their local attention, coarse ones first.",
            show_default="all",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the resolved recipe and stop.")] = False,
    save_every: Annotated[int, _of_run(min=1, help="Steps between checkpoints.")] = 500,
    sample_every: Annotated[int, _of_run(min=1, help="Steps between sample images.")] = 500,
    keep: Annotated[int, _of_run(min=1, help="Newest checkpoints to keep, besides the best one.")] = 1,
    tensorboard: Annotated[bool, _of_run("--tensorboard", help="Also write logs for TensorBoard.")] = False,
    accumulate: Annotated[int, ExecutionOption(min=1, help="Compute a batch in this many parts, to save memory.")] = 1,
    channels_last: Annotated[
        bool | None,
        ExecutionOption(
            "--channels-last/--no-channels-last",
            help="Memory format of images; channels last by default in bf16 on the CPU and CUDA.",
        ),
    ] = None,
    compiled: Annotated[
        bool, ExecutionOption("--compile", help="Use torch.compile; CUDA only, slow to start.")
    ] = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
) -> None:
    """Train a model, stage by stage. Ctrl-C and SIGTERM save the run.

    Example: gfla train --dataset people --data-root humans/ --vgg vgg19.npz -o runs/mine

    On several GPUs: torchrun --standalone --nproc-per-node 4 -m gfla_cli train ... Each process computes a batch of
    the recipe's size, so a step has four times as many samples. With --steps 0.25 the run sees as many as on one GPU.
    """
    from gfla_cli.inference.session import check_model
    from gfla_cli.io.files import require_path
    from gfla_cli.training.recipe import check_task, for_processes, narrowing_recipe, read_recipe, scaled

    launch = current_launch()
    if flow is not None and init is not None:
        raise UsageError("--flow and --init exclude each other", hint="--init includes the flow estimator")
    if narrow is not None:
        refuse_unused(context, f"--narrow starts from {narrow}", "flow", "init", "sampler")
    else:
        refuse_unused(context, "it is for --narrow", "bottleneck", "attention")
    if init is not None:
        refuse_unused(context, "the model of --init keeps its own", "sampler")
    if recipe is not None:
        hint = "leave it out, or change it in the file"
        refuse_unused(context, f"{recipe} says it", "sampler", "bottleneck", "attention", hint=hint)
        plan = read_recipe(recipe, dataset)
    else:
        plan = _recipe(dataset, sampler, flow, init)
        if narrow is not None:
            plan = narrowing_recipe(plan, narrow, bottleneck or (2 if attention is None else None), attention)
    if task is not None:
        check_task(plan, task)
    if minutes is not None:
        plan = replace(plan, minutes=minutes)
    if plan.minutes:
        refuse_unused(context, f"the run ends after {plan.minutes:g} minutes, whatever the steps", "steps")
    if recipe is None or was_given(context, "seed"):
        plan = replace(plan, seed=seed)
    plan = for_processes(scaled(plan, steps), launch.world_size)
    if show:
        if launch.is_rank0:
            print_json(plan.to_json())
        return
    if not launch.distributed:  # several processes report errors once, when they are connected
        from gfla_cli.training.data import check_cache, check_data, check_run

        check_cache(plan, cache)
        check_run(output, resume=resume)
        if vgg is not None:
            require_path(vgg)
        if flow is not None:
            check_model(flow, plan.model.task)
        check_data(plan, data_root, cache or (None if output is None else output / "cache"), render=render)
    import torch

    from gfla_cli.inference.device import choose_own_device
    from gfla_cli.inference.runtime import keep_freed_memory
    from gfla_cli.training.learner import Engine
    from gfla_cli.training.run import RunOptions, run_training
    from gfla_cli.training.trainer import Pace

    keep_freed_memory()
    set_threads(threads)
    say_once = partial(say, quiet=not launch.is_rank0)
    with init_distributed(launch) as group:
        placement = group.run_on_all(lambda: choose_own_device(launch, device, precision))
        if channels_last is None:  # no gain in fp32; wrong on Macs (pytorch/pytorch#175189)
            channels_last = placement.dtype is torch.bfloat16 and placement.device.type != "mps"
        say_once(f"training on {placement}" + (f", {launch.world_size} processes" if launch.world_size > 1 else ""))
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
                narrow=narrow,
            ),
            group=group,
            say=say_once,
        )
    if launch.is_rank0:
        typer.echo(bundle)


def _recipe(dataset: Dataset, sampler: Sampler, flow: str | None, init: str | None) -> Recipe:
    """The recipe of a data set, for a sampler. With `flow` or `init` it has no flow stage."""
    from gfla_cli.training.recipe import fine_tuning_recipe, recipe, with_sampler, without_flow_stage

    plan = with_sampler(recipe(dataset), sampler)
    if flow is not None:
        plan = without_flow_stage(plan)
    if init is not None:
        plan = fine_tuning_recipe(plan, init)
    return plan
