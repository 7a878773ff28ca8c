"""Writing the tables of a pose set in the layout that `deepfashion.py` reads."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gfla_cli.data.deepfashion import Layout, Split
from gfla_cli.data.rows import ANNOTATION_HEADER, PAIRS_HEADER
from gfla_cli.media.atomic import atomic_path


def whole_points(points: NDArray[np.float32], frame: tuple[int, int]) -> NDArray[np.int64]:
    """(18, 3) x, y, confidence -> (18, 2) whole x, y inside a frame of (height, width); missing = -1, -1."""
    last = np.array([frame[1] - 1, frame[0] - 1])
    whole = np.rint(points[:, :2]).astype(np.int64).clip(0, last)
    whole[points[:, 2] <= 0] = -1
    return whole


def write_tables(
    root: Path,
    layout: Layout,
    split: Split,
    poses: Mapping[str, Sequence[Sequence[int]]],
    pairs: Iterable[tuple[str, str]],
) -> None:
    """Replaces keypoints, pairs and the list of one split. `poses`: file name -> 18 times x, y; missing = -1, -1."""
    rows = [f"{name}: {[int(y) for _, y in points]}: {[int(x) for x, _ in points]}" for name, points in poses.items()]
    _write(root / f"{layout.prefix}-annotation-{split}.csv", [":".join(ANNOTATION_HEADER), *rows])
    _write(root / f"{split}.lst", list(poses))
    path = root / f"{layout.prefix}-pairs-{split}.csv"
    with atomic_path(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([PAIRS_HEADER, *pairs])


def _write(path: Path, lines: list[str]) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
