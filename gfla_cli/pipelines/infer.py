"""Thousands of pairs: preparing, rendering and writing beside each other, the network on whole batches.

Existing results are skipped and failures noted, so an interrupted call is simply repeated. Under torchrun every
process takes its share of the pairs.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gfla_cli.data.rows import read_pairs
from gfla_cli.errors import DataError, GflaError, MediaError
from gfla_cli.media.atomic import atomic_path
from gfla_cli.media.image import write_image
from gfla_cli.media.overlap import overlapped
from gfla_cli.pipelines.pose import PoseTransfer, Prepared
from gfla_cli.runtime.session import DeviceName, Precision, Runtime

REPORT = "failures.csv"


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
    threads: int | None = None


@dataclass(slots=True)
class InferReport:
    """What became of the pairs of this process."""

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
    progress: Callable[[InferReport], None] = lambda report: None,
) -> InferReport:
    """Renders every `from,to` row of a CSV into `output` as FROM--TO.png.

    Failures are listed in `output`/failures.csv. Raises GflaError for what concerns all pairs: the CSV, the folders,
    the model, a disk that is full.
    """
    if not images.is_dir():
        raise DataError(f"{images}: no such folder", hint="--images names the folder that the CSV's names are in")
    pairs = _own_share(read_pairs(pairs_csv))
    report = InferReport(pairs=len(pairs))
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{output} cannot be made: {error.strerror}", hint="choose another --output") from error
    todo = [pair for pair in pairs if options.overwrite or not _result(output, pair).exists()]
    report.skipped = len(pairs) - len(todo)
    progress(report)
    failures: list[tuple[str, str, str]] = []
    if todo:
        model = PoseTransfer(
            options.model,
            device=options.device,
            precision=options.precision,
            runtime=options.runtime,
            threads=options.threads,
        )
        _render(model, todo, images, output, options, report, failures, progress)
    _write_failures(output, failures)
    return report


def _own_share(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Every WORLD_SIZE-th pair, from RANK on, when started by torchrun; all of them otherwise."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return list(dict.fromkeys(pairs))[rank::world]


def _render(
    model: PoseTransfer,
    todo: list[tuple[str, str]],
    images: Path,
    output: Path,
    options: InferOptions,
    report: InferReport,
    failures: list[tuple[str, str, str]],
    progress: Callable[[InferReport], None],
) -> None:
    ready = overlapped(_prepare(model, todo, images, options), size=3 * options.batch)
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
            report.written += len(made)
            report.failed = len(failures)
            progress(report)
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


def _write_failures(output: Path, failures: list[tuple[str, str, str]]) -> None:
    path = output / REPORT
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("from", "to", "error"), *failures])
