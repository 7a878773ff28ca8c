"""The tables of pose sets: DeepFashion ("fasion-*.csv", sic), Market-1501, and sets in the same layout.

ROOT/fasion-annotation-train.csv   name:keypoints_y:keypoints_x   18 joints each, -1 = missing
ROOT/fasion-pairs-train.csv        from,to
ROOT/train.lst                     the names alone
ROOT/train/  ROOT/test/            the images

Imports no torch: tables are read where no network is trained.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from gfla_cli.arrays import Float64Array, Int64Array, Points
from gfla_cli.errors import DataError
from gfla_cli.io.files import write_csv, write_text
from gfla_cli.person.pose import Pose

ANNOTATION_HEADER = ("name", "keypoints_y", "keypoints_x")
PAIRS_HEADER = ("from", "to")
BUILD_PLAN = "build.json"  # the options of a set that `gfla data build` made
_LARGEST = 1e6  # pixels; larger coordinates are not accepted

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")
Row = tuple[int, list[str]]  # line number, columns


@dataclass(frozen=True, slots=True)
class Layout:
    """How a set names its tables, and the frame of its keypoints."""

    prefix: str
    frame: tuple[int, int]  # height, width; images of another shape are stretched to it, with their points
    name: str  # of --layout

    def tables(self, split: Split) -> tuple[str, str]:
        """The file names of a split's keypoints and pairs."""
        return f"{self.prefix}-annotation-{split}.csv", f"{self.prefix}-pairs-{split}.csv"


DEEPFASHION = Layout("fasion", (256, 176), "fashion")
MARKET = Layout("market", (128, 64), "market")
SQUARE = Layout("fasion", (256, 256), "square")  # sets made by gfla: the same files, square images
LAYOUTS = {layout.name: layout for layout in (SQUARE, DEEPFASHION, MARKET)}


def built_layout(root: Path) -> Layout | None:
    """The layout that `gfla data build` gave a set; None for other sets."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return LAYOUTS.get(json.loads((root / BUILD_PLAN).read_text(encoding="utf-8"))["layout"]["name"])
    return None


def require_set(root: Path, split: Split, layout: Layout) -> None:
    """Raises DataError unless `root` holds the tables of a split, in that layout."""
    annotation, pairs = layout.tables(split)
    if not (root / annotation).is_file() and not (root / pairs).is_file():
        what = f"{root}: no {layout.prefix} set to {'train on' if split == 'train' else 'measure with'} in it"
        hint = f"looked for {annotation}, {pairs} and the folder {split}/; --data-root names theirs"
        raise DataError(what, hint=hint)
    built = built_layout(root)
    if built is not None and built != layout:  # all joints would be in the wrong place
        hint = f"gfla data build PHOTOS -o OTHER --layout {layout.name} makes one in that frame"
        raise DataError(f"{root} was built with --layout {built.name}, not {layout.name}", hint=hint)


def read_annotations(path: Path) -> dict[str, Points]:
    """Name -> (18, 3) x, y, confidence in the frame of the layout; missing = -1, -1, 0. Raises DataError."""
    poses: dict[str, Points] = {}
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


def read_poses(path: Path, layout: str) -> dict[str, Pose]:
    """Name without suffix -> pose in the frame of the layout of that name. Raises DataError."""
    frame = LAYOUTS[layout].frame
    return {PurePath(name).stem: Pose(points, frame) for name, points in read_annotations(path).items()}


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The `from,to` rows of a CSV; raises DataError when it is not one."""
    pairs = [(row[0], row[1]) for _, row in read_rows(path, ",", PAIRS_HEADER)]
    if not pairs:
        raise DataError(f"{path}: no pairs in it", hint="every line below the first names two images")
    return pairs


def numbers_in(column: str) -> Float64Array:
    """(n,) coordinates from such as "[12, -1, 30]"; raises ValueError for anything else, NaN and 1e400 included."""
    try:
        values = np.array(json.loads(column), np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"is no list of numbers: {column[:40]}") from error
    if values.ndim != 1 or not (np.abs(values) < _LARGEST).all():  # false for NaN
        raise ValueError(f"is no list of numbers: {column[:40]}")
    return values


def read_rows(path: Path, delimiter: str, header: tuple[str, ...]) -> list[Row]:
    """The rows after the header; raises DataError when a table of a data set is missing or has another header."""
    if not path.is_file():
        raise DataError(f"{path}: not found", hint=f"the data set needs {path.name}; --data-root names its folder")
    rows = read_table(path, delimiter)
    if not rows or tuple(name.lower() for name in rows[0][1]) != header:
        found = (delimiter.join(rows[0][1])[:100] if rows else "") or "nothing"
        raise DataError(f"{path}: should begin with the line {delimiter.join(header)}", hint=f"it begins with {found}")
    return full_rows(path, rows[1:], len(header), hint=f"every line needs {delimiter.join(header)}")


def read_table(path: Path, delimiter: str = ",") -> list[Row]:
    """All lines of a CSV, empty ones too; a BOM and Windows line ends are fine. Raises DataError when it is not one.

    Where commas are expected, semicolons or tabs are fine, too: Excel writes them in many countries.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            used = delimiter_of(file.readline(), delimiter)
            file.seek(0)
            rows = list(enumerate(csv.reader(file, delimiter=used, skipinitialspace=used != "\t"), start=1))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not readable as a table ({error})"[:300], hint="save it as UTF-8 text") from error
    return [(number, [column.strip() for column in row]) for number, row in rows]


def delimiter_of(first_line: str, expected: str) -> str:
    """What separates the columns: the expected character, or for a comma a semicolon or tab that stands instead."""
    if expected != "," or "," in first_line:
        return expected
    return next((other for other in (";", "\t") if other in first_line), expected)


def full_rows(path: Path, rows: list[Row], columns: int, hint: str) -> list[Row]:
    """The rows that are not empty; raises DataError when one of them has too few columns."""
    rows = [(number, row) for number, row in rows if row]
    short = next((number for number, row in rows if len(row) < columns), None)
    if short is not None:
        raise DataError(f"{path}, line {short}: fewer than {columns} columns", hint=hint)
    return rows


def whole_points(points: Points, frame: tuple[int, int]) -> Int64Array:
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
    """Replaces the keypoints, pairs and list of one split. `poses`: file name -> 18 times x, y; missing = -1, -1."""
    annotation, pairs_table = layout.tables(split)
    rows = [f"{name}: {[int(y) for _, y in points]}: {[int(x) for x, _ in points]}" for name, points in poses.items()]
    for name, lines in ((annotation, [":".join(ANNOTATION_HEADER), *rows]), (f"{split}.lst", list(poses))):
        write_text(root / name, "\n".join(lines) + "\n")
    write_csv(root / pairs_table, [PAIRS_HEADER, *pairs], lineterminator="\n")
