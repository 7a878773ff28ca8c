"""Pose pairs in the layout of the published benchmarks: DeepFashion ("fasion-*.csv", sic) and Market-1501.

ROOT/fasion-annotation-train.csv   name:keypoints_y:keypoints_x   18 joints each, -1 = missing
ROOT/fasion-pairs-train.csv        from,to
ROOT/train/  ROOT/test/            the pictures
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.data.rows import ANNOTATION_HEADER, read_pairs, read_rows
from gfla_cli.data.sample import PosePair, unknown_correspondence, unknown_joints
from gfla_cli.errors import DataError
from gfla_cli.media.image import read_image
from gfla_cli.media.inside import leads_out

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
