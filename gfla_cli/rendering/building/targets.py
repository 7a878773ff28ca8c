"""MakeHuman's .target files: sparse changes of shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import BoolArray, Float64Array, Int64Array
from gfla_cli.rendering.building.files import explained, lines

_MACRO = re.compile(  # adults; height and proportions of average people only, which bodies of all kinds share
    r"macrodetails/("
    r"(african|asian|caucasian)-(female|male)-(young|old)"
    r"|universal-(female|male)-(young|old)-(min|average|max)muscle-(min|average|max)weight"
    r"|height/(female|male)-young-averagemuscle-averageweight-(min|max)height"
    r"|proportions/(female|male)-young-averagemuscle-(min|average|max)weight-(ideal|uncommon)proportions)"
)
_EXPRESSION = re.compile(r"expression/units/((african|asian|caucasian)/[^/]+)")
_ASYMMETRY = re.compile(r"asym/.*(jaw|nose|mouth|eye|brown)-[12]-[lr]")  # the gentle ones; `brown` is the brow
_DETAIL = re.compile(
    r"(armslegs|cheek|chin|ears|eyebrows|eyes|forehead|head|hip|mouth|neck|nose|stomach|torso)/(?:[lr]-)?([^/]+)"
)
_NO_DETAIL = re.compile(  # what moves whole parts away, what clothes or hair hide, and what few people have
    r"(head|neck|torso|hip)-trans|trans-(in|out)|foot|hand|valgus|navel|pregnant|ear-shape"
)
_SMALLEST = 4e-4  # dm; float16 has no use for less


def read_target(path: Path) -> tuple[Int64Array, Float64Array]:
    """The base vertices (k,) that a target moves, and how far (k,3), dm."""
    with explained(path, "a shape target"):
        rows = np.array([words[:4] for words in lines(path)], np.float64).reshape(-1, 4)
        index = rows[:, 0].astype(np.int64)
        if len(index) and index.min() < 0:
            raise ValueError(f"vertex {index.min()}")
    return index, rows[:, 1:]


def select_targets(folder: Path) -> dict[str, list[Path]]:
    """The targets of the pack: name, such as `nose/nose-hump-more` -> files, two where left and right are joined."""
    selected: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.target"), key=lambda path: path.relative_to(folder).as_posix()):
        if name := _name_in_pack(path.relative_to(folder).with_suffix("").as_posix()):
            selected.setdefault(name, []).append(path)
    return selected


def _name_in_pack(name: str) -> str:
    """The name of a target in the pack; empty = not in it."""
    if match := _EXPRESSION.fullmatch(name):
        return f"expression/{match[1]}"
    if match := _DETAIL.fullmatch(name):
        return "" if _NO_DETAIL.search(name) else f"{match[1]}/{match[2]}"
    return name if _MACRO.fullmatch(name) or _ASYMMETRY.fullmatch(name) else ""


def target_arrays(files: Mapping[str, list[Path]], renumbered: Int64Array) -> dict[str, NDArray[np.generic]]:
    """What humans.npz holds of the targets. renumbered: (V,) row of each base vertex in the pack, -1 = left out."""
    names, counts = [], [0]
    indices, deltas = [], []
    for name, paths in files.items():
        index, delta = (np.concatenate(part) for part in zip(*map(read_target, paths), strict=True))
        if len(index) and index.max() >= len(renumbered):
            with explained(paths[0], "a target for this base mesh"):
                raise ValueError(f"vertex {index.max()}")
        kept: BoolArray = (renumbered[index] >= 0) & (np.abs(delta).max(1) > _SMALLEST)
        if kept.any():
            names.append(name)
            counts.append(int(kept.sum()))
            indices.append(renumbered[index[kept]])
            deltas.append(delta[kept])
    return {
        "target_name": np.array(names),
        "target_ptr": np.cumsum(counts).astype(np.int32),
        "target_index": np.concatenate(indices).astype(np.uint16),
        "target_delta": np.concatenate(deltas).astype(np.float16),
    }
