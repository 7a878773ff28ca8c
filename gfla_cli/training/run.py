"""A training run from recipe to bundle: its folder, its interruptions, its end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.distributed.launch import ProcessGroup
from gfla_cli.errors import UsageError
from gfla_cli.inference.device import Placement
from gfla_cli.io.background import Say, said_when_slow, silent
from gfla_cli.io.files import sole_writer
from gfla_cli.losses.image import load_vgg19
from gfla_cli.training.checkpoint import check_same_recipe, load_flow_estimator, load_weights
from gfla_cli.training.data import LAST, RECIPE, check_cache, open_training_data, run_exists
from gfla_cli.training.learner import AbandonedStepError, Engine
from gfla_cli.training.log import Progress, show_progress
from gfla_cli.training.narrowing import NarrowingTask, narrow_by_least_squares
from gfla_cli.training.recipe import Recipe, check_narrowing
from gfla_cli.training.tasks.base import TrainingTask
from gfla_cli.training.tasks.clip import SequenceTask
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.tasks.view import ViewTask
from gfla_cli.training.trainer import Pace, Trainer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """A context manager for Ctrl-C and SIGTERM: the first is stored in `signal`, the second raises KeyboardInterrupt.

    Inside of `raising(error)`, which is for work that can be abandoned, the first signal also raises that error.
    Outside the main thread Python handles no signals, and nothing happens.
    """

    def __init__(self, say: Say = silent) -> None:
        self.signal: signal.Signals | None = None
        self._say = say
        self._before: dict[signal.Signals, Any] = {}
        self._raised: type[Exception] | None = None

    @contextmanager
    def raising(self, error: type[Exception]) -> Iterator[None]:
        """Raises `error` at a signal inside of the block, or at its start if there was a signal before."""
        try:
            self._raised = error
            if self.signal is not None:
                raise error
            yield
        finally:
            self._raised = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        self._say("stopping and saving; interrupt once more to stop at once, without saving")
        if self._raised is not None:
            raise self._raised


_TASKS: dict[str, Callable[..., TrainingTask]] = {
    "pose": PoseTask,
    "view": ViewTask,
    "face": SequenceTask,
    "body": SequenceTask,
}
_JOB = ".gfla-job"  # the job that began the run
_LEFTOVERS = ".gfla-*.pt"  # of a process that was killed while writing a checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Options of a run that are not part of its recipe."""

    workers: int = 1
    engine: Engine = field(default_factory=Engine)
    pace: Pace = field(default_factory=Pace)
    tensorboard: bool = False
    flow: str | Path | None = None  # model whose flow estimator a new run starts from
    init: str | Path | None = None  # model whose whole network it starts from
    narrow: str | Path | None = None  # model that it makes narrower, see `narrowing_recipe`


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
    group: ProcessGroup | None = None,
    say: Say = silent,
) -> Path:
    """Trains to the end of the recipe, writes a bundle, and returns the bundle's folder.

    Ctrl-C or SIGTERM abandons the current step, saves a checkpoint and raises KeyboardInterrupt or SystemExit(143). A
    second signal ends the run at once. Raises DataError when `output` contains a run and `resume` is False, or the
    other way round, or when another process trains there; UsageError for --compile without CUDA, and like
    `check_narrowing`.

    The processes of a `group` train together, each on its part of every batch. Rank 0 alone writes files, and raises
    errors that concern all. When torchrun restarts them they resume from their last checkpoint.
    """
    options, group = options or RunOptions(), group or ProcessGroup()
    if options.engine.compile and placement.device.type != "cuda":
        # On CPUs, torch 2.13 compiles the backward pass of replication padding wrongly, after minutes of work.
        group.raise_on_rank0(UsageError("--compile is for CUDA devices only", hint="leave it out"))
    folder, resume = group.run_on_rank0(lambda: _folder(recipe.dataset, output, resume, group.launch.job))
    if resume:  # before data and networks are opened, which another recipe may not need
        group.run_on_rank0(lambda: _check_continued(folder, recipe))
    group.run_on_rank0(lambda: check_narrowing(recipe, options.narrow))
    group.run_on_rank0(lambda: check_cache(recipe, cache))
    with said_when_slow(say, "opening the data and the networks of the losses"):
        task = group.run_on_all(
            lambda: _task(recipe, data_root, vgg, cache or folder / "cache", placement, options, render=render)
        )
    with ExitStack() as held, Interruption(say) as interruption:
        group.run_on_rank0(lambda: held.enter_context(_claimed(folder, group.launch.job)))
        trainer = group.run_on_all(
            lambda: Trainer(
                recipe,
                task,
                folder,
                placement,
                options.workers,
                options.engine,
                tensorboard=options.tensorboard,
                group=group,
            )
        )
        _set_start(trainer, options, resume=resume, say=say)
        finished = _run_reported(trainer, options.pace, interruption, say)
        if not finished:
            say(f"stopped and saved after step {trainer.steps}; continue with --resume in {folder}")
            number = group.all_reduce_max(interruption.signal or 0)[0]  # of this process or another one
            at_keyboard = group.is_rank0 and number != signal.SIGTERM
            raise KeyboardInterrupt if at_keyboard else SystemExit(128 + number)
        return group.run_on_rank0(trainer.save_bundle)


def _set_start(trainer: Trainer, options: RunOptions, *, resume: bool, say: Say) -> None:
    """Restores the last checkpoint, or copies weights of another model."""
    if resume:
        trainer.resume()
        say(f"resuming after step {trainer.steps}")
    elif isinstance(task := trainer.task, NarrowingTask):
        with said_when_slow(say, "choosing the channels to keep"):
            trainer.group.run_on_all(lambda: narrow_by_least_squares(trainer.learner, task, trainer.stage))
    elif (flow := options.flow) is not None:
        trainer.group.run_on_all(lambda: load_flow_estimator(trainer.learner, flow))
    elif (init := options.init) is not None:
        trainer.group.run_on_all(lambda: load_weights(trainer.learner, init))


def _run_reported(trainer: Trainer, pace: Pace, interruption: Interruption, say: Say) -> bool:
    """Runs with messages and a progress bar. False after an interruption."""
    is_rank0, alone = trainer.group.is_rank0, trainer.group.world_size == 1
    with (
        show_progress(trainer.recipe, say) if is_rank0 else nullcontext(silent) as report,
        ExitStack() as waiting,
    ):
        waiting.enter_context(said_when_slow(say, "the first step waits for its images"))

        def report_step(progress: Progress) -> None:
            waiting.close()
            report(progress)

        return trainer.run(
            report_step,
            pace,
            lambda: interruption.signal is not None,
            # Several processes must finish a step together.
            partial(interruption.raising, AbandonedStepError) if alone else None,
        )


def _folder(dataset: str, output: Path | None, resume: bool, job: str) -> tuple[Path, bool]:
    """The folder of the run, and whether to resume its checkpoint: automatic when torchrun restarts the same job."""
    numbered = (Path("runs") / f"{dataset}-{number}" for number in count(1))
    folder = output or next(one for one in numbered if not one.exists() or _is_of(job, one))
    there = (folder / LAST).exists()
    if there and not resume and not _is_of(job, folder):
        raise run_exists(folder)
    return folder, there or resume


def _check_continued(folder: Path, recipe: Recipe) -> None:
    """Raises DataError when the run of a folder was started with another recipe, as far as the folder tells."""
    with suppress(OSError, ValueError, KeyError, TypeError):  # the checkpoint has the recipe, too
        started = (folder / RECIPE).read_text(encoding="utf-8")
        check_same_recipe(folder, started, recipe)


def _is_of(job: str, folder: Path) -> bool:
    """Whether the same torchrun job began the run in this folder."""
    return job != "" and (folder / _JOB).is_file() and (folder / _JOB).read_text(encoding="utf-8") == job


def _task(
    recipe: Recipe,
    data_root: Path | None,
    vgg: Path | None,
    cache: Path,
    placement: Placement,
    options: RunOptions,
    *,
    render: bool,
) -> TrainingTask:
    data = open_training_data(recipe, data_root, cache, render=render)
    weights = [stage.weights for stage in recipe.stages]
    needs_vgg = any(w.content or w.style or w.close_up or w.correctness for w in weights)
    features = load_vgg19(vgg).to(placement.device) if needs_vgg else None
    if features is not None:
        options.engine.lay_out(features)
    task = _TASKS[recipe.model.task](recipe, data, features)
    if options.narrow is None:
        return task
    teacher = load_bundle(options.narrow).network.to(placement.device)
    options.engine.lay_out(teacher)
    return NarrowingTask(task, teacher)


@contextmanager
def _claimed(folder: Path, job: str) -> Iterator[None]:
    """Locks the folder of the run for the block, and removes temporary files of a killed process."""
    with sole_writer(folder):
        (folder / _JOB).write_text(job, encoding="utf-8")
        for leftover in folder.glob(_LEFTOVERS):
            leftover.unlink(missing_ok=True)
        yield
