"""One's own photos as a set to train on: people found, framed, paired and split, in the layout of the published sets.

Looking at photos takes long and is written down photo by photo; what follows is done again by every call, in seconds.
An interrupted call is simply repeated, and so is one after photos were added.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath

from gfla_cli.data.deepfashion import BUILD_PLAN, SQUARE, Layout, Split
from gfla_cli.data.found import Found
from gfla_cli.data.identity import Identify, identities, pairs_of, picture_names, split_people
from gfla_cli.data.tables import write_tables
from gfla_cli.errors import DataError, GflaError
from gfla_cli.landmarks.framing import Frame
from gfla_cli.media.atomic import atomic_path
from gfla_cli.media.image import find_images, read_image, write_image
from gfla_cli.media.inside import is_inside
from gfla_cli.media.lock import sole_writer
from gfla_cli.pipelines.find_people import Finder, look_at_all

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
    write_image(path, Frame((left, top, right, bottom), options.size).crop(image))
    return True


def _write_left_out(path: Path, report: BuildReport) -> None:
    rows = [(photo, *why) for photo, why in sorted(report.left_out.items())]
    with (
        atomic_path(path, overwrite=True) as temporary,
        # A name may hold bytes that are no text; they are shown as \udcff.
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([("photo", "why", "detail"), *rows])
