"""What may be wrong with one row of a keypoint table: its two lists of 18 numbers, y first."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gfla_cli.datasets.deepfashion import Layout, Split, numbers_in
from gfla_cli.datasets.tables import ANNOTATION_HEADER, PAIRS_HEADER
from gfla_cli.errors import DataError, GflaError
from gfla_cli.io.files import leads_out
from gfla_cli.io.image import read_image
from gfla_cli.io.image_decoding import open_image
from gfla_cli.person.keypoint_files import lies_on_its_side

_JOINTS = 18
_ORIGINS = {17: " (COCO has 17: no neck)", 25: " (OpenPose BODY_25)", 33: " (MediaPipe)"}
SIDEWAYS = "the body lies on its side; if it should not, x and y are exchanged (the y list comes first)"
_UPRIGHT = 8  # joints: with fewer nobody can tell which way a body lies


def check_points(y_list: str, x_list: str, frame: tuple[int, int]) -> Iterator[tuple[str, bool]]:
    """What is wrong with a row whose points lie in a frame of (height, width), and whether it breaks training."""
    parsed = [_numbers(column) for column in (y_list, x_list)]
    for axis, values in zip("yx", parsed, strict=True):
        if isinstance(values, str):
            yield f"keypoints_{axis} {values}", True
    y, x = parsed
    if isinstance(y, str) or isinstance(x, str):
        return
    if len(y) != _JOINTS or len(x) != _JOINTS:
        count = str(len(y)) if len(y) == len(x) else f"{len(y)} and {len(x)}"
        yield f"{count} joints instead of {_JOINTS}{_ORIGINS.get(len(y), '')}", True
        return
    if half := np.flatnonzero((x < 0) != (y < 0)).tolist():
        yield f"joint {_listed(half)}: only one of x and y is missing", True
    there = (x >= 0) & (y >= 0)
    if not there.any():
        yield "not one joint is there", True
        return
    yield from _places(x, y, there, frame)


def _places(
    x: NDArray[np.float64], y: NDArray[np.float64], there: NDArray[np.bool_], frame: tuple[int, int]
) -> Iterator[tuple[str, bool]]:
    height, width = frame
    outside = there & ((x > width) | (y > height))
    if outside.any():
        exchanged = there & ((y > width) | (x > height))
        numbers = np.flatnonzero(outside).tolist()
        places = f"joint {_listed(numbers)} outside the frame of {width}x{height}"
        reach = f"x up to {x[there].max():g}, y up to {y[there].max():g}"
        if exchanged.any():
            yield f"{places} ({reach})", True
        else:
            yield f"{places} ({reach}), none if x and y change places: the y list comes first", True
        return
    points = np.stack([x, y, there.astype(np.float64)], axis=1)
    if there.sum() >= _UPRIGHT and lies_on_its_side(points):
        yield SIDEWAYS, False


def _numbers(text: str) -> NDArray[np.float64] | str:
    """The list, or what is wrong with it."""
    try:
        return numbers_in(text)
    except ValueError as error:
        return str(error)


def _listed(numbers: list[int]) -> str:
    """At most four of them, counted from 0 as everywhere."""
    return ", ".join(str(n) for n in numbers[:4]) + (f" and {len(numbers) - 4} more" if len(numbers) > 4 else "")


# What is wrong with a pose set on disk, row by row, before anybody trains on it.


_SPLITS: tuple[Split, Split] = ("train", "test")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    file: str  # name in the set's folder
    line: int  # counted from 1; 0 = the file as a whole
    what: str
    broken: bool = True  # False: read without harm, worth knowing

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.what}"


def check_set(
    root: Path, layout: Layout, *, decode: bool = False, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Finding]:
    """Everything that is wrong with the set in `root`, in the order of its files and lines.

    Pictures are opened, and with `decode` read to their last byte. Raises DataError when there is no set of that
    layout at all, with the files that were looked for.
    """
    looked_for = [f"{layout.prefix}-{table}-{split}.csv" for split in _SPLITS for table in ("annotation", "pairs")]
    if not any((root / name).is_file() for name in looked_for):
        raise DataError(f"{root}: no pose set in it", hint=f"looked for {', '.join(looked_for)}")
    findings: list[Finding] = []
    where: dict[str, Split] = {}  # picture -> the split that names it first
    for split in _SPLITS:
        tables = [f"{layout.prefix}-{table}-{split}.csv" for table in ("annotation", "pairs")]
        if not any((root / name).is_file() for name in tables):
            findings.append(Finding(tables[0], 0, f"not there, and {tables[1]} neither: a set without {split}", False))
            continue
        names = _check_annotation(root, tables[0], split, layout, findings, where)
        _check_pictures(root / split, tables[0], names, findings, progress, decode=decode)
        _check_pairs(root, tables[1], set(names), findings)
        _check_list(root, f"{split}.lst", set(names), findings)
    return findings


def _check_annotation(
    root: Path, name: str, split: Split, layout: Layout, findings: list[Finding], where: dict[str, Split]
) -> dict[str, int]:
    """Picture -> line; adds what is wrong with the rows."""
    lines: dict[str, int] = {}
    sideways = 0
    for line, row in _rows(root, name, ":", ANNOTATION_HEADER, findings):
        picture = row[0]
        if picture in lines:
            findings.append(Finding(name, line, f"{picture} has keypoints in line {lines[picture]} already"))
        elif where.get(picture, split) != split:
            findings.append(Finding(name, line, f"{picture} is in {where[picture]} already: tested on what was learnt"))
        lines.setdefault(picture, line)
        where.setdefault(picture, split)
        for what, broken in check_points(row[1], row[2], layout.frame):
            findings.append(Finding(name, line, f"{picture}: {what}", broken))
            sideways += what == SIDEWAYS
    if sideways > max(1, len(lines) // 2):
        what = f"{sideways} of {len(lines)} bodies lie on their side: x and y are exchanged (the y list comes first)"
        findings.append(Finding(name, 0, what))
    return lines


def _check_pictures(
    folder: Path,
    table: str,
    names: dict[str, int],
    findings: list[Finding],
    progress: Callable[[int, int], None],
    *,
    decode: bool,
) -> None:
    if names and not folder.is_dir():
        findings.append(Finding(table, 0, f"the folder {folder.name}/ with its pictures is missing"))
        return
    for done, (picture, line) in enumerate(names.items(), start=1):
        path = folder / picture
        if leads_out(picture):
            findings.append(Finding(table, line, f"{picture} leads out of {folder.name}/"))
        elif not path.is_file():
            findings.append(Finding(table, line, f"{folder.name}/{picture} is missing"))
        else:
            try:
                if decode:
                    read_image(path)
                else:
                    with open_image(path):
                        pass
            except GflaError as error:
                findings.append(Finding(table, line, str(error).replace(str(path), f"{folder.name}/{picture}")))
        progress(done, len(names))


def _check_pairs(root: Path, name: str, annotated: set[str], findings: list[Finding]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for line, row in _rows(root, name, ",", PAIRS_HEADER, findings):
        pair = (row[0], row[1])
        if pair in seen:
            findings.append(Finding(name, line, f"the pair of line {seen[pair]} again", broken=False))
        seen.setdefault(pair, line)
        if row[0] == row[1]:
            findings.append(Finding(name, line, f"{row[0]} is paired with itself", broken=False))
        for picture in dict.fromkeys(pair):
            if picture not in annotated:
                findings.append(Finding(name, line, f"{picture} has no keypoints"))
    if not seen and (root / name).is_file() and not any(f.file == name and f.broken for f in findings):
        findings.append(Finding(name, 0, "no pairs in it"))


def _check_list(root: Path, name: str, annotated: set[str], findings: list[Finding]) -> None:
    """The list is for people and for sorting; training does not read it."""
    if not (root / name).is_file():
        return
    seen: dict[str, int] = {}
    for line, text in enumerate((root / name).read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        picture = text.strip()
        if picture and picture in seen:
            findings.append(Finding(name, line, f"{picture} is in line {seen[picture]} already", broken=False))
        elif picture and picture not in annotated:
            findings.append(Finding(name, line, f"{picture} has no keypoints", broken=False))
        seen.setdefault(picture, line)


def _rows(
    root: Path, name: str, delimiter: str, header: tuple[str, ...], findings: list[Finding]
) -> Iterator[tuple[int, list[str]]]:
    """Line number and columns of the rows that have all columns; adds what is wrong with the others."""
    if not (root / name).is_file():
        findings.append(Finding(name, 0, "not there"))
        return
    data = (root / name).read_bytes()
    if data.startswith(b"\xef\xbb\xbf"):
        findings.append(Finding(name, 1, "begins with a byte order mark (BOM); read all the same", broken=False))
    if b"\r" in data:
        line = data[: data.index(b"\r")].count(b"\n") + 1
        findings.append(Finding(name, line, "Windows line ends from here on; read all the same", broken=False))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        findings.append(Finding(name, line, "not UTF-8 text; save it as UTF-8"))
        return
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    try:
        rows = [(reader.line_num, [column.strip() for column in row]) for row in reader]
    except csv.Error as error:
        findings.append(Finding(name, reader.line_num, f"not readable as a table: {error}"))
        return
    if not rows or tuple(rows[0][1]) != header:
        findings.append(Finding(name, 1, _wrong_header(rows[0][1] if rows else [], header, delimiter)))
        if not rows or len(rows[0][1]) < len(header):
            return
    for line, row in rows[1:]:
        if row and len(row) != len(header):
            findings.append(Finding(name, line, f"{len(row)} columns instead of {len(header)}"))
        elif row:
            yield line, row


def _wrong_header(found: list[str], header: tuple[str, ...], delimiter: str) -> str:
    wanted = delimiter.join(header)
    if not found:
        return f"empty; it should begin with the line {wanted}"
    if missing := [column for column in header if column not in found]:
        return f"the column {' and '.join(missing)} is missing; the first line should be {wanted}"
    return f"the columns are in another order; the first line should be {wanted}"
