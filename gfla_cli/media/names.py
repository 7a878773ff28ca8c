"""Names for files that are made of other files: no two of them the same, none longer than a disk takes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

LONGEST = 200  # bytes; file systems take 255, and endings such as _overlay.png follow
_Key = TypeVar("_Key")


def names_of_results(sources: Iterable[Path]) -> dict[Path, str]:
    """What to call the result of each file of a folder: its stem; `walk.jpg` and `walk.mp4` keep their whole names."""
    paths = list(sources)
    return distinct_names({path: path.stem for path in paths}, {path: path.name for path in paths})


def distinct_names(wanted: Mapping[_Key, str], longer: Mapping[_Key, str]) -> dict[_Key, str]:
    """The wanted names; all that would be one file get the longer ones instead, whatever their order."""
    names = dict(wanted)
    while True:
        count = Counter(os.path.normcase(name) for name in names.values())
        shared = [key for key, name in names.items() if count[os.path.normcase(name)] > 1 and name != longer[key]]
        if not shared:
            return {key: with_digest(name, name) if is_too_long(name) else name for key, name in names.items()}
        names |= {key: longer[key] for key in shared}


def is_too_long(name: str) -> bool:
    """Whether a name has more bytes than we count on a disk to take."""
    return len(_bytes(name)) > LONGEST


def with_digest(name: str, whole: str) -> str:
    """The name, or as much of it as a disk takes, and eight digits that only `whole` has."""
    digest = hashlib.sha256(_bytes(whole)).hexdigest()[:8]
    return f"{_bytes(name)[: LONGEST - 9].decode(errors='ignore')}-{digest}"


def _bytes(name: str) -> bytes:
    """Names of files may hold lone surrogates: on POSIX bytes that are no text, on Windows anything."""
    return name.encode(errors="surrogatepass")
