"""Pairs of generated and real images: by equal names, by a table, or by the naming habits of published code.

Generated images are often named after source and target: FROM--TO.png (`gfla infer`), FROM_2_TO_vis.jpg,
FROM___TO_vis.png, FROM.jpg___TO.jpg_vis.jpg. Suffixes never matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from gfla_cli.datasets.tables import PAIRS_HEADER, Row, full_rows, read_table
from gfla_cli.errors import DataError
from gfla_cli.io.image import READABLE, find_images

_JOINTS = ("--", "_2_", "___")  # between the two names
_TAIL = "_vis"  # some networks put it at the end
_RESULTS_HEADER = ("generated", "real")
_TABLE = "--pairs takes a CSV with the columns from,to or generated,real"


@dataclass(frozen=True, slots=True)
class FilePair:
    """A generated image, the real one it is compared with, if any, and the name of its source where that is known."""

    generated: Path
    real: Path | None
    source: str = ""


def pair_folders(real: Path, generated: Path, table: Path | None = None) -> list[FilePair]:
    """Every generated image with its real one, sorted by name, or in the order of the table.

    `table`: a CSV with the columns from,to (names of both images) or generated,real (names of files). Real images
    without a generated one are no error. Raises DataError that names a generated image without a real one, MediaError
    for a folder without images.
    """
    made, wanted = images_by_stem(generated), images_by_stem(real)
    pairs = list(_from_table(table, made, wanted, generated)) if table else list(_by_name(made, wanted, real))
    if not pairs:
        raise DataError(f"{table}: no pairs in it", hint="rows below the header name two images each")
    return pairs


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Name without suffix -> image; raises DataError when two have one name, MediaError when there are none."""
    found: dict[str, Path] = {}
    for path in find_images(folder):
        stem = path.stem
        if stem in found:
            what = f"{folder}: {found[stem].name} and {path.name} have one name"
            raise DataError(what, hint="keep one of them: images are paired by name, without the suffix")
        found[stem] = path
    return found


def _by_name(made: dict[str, Path], wanted: dict[str, Path], real: Path) -> Iterator[FilePair]:
    alone = []
    for stem, path in made.items():
        names = from_and_to(stem, wanted)
        if names is None:
            alone.append(path.name)
        else:
            yield FilePair(path, wanted[names[1]], names[0])
    if alone:
        what = f"{len(alone)} of {len(made)} generated images have no real one in {real}, first {alone[0]}"
        raise DataError(what, hint="--pairs names a table of them; without pairs, only --metrics fid is possible")


def from_and_to(stem: str, wanted: Collection[str]) -> tuple[str, str] | None:
    """The names of source and target of a generated image, without suffix; None when its target is not in `wanted`.

    An image with the name of a target has the source "".
    """
    if stem in wanted:
        return "", stem
    plain = stem.removesuffix(_TAIL)
    for joint in _JOINTS:
        # A name may itself hold the joint. Of all places to split at, one that gives two known names is best.
        places = [k for k in range(1, len(plain)) if plain.startswith(joint, k)]
        split = [(_stem(plain[:k]), _stem(plain[k + len(joint) :])) for k in places]
        known = [names for names in split if names[1] in wanted]
        if known:
            return max(known, key=lambda names: names[0] in wanted)
    return None


def _stem(name: str) -> str:
    """Without an image's suffix; other dots belong to the name."""
    path = PurePath(name)
    return path.stem if path.suffix.lower() in READABLE else name


def _from_table(table: Path, made: dict[str, Path], wanted: dict[str, Path], folder: Path) -> Iterator[FilePair]:
    header, rows = read_pairing(table)
    for number, (first, second, *_) in rows:
        files = PurePath(first).name, PurePath(second).name
        one, target = map(_stem, files)
        if target not in wanted:
            what = f"{table}, line {number}: {second} is not among the real images"
            raise DataError(what, hint="the table's names are those of files in --real")
        names = [one]
        if header == PAIRS_HEADER:
            spellings = ((one, target), files)  # without suffixes, and with them: FROM.jpg___TO.jpg
            names = [f"{a}{joint}{b}{tail}" for joint in _JOINTS for a, b in spellings for tail in ("", _TAIL)]
        found = next((made[name] for name in names if name in made), None)
        if found is None:
            what = f"{table}, line {number}: no result for {first} and {second} in {folder}"
            raise DataError(what, hint="looked for FROM--TO, FROM_2_TO, FROM___TO, with and without _vis")
        yield FilePair(found, wanted[target], one if header == PAIRS_HEADER else "")


def read_pairing(table: Path) -> tuple[tuple[str, ...], list[Row]]:
    """The header, and the rows below it, of two names or more each. Raises DataError when it is no such table."""
    if not table.is_file():
        raise DataError(f"{table}: no such file", hint=_TABLE)
    rows = read_table(table)
    header = tuple(name.lower() for name in rows[0][1][:2]) if rows else ()
    if header not in (PAIRS_HEADER, _RESULTS_HEADER):
        raise DataError(f"{table}: should begin with the line from,to or generated,real", hint=_TABLE)
    return header, full_rows(table, rows[1:], 2, hint=_TABLE)
