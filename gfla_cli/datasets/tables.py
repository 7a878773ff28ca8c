"""Reading CSV tables of pictures. Imports no torch: pairs are read where no network is trained."""

from __future__ import annotations

import csv
from pathlib import Path

from gfla_cli.errors import DataError

# Of the published sets: keypoints, columns parted by ":", and pairs.
ANNOTATION_HEADER = ("name", "keypoints_y", "keypoints_x")
PAIRS_HEADER = ("from", "to")

Row = tuple[int, list[str]]  # line number, columns


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The `from,to` rows of a CSV; raises DataError when it is not one."""
    pairs = [(row[0], row[1]) for _, row in read_rows(path, ",", PAIRS_HEADER)]
    if not pairs:
        raise DataError(f"{path}: no pairs in it", hint="every line below the first names two pictures")
    return pairs


def read_rows(path: Path, delimiter: str, header: tuple[str, ...]) -> list[Row]:
    """The rows after the header; raises DataError when a table of a data set is not there or has another header."""
    if not path.is_file():
        raise DataError(f"{path}: not found", hint=f"the data set needs {path.name}; --data-root names its folder")
    rows = read_table(path, delimiter)
    if not rows or tuple(rows[0][1]) != header:
        found = (delimiter.join(rows[0][1])[:100] if rows else "") or "nothing"
        raise DataError(f"{path}: should begin with the line {delimiter.join(header)}", hint=f"it begins with {found}")
    return full_rows(path, rows[1:], len(header), hint=f"every line needs {delimiter.join(header)}")


def read_table(path: Path, delimiter: str = ",") -> list[Row]:
    """All lines of a CSV, empty ones too; a BOM and Windows line ends are fine. Raises DataError when it is not one."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(enumerate(csv.reader(file, delimiter=delimiter), start=1))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not readable as a table ({error})"[:300], hint="save it as UTF-8 text") from error
    return [(number, [column.strip() for column in row]) for number, row in rows]


def full_rows(path: Path, rows: list[Row], columns: int, hint: str) -> list[Row]:
    """The rows that are not empty; raises DataError when one of them has too few columns."""
    rows = [(number, row) for number, row in rows if row]
    short = next((number for number, row in rows if len(row) < columns), None)
    if short is not None:
        raise DataError(f"{path}, line {short}: fewer than {columns} columns", hint=hint)
    return rows
