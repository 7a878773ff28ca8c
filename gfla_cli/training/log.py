"""What a run shows and writes while it trains: progress, losses as CSV and for TensorBoard, sample images."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from torch import Tensor

from gfla_cli.errors import MissingExtraError
from gfla_cli.io.background import Say
from gfla_cli.io.files import disk_errors_explained, make_folder, write_csv
from gfla_cli.io.image import to_uint8, write_image
from gfla_cli.training.recipe import Recipe, Stage, time_shares

_SMOOTHING = 0.9  # of the time of a step
_LINE_EVERY_S = 60.0
_HEADER = ["step", "stage", "samples", "loss", "value"]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run reports after every step."""

    stage: Stage
    stage_index: int
    step: int  # of the stage, counted from 1
    samples: int  # seen since the run began, in all stages
    losses: dict[str, float]
    images_per_second: float  # includes waiting for data
    seconds_left: float | None = None  # of the stage; None for a run without a time budget
    unreadable: tuple[str, ...] = ()  # images skipped for the first time, each with its error


@dataclass(slots=True)
class StageStats:
    """Speed and best loss of one stage. Losses of different stages cannot be compared."""

    best: float = math.inf  # smallest mean loss between two checkpoints
    total: float = 0.0  # since the last checkpoint
    count: int = 0
    _last_s: float | None = field(default=None, repr=False)
    _step_s: float | None = field(default=None, repr=False)

    def add(self, losses: dict[str, float]) -> None:
        """Adds one step's losses: l1 if there is one, since adversarial losses do not measure quality; else total."""
        value = losses.get("l1", losses["total"])
        if math.isfinite(value):
            self.total += value
            self.count += 1

    def checkpoint_is_best(self) -> bool:
        """Whether the mean loss since the last call is the smallest so far. Starts a new mean."""
        mean = self.total / self.count if self.count else math.inf
        self.total, self.count = 0.0, 0
        better = mean < self.best
        self.best = min(self.best, mean)
        return better

    def rate(self, images: int, now_s: float) -> float:
        """Images per second, smoothed, from the time between the ends of two steps; 0 after the first step."""
        if self._last_s is not None:
            step_s = now_s - self._last_s
            before = step_s if self._step_s is None else self._step_s
            self._step_s = _SMOOTHING * before + (1 - _SMOOTHING) * step_s
        self._last_s = now_s
        return images / self._step_s if self._step_s else 0.0

    def to_list(self) -> list[float]:
        """What a checkpoint stores."""
        return [self.best, self.total, float(self.count)]

    @classmethod
    def from_list(cls, values: list[float]) -> StageStats:
        """Reads the result of `to_list`. Older checkpoints have an empty list."""
        return cls(values[0], values[1], int(values[2])) if values else cls()


class Journal:
    """Appends to losses.csv and writes samples/<step>.png in a run's folder, and for TensorBoard if wanted."""

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        """Raises MissingExtraError when TensorBoard is wanted but not installed."""
        self.folder = folder
        self._losses = folder / "losses.csv"
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard.writer import SummaryWriter
            except ImportError as error:
                raise MissingExtraError("TensorBoard is not installed", "tensorboard") from error
            self._board = SummaryWriter(str(folder / "tensorboard"))
        make_folder(folder / "samples")

    def losses(self, step: int, stage: str, samples: int, values: dict[str, float]) -> None:
        """Appends one row per loss: stages have different losses. Raises MediaError when it cannot be written."""
        new = not self._losses.exists()
        with (
            disk_errors_explained(self._losses),
            self._losses.open("a", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            if new:
                writer.writerow(_HEADER)
            writer.writerows([step, stage, samples, name, f"{value:.6g}"] for name, value in values.items())
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{stage}/{name}", value, step)

    def rewind(self, step: int) -> None:
        """Removes the rows after `step`: a run that was killed writes them again when it is resumed."""
        if not self._losses.is_file():
            return
        with self._losses.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(_HEADER)]  # the last line may be cut off
        kept = [row for row in rows[1:] if row[0].isdecimal() and int(row[0]) <= step]
        write_csv(self._losses, [_HEADER, *kept])

    def samples(self, step: int, rows: Tensor) -> None:
        """Writes a grid of (N, 3, H, W) rows in [-1, 1], two side by side."""
        image = tile(rows.cpu().float())
        write_image(self.folder / "samples" / f"{step:07d}.png", image, overwrite=True)
        if self._board is not None:
            self._board.add_image("samples", image, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what TensorBoard still has in memory."""
        if self._board is not None:
            self._board.close()


def tile(rows: Tensor, columns: int = 2) -> NDArray[np.uint8]:
    """(B, 3, H, W) in [-1, 1] as one uint8 image, `columns` rows side by side."""
    usable = rows[: len(rows) // columns * columns] if len(rows) >= columns else rows
    lines = [torch.cat(list(part), dim=2) for part in usable.split(min(columns, len(usable)))]
    return to_uint8(torch.cat(lines, dim=1)[None])


@contextmanager
def show_progress(recipe: Recipe, say: Say) -> Iterator[Callable[[Progress], None]]:
    """The report for `Trainer.run`: bars on a terminal, else a line each minute. Skipped images are named at once."""
    console = Console(stderr=True)
    with _bars(recipe, console) if console.is_terminal else _lines(say) as show:

        def report(progress: Progress) -> None:
            for what in progress.unreadable:
                say(f"skipped: {what}")
            show(progress)

        yield report


@contextmanager
def _bars(plan: Recipe, console: Console) -> Iterator[Callable[[Progress], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]:.1f} images/s  {task.fields[losses]}"),
    )
    with Bars(*columns, console=console) as bars:
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
def _lines(say: Say) -> Iterator[Callable[[Progress], None]]:
    said_s = -_LINE_EVERY_S

    def show(progress: Progress) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if now_s - said_s >= _LINE_EVERY_S or progress.step in (1, progress.stage.steps):
            said_s = now_s
            say(status_line(progress))

    yield show


def status_line(progress: Progress) -> str:
    """Stage, step, speed, remaining time of the stage, losses."""
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
