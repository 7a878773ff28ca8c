"""Thousands of pairs: preparing, rendering and writing beside each other, the network on whole batches.

Existing results are skipped and failures noted, so an interrupted call is simply repeated. Several processes share
what is missing.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gfla_cli.data.deepfashion import read_pairs
from gfla_cli.errors import DataError, GflaError
from gfla_cli.media.atomic import atomic_path
from gfla_cli.media.image import write_image
from gfla_cli.media.lock import sole_writer
from gfla_cli.media.overlap import overlapped
from gfla_cli.pipelines.pose import PoseTransfer, Prepared
from gfla_cli.runtime.session import DeviceName, Precision, Runtime
from gfla_cli.runtime.team import Team

REPORT = "failures.csv"
_Failure = tuple[str, str, str]  # from, to, what is wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class InferOptions:
    """Everything that holds for all pairs of a call."""

    model: str = "pose-people"
    crop: bool = True
    align: bool = True
    batch: int = 8
    overwrite: bool = False
    device: DeviceName = "auto"
    precision: Precision = "auto"
    runtime: Runtime = "auto"


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
        model = team.agreed(lambda: _model(options) if own else None)
        failures: list[_Failure] = []

        def tell(done: int) -> None:  # the other processes are about as far
            progress(min(plan.pairs, plan.pairs - len(plan.todo) + done * team.processes), plan.pairs)

        tell(0)
        if model is not None:
            _render(model, own, images, output, options, failures, tell)
        failures = [failure for part in team.gathered(failures) for failure in part]
        written = len(plan.todo) - len(failures)
        failures = sorted(plan.clashes + failures)
        team.from_first(lambda: _write_failures(output, failures))
    return InferReport(plan.pairs, written, plan.pairs - len(plan.todo) - len(plan.clashes), len(failures))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What there is to do, before anybody begins."""

    pairs: int
    todo: list[tuple[str, str]]
    clashes: list[_Failure]  # pairs whose result would have the name of another one's


def _planned(pairs_csv: Path, images: Path, output: Path, options: InferOptions, held: ExitStack) -> _Plan:
    """Reads the CSV and takes hold of the folder of the results."""
    if not images.is_dir():
        raise DataError(f"{images}: no such folder", hint="--images names the folder that the CSV's names are in")
    pairs = list(dict.fromkeys(read_pairs(pairs_csv)))
    held.enter_context(sole_writer(output))
    owners: dict[Path, tuple[str, str]] = {}
    for pair in pairs:
        owners.setdefault(_result(output, pair), pair)
    todo = [pair for path, pair in owners.items() if options.overwrite or not path.exists()]
    clashes = [
        (*pair, f"its result would be named as that of {', '.join(owner)}")
        for pair in pairs
        if (owner := owners[_result(output, pair)]) != pair
    ]
    return _Plan(len(pairs), todo, clashes)


def _model(options: InferOptions) -> PoseTransfer:
    return PoseTransfer(options.model, device=options.device, precision=options.precision, runtime=options.runtime)


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
            made = model.render_all([prepared for _, prepared in good]) if good else []
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


def _prepare(model: PoseTransfer, todo: list[tuple[str, str]], images: Path, options: InferOptions) -> Iterator[_Ready]:
    for pair in todo:
        try:
            source, target = (_inside(images, name) for name in pair)
            yield _Ready(pair, model.prepare(source, target, options.crop, options.align), "")
        except GflaError as error:
            yield _Ready(pair, None, str(error))


def _inside(folder: Path, name: str) -> Path:
    """A picture of the folder; names that lead out of it are refused."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{name}: leads out of {folder}")
    return path


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
    source, target = (str(Path(name).with_suffix("")).replace(os.sep, "_") for name in pair)
    return output / f"{source}--{target}.png"


def _write_failures(output: Path, failures: list[_Failure]) -> None:
    path = output / REPORT
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("from", "to", "error"), *failures])
