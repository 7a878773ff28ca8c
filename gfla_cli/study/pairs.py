"""Which generated pictures belong to which real ones, and which of them a study shows."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gfla_cli.data.paired_folders import from_and_to, pictures_by_stem
from gfla_cli.errors import DataError, UsageError


@dataclass(frozen=True, slots=True)
class Pair:
    """One real picture and what every model made of it."""

    name: str  # of the generated pictures, without the suffix
    real: Path
    generated: tuple[Path, ...]  # in the order of the models


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pairs of a study; practice and catch trials have pictures of their own."""

    pairs: list[Pair]
    practice: list[Pair]
    catch: list[Pair]


def parse_models(folders: Sequence[str]) -> dict[str, Path]:
    """Name -> folder of `NAME=FOLDER` or `FOLDER` arguments; a folder alone is a model called like it."""
    models: dict[str, Path] = {}
    for text in folders:
        name, equals, folder = text.partition("=")
        if not equals or Path(text).is_dir():  # a folder's own name may hold a "="
            name, folder = Path(text).resolve().name, text
        name = name.strip()
        if not name:
            raise UsageError(f"{text}: no name before the =", hint="write NAME=FOLDER")
        if name in models:
            raise UsageError(f"two models are called {name}", hint="write NAME=FOLDER to tell them apart")
        models[name] = Path(folder)
    return models


def find_pairs(real: Path, models: Mapping[str, Path]) -> tuple[list[Pair], int]:
    """The pairs of all folders in the order of their names, and how many generated pictures are left out.

    A generated picture belongs to the real one of its name, whatever their formats; SOURCE--TARGET, as `gfla infer`
    writes, and the like belong to TARGET. Left out is what has no real picture, what another model lacks, and all but
    one generated picture of each real one: who sees a picture twice learns which one is real. Raises DataError when
    none is left.
    """
    originals = pictures_by_stem(real)
    made = [pictures_by_stem(folder) for folder in models.values()]
    names = set.intersection(*(set(pictures) for pictures in made))
    pairs: dict[Path, Pair] = {}
    for name in sorted(names):
        if found := from_and_to(name, originals):
            original = originals[found[1]]
            pairs.setdefault(original, Pair(name, original, tuple(pictures[name] for pictures in made)))
    if not pairs:
        raise DataError(
            f"no file name in {' and '.join(str(folder) for folder in models.values())} matches one in {real}",
            hint="NAME.png belongs to NAME.jpg, and SOURCE--TARGET.png to TARGET.jpg",
        )
    return list(pairs.values()), len(set.union(*(set(pictures) for pictures in made))) - len(pairs)


def draw(pairs: Sequence[Pair], most: int, *, practice: int, catch: int, seed: int) -> Drawn:
    """At most `most` pairs, drawn at random, and others set aside for practice and catch trials.

    Practice takes at most a fifth of a small set. Raises UsageError when the catch trials would take more than that.
    """
    fifth = len(pairs) // 5
    if catch > fifth:
        what = f"{catch} catch trials need {5 * catch} pairs, here are {len(pairs)}"
        raise UsageError(what, hint=f"--catch {fifth}")
    practice = min(practice, fifth)
    order = list(pairs)
    random.Random(seed).shuffle(order)
    rest = order[practice + catch :]
    return Drawn(pairs=rest[:most], practice=order[:practice], catch=order[practice : practice + catch])
