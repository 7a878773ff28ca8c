"""A training run from recipe to bundle: its folder, its interruptions, its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gfla_cli.data.open import open_training_data
from gfla_cli.errors import DataError, UsageError
from gfla_cli.losses.vgg import load_vgg19
from gfla_cli.media.lock import sole_writer
from gfla_cli.pipelines.interrupt import Interruption
from gfla_cli.pipelines.train_progress import progress_shown
from gfla_cli.runtime.device import Placement
from gfla_cli.runtime.team import Team
from gfla_cli.training.checkpoint import LAST
from gfla_cli.training.engine import Engine
from gfla_cli.training.learner import AbandonedStepError
from gfla_cli.training.pose import PoseTask
from gfla_cli.training.recipe import LossWeights, Recipe
from gfla_cli.training.sequence import SequenceTask
from gfla_cli.training.start import take_flow, take_weights
from gfla_cli.training.task import TrainingTask
from gfla_cli.training.trainer import Pace, Progress, Trainer
from gfla_cli.training.view import ViewTask

_TASKS: dict[str, Callable[..., TrainingTask]] = {
    "pose": PoseTask,
    "view": ViewTask,
    "face": SequenceTask,
    "body": SequenceTask,
}
_JOB = ".gfla-job"  # who began the run
_LEFTOVERS = ".gfla-*.pt"  # of a process that was killed while it wrote a checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What a run does beside learning, and how it computes."""

    workers: int = 1
    engine: Engine = field(default_factory=Engine)
    pace: Pace = field(default_factory=Pace)
    tensorboard: bool = False
    flow: str | Path | None = None  # bundle whose flow estimator a new run starts from
    init: str | Path | None = None  # bundle whose whole network it starts from


def run_training(
    recipe: Recipe,
    data_root: Path | None,
    *,
    output: Path | None,
    resume: bool,
    vgg: Path | None,
    cache: Path | None,
    placement: Placement,
    render: bool = True,
    options: RunOptions | None = None,
    team: Team | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Trains to the end of the recipe and writes a bundle; returns the bundle's folder.

    Interrupted by Ctrl-C or SIGTERM it gives up the step at hand, saves a checkpoint and raises KeyboardInterrupt, or
    SystemExit(143); a second signal ends it at once. Raises DataError when `output` holds a run already and `resume`
    was not asked for, or the other way round, and when another process trains there;
    UsageError for --compile without CUDA.

    The processes of a `team` train together: each computes its part of every batch, the first one alone writes and
    raises what concerns all. Restarted by torchrun they go on from their last checkpoint.
    """
    options, team = options or RunOptions(), team or Team()
    if options.engine.compile and placement.device.type != "cuda":
        # torch 2.13 compiles the backward pass of a replicating pad wrongly for the CPU, after minutes of work.
        raise team.one_voice(UsageError("--compile is for CUDA devices", hint="leave it out"))
    folder, resume = team.from_first(lambda: _folder(recipe.dataset, output, resume, team.launch.job))
    task = team.agreed(lambda: _task(recipe, data_root, vgg, cache or folder / "cache", placement, render=render))
    with ExitStack() as held, Interruption(say) as interruption:
        team.from_first(lambda: held.enter_context(_claimed(folder, team.launch.job)))
        trainer = team.agreed(
            lambda: Trainer(
                recipe,
                task,
                folder,
                placement,
                options.workers,
                options.engine,
                tensorboard=options.tensorboard,
                team=team,
            )
        )
        if resume:
            trainer.resume()
            say(f"going on after step {trainer.steps}")
        elif (flow := options.flow) is not None:
            team.agreed(lambda: take_flow(trainer.learner, flow))
        elif (init := options.init) is not None:
            team.agreed(lambda: take_weights(trainer.learner, init))
        with progress_shown(trainer, say) if team.is_first else nullcontext(_silent) as report:
            finished = trainer.run(
                report,
                options.pace,
                lambda: interruption.signal is not None,
                # Several processes have to finish a step together.
                partial(interruption.raising, AbandonedStepError) if team.processes == 1 else None,
            )
        if not finished:
            say(f"stopped after step {trainer.steps}, everything saved; --resume goes on in {folder}")
            raise _stopped(team, team.largest(interruption.signal or 0)[0])
        return team.from_first(trainer.save_bundle)


def _folder(dataset: str, output: Path | None, resume: bool, job: str) -> tuple[Path, bool]:
    """Where the run is, and whether it goes on from a checkpoint there: restarted by torchrun it does by itself."""
    folder = output or _next_folder(dataset, job)
    there = (folder / LAST).exists()
    if there and not resume and not _is_of(job, folder):
        raise DataError(
            f"{folder}: there is a run already", hint="--resume goes on with it, or choose another --output"
        )
    return folder, there or resume


def _next_folder(dataset: str, job: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{dataset}-{number}").exists() and not _is_of(job, folder):
        number += 1
    return folder


def _is_of(job: str, folder: Path) -> bool:
    """Whether processes of the same job began the run in a folder."""
    return job != "" and (folder / _JOB).is_file() and (folder / _JOB).read_text(encoding="utf-8") == job


def _task(
    recipe: Recipe, data_root: Path | None, vgg: Path | None, cache: Path, placement: Placement, *, render: bool
) -> TrainingTask:
    data = open_training_data(recipe, data_root, cache, render=render)
    wanted = any(_needs_vgg(stage.weights) for stage in recipe.stages)
    features = load_vgg19(vgg).to(placement.device) if wanted else None
    return _TASKS[recipe.model.task](recipe, data, features)


@contextmanager
def _claimed(folder: Path, job: str) -> Iterator[None]:
    """Nobody else writes into the folder of the run, and what a killed process left there is gone."""
    with sole_writer(folder):
        (folder / _JOB).write_text(job, encoding="utf-8")
        for leftover in folder.glob(_LEFTOVERS):
            leftover.unlink(missing_ok=True)
        yield


def _stopped(team: Team, number: int) -> BaseException:
    """How a process ends that a signal has stopped, or the signal that another one got."""
    if number == signal.SIGTERM:
        return SystemExit(128 + number)
    return KeyboardInterrupt() if team.is_first else SystemExit(128 + number)


def _silent(progress: Progress) -> None:
    """The report of a process that does not speak."""


def _needs_vgg(weights: LossWeights) -> bool:
    return bool(weights.content or weights.style or weights.close_up or weights.correctness)
