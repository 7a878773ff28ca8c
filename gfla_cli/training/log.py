"""How a stage is going: how fast, and whether it has ever been better."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfla_cli.errors import MissingExtraError
from gfla_cli.io.files import atomic_path, disk_errors_explained, make_folder
from gfla_cli.io.image import to_uint8, write_image

_SMOOTHING = 0.9  # of the time of a step


@dataclass(slots=True)
class Standing:
    """Of one stage; losses of two stages cannot be compared."""

    best: float = math.inf  # mean loss between two checkpoints
    total: float = 0.0  # since the last checkpoint
    count: int = 0
    _last_s: float | None = field(default=None, repr=False)
    _step_s: float | None = field(default=None, repr=False)

    def add(self, losses: dict[str, float]) -> None:
        """One step's losses: l1 where there is one, for adversaries say nothing about quality, else the total."""
        value = losses.get("l1", losses["total"])
        if math.isfinite(value):
            self.total += value
            self.count += 1

    def judge(self) -> bool:
        """Whether the steps since the last call were the best so far; the next call looks at new ones."""
        mean = self.total / self.count if self.count else math.inf
        self.total, self.count = 0.0, 0
        better = mean < self.best
        self.best = min(self.best, mean)
        return better

    def rate(self, images: int, now_s: float) -> float:
        """Pictures a second, smoothed, from the time between the ends of steps; 0 after the first."""
        if self._last_s is not None:
            step_s = now_s - self._last_s
            before = step_s if self._step_s is None else self._step_s
            self._step_s = _SMOOTHING * before + (1 - _SMOOTHING) * step_s
        self._last_s = now_s
        return images / self._step_s if self._step_s else 0.0

    def to_list(self) -> list[float]:
        """What a checkpoint keeps."""
        return [self.best, self.total, float(self.count)]

    @classmethod
    def from_list(cls, values: list[float]) -> Standing:
        """Reads what `to_list` gave; older checkpoints have nothing."""
        return cls(values[0], values[1], int(values[2])) if values else cls()


# What a run leaves for people to look at: losses as CSV and for TensorBoard, sample grids as pictures.


_HEADER = ["step", "stage", "samples", "loss", "value"]


class Journal:
    """Appends to losses.csv and writes samples/<step>.png in a run's folder."""

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        """Raises MissingExtraError when TensorBoard is wanted and not installed."""
        self.folder = folder
        self._losses = folder / "losses.csv"
        self._board = _open_board(folder) if tensorboard else None
        make_folder(folder / "samples")

    def losses(self, step: int, stage: str, samples: int, values: dict[str, float]) -> None:
        """One row per loss: step, stage, samples seen, name, value. Long form, since stages differ in their terms.

        Raises MediaError when the disk refuses.
        """
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
        """Takes out what came after `step`: a run that was killed goes on from there, and writes those rows again."""
        if not self._losses.is_file():
            return
        with self._losses.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(_HEADER)]  # the last line may be cut off
        kept = [row for row in rows[1:] if row[0].isdecimal() and int(row[0]) <= step]
        with (
            atomic_path(self._losses, overwrite=True) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file).writerows([_HEADER, *kept])

    def samples(self, step: int, rows: Tensor) -> None:
        """A grid of (N, 3, H, W) rows in [-1, 1], two side by side."""
        picture = tile(rows.cpu().float())
        write_image(self.folder / "samples" / f"{step:07d}.png", picture, overwrite=True)
        if self._board is not None:
            self._board.add_image("samples", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Puts on disk what is still in memory."""
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("TensorBoard is not installed", "tensorboard") from error
    return SummaryWriter(str(folder / "tensorboard"))


def tile(rows: Tensor, columns: int = 2) -> NDArray[np.uint8]:
    """(B, 3, H, W) in [-1, 1] as one uint8 picture, `columns` rows side by side."""
    usable = rows[: len(rows) // columns * columns] if len(rows) >= columns else rows
    lines = [torch.cat(list(part), dim=2) for part in usable.split(min(columns, len(usable)))]
    return to_uint8(torch.cat(lines, dim=1)[None])
