"""Pose pairs in the layout of the published benchmarks: DeepFashion ("fasion-*.csv", sic) and Market-1501.

ROOT/fasion-annotation-train.csv   name:keypoints_y:keypoints_x   18 joints each, -1 = missing
ROOT/fasion-pairs-train.csv        from,to
ROOT/train/  ROOT/test/            the pictures
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.datasets.sample import PosePair, unknown_correspondence, unknown_joints
from gfla_cli.datasets.tables import ANNOTATION_HEADER, PAIRS_HEADER, read_pairs, read_rows
from gfla_cli.errors import DataError
from gfla_cli.io.files import atomic_path, leads_out
from gfla_cli.io.image import read_image
from gfla_cli.person.pose import Pose

_LARGEST = 1e6  # pixels; a coordinate beyond is none
Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a published set names its files, and the frame its keypoints live in."""

    prefix: str
    frame: tuple[int, int]  # height, width that the annotated points refer to; pictures are stretched with them
    name: str  # of --layout


DEEPFASHION = Layout("fasion", (256, 176), "fashion")
MARKET = Layout("market", (128, 64), "market")
SQUARE = Layout("fasion", (256, 256), "square")  # our rendered sets: the same files, square pictures
LAYOUTS = {layout.name: layout for layout in (SQUARE, DEEPFASHION, MARKET)}
BUILD_PLAN = "build.json"  # in a set that `gfla data build` made: with what options


class BenchmarkPairs(Dataset[PosePair]):
    """The pairs of one split; number i is row i of the pairs file, and starts over after the last."""

    def __init__(self, root: Path, split: Split, layout: Layout, size: tuple[int, int]) -> None:
        """Raises DataError that names the file and line of what is wrong with the tables, or the missing folder."""
        self.root, self.split, self.layout, self.size = root, split, layout, size
        _refuse_no_set(root, split, layout)
        _refuse_other_frame(root, layout)
        self.points = read_annotations(root / f"{layout.prefix}-annotation-{split}.csv")
        self.pairs = read_pairs(root / f"{layout.prefix}-pairs-{split}.csv")
        self.pictures = len(self.points)
        for name in {name for pair in self.pairs for name in pair}:
            if leads_out(name):
                raise DataError(f"{root}: {name} leads out of {split}/", hint="names are those of pictures in it")
            if name not in self.points:
                raise DataError(
                    f"{root}: {name} is in the pairs but has no keypoints", hint="gfla data check names all"
                )
        if not (root / split).is_dir():
            hint = "gfla data fashion sorts DeepFashion's img_highres into train/ and test/"
            raise DataError(f"{root / split}: no such folder, but the pictures belong there", hint=hint)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> PosePair:
        source, target = self.pairs[index % len(self.pairs)]
        source_image, source_points = self._read(source)
        target_image, target_points = self._read(target)
        return PosePair(
            source_image,
            target_image,
            source_points,
            target_points,
            true_points=unknown_joints(),
            target_mask=np.full(self.size, 255, np.uint8),
            correspondence=unknown_correspondence(),
        )

    def _read(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        image = read_image(self.root / self.split / name)
        height, width = self.size
        if image.shape[:2] != self.size:
            method = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_CUBIC
            image = cv2.resize(image, (width, height), interpolation=method).astype(np.uint8)
        points = self.points[name].copy()
        scale = np.array([width / self.layout.frame[1], height / self.layout.frame[0]], np.float32)
        points[:, :2] = np.where(points[:, :2] >= 0, points[:, :2] * scale, -1)
        return image, points


def _refuse_no_set(root: Path, split: Split, layout: Layout) -> None:
    """Raises DataError that says what was looked for when not even the tables are there."""
    tables = [f"{layout.prefix}-{table}-{split}.csv" for table in ("annotation", "pairs")]
    if not any((root / name).is_file() for name in tables):
        what = f"{root}: no {layout.prefix} set to {'train on' if split == 'train' else 'measure with'} in it"
        raise DataError(what, hint=f"looked for {', '.join(tables)} and the folder {split}/; --data-root names theirs")


def built_layout(root: Path) -> Layout | None:
    """The layout that `gfla data build` gave a set; None for a set that is from elsewhere."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return LAYOUTS.get(json.loads((root / BUILD_PLAN).read_text(encoding="utf-8"))["layout"]["name"])
    return None


def _refuse_other_frame(root: Path, layout: Layout) -> None:
    """Raises DataError for a set with joints in another frame, all of which would be in the wrong place."""
    built = built_layout(root)
    if built is not None and built != layout:
        hint = f"gfla data build PHOTOS -o OTHER --layout {layout.name} makes one in that frame"
        raise DataError(f"{root} was built with --layout {built.name}, not {layout.name}", hint=hint)


def read_annotations(path: Path) -> dict[str, NDArray[np.float32]]:
    """Name -> (18, 3) points, in the frame of the annotation."""
    poses: dict[str, NDArray[np.float32]] = {}
    for number, row in read_rows(path, ":", ANNOTATION_HEADER):
        try:
            y, x = (numbers_in(column) for column in row[1:3])
            if y.shape != (18,) or x.shape != (18,):
                raise ValueError(f"{len(y)} and {len(x)} coordinates instead of 18")
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}", hint="gfla data check names all broken rows") from error
        missing = (x < 0) | (y < 0)
        points = np.stack([np.where(missing, -1, x), np.where(missing, -1, y), ~missing], axis=1).astype(np.float32)
        if not np.array_equal(poses.setdefault(row[0], points), points):
            what = f"{path}, line {number}: {row[0]} had other keypoints before"
            raise DataError(what, hint="gfla data check names all broken rows")
    return poses


def numbers_in(column: str) -> NDArray[np.float64]:
    """(n,) coordinates from such as "[12, -1, 30]"; raises ValueError for anything else, NaN and 1e400 included."""
    try:
        values = np.array(json.loads(column), np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"is no list of numbers: {column[:40]}") from error
    if values.ndim != 1 or not (np.abs(values) < _LARGEST).all():  # NaN: not smaller
        raise ValueError(f"is no list of numbers: {column[:40]}")
    return values


# Writing the tables of a pose set in the layout that `deepfashion.py` reads.


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


# The keypoints of a set's pictures by their names, for whoever has pictures but no pairs.


def read_poses(table: Path, layout: str) -> dict[str, Pose]:
    """Name without suffix -> pose, from name:keypoints_y:keypoints_x rows in the frame of that layout.

    Raises DataError that names the line of what is wrong.
    """
    frame = LAYOUTS[layout].frame
    return {PurePath(name).stem: Pose(points, frame) for name, points in read_annotations(table).items()}
