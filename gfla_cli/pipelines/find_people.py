"""Looking for one person in each of many photos, with every answer written down as soon as it is known."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gfla_cli.data.found import Found, FoundFile
from gfla_cli.data.tables import whole_points
from gfla_cli.errors import DataError, GflaError
from gfla_cli.landmarks.detector import Person, PersonDetector
from gfla_cli.landmarks.framing import person_frame
from gfla_cli.landmarks.pose import extent
from gfla_cli.media.image import read_image
from gfla_cli.media.overlap import overlapped

_SMALLEST = 128  # pixels of a person's frame: below that, a frame of 256 is mostly made up
_ALIKE = 0.5  # of the largest person's extent: a second one of that size could as well be meant
_FEWEST = 8  # joints: a head and shoulders are no body to put into another pose


class Finder(Protocol):
    """What looks at photos; `PersonDetector` is one."""

    def detect(self, image: NDArray[np.uint8]) -> list[Person]:
        """People in (H, W, 3) uint8 RGB, largest first."""


@dataclass(frozen=True, slots=True)
class _Photo:
    """A file that was read, or what is wrong with it."""

    path: PurePath  # below the folder of photos
    stamp: list[int]
    digest: str
    image: NDArray[np.uint8] | GflaError


def look_at_all(
    paths: Mapping[PurePath, Path],
    names: Mapping[PurePath, str],
    file: Path,
    frame: tuple[int, int],
    finder: Finder | None,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, Found], int]:
    """An entry for every photo, in their order, and how many of them were looked at by this call.

    `paths` are the photos by their path below their folder, `names` what their pictures are called. Entries are kept
    in `file`; those of changed files are made again. Points are in a frame of (height, width).
    """
    notes = FoundFile(file)
    known = notes.read()
    entries = {photo.as_posix(): known.get(photo.as_posix()) for photo in paths}
    valid = {
        photo.as_posix(): entry
        for photo, path in paths.items()
        if (entry := entries[photo.as_posix()]) and entry.stamp == _stamp(path) and entry.name == names[photo]
    }
    for entry in known.values():
        if valid.get(entry.photo) is not entry:  # the photo changed or went: so does its picture
            for split in ("train", "test"):
                _remove(file.parent / split / entry.name)
    notes.rewrite(valid)
    todo = [photo for photo in paths if photo.as_posix() not in valid]
    progress(len(valid), len(paths))
    if todo:
        with _detector(finder) as detector:
            for photo in overlapped(_read(todo, paths)):
                entry = _look(photo, names[photo.path], detector, frame)
                notes.add(entry)
                valid[entry.photo] = entry
                progress(len(valid), len(paths))
    return {photo.as_posix(): valid[photo.as_posix()] for photo in paths}, len(todo)


def _remove(picture: Path) -> None:
    """Deletes a picture, if there is one."""
    try:
        picture.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # of a version that did not shorten names: it could not be written
            raise


@contextmanager
def _detector(finder: Finder | None) -> Iterator[Finder]:
    """The given one, or one of our own that is closed at the end."""
    if finder is not None:
        yield finder
        return
    with PersonDetector() as own:
        yield own


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:  # gone since the folder was listed
        return []
    return [status.st_size, status.st_mtime_ns]


def _read(todo: list[PurePath], paths: Mapping[PurePath, Path]) -> Iterator[_Photo]:
    for photo in todo:
        path, digest = paths[photo], ""
        stamp = _stamp(path)
        image: NDArray[np.uint8] | GflaError
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
            image = read_image(path)
        except OSError as error:
            image = DataError(f"{path}: {error.strerror}")
        except GflaError as error:
            image = error
        yield _Photo(photo, stamp, digest, image)


def _look(photo: _Photo, name: str, finder: Finder, size: tuple[int, int]) -> Found:
    """One person in a frame of `size`, or why nobody."""
    entry = Found(photo=photo.path.as_posix(), stamp=photo.stamp, digest=photo.digest, name=name)

    def left_out(kind: str, detail: str = "") -> Found:
        return replace(entry, why=[kind, detail])

    if isinstance(photo.image, GflaError):
        return left_out("not readable", str(photo.image))
    people = finder.detect(photo.image)
    if not people:
        return left_out("no person found")
    if len(people) > 1 and extent(people[1].box) > _ALIKE * extent(people[0].box):
        return left_out("several people", f"{len(people)}, the second one nearly as large as the first")
    pose = people[0].pose
    joints = int(pose.present.sum())
    if joints < _FEWEST or not pose.present[[8, 11]].any():
        return left_out("too little of the body", f"{joints} of 18 joints in the picture; {_FEWEST} and a hip needed")
    frame = person_frame([pose], size, size[1] / size[0])
    if (height := frame.box[3] - frame.box[1]) < _SMALLEST:
        return left_out("too small", f"{height:.0f} pixels high with some air, {_SMALLEST} needed")
    points = whole_points(frame.pose(pose).points, size)
    return replace(entry, box=list(frame.box), points=points.tolist())
