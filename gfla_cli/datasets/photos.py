"""Finds one person in each of many photos, for `gfla data build`. Every answer is written to a file at once.

The file grows line by line, so an interrupted run goes on where it stopped:

    {"photo": "anna/01.jpg", "stamp": [bytes, mtime], "digest": "…", "name": "anna--01.jpg",
     "box": [left, top, right, bottom], "points": [[x, y], …]}

Instead of box and points there may be "why": [kind, detail]. Points are whole numbers in the frame of the layout,
-1 = missing. The box is in pixels of the photo.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath

from gfla_cli.arrays import Image
from gfla_cli.datasets.tables import SPLITS, whole_points
from gfla_cli.errors import DataError, GflaError
from gfla_cli.io.background import Progress, overlapped
from gfla_cli.io.files import disk_errors_explained, leads_out, write_text
from gfla_cli.io.image import read_image
from gfla_cli.person.body import body_crop
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.pose import extent

_SMALLEST = 128  # pixels of a person's crop: a smaller one has too little detail for a frame of 256
_ALIKE = 0.5  # of the largest person's extent: a second person of that size could be the one that is meant
_FEWEST = 8  # joints: with fewer there is no body to put into another pose


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What was found in one photo: a person and a box, or why there is none."""

    photo: str  # path below the folder of photos, with slashes
    stamp: list[int]  # size in bytes and time of the last change in ns; other ones mean a changed file
    digest: str  # of the file's bytes
    name: str  # of the image in the set
    box: list[float] | None = None
    points: list[list[int]] | None = None
    why: list[str] | None = None  # kind and detail


def read_found(path: Path) -> dict[str, Found]:
    """Photo -> the last line about it; empty when there is no file. Raises DataError when it is another file.

    A line that a killed process left half-written is dropped.
    """
    found: dict[str, Found] = {}
    if not path.is_file():
        return found
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            entry = Found(**json.loads(line))
            if leads_out(entry.photo) or leads_out(entry.name):
                raise ValueError("a name that leads out of the folder")
        except (ValueError, TypeError, RecursionError) as error:
            if line and number < len(lines):  # the last one has no line end: it was being written
                what = f"{path}, line {number}: not a line that gfla data build wrote"
                raise DataError(what, hint="delete the file; all photos are then looked at again") from error
            continue
        found[entry.photo] = entry
    return found


def add_found(path: Path, entry: Found) -> None:
    """Appends one line, on disk when this returns. Raises MediaError when the disk refuses."""
    with disk_errors_explained(path), path.open("a", encoding="utf-8") as file:
        file.write(_line(entry))


def _line(entry: Found) -> str:
    """ASCII: on POSIX the name of a photo may hold bytes that are no text."""
    return json.dumps({name: value for name, value in asdict(entry).items() if value is not None}) + "\n"


def look_at_all(
    paths: Mapping[PurePath, Path],
    names: Mapping[PurePath, str],
    file: Path,
    frame: tuple[int, int],
    progress: Progress,
) -> tuple[dict[str, Found], int]:
    """An entry for every photo, in their order, and how many of them were looked at by this call.

    `paths` are the photos by their path below their folder, `names` the names of their images in the set. Entries
    are kept in `file`; those of changed photos are made again. Points are in a frame of (height, width).
    """
    known = read_found(file)
    entries: dict[str, Found] = {}
    for photo, path in paths.items():
        entry = known.get(photo.as_posix())
        if entry and entry.stamp == _stamp(path) and entry.name == names[photo]:
            entries[photo.as_posix()] = entry
    for entry in known.values():
        if entries.get(entry.photo) is not entry:  # the photo changed or is gone
            for split in SPLITS:
                (file.parent / split / entry.name).unlink(missing_ok=True)
    write_text(file, "".join(map(_line, entries.values())))
    todo = [photo for photo in paths if photo.as_posix() not in entries]
    progress(len(entries), len(paths))
    if todo:
        with PersonDetector() as detector:
            for entry, image in overlapped(_read(todo, paths, names)):
                entry = _look(entry, image, detector, frame)
                add_found(file, entry)
                entries[entry.photo] = entry
                progress(len(entries), len(paths))
    return {photo.as_posix(): entries[photo.as_posix()] for photo in paths}, len(todo)


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:  # gone since the folder was listed
        return []
    return [status.st_size, status.st_mtime_ns]


def _read(
    todo: list[PurePath], paths: Mapping[PurePath, Path], names: Mapping[PurePath, str]
) -> Iterator[tuple[Found, Image | GflaError]]:
    """An entry for every photo, and its image or what is wrong with it."""
    for photo in todo:
        path, digest = paths[photo], ""
        stamp = _stamp(path)
        image: Image | GflaError
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
            image = read_image(path)
        except OSError as error:
            image = DataError(f"{path}: {error.strerror}")
        except GflaError as error:
            image = error
        yield Found(photo=photo.as_posix(), stamp=stamp, digest=digest, name=names[photo]), image


def _look(entry: Found, image: Image | GflaError, detector: PersonDetector, size: tuple[int, int]) -> Found:
    """The entry with the one person of the image in a frame of `size` (height, width), or why there is none."""

    def left_out(kind: str, detail: str = "") -> Found:
        return replace(entry, why=[kind, detail])

    if isinstance(image, GflaError):
        return left_out("not readable", str(image))
    people = detector.detect(image)
    if not people:
        return left_out("no person found")
    if len(people) > 1 and extent(people[1].box) > _ALIKE * extent(people[0].box):
        return left_out("several people", f"{len(people)}, the second one nearly as large as the first")
    pose = people[0].pose
    joints = int(pose.present.sum())
    if joints < _FEWEST or not pose.present[[8, 11]].any():
        return left_out("too little of the body", f"{joints} of 18 joints in the image; {_FEWEST} and a hip needed")
    crop = body_crop([pose], size, size[1] / size[0])
    if (height := crop.box[3] - crop.box[1]) < _SMALLEST:
        return left_out("too small", f"{height:.0f} pixels high with some border, {_SMALLEST} needed")
    points = whole_points(pose.cropped(crop).within_frame().points, size)
    return replace(entry, box=list(crop.box), points=points.tolist())
