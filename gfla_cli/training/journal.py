"""What a run leaves for people to look at: losses as CSV and for TensorBoard, sample grids as pictures."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfla_cli.errors import MissingExtraError
from gfla_cli.media.atomic import atomic_path, disk_trouble_explained, make_folder
from gfla_cli.media.image import to_uint8, write_image

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
            disk_trouble_explained(self._losses),
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
