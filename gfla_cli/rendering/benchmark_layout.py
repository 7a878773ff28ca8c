"""Rendered people in the file layout of the DeepFashion pose-transfer benchmark.

OUT/SPLIT: JPEG pictures     OUT/SPLIT.lst: their names
OUT/fasion-annotation-SPLIT.csv: name:keypoints_y:keypoints_x     OUT/fasion-pairs-SPLIT.csv: from,to

The spelling is the benchmark's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.rendering.picture_files import write_bgr
from gfla_cli.rendering.views import View

_FACE = [0, 14, 15, 16, 17]  # nose, eyes, ears: listed only when visible, as a detector would
_JPEG_QUALITY = 92


@dataclass(slots=True)
class SplitWriter:
    """Writes the pictures of a split as they come, and its three tables at the end."""

    out: Path
    split: str
    names: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=lambda: ["name:keypoints_y:keypoints_x"])
    pairs: list[str] = field(default_factory=lambda: ["from,to"])

    def add(
        self, identity: int, views: Iterable[View], pairing: Callable[[Sequence[str]], Iterable[tuple[str, str]]]
    ) -> None:
        """The views of one character; `pairing` makes (from, to) out of their file names."""
        folder = self.out / self.split
        folder.mkdir(parents=True, exist_ok=True)
        own = []
        for k, view in enumerate(views):
            name = f"syn{identity:05d}_{k}.jpg"
            write_bgr(folder / name, view.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            self.annotations.append(_annotation(name, view))
            own.append(name)
        self.names += own
        self.pairs += [f"{source},{target}" for source, target in pairing(own)]

    def close(self) -> None:
        """Writes the tables."""
        (self.out / self.split).mkdir(parents=True, exist_ok=True)
        _write_lines(self.out / f"fasion-annotation-{self.split}.csv", self.annotations)
        _write_lines(self.out / f"fasion-pairs-{self.split}.csv", self.pairs)
        _write_lines(self.out / f"{self.split}.lst", self.names)


def _annotation(name: str, view: View) -> str:
    """A row of the benchmark's keypoint table; -1 = not seen."""
    keypoints = view.keypoints.copy()
    keypoints[_FACE] = np.where(keypoints[_FACE, 2:] > 0, keypoints[_FACE], -1)
    x, y = np.clip(np.round(keypoints[:, :2]), -1, len(view.image) - 1).astype(int).T
    return f"{name}: {y.tolist()}: {x.tolist()}"


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
