"""A training run from recipe to bundle, with its progress on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.data.open import open_training_data
from gfla_cli.errors import DataError
from gfla_cli.losses.vgg import load_vgg19
from gfla_cli.runtime.device import Placement
from gfla_cli.training.pose import PoseTask
from gfla_cli.training.recipe import LossWeights, Recipe
from gfla_cli.training.sequence import SequenceTask
from gfla_cli.training.trainer import Progress, Trainer
from gfla_cli.training.view import ViewTask

_TASKS = {"pose": PoseTask, "view": ViewTask, "face": SequenceTask, "body": SequenceTask}


def run_training(
    recipe: Recipe,
    data_root: Path | None,
    *,
    output: Path | None,
    resume: bool,
    vgg: Path | None,
    cache: Path | None,
    workers: int,
    placement: Placement,
) -> Path:
    """Trains to the end of the recipe and writes a bundle; returns the bundle's folder.

    Interrupted by Ctrl-C it saves a checkpoint first. Raises DataError when `output` holds a run already and
    `resume` was not asked for, or the other way round.
    """
    folder = output or _next_folder(recipe.dataset)
    if not resume and (folder / "checkpoint.pt").exists():
        raise DataError(
            f"{folder}: there is a run already", hint="--resume goes on with it, or choose another --output"
        )
    data = open_training_data(recipe, data_root, cache or folder / "cache")
    features = (
        load_vgg19(vgg).to(placement.device) if any(_needs_vgg(stage.weights) for stage in recipe.stages) else None
    )
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, _TASKS[recipe.model.task](recipe, data, features), folder, placement, workers)
    if resume:
        trainer.resume()
    try:
        _run_with_bar(trainer)
    except KeyboardInterrupt:
        trainer.save()
        raise
    save_bundle(folder / "bundle", recipe.model, trainer.weights(), trained={"samples": trainer.samples})
    return folder / "bundle"


def _next_folder(dataset: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{dataset}-{number}").exists():
        number += 1
    return folder


def _needs_vgg(weights: LossWeights) -> bool:
    return bool(weights.content or weights.style or weights.correctness)


def _run_with_bar(trainer: Trainer) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]:.1f} images/s  {task.fields[losses]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = [
            bars.add_task(stage.name, total=stage.steps, start=False, rate=0.0, losses="")
            for stage in trainer.recipe.stages
        ]

        def report(progress: Progress) -> None:
            task = tasks[progress.stage_index]
            bars.start_task(task)
            losses = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
            bars.update(task, completed=progress.step, rate=progress.images_per_second, losses=losses)

        trainer.run(report)
