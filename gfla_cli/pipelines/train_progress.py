"""Where a training run stands: bars on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from gfla_cli.training.recipe import time_shares
from gfla_cli.training.trainer import Progress, Trainer

_LINE_EVERY_S = 60.0


@contextmanager
def progress_shown(trainer: Trainer, say: Callable[[str], None]) -> Iterator[Callable[[Progress], None]]:
    """A function that `Trainer.run` reports to. Pictures that had to be skipped are said at once."""
    console = Console(stderr=True)
    with _bars(trainer, console) if console.is_terminal else _lines(say) as show:

        def report(progress: Progress) -> None:
            for what in progress.unreadable:
                say(f"skipped: {what}")
            show(progress)

        yield report


@contextmanager
def _bars(trainer: Trainer, console: Console) -> Iterator[Callable[[Progress], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]:.1f} images/s  {task.fields[losses]}"),
    )
    with Bars(*columns, console=console) as bars:
        plan = trainer.recipe
        seconds = [round(60 * plan.minutes * share) for share in time_shares(plan)]
        totals = seconds if plan.minutes else [stage.steps for stage in plan.stages]
        tasks = [
            bars.add_task(stage.name, total=total, start=False, rate=0.0, losses="")
            for stage, total in zip(plan.stages, totals, strict=True)
        ]

        def show(progress: Progress) -> None:
            number = progress.stage_index
            done = progress.step if progress.seconds_left is None else totals[number] - round(progress.seconds_left)
            bars.start_task(tasks[number])
            bars.update(tasks[number], completed=done, rate=progress.images_per_second, losses=_losses(progress))

        yield show


@contextmanager
def _lines(say: Callable[[str], None]) -> Iterator[Callable[[Progress], None]]:
    said_s = -_LINE_EVERY_S

    def show(progress: Progress) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if now_s - said_s >= _LINE_EVERY_S or progress.step in (1, progress.stage.steps):
            said_s = now_s
            say(status_line(progress))

    yield show


def status_line(progress: Progress) -> str:
    """Stage, step, speed, the time that is left of the stage, losses."""
    stage, rate = progress.stage, progress.images_per_second
    timed = progress.seconds_left is not None
    parts = [f"{stage.name} {progress.step}" + ("" if timed else f"/{stage.steps}")]
    if rate:
        left_s = (stage.steps - progress.step) * stage.batch / rate
        if progress.seconds_left is not None:
            left_s = progress.seconds_left
        parts += [f"{rate:.1f} images/s", f"{timedelta(seconds=round(left_s))} left"]
    return "  ".join([*parts, _losses(progress)])


def _losses(progress: Progress) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
