"""`gfla data check`: what is wrong with a pose set on disk, row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.datasets.tables import ANNOTATION_HEADER, PAIRS_HEADER, SPLITS, Layout, Split, delimiter_of, numbers_in
from gfla_cli.errors import DataError, GflaError
from gfla_cli.io.background import Progress, silent
from gfla_cli.io.files import leads_out
from gfla_cli.io.image import read_image
from gfla_cli.io.image_decoding import open_image
from gfla_cli.person.keypoint_files import lies_on_its_side

_JOINTS = 18
_ORIGINS = {17: " (COCO has 17: no neck)", 25: " (OpenPose BODY_25)", 33: " (MediaPipe)"}
_SIDEWAYS = "the body lies on its side; if it should not, x and y are exchanged (the y list comes first)"
_UPRIGHT = 8  # joints; with fewer it is not clear which way a body lies


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    file: str  # name in the set's folder
    line: int  # counted from 1; 0 = the file as a whole
    what: str
    broken: bool = True  # False: read without harm, worth knowing

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.what}"


def check_set(root: Path, layout: Layout, *, decode: bool = False, progress: Progress = silent) -> list[Finding]:
    """Everything that is wrong with the set in `root`, in the order of its files and lines.

    Images are opened, and with `decode` read to their last byte. Raises DataError when there is no set of that
    layout at all.
    """
    looked_for = [name for split in SPLITS for name in layout.tables(split)]
    if not any((root / name).is_file() for name in looked_for):
        raise DataError(f"{root}: no pose set in it", hint=f"looked for {', '.join(looked_for)}")
    check = _Check(root, layout)
    for split in SPLITS:
        annotation, pairs = layout.tables(split)
        if not (root / annotation).is_file() and not (root / pairs).is_file():
            check.add(annotation, 0, f"not found, like {pairs}: a set without {split}", broken=False)
            continue
        lines = check.annotation(annotation, split)
        check.images(split, annotation, lines, progress, decode=decode)
        check.pairs(pairs, set(lines))
        check.list_of_names(f"{split}.lst", set(lines))
    return check.findings


class _Check:
    """Collects what is wrong with one set. Images are named by their file names."""

    def __init__(self, root: Path, layout: Layout) -> None:
        self.root, self.layout = root, layout
        self.findings: list[Finding] = []
        self._splits: dict[str, Split] = {}  # image -> the split that names it first

    def add(self, file: str, line: int, what: str, *, broken: bool = True) -> None:
        self.findings.append(Finding(file, line, what, broken))

    def annotation(self, file: str, split: Split) -> dict[str, int]:
        """Checks a table of keypoints. Returns image -> line."""
        lines: dict[str, int] = {}
        sideways = 0
        for line, (image, y_list, x_list) in self._rows(file, ":", ANNOTATION_HEADER):
            if image in lines:
                self.add(file, line, f"{image} has keypoints in line {lines[image]} already")
            elif (other := self._splits.setdefault(image, split)) != split:
                self.add(file, line, f"{image} is in {other} already: an image must not be in both splits")
            lines.setdefault(image, line)
            for what, broken in _wrong_with_points(y_list, x_list, self.layout.frame):
                self.add(file, line, f"{image}: {what}", broken=broken)
                sideways += what == _SIDEWAYS
        if sideways > max(1, len(lines) // 2):
            what = (
                f"{sideways} of {len(lines)} bodies lie on their side: x and y are exchanged (the y list comes first)"
            )
            self.add(file, 0, what)
        return lines

    def images(
        self,
        split: Split,
        table: str,
        lines: Mapping[str, int],
        progress: Progress,
        *,
        decode: bool,
    ) -> None:
        if lines and not (self.root / split).is_dir():
            self.add(table, 0, f"the folder {split}/ with its images is missing")
            return
        for done, (image, line) in enumerate(lines.items(), start=1):
            path = self.root / split / image
            if leads_out(image):
                self.add(table, line, f"{image} leads out of {split}/")
            elif not path.is_file():
                self.add(table, line, f"{split}/{image} is missing")
            else:
                try:
                    if decode:
                        read_image(path)
                    else:
                        with open_image(path):
                            pass
                except GflaError as error:
                    self.add(table, line, str(error).replace(str(path), f"{split}/{image}"))
            progress(done, len(lines))

    def pairs(self, file: str, annotated: Set[str]) -> None:
        seen: dict[tuple[str, str], int] = {}
        for line, (source, target) in self._rows(file, ",", PAIRS_HEADER):
            if (first := seen.setdefault((source, target), line)) != line:
                self.add(file, line, f"the pair of line {first} again", broken=False)
            if source == target:
                self.add(file, line, f"{source} is paired with itself", broken=False)
            for image in dict.fromkeys((source, target)):
                if image not in annotated:
                    self.add(file, line, f"{image} has no keypoints")
        if not seen and (self.root / file).is_file() and not any(f.file == file and f.broken for f in self.findings):
            self.add(file, 0, "no pairs in it")

    def list_of_names(self, file: str, annotated: Set[str]) -> None:
        """Checks train.lst or test.lst, if there is one. Training does not read it."""
        if not (self.root / file).is_file():
            return
        seen: dict[str, int] = {}
        text = (self.root / file).read_text(encoding="utf-8-sig", errors="replace")
        for line, image in enumerate(map(str.strip, text.splitlines()), start=1):
            if image and image in seen:
                self.add(file, line, f"{image} is in line {seen[image]} already", broken=False)
            elif image and image not in annotated:
                self.add(file, line, f"{image} has no keypoints", broken=False)
            seen.setdefault(image, line)

    def _rows(self, file: str, delimiter: str, header: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
        """Line number and columns of the rows that have all columns. Unlike `read_rows` it goes on after a fault."""
        if not (self.root / file).is_file():
            self.add(file, 0, "not found")
            return
        data = (self.root / file).read_bytes()
        if data.startswith(b"\xef\xbb\xbf"):
            self.add(file, 1, "begins with a byte order mark (BOM); it is read without", broken=False)
        if b"\r" in data:
            line = data[: data.index(b"\r")].count(b"\n") + 1
            self.add(file, line, "Windows line ends from here on; they are read, too", broken=False)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.add(file, data[: error.start].count(b"\n") + 1, "not UTF-8 text; save it as UTF-8")
            return
        delimiter = delimiter_of(text.partition("\n")[0], delimiter)
        reader = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=delimiter != "\t")
        try:
            rows = [(reader.line_num, [column.strip() for column in row]) for row in reader]
        except csv.Error as error:
            self.add(file, reader.line_num, f"not readable as a table: {error}")
            return
        first = rows[0][1] if rows else []
        if tuple(name.lower() for name in first) != header:
            self.add(file, 1, _wrong_header(first, header, delimiter))
            if len(first) < len(header):
                return
        for line, row in rows[1:]:
            if row and len(row) != len(header):
                self.add(file, line, f"{len(row)} columns instead of {len(header)}")
            elif row:
                yield line, row


def _wrong_header(found: list[str], header: tuple[str, ...], delimiter: str) -> str:
    wanted = delimiter.join(header)
    if not found:
        return f"empty; it should begin with the line {wanted}"
    if missing := [column for column in header if column not in found]:
        return f"the column {' and '.join(missing)} is missing; the first line should be {wanted}"
    return f"the columns are in another order; the first line should be {wanted}"


def _wrong_with_points(y_list: str, x_list: str, frame: tuple[int, int]) -> Iterator[tuple[str, bool]]:
    """What is wrong with a row whose points lie in a frame of (height, width), and whether it breaks training."""
    parsed: list[Float64Array] = []
    for axis, column in (("y", y_list), ("x", x_list)):
        try:
            parsed.append(numbers_in(column))
        except ValueError as error:
            yield f"keypoints_{axis} {error}", True
    if len(parsed) < 2:
        return
    y, x = parsed
    if len(y) != _JOINTS or len(x) != _JOINTS:
        count = str(len(y)) if len(y) == len(x) else f"{len(y)} and {len(x)}"
        yield f"{count} joints instead of {_JOINTS}{_ORIGINS.get(len(y), '')}", True
        return
    if half := np.flatnonzero((x < 0) != (y < 0)).tolist():
        yield f"joint {_listed(half)}: only one of x and y is missing", True
    present = (x >= 0) & (y >= 0)
    if not present.any():
        yield "not one joint is present", True
        return
    height, width = frame
    if outside := np.flatnonzero(present & ((x > width) | (y > height))).tolist():
        exchanged = (present & ((y > width) | (x > height))).any()
        hint = "" if exchanged else ", none if x and y change places: the y list comes first"
        reach = f"x up to {x[present].max():g}, y up to {y[present].max():g}"
        yield f"joint {_listed(outside)} outside the frame of {width}x{height} ({reach}){hint}", True
    elif present.sum() >= _UPRIGHT and lies_on_its_side(np.stack([x, y, present.astype(np.float64)], axis=1)):
        yield _SIDEWAYS, False


def _listed(joints: list[int]) -> str:
    """At most four of them, counted from 0."""
    return ", ".join(str(n) for n in joints[:4]) + (f" and {len(joints) - 4} more" if len(joints) > 4 else "")
