"""Thousands of pairs: preparing, rendering and writing beside each other, the network on whole batches.

Existing results are skipped and failures noted, so an interrupted call is simply repeated. Several processes share
what is missing.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from gfla_cli.datasets.tables import read_pairs
from gfla_cli.distributed.launch import Team
from gfla_cli.errors import DataError, GflaError
from gfla_cli.inference.memory import is_out_of_memory
from gfla_cli.inference.session import Execution
from gfla_cli.io.background import overlapped
from gfla_cli.io.files import atomic_path, inside, is_too_long, sole_writer
from gfla_cli.io.image import write_image
from gfla_cli.pipelines.pose_transfer import PoseTransfer, Prepared

REPORT = "failures.csv"
_Failure = tuple[str, str, str]  # from, to, what is wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class InferOptions:
    """Everything that holds for all pairs of a call."""

    execution: Execution
    model: str = "pose-people"
    crop: bool = True
    align: bool = True
    near_head: bool = True
    batch: int = 8
    overwrite: bool = False


@dataclass(slots=True)
class InferReport:
    """What became of the pairs, of all processes together."""

    pairs: int = 0
    written: int = 0
    skipped: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class _Ready:
    """One pair after preparing: inputs, or what went wrong."""

    pair: tuple[str, str]
    prepared: Prepared | None
    error: str


def infer_pairs(
    pairs_csv: Path,
    images: Path,
    output: Path,
    options: InferOptions,
    *,
    team: Team | None = None,
    progress: Callable[[int, int], None] = lambda done, expected: None,
) -> InferReport:
    """Renders every `from,to` row of a CSV into `output` as FROM--TO.png.

    Failures are listed in `output`/failures.csv. Raises GflaError for what concerns all pairs: the CSV, the folders,
    the model, a disk that is full, another call that writes there. Each process of a `team` takes every N-th of the
    missing pairs; all of them give the same report.
    """
    team = team or Team()
    with ExitStack() as held:
        plan = team.from_first(lambda: _planned(pairs_csv, images, output, options, held))
        own = plan.todo[team.rank :: team.processes]
        model = team.agreed(lambda: PoseTransfer(options.model, **options.execution) if own else None)
        failures: list[_Failure] = []

        def tell(done: int) -> None:  # the other processes are about as far
            progress(min(plan.pairs, plan.pairs - len(plan.todo) + done * team.processes), plan.pairs)

        tell(0)
        if model is not None:
            _render(model, own, images, output, options, failures, tell)
        failures = [failure for part in team.gathered(failures) for failure in part]
        written = len(plan.todo) - len(failures)
        failures = sorted(plan.impossible + failures)
        team.from_first(lambda: _write_failures(output, failures))
    return InferReport(plan.pairs, written, plan.pairs - len(plan.todo) - len(plan.impossible), len(failures))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What there is to do, before anybody begins."""

    pairs: int
    todo: list[tuple[str, str]]
    impossible: list[_Failure]  # pairs that cannot have a result of their own


def _planned(pairs_csv: Path, images: Path, output: Path, options: InferOptions, held: ExitStack) -> _Plan:
    """Reads the CSV and takes hold of the folder of the results."""
    if not pairs_csv.is_file():
        raise DataError(f"{pairs_csv}: no such file", hint="a CSV that begins with the line from,to")
    if not images.is_dir():
        raise DataError(f"{images}: no such folder", hint="--images names the folder that the CSV's names are in")
    pairs, impossible = _with_results(read_pairs(pairs_csv))
    held.enter_context(sole_writer(output))
    todo = [pair for pair in pairs if options.overwrite or not _result(output, pair).exists()]
    return _Plan(len(pairs) + len(impossible), todo, impossible)


def _with_results(pairs: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[_Failure]]:
    """The pairs that can have a result of their own, and the others with the reason."""
    possible: dict[str, tuple[str, str]] = {}
    failures = []
    for pair in dict.fromkeys(pairs):
        name = _result_name(pair)
        other = possible.setdefault(os.path.normcase(name), pair)
        if other != pair:
            failures.append((*pair, f"its result would be that of {' and '.join(other)}, {name}"))
        elif is_too_long(name):
            failures.append((*pair, "names too long for the name of a file"))
    failed = {failure[:2] for failure in failures}
    return [pair for pair in possible.values() if pair not in failed], failures


def _render(
    model: PoseTransfer,
    todo: list[tuple[str, str]],
    images: Path,
    output: Path,
    options: InferOptions,
    failures: list[_Failure],
    tell: Callable[[int], None],
) -> None:
    ready = overlapped(_prepare(model, todo, images, options), size=3 * options.batch)
    done = 0
    with ThreadPoolExecutor(max_workers=1) as writer:  # one writer keeps up, and memory stays flat
        pending: list[Future[None]] = []
        for group in _batches(ready, options.batch):
            good = [(one.pair, one.prepared) for one in group if one.prepared is not None]
            failures += [(*one.pair, one.error) for one in group if one.prepared is None]
            made = _rendered(model, [prepared for _, prepared in good])
            for future in pending:
                future.result()
            pending = [
                writer.submit(write_image, _result(output, pair), image, overwrite=options.overwrite)
                for (pair, _), image in zip(good, made, strict=True)
            ]
            done += len(group)
            tell(done)
        for future in pending:
            future.result()


def _rendered(model: PoseTransfer, prepared: list[Prepared]) -> list[NDArray[np.uint8]]:
    """The pictures of a batch; raises GflaError that names the option when the batch is too large for the device."""
    try:
        return model.render_all(prepared) if prepared else []
    except Exception as error:  # ONNX Runtime has errors of its own
        if not is_out_of_memory(error):
            raise
        what = f"a batch of {len(prepared)} is too large for the memory"
        if len(prepared) == 1:
            raise GflaError(
                what, hint="--precision bf16 halves it; else only a device with more memory helps"
            ) from error
        raise GflaError(what, hint=f"--batch {len(prepared) // 2} takes half of it; what is written stays") from error


def _prepare(model: PoseTransfer, todo: list[tuple[str, str]], images: Path, options: InferOptions) -> Iterator[_Ready]:
    for pair in todo:
        try:
            source, target = (inside(images, name) for name in pair)
            ready = model.prepare(source, target, options.crop, options.align, near_head=options.near_head)
            yield _Ready(pair, ready, "")
        except GflaError as error:
            yield _Ready(pair, None, str(error))


def _batches(items: Iterable[_Ready], size: int) -> Iterator[list[_Ready]]:
    group: list[_Ready] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _result(output: Path, pair: tuple[str, str]) -> Path:
    return output / _result_name(pair)


def _result_name(pair: tuple[str, str]) -> str:
    """FROM--TO.png, where `a/b.jpg` and `a.csv#b.jpg` become `a_b`; _ is also what some system allows in no name."""
    source, target = ("_".join(map(_bare, name.split("#"))) for name in pair)
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", f"{source}--{target}.png")


def _bare(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("") if path.name else path)


def _write_failures(output: Path, failures: list[_Failure]) -> None:
    path = output / REPORT
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("from", "to", "error"), *failures])
