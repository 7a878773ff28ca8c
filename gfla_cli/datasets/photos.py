"""What is known about every photo of a set that is being built: a file that grows line by line, so work is never lost.

    {"photo": "anna/01.jpg", "stamp": [bytes, mtime], "digest": "…", "name": "anna--01.jpg",
     "box": [left, top, right, bottom], "points": [[x, y], …]}

Instead of box and points there may be "why": [kind, detail]. Points are whole numbers in the frame of the layout,
-1 = missing; the box is in pixels of the photo.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from gfla_cli.datasets.deepfashion import BUILD_PLAN, SQUARE, Layout, Split, whole_points, write_tables
from gfla_cli.datasets.identity import Identify, identities, pairs_of, picture_names, split_people
from gfla_cli.errors import DataError, GflaError
from gfla_cli.geometry.crop import Crop
from gfla_cli.io.background import overlapped
from gfla_cli.io.files import atomic_path, disk_trouble_explained, is_inside, leads_out, sole_writer
from gfla_cli.io.image import find_images, read_image, write_image
from gfla_cli.person.body import body_crop
from gfla_cli.person.detect import Person, PersonDetector
from gfla_cli.person.pose import extent


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


# Looking for one person in each of many photos, with every answer written down as soon as it is known.


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
    crop = body_crop([pose], size, size[1] / size[0])
    if (height := crop.box[3] - crop.box[1]) < _SMALLEST:
        return left_out("too small", f"{height:.0f} pixels high with some air, {_SMALLEST} needed")
    points = whole_points(pose.cropped(crop).within_frame().points, size)
    return replace(entry, box=list(crop.box), points=points.tolist())


# One's own photos as a set to train on: people found, framed, paired and split, in the layout of the published sets.
#
# Looking at photos takes long and is written down photo by photo; what follows is done again by every call, in seconds.
# An interrupted call is simply repeated, and so is one after photos were added.


LEFT_OUT, _FOUND = "left-out.csv", "found.jsonl"
_SPLITS: tuple[Split, Split] = ("train", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What decides about the set that comes out; the first two also decide about every picture in it."""

    layout: Layout = SQUARE
    height: int = 512  # pixels of the written pictures
    identity: str = "auto"
    test_share: float = 0.1
    most_pairs: int = 200  # of one person
    seed: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the written pictures."""
        height, width = self.layout.frame
        return self.height, round(self.height * width / height)


@dataclass(slots=True)
class BuildReport:
    """What became of the photos."""

    photos: int = 0
    looked_at: int = 0  # by this call; the others were known
    people: dict[str, int] = field(default_factory=dict)  # by split
    pictures: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)  # photo -> kind and detail

    @property
    def reasons(self) -> dict[str, int]:
        """Kind of reason -> how many photos, commonest first."""
        return dict(Counter(kind for kind, _ in self.left_out.values()).most_common())


def build_set(
    photos: Path,
    output: Path,
    options: BuildOptions,
    *,
    finder: Finder | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BuildReport:
    """Writes `output`/train, test and their tables, and left-out.csv with a reason for every photo that is in none.

    Raises GflaError for what concerns all photos: the folders, options other than last time's, nobody left to pair.
    """
    paths: dict[PurePath, Path] = {path.relative_to(photos): path for path in _pictures(photos, output)}
    identify = identities(options.identity, list(paths))
    with sole_writer(output):
        _same_plan(output / BUILD_PLAN, photos, options)
        found, looked_at = look_at_all(
            paths, picture_names(paths), output / _FOUND, options.layout.frame, finder, progress
        )
        report = BuildReport(photos=len(paths), looked_at=looked_at)
        people = _usable(found, identify, report)
        _forget(found, people, output)
        _write_set(people, photos, output, options, report)
        _write_left_out(output / LEFT_OUT, report)
    if not report.pairs.get("train"):
        raise DataError(f"{photos}: nothing to train on, no two pictures of one person", hint=_nothing(report, output))
    return report


def _pictures(photos: Path, output: Path) -> Iterator[Path]:
    """All of them, without what is hidden and without what an earlier call wrote."""
    for path in find_images(photos, recursive=True):
        hidden = any(part.startswith(".") for part in path.relative_to(photos).parts)
        if not hidden and not is_inside(output, path):
            yield path


def _nothing(report: BuildReport, output: Path) -> str:
    common = next(iter(report.reasons), "")
    return f"{output / LEFT_OUT} says why, mostly: {common}; --identity tells who is who"


def _same_plan(path: Path, photos: Path, options: BuildOptions) -> None:
    """Pictures of two sizes, or of two folders, must not mix."""
    plan = {"photos": str(photos.resolve()), "layout": asdict(options.layout), "height": options.height}
    plan = json.loads(json.dumps(plan))
    if path.is_file():
        with suppress(ValueError):
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name, value in plan.items() if before.get(name) != value]
            if changed:
                what = f"{path.parent} was built with another {' and '.join(changed)}"
                raise DataError(what, hint="choose another --output, or build it as before")
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")


def _usable(found: Mapping[str, Found], identify: Identify, report: BuildReport) -> dict[str, list[Found]]:
    """Person -> entries of at least two different photos; the reasons of all others go into the report."""
    people: defaultdict[str, list[Found]] = defaultdict(list)
    seen: dict[str, str] = {}
    for photo, entry in found.items():
        person = identify(PurePath(photo))
        if entry.why is not None:
            report.left_out[photo] = entry.why
        elif person is None:
            report.left_out[photo] = ["nobody's", "its path does not say who it is; see --identity"]
        elif (first := seen.setdefault(entry.digest, photo)) != photo:
            report.left_out[photo] = ["the same file twice", f"also {first}"]
        else:
            people[person].append(entry)
    for person, entries in list(people.items()):
        if len(entries) < 2:
            report.left_out[entries[0].photo] = ["the only picture of somebody", f"of {person}"]
            del people[person]
    return people


def _forget(found: Mapping[str, Found], people: Mapping[str, list[Found]], output: Path) -> None:
    """Removes pictures that an earlier call wrote and this one leaves out."""
    kept = {entry.name for entries in people.values() for entry in entries}
    for entry in found.values():
        if entry.name not in kept:
            for split in _SPLITS:
                (output / split / entry.name).unlink(missing_ok=True)


def _write_set(
    people: Mapping[str, list[Found]], photos: Path, output: Path, options: BuildOptions, report: BuildReport
) -> None:
    sides = split_people(people, options.test_share, options.seed)
    for split in _SPLITS:
        own = {person: people[person] for person in people if sides[person] == split}
        (output / split).mkdir(exist_ok=True)
        for person, entries in own.items():
            kept = [entry for entry in entries if _write_picture(entry, photos, output, split, options, report)]
            own[person] = kept if len(kept) > 1 else []
        own = {person: entries for person, entries in own.items() if entries}
        pairs = pairs_of({p: [e.name for e in entries] for p, entries in own.items()}, options.most_pairs, options.seed)
        poses = {entry.name: entry.points or [] for entries in own.values() for entry in entries}
        write_tables(output, options.layout, split, poses, pairs)
        report.people[split], report.pictures[split], report.pairs[split] = len(own), len(poses), len(pairs)


def _write_picture(
    entry: Found, photos: Path, output: Path, split: Split, options: BuildOptions, report: BuildReport
) -> bool:
    """Cuts the person out, unless that was done; False, with the reason in the report, when the photo has gone bad."""
    other = _SPLITS[split == "train"]
    (output / other / entry.name).unlink(missing_ok=True)
    path = output / split / entry.name
    if path.exists():
        return True
    assert entry.box is not None
    left, top, right, bottom = entry.box
    try:
        image = read_image(photos / entry.photo)
    except GflaError as error:
        report.left_out[entry.photo] = ["not readable", str(error)]
        return False
    write_image(path, Crop((left, top, right, bottom), options.size).image(image))
    return True


def _write_left_out(path: Path, report: BuildReport) -> None:
    rows = [(photo, *why) for photo, why in sorted(report.left_out.items())]
    with (
        atomic_path(path, overwrite=True) as temporary,
        # A name may hold bytes that are no text; they are shown as \udcff.
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([("photo", "why", "detail"), *rows])
