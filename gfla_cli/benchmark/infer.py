"""Many pairs: `infer` against pose transfers one after another."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gfla_cli.benchmark.measure import interleaved_times, run_gfla
from gfla_cli.datasets.tables import read_pairs
from gfla_cli.errors import DataError, GflaError
from gfla_cli.inference.session import Execution
from gfla_cli.io.image import write_image
from gfla_cli.pipelines.pose_jobs import TransferOptions, transfer_pairs
from gfla_cli.pipelines.pose_transfer import PoseTransfer

REFERENCE = "pose-transfer, a command each"
_COMMANDS = 3  # pairs of the slowest way, whose time for each hardly varies


@dataclass(frozen=True, slots=True)
class Throughput:
    """One way of doing many pairs, loading the model included."""

    name: str
    pairs: int
    pairs_per_second: float
    ratio: float  # how many times faster than a command for each pair

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def measure_throughput(
    pairs_csv: Path,
    images: Path,
    *,
    execution: Execution,
    limit: int,
    batch: int,
    rounds: int = 3,
) -> list[Throughput]:
    """The first `limit` pairs of a CSV in three ways, in turns, each writing its results.

    Raises GflaError when a pair fails.
    """
    pairs = read_pairs(pairs_csv)[:limit]
    if not pairs:
        raise DataError(f"{pairs_csv}: no pairs", hint="rows of from,to")
    with TemporaryDirectory() as folder:
        options = TransferOptions(execution=execution, batch=batch, overwrite=True)
        all_pairs = _Work(pairs, images, Path(folder), options)
        few = replace(all_pairs, pairs=pairs[:_COMMANDS])
        ways: dict[str, tuple[_Work, Callable[[], None]]] = {
            REFERENCE: (few, few.by_commands),
            "pose-transfer, one process": (all_pairs, all_pairs.in_turn),
            "infer": (all_pairs, all_pairs.by_infer),
        }
        seconds = interleaved_times({name: way for name, (_, way) in ways.items()}, rounds)
    counts = {name: len(work.pairs) for name, (work, _) in ways.items()}
    rates = {name: counts[name] / spent for name, spent in seconds.items()}
    return [Throughput(name, counts[name], rate, rate / rates[REFERENCE]) for name, rate in rates.items()]


@dataclass(frozen=True, slots=True)
class _Work:
    """Pairs to be done, and the ways of doing them."""

    pairs: list[tuple[str, str]]
    images: Path
    folder: Path
    options: TransferOptions

    def by_commands(self) -> None:
        given = {f"--{name}": str(value) for name, value in self.options.execution.items() if value is not None}
        shared = [*chain.from_iterable(given.items()), "--quiet", "--overwrite"]
        for source, pose, result in self._files():
            files = [str(source), "--pose", str(pose), "-o", str(result)]
            run_gfla("pose-transfer", *files, *shared)

    def in_turn(self) -> None:
        model = PoseTransfer(**self.options.execution)
        for source, pose, result in self._files():
            write_image(result, model.transfer(source, pose).image, overwrite=True)

    def by_infer(self) -> None:
        chosen = self.folder / "pairs.csv"
        with chosen.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("from", "to"), *self.pairs])
        report = transfer_pairs(chosen, self.images, self.folder / "infer", self.options)
        if report.failed:
            raise GflaError(f"{report.failed} of the pairs that were to be measured fail", hint="gfla infer names them")

    def _files(self) -> Iterator[tuple[Path, Path, Path]]:
        for number, (source, pose) in enumerate(self.pairs):
            yield self.images / source, self.images / pose, self.folder / f"{number}.png"
