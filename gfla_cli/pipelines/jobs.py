"""Runs the jobs of a command: existing results are skipped, and one job's failure does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from gfla_cli.errors import GflaError
from gfla_cli.io.background import overlapped

_AHEAD = 3  # batches that are prepared while one is generated

Say = Callable[[str], None]
Progress = Callable[[int, int], None]  # done, expected


class Job(Protocol):
    """Something to make."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def outputs(self) -> Sequence[Path]:
        """All files that it writes, the result first."""


JobT = TypeVar("JobT", bound=Job)
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(slots=True)
class JobReport:
    """What became of the jobs."""

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # name of the job -> what went wrong

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        paths = {name: [str(path) for path in getattr(self, name)] for name in ("written", "skipped")}
        return {**paths, "failed": self.failed}


def silent(*_: Any) -> None:
    """For `say` and `progress` when nobody listens."""


class JobRunner(Generic[JobT]):
    """Runs jobs one by one, or in batches. The failure of a lone job is raised, among several it is noted."""

    def __init__(
        self,
        jobs: Sequence[JobT],
        report: JobReport,
        *,
        overwrite: bool,
        alone: bool | None = None,
        say: Say = silent,
        progress: Progress = silent,
    ) -> None:
        """Skips the jobs that have a result, unless `overwrite`. `alone`: raise failures, by default for one job."""
        self.todo: list[JobT] = []
        for job in jobs:
            if overwrite or not any(path.exists() for path in job.outputs):
                self.todo.append(job)
            else:
                report.skipped.append(job.outputs[0])
        if report.skipped:
            say(f"{len(report.skipped)} of {len(jobs)} exist already and were skipped; --overwrite makes them again")
        self._report, self._say, self._progress = report, say, progress
        self._alone = len(jobs) == 1 if alone is None else alone
        self._done = 0

    def run(self, work: Callable[[JobT], None]) -> None:
        """Does the work of each job, one after the other."""
        for job in self.todo:
            with self._attempt(job):
                work(job)
                self._report.written += job.outputs
            self._advance(1)
        self._summarise()

    def run_batches(
        self,
        prepare: Callable[[JobT], Prepared],
        generate: Callable[[list[Prepared]], Sequence[Result]],
        write: Callable[[JobT, Result], None],
        *,
        size: int = 1,
    ) -> None:
        """Prepares and writes in threads of their own, and generates `size` jobs at a time in this one."""
        ready = overlapped(self._prepared(prepare), size=_AHEAD * size)
        with ThreadPoolExecutor(max_workers=1) as writer:  # one writer keeps up, and memory stays flat
            pending: list[tuple[JobT, Future[None]]] = []
            for batch in _batches(ready, size):
                good: list[tuple[JobT, Prepared]] = []
                for job, outcome in batch:
                    if isinstance(outcome, GflaError):
                        self._fail(job, outcome)
                    else:
                        good.append((job, outcome))
                results = generate([prepared for _, prepared in good]) if good else []
                self._finish(pending)
                pending = [
                    (job, writer.submit(write, job, result)) for (job, _), result in zip(good, results, strict=True)
                ]
                self._advance(len(batch))
            self._finish(pending)
        self._summarise()

    def _prepared(self, prepare: Callable[[JobT], Prepared]) -> Iterator[tuple[JobT, Prepared | GflaError]]:
        for job in self.todo:
            try:
                yield job, prepare(job)
            except GflaError as error:
                yield job, error

    def _finish(self, pending: Iterable[tuple[JobT, Future[None]]]) -> None:
        for job, written in pending:
            with self._attempt(job):
                written.result()
                self._report.written += job.outputs

    @contextmanager
    def _attempt(self, job: JobT) -> Iterator[None]:
        try:
            yield
        except GflaError as error:
            self._fail(job, error)

    def _fail(self, job: JobT, error: GflaError) -> None:
        if self._alone:
            raise error
        self._report.failed[job.name] = str(error)
        self._say(f"failed: {error}")

    def _advance(self, count: int) -> None:
        self._done += count
        self._progress(self._done, len(self.todo))

    def _summarise(self) -> None:
        if self._report.failed:
            self._say(f"{len(self._report.failed)} of {len(self.todo)} failed")


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
