"""Thousands of pairs: preparing, rendering and writing beside each other, the network on whole batches.

Existing results are skipped and failures noted, so an interrupted call is simply repeated. Under torchrun every
process takes its share of the pairs.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gfla_cli.data.deepfashion import read_pairs
from gfla_cli.errors import DataError, GflaError, MediaError
from gfla_cli.media.atomic import atomic_path
from gfla_cli.media.image import write_image
from gfla_cli.media.inside import inside
from gfla_cli.media.overlap import overlapped
from gfla_cli.pipelines.pose import PoseTransfer, Prepared
from gfla_cli.runtime.session import DeviceName, Precision, Runtime

REPORT = "failures.csv"
_LONGEST_NAME = 200  # bytes; file systems take 255


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
    pairs, impossible = _own_share(*_with_results(read_pairs(pairs_csv)))
    report = InferReport(pairs=len(pairs) + len(impossible), failed=len(impossible))
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{output} cannot be made: {error.strerror}", hint="choose another --output") from error
    todo = [pair for pair in pairs if options.overwrite or not _result(output, pair).exists()]
    report.skipped = len(pairs) - len(todo)
    progress(report)
    failures = impossible
    if todo:
        model = PoseTransfer(options.model, device=options.device, precision=options.precision, runtime=options.runtime)
        _render(model, todo, images, output, options, report, failures, progress)
    _write_failures(output, failures)
    return report


def _with_results(pairs: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """The pairs that can have a result of their own, and the others with the reason."""
    possible: dict[str, tuple[str, str]] = {}
    failures = []
    for pair in dict.fromkeys(pairs):
        name = _result_name(pair)
        other = possible.setdefault(os.path.normcase(name), pair)
        if other != pair:
            failures.append((*pair, f"its result would be that of {' and '.join(other)}, {name}"))
        elif len(name.encode(errors="replace")) > _LONGEST_NAME:
            failures.append((*pair, "names too long for the name of a file"))
    failed = {failure[:2] for failure in failures}
    return [pair for pair in possible.values() if pair not in failed], failures


def _own_share(
    pairs: list[tuple[str, str]], failures: list[tuple[str, str, str]]
) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """Every WORLD_SIZE-th, from RANK on, when started by torchrun; all of them otherwise."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return pairs[rank::world], failures[rank::world]


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
            source, target = (inside(images, name) for name in pair)
            yield _Ready(pair, model.prepare(source, target, options.crop, options.align), "")
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


def _write_failures(output: Path, failures: list[tuple[str, str, str]]) -> None:
    path = output / REPORT
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("from", "to", "error"), *failures])
