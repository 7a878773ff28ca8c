"""What a run leaves for people to look at: losses as CSV, sample grids as pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfla_cli.media.image import to_uint8, write_image


class Journal:
    """Appends to losses.csv and writes samples/<step>.png in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._losses = folder / "losses.csv"
        (folder / "samples").mkdir(parents=True, exist_ok=True)

    def losses(self, step: int, stage: str, samples: int, values: dict[str, float]) -> None:
        """One row per loss: step, stage, samples seen, name, value. Long form, since stages differ in their terms."""
        new = not self._losses.exists()
        with self._losses.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "stage", "samples", "loss", "value"])
            writer.writerows([step, stage, samples, name, f"{value:.6g}"] for name, value in values.items())

    def samples(self, step: int, rows: Tensor) -> None:
        """A grid of (N, 3, H, W) rows in [-1, 1], two side by side."""
        write_image(self.folder / "samples" / f"{step:07d}.png", tile(rows.cpu().float()), overwrite=True)


def tile(rows: Tensor, columns: int = 2) -> NDArray[np.uint8]:
    """(B, 3, H, W) in [-1, 1] as one uint8 picture, `columns` rows side by side."""
    usable = rows[: len(rows) // columns * columns] if len(rows) >= columns else rows
    lines = [torch.cat(list(part), dim=2) for part in usable.split(min(columns, len(usable)))]
    return to_uint8(torch.cat(lines, dim=1)[None])
