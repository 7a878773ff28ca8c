"""The job runner of all commands that turn files into files.

Every such command has the same four steps: plan the jobs, skip those that have a result, run the others, and report.
A pipeline offers `plan_...`, which checks all input before a model is loaded, and `run_...`, which uses `JobRunner`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from gfla_cli.errors import GflaError, MediaError
from gfla_cli.io.background import Progress, Say, overlapped, silent
from gfla_cli.io.files import InputFiles
from gfla_cli.io.image import is_result

_AHEAD = 3  # batches that are prepared while one is generated


class Job(Protocol):
    """One unit of work."""

    @property
    def name(self) -> str:
        """Its name in messages and in `JobReport.failed`."""

    @property
    def inputs(self) -> Sequence[Path | str]:
        """All files that it reads. Names of models may be among them."""

    @property
    def outputs(self) -> Sequence[Path]:
        """All files that it writes, the result first."""


JobT = TypeVar("JobT", bound=Job)
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


@dataclass(slots=True)
class JobReport:
    """The outcome of all jobs. Commands that report more extend it."""

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # name of the job -> error message

    @property
    def exit_code(self) -> int:
        """0 when all went well, else 1."""
        return 1 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        paths = {name: [str(path) for path in getattr(self, name)] for name in ("written", "skipped")}
        return {**paths, "failed": self.failed}


def without_results(paths: Sequence[Path], folder: Path, output: Path, say: Say) -> list[Path]:
    """The files of a folder that a batch takes. `output`: where its results go.

    Files that gfla wrote are left out if the folder holds other files, too, or if the results go to the same folder:
    otherwise each call would take the results of the last one. Raises MediaError when no file is left.
    """
    own = {path for path in paths if is_result(path) or is_overlay(path)}
    same_folder = os.path.realpath(folder) == os.path.realpath(output)
    if not own or (len(own) == len(paths) and not same_folder):
        return list(paths)
    if len(own) == len(paths):
        raise MediaError(f"{folder}: holds nothing but results of gfla", hint="choose another folder with --output")
    say(f"{folder}: {len(own)} of {len(paths)} files are results of gfla and were left out")
    return [path for path in paths if path not in own]


def is_overlay(path: Path) -> bool:
    """Whether the landmarks that belong to an overlay of `gfla extract` are in the same folder. Videos have no mark."""
    name = path.stem.removesuffix("_overlay")
    return name != path.stem and path.suffix == ".mp4" and path.with_name(f"{name}.json").is_file()


class JobRunner(Generic[JobT]):
    """Runs jobs one by one (`run`), or in batches (`run_batches`).

    The failure of a single job is raised. Among several jobs a failure is reported, and the others go on.
    `progress` counts jobs; a single job reports its own steps instead, for instance frames.
    """

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
        """Skips jobs with a result, unless `overwrite`. `alone`: treat as a single job (default: if it is one).

        A job fails at once when one of its outputs is an input of any job.
        """
        self._report, self._say, self._progress = report, say, progress
        self.alone = len(jobs) == 1 if alone is None else alone
        self._done = 0
        self._count = len(jobs)
        self.todo: list[JobT] = []
        inputs = InputFiles(path for job in jobs for path in job.inputs) if overwrite else InputFiles(())
        for job in jobs:
            if not overwrite and any(path.exists() for path in job.outputs):
                report.skipped.append(job.outputs[0])
                continue
            with self._attempt(job):
                for path in job.outputs:
                    inputs.refuse(path)
                self.todo.append(job)
        if report.skipped:
            say(f"{len(report.skipped)} of {len(jobs)} exist already and were skipped; --overwrite makes them again")

    def run(self, work: Callable[[JobT, Progress], Sequence[Path]]) -> None:
        """Calls `work(job, progress)` for each job, one after the other. `work` returns the files that it wrote."""
        for job in self.todo:
            with self._attempt(job):
                self._report.written += work(job, self._progress if self.alone else silent)
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
        """Generates `size` jobs at a time in this thread; other threads prepare the next and write the last ones."""
        ready = overlapped(self._prepared(prepare), size=_AHEAD * size)
        with ThreadPoolExecutor(max_workers=1) as writer:  # one writer keeps up, and memory stays flat
            pending: list[tuple[JobT, Future[None]]] = []
            while batch := list(islice(ready, size)):
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
        if self.alone:
            raise error
        self._report.failed[job.name] = str(error)
        self._say(f"failed: {error}")

    def _advance(self, count: int) -> None:
        self._done += count
        if not self.alone:
            self._progress(self._done, len(self.todo))

    def _summarise(self) -> None:
        if self._report.failed:
            self._say(f"{len(self._report.failed)} of {self._count} failed")
