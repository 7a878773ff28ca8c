"""Reading CSV tables of pictures. Imports no torch: pairs are read where no network is trained."""

from __future__ import annotations

import csv
from pathlib import Path

from gfla_cli.errors import DataError


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The `from,to` rows of a CSV; raises DataError when it is not one."""
    pairs = [(row[0], row[1]) for _, row in read_rows(path, ",", ["from", "to"])]
    if not pairs:
        raise DataError(f"{path}: no pairs in it", hint="every line below the first names two pictures")
    return pairs


def read_rows(path: Path, delimiter: str, header: list[str]) -> list[tuple[int, list[str]]]:
    """Line number and columns of every row after the header; a BOM and Windows line ends are fine."""
    if not path.is_file():
        raise DataError(f"{path}: not found", hint=f"the data set needs {path.name}; --data-root names its folder")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(enumerate(csv.reader(file, delimiter=delimiter), start=1))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not readable as a table ({error})"[:300], hint="save it as UTF-8 text") from error
    if not rows or [column.strip() for column in rows[0][1]] != header:
        found = (delimiter.join(rows[0][1])[:100] if rows else "") or "nothing"
        raise DataError(f"{path}: should begin with the line {delimiter.join(header)}", hint=f"it begins with {found}")
    short = next((number for number, row in rows[1:] if row and len(row) < len(header)), None)
    if short is not None:
        what = f"{path}, line {short}: fewer than {len(header)} columns"
        raise DataError(what, hint=f"every line needs {delimiter.join(header)}")
    return [(number, [column.strip() for column in row]) for number, row in rows[1:] if row]
