"""Who is in which picture, who is trained on and who is tested on, and which pictures make pairs.

Everything is decided by names and a seed alone: the same pictures give the same set on every machine, and pictures
that are added later move nobody from training to test.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TypeVar

import numpy as np

from gfla_cli.datasets.deepfashion import Split
from gfla_cli.errors import UsageError
from gfla_cli.io.files import is_too_long, with_digest

_UNSAFE = re.compile(r"[^\w.+-]+")  # a colon or a comma would end a column of the tables
_LAST_PART = re.compile(r"^(.+?)(?:[ _-]+[^ _-]*|\d+)$")  # anna_01, anna-front, anna2

Identify = Callable[[PurePath], str | None]  # picture below the folder of photos -> person, None where nothing says
_Key = TypeVar("_Key")


def identities(rule: str, photos: Sequence[PurePath]) -> Identify:
    """The function for a rule: `folder`, `name`, a regular expression whose first group is the person, or `auto`.

    `auto` goes by folders when any picture is in one. Raises UsageError for an expression that is none.
    """
    if rule == "auto":
        rule = "folder" if any(len(photo.parts) > 1 for photo in photos) else "name"
    if rule == "folder":
        return lambda photo: photo.parent.as_posix() if len(photo.parts) > 1 else None
    if rule == "name":
        return lambda photo: _within(photo, match[1] if (match := _LAST_PART.match(photo.stem)) else photo.stem)
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise UsageError(f"--identity {rule}: {error}", hint="known: auto, folder, name, or an expression") from error
    if pattern.groups < 1:
        hint = r"put the part that names the person into brackets, such as '(\d+)_'"
        raise UsageError(f"--identity {rule}: an expression without a group", hint=hint)
    return lambda photo: match[1] if (match := pattern.search(photo.as_posix())) else None


def _within(photo: PurePath, name: str) -> str:
    return (photo.parent / name).as_posix()


def picture_names(photos: Iterable[PurePath]) -> dict[PurePath, str]:
    """A file name for each photo, made of its path; one that two would get, or that is too long, gets a digest."""
    bare = {photo: _UNSAFE.sub("-", "--".join([*photo.parent.parts, photo.stem])).strip(".-") for photo in photos}
    count = Counter(name.lower() for name in bare.values())  # some disks do not tell a from A
    own = {photo for photo, name in bare.items() if name and count[name.lower()] == 1 and not is_too_long(name)}
    return {
        photo: f"{name if photo in own else with_digest(name or 'photo', photo.as_posix())}.jpg"
        for photo, name in bare.items()
    }


def split_people(people: Iterable[str], test_share: float, seed: int) -> dict[str, Split]:
    """Training or test for everybody: by a digest of the name, so that newcomers move nobody.

    `test_share` of the people, about, are tested on; of two or more at least one is, and one is trained on.
    """
    order = sorted((_draw(seed, person), person) for person in set(people))
    split: dict[str, Split] = {person: "test" if draw < test_share else "train" for draw, person in order}
    if len(order) > 1 and 0 < test_share < 1:
        split[order[0][1]], split[order[-1][1]] = "test", "train"
    return split


def _draw(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on nothing but both."""
    return int.from_bytes(_sha256(f"{seed}/{name}")[:7]) / 2**56


def _sha256(name: str) -> bytes:
    """Of a name that may hold, on POSIX, bytes that are no text."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).digest()


def pairs_of(pictures: Mapping[_Key, Sequence[str]], most: int, seed: int) -> list[tuple[str, str]]:
    """(from, to) of every two pictures of one person, in both directions; of more than `most` a random choice."""
    pairs = []
    for key, names in pictures.items():
        count = len(names) * (len(names) - 1)
        chosen: Iterable[int] = range(count)
        if count > most:
            rng = np.random.default_rng([seed, *_sha256(str(key))[:8]])
            chosen = sorted(rng.choice(count, most, replace=False).tolist())
        for number in chosen:
            source, target = divmod(number, len(names) - 1)
            pairs.append((names[source], names[target + (target >= source)]))
    return pairs
