"""A training run from recipe to bundle: its folder, its interruptions, its end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.data.open import open_training_data
from gfla_cli.errors import DataError, UsageError
from gfla_cli.losses.vgg import load_vgg19
from gfla_cli.media.lock import sole_writer
from gfla_cli.pipelines.interrupt import Interruption
from gfla_cli.pipelines.train_progress import progress_shown
from gfla_cli.runtime.device import Placement
from gfla_cli.training.checkpoint import LAST
from gfla_cli.training.engine import Engine
from gfla_cli.training.pose import PoseTask
from gfla_cli.training.recipe import LossWeights, Recipe
from gfla_cli.training.sequence import SequenceTask
from gfla_cli.training.start import take_flow
from gfla_cli.training.trainer import Pace, Trainer
from gfla_cli.training.view import ViewTask

_TASKS = {"pose": PoseTask, "view": ViewTask, "face": SequenceTask, "body": SequenceTask}
_LEFTOVERS = ".gfla-*.pt"  # of a process that was killed while it wrote a checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What a run does beside learning, and how it computes."""

    workers: int = 1
    engine: Engine = field(default_factory=Engine)
    pace: Pace = field(default_factory=Pace)
    tensorboard: bool = False
    flow: str | Path | None = None  # bundle whose flow estimator a new run starts from


def run_training(
    recipe: Recipe,
    data_root: Path | None,
    *,
    output: Path | None,
    resume: bool,
    vgg: Path | None,
    cache: Path | None,
    placement: Placement,
    workers: int = 1,
    options: RunOptions | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Trains to the end of the recipe and writes a bundle; returns the bundle's folder.

    Interrupted by Ctrl-C or SIGTERM it finishes the step at hand, saves a checkpoint and raises KeyboardInterrupt, or
    SystemExit(143); a second signal ends it at once. Raises DataError when `output` holds a run already and `resume`
    was not asked for, or the other way round, and when another process trains there;
    UsageError for --compile without CUDA.
    """
    options = options or RunOptions(workers=workers)
    if options.engine.compile and placement.device.type != "cuda":
        # torch 2.13 compiles the backward pass of a replicating pad wrongly for the CPU, after minutes of work.
        raise UsageError("--compile is for CUDA devices", hint="leave it out")
    folder = output or _next_folder(recipe.dataset)
    if not resume and (folder / LAST).exists():
        raise DataError(
            f"{folder}: there is a run already", hint="--resume goes on with it, or choose another --output"
        )
    data = open_training_data(recipe, data_root, cache or folder / "cache")
    features = (
        load_vgg19(vgg).to(placement.device) if any(_needs_vgg(stage.weights) for stage in recipe.stages) else None
    )
    with sole_writer(folder), Interruption(say) as interruption:
        for leftover in folder.glob(_LEFTOVERS):
            leftover.unlink(missing_ok=True)
        task = _TASKS[recipe.model.task](recipe, data, features)
        trainer = Trainer(
            recipe, task, folder, placement, options.workers, options.engine, tensorboard=options.tensorboard
        )
        if resume:
            trainer.resume()
        elif options.flow is not None:
            take_flow(trainer.learner, options.flow)
        with progress_shown(trainer, say) as report:
            finished = trainer.run(report, options.pace, lambda: interruption.signal is not None)
        if not finished:
            say(f"stopped after step {trainer.steps}, everything saved; --resume goes on in {folder}")
            if interruption.signal == signal.SIGTERM:
                raise SystemExit(128 + signal.SIGTERM)
            raise KeyboardInterrupt
        save_bundle(folder / "bundle", recipe.model, trainer.weights(), trained={"samples": trainer.samples})
    return folder / "bundle"


def _next_folder(dataset: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{dataset}-{number}").exists():
        number += 1
    return folder


def _needs_vgg(weights: LossWeights) -> bool:
    return bool(weights.content or weights.style or weights.correctness)
