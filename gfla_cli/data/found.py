"""What is known about every photo of a set that is being built: a file that grows line by line, so work is never lost.

    {"photo": "anna/01.jpg", "stamp": [bytes, mtime], "digest": "…", "name": "anna--01.jpg",
     "box": [left, top, right, bottom], "points": [[x, y], …]}

Instead of box and points there may be "why": [kind, detail]. Points are whole numbers in the frame of the layout,
-1 = missing; the box is in pixels of the photo.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from gfla_cli.errors import DataError
from gfla_cli.media.atomic import atomic_path, disk_trouble_explained
from gfla_cli.media.inside import leads_out


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One photo that was looked at: a person in a frame, or why there is none."""

    photo: str  # path below the folder of photos, with slashes
    stamp: list[int]  # size in bytes and time of the last change in ns: what tells a changed file
    digest: str  # of the file's bytes
    name: str  # of the picture in the set
    box: list[float] | None = None
    points: list[list[int]] | None = None
    why: list[str] | None = None  # kind and detail


class FoundFile:
    """The lines on disk. Lines that a killed process left half-written are dropped when reading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Found]:
        """Photo -> the last line about it; empty when there is no file. Raises DataError when it is another file."""
        found: dict[str, Found] = {}
        if not self.path.is_file():
            return found
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, start=1):
            try:
                entry = Found(**json.loads(line))
                if leads_out(entry.photo) or leads_out(entry.name):
                    raise ValueError("a name that leads out of the folder")
            except (ValueError, TypeError, RecursionError) as error:
                if line and number < len(lines):  # the last one has no line end: it was being written
                    what = f"{self.path}, line {number}: not a line that gfla data build wrote"
                    raise DataError(what, hint="delete the file; all photos are then looked at again") from error
                continue
            found[entry.photo] = entry
        return found

    def rewrite(self, found: dict[str, Found]) -> None:
        """Replaces the file by these lines: what is out of date goes, and so does a half-written end."""
        with atomic_path(self.path, overwrite=True) as temporary, temporary.open("w", encoding="utf-8") as file:
            for entry in found.values():
                _write(file, entry)

    def add(self, entry: Found) -> None:
        """One line more, on disk when this returns. Raises MediaError when the disk refuses."""
        with disk_trouble_explained(self.path), self.path.open("a", encoding="utf-8") as file:
            _write(file, entry)


def _write(file: IO[str], entry: Found) -> None:
    values = {name: value for name, value in asdict(entry).items() if value is not None}
    file.write(json.dumps(values) + "\n")  # ASCII: on POSIX a name of a photo may hold bytes that are no text
