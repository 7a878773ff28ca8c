"""`gfla data build`: one's own photos as a pose set. People are found, cropped, paired and split.

Looking at photos takes long; its results are kept (see `photos`). All the rest is done again by every call, in
seconds. To go on after an interruption, or to add photos, the call is repeated.

People, pairs and splits depend on names and a seed alone. The same photos give the same set on every machine, and
photos that are added later move no person from training to test.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath

import numpy as np

from gfla_cli.datasets.photos import Found, look_at_all
from gfla_cli.datasets.tables import BUILD_PLAN, SPLITS, SQUARE, Layout, Split, write_tables
from gfla_cli.errors import DataError, GflaError, UsageError
from gfla_cli.geometry.crop import Crop
from gfla_cli.io.background import Progress, silent
from gfla_cli.io.files import is_inside, is_too_long, sole_writer, with_digest, write_csv, write_text
from gfla_cli.io.image import find_images, read_image, write_image

LEFT_OUT, _FOUND = "left-out.csv", "found.jsonl"
_UNSAFE = re.compile(r"[^\w.+-]+")  # a colon or a comma would end a column of the tables
_LAST_PART = re.compile(r"^(.+?)(?:[ _-]+[^ _-]*|\d+)$")  # anna_01, anna-front, anna2

Identify = Callable[[PurePath], str | None]  # photo below its folder -> person, None when unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What the set depends on. The first two decide about every image in it."""

    layout: Layout = SQUARE
    height: int = 512  # pixels of the written images
    identity: str = "auto"  # see `identities`
    test_share: float = 0.1
    most_pairs: int = 200  # of one person
    seed: int = 0

    @property
    def size(self) -> tuple[int, int]:
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
        """Kind of reason -> how many photos, most frequent first."""
        return dict(Counter(kind for kind, _ in self.left_out.values()).most_common())


def build_set(photos: Path, output: Path, options: BuildOptions, *, progress: Progress = silent) -> BuildReport:
    """Writes `output`/train, test and their tables, and left-out.csv with a reason for every photo that is in none.

    Raises GflaError for what concerns all photos: missing folders, options other than last time's, no pairs.
    """
    paths: dict[PurePath, Path] = {}
    for path in find_images(photos, recursive=True):
        photo = path.relative_to(photos)
        if not any(part.startswith(".") for part in photo.parts) and not is_inside(output, path):
            paths[photo] = path
    identify = identities(options.identity, list(paths))
    with sole_writer(output):
        _same_plan(output / BUILD_PLAN, photos, options)
        found, looked_at = look_at_all(paths, picture_names(paths), output / _FOUND, options.layout.frame, progress)
        report = BuildReport(photos=len(paths), looked_at=looked_at)
        people = _usable(found, identify, report)
        kept = {entry.name for entries in people.values() for entry in entries}
        for entry in found.values():
            if entry.name not in kept:  # an earlier call may have written its image
                for split in SPLITS:
                    (output / split / entry.name).unlink(missing_ok=True)
        _write_set(people, photos, output, options, report)
        rows = [(photo, *why) for photo, why in sorted(report.left_out.items())]
        write_csv(output / LEFT_OUT, [("photo", "why", "detail"), *rows], lineterminator="\n")
    if not report.pairs.get("train"):
        most = next(iter(report.reasons), "")
        hint = f"{output / LEFT_OUT} says why, mostly: {most}; --identity says how to tell people apart"
        raise DataError(f"{photos}: nothing to train on, no two images of one person", hint=hint)
    return report


def _same_plan(path: Path, photos: Path, options: BuildOptions) -> None:
    """Raises DataError when the set was built with another image size or from another folder: they must not mix."""
    plan = {"photos": str(photos.resolve()), "layout": asdict(options.layout), "height": options.height}
    plan = json.loads(json.dumps(plan))
    if path.is_file():
        with suppress(ValueError):
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name, value in plan.items() if before.get(name) != value]
            if changed:
                what = f"{path.parent} was built with another {' and '.join(changed)}"
                raise DataError(what, hint="choose another --output, or build it as before")
    write_text(path, json.dumps(plan, indent=2) + "\n")


def _usable(found: Mapping[str, Found], identify: Identify, report: BuildReport) -> dict[str, list[Found]]:
    """Person -> entries of at least two different photos; the reasons of all others go into the report."""
    people: defaultdict[str, list[Found]] = defaultdict(list)
    seen: dict[str, str] = {}
    for photo, entry in found.items():
        person = identify(PurePath(photo))
        if entry.why is not None:
            report.left_out[photo] = entry.why
        elif person is None:
            report.left_out[photo] = ["unknown person", "its path does not name the person; see --identity"]
        elif (first := seen.setdefault(entry.digest, photo)) != photo:
            report.left_out[photo] = ["the same file twice", f"also {first}"]
        else:
            people[person].append(entry)
    for person, entries in list(people.items()):
        if len(entries) < 2:
            report.left_out[entries[0].photo] = ["the only image of a person", f"of {person}"]
            del people[person]
    return people


def _write_set(
    people: Mapping[str, list[Found]], photos: Path, output: Path, options: BuildOptions, report: BuildReport
) -> None:
    sides = split_people(people, options.test_share, options.seed)
    for split in SPLITS:
        own: dict[str, list[Found]] = {}
        (output / split).mkdir(exist_ok=True)
        for person in (person for person in people if sides[person] == split):
            kept = [entry for entry in people[person] if _write_image(entry, photos, output, split, options, report)]
            if len(kept) > 1:
                own[person] = kept
        pairs = pairs_of({p: [e.name for e in entries] for p, entries in own.items()}, options.most_pairs, options.seed)
        poses = {entry.name: entry.points or [] for entries in own.values() for entry in entries}
        write_tables(output, options.layout, split, poses, pairs)
        report.people[split], report.pictures[split], report.pairs[split] = len(own), len(poses), len(pairs)


def _write_image(
    entry: Found, photos: Path, output: Path, split: Split, options: BuildOptions, report: BuildReport
) -> bool:
    """Crops the person, unless that was done. False, with the reason in the report, when the photo is unreadable."""
    other = SPLITS[split == "train"]
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


def identities(rule: str, photos: Sequence[PurePath]) -> Identify:
    """The function for a rule: `folder`, `name`, a regular expression whose first group is the person, or `auto`.

    `auto` goes by folders when any photo is in one. Raises UsageError for an expression that is not valid.
    """
    if rule == "auto":
        rule = "folder" if any(len(photo.parts) > 1 for photo in photos) else "name"
    if rule == "folder":
        return lambda photo: photo.parent.as_posix() if len(photo.parts) > 1 else None
    if rule == "name":
        return lambda photo: (
            photo.parent / (match[1] if (match := _LAST_PART.match(photo.stem)) else photo.stem)
        ).as_posix()
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise UsageError(f"--identity {rule}: {error}", hint="known: auto, folder, name, or an expression") from error
    if pattern.groups < 1:
        hint = r"put the part that names the person into brackets, such as '(\d+)_'"
        raise UsageError(f"--identity {rule}: an expression without a group", hint=hint)
    return lambda photo: match[1] if (match := pattern.search(photo.as_posix())) else None


def picture_names(photos: Iterable[PurePath]) -> dict[PurePath, str]:
    """A file name for each photo, made from its path. A name that is too long, or not unique, gets a digest."""
    bare = {photo: _UNSAFE.sub("-", "--".join([*photo.parent.parts, photo.stem])).strip(".-") for photo in photos}
    count = Counter(name.lower() for name in bare.values())  # some disks do not tell a from A
    own = {photo for photo, name in bare.items() if name and count[name.lower()] == 1 and not is_too_long(name)}
    return {
        photo: f"{name if photo in own else with_digest(name or 'photo', photo.as_posix())}.jpg"
        for photo, name in bare.items()
    }


def split_people(people: Iterable[str], test_share: float, seed: int) -> dict[str, Split]:
    """Person -> training or test, by a digest of the name: people that are added later move no others.

    About `test_share` of the people are for the test. Of two or more, at least one is in each split. A share of up to
    a half never puts more people into the test than into training: of few people, chance could.
    """
    draws = {person: int.from_bytes(_sha256(f"{seed}/{person}")[:7]) / 2**56 for person in people}  # in [0, 1)
    order = sorted(draws, key=lambda person: (draws[person], person))
    split: dict[str, Split] = {person: "test" if draws[person] < test_share else "train" for person in order}
    if test_share <= 0.5:
        split |= dict.fromkeys(order[len(order) // 2 :], "train")
    if len(order) > 1 and 0 < test_share < 1:
        split[order[0]], split[order[-1]] = "test", "train"
    return split


def pairs_of(images: Mapping[str, Sequence[str]], most: int, seed: int) -> list[tuple[str, str]]:
    """(from, to) of every two images of one person, in both directions; of more than `most` a random choice."""
    pairs = []
    for person, names in images.items():
        count = len(names) * (len(names) - 1)
        chosen: Iterable[int] = range(count)
        if count > most:
            rng = np.random.default_rng([seed, *_sha256(person)[:8]])
            chosen = sorted(rng.choice(count, most, replace=False).tolist())
        for number in chosen:
            source, target = divmod(number, len(names) - 1)
            pairs.append((names[source], names[target + (target >= source)]))
    return pairs


def _sha256(name: str) -> bytes:
    """Of a name that may hold, on POSIX, bytes that are no text."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).digest()
