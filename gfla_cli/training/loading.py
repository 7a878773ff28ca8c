"""Loading of training samples by worker processes; unreadable images are skipped and listed."""

from __future__ import annotations

import csv
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch._C import _remove_worker_pids
from torch.utils.data import DataLoader, Dataset, default_collate

from gfla_cli.distributed.launch import ProcessGroup
from gfla_cli.errors import DataError, GflaError, MediaError
from gfla_cli.io.files import write_csv
from gfla_cli.training.recipe import Recipe
from gfla_cli.training.tasks.base import TrainingTask

UNREADABLE = "unreadable.csv"
_ATTEMPTS = 20  # unreadable samples in a row before the data set as a whole is taken for damaged
_POLL_S = 0.1  # between two checks whether the run should stop
_JOIN_S = 1.0  # for a thread to end
_TOLERATED = 0.01  # unreadable images, as a fraction of the data set
_ENDLESS = 10**9  # steps


class Loaded(NamedTuple):
    """One batch from a worker."""

    sample: Any  # collated; None when there is an error
    failures: list[str]  # errors of images that were skipped
    error: tuple[str, str] | None  # message and hint; an exception from a worker would bring its traceback


class ReadableSamples(Dataset[Any]):
    """The samples of a data set. For an unreadable sample comes the next readable one, and the error."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Loaded:
        failures: list[str] = []
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    return Loaded(self.dataset[index + attempt], failures, None)
                except MediaError as error:
                    failures.append(str(error))
        except GflaError as error:
            return Loaded(None, failures, (str(error), error.hint))
        what = f"{_ATTEMPTS} samples in a row cannot be read; the first: {failures[0]}"
        return Loaded(None, failures, (what, "gfla data check lists what is missing or damaged"))


def collate(items: Sequence[Loaded]) -> Loaded:
    """One batch of several samples."""
    failures = [failure for item in items for failure in item.failures]
    error = next((item.error for item in items if item.error is not None), None)
    return Loaded(None if error else default_collate([item.sample for item in items]), failures, error)


class Batches(Iterator[Loaded]):
    """Loaded batches in order. As a context manager it ends the workers.

    A thread takes the batches from the loader, so that waiting for a batch can be interrupted.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        before = set(multiprocessing.active_children())
        with _signals_blocked():
            self._loading: Any = iter(loader)
        self._workers = set(multiprocessing.active_children()) - before
        self._taken: queue.Queue[Loaded | BaseException | None] = queue.Queue(maxsize=1)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        loaded: Loaded | BaseException | None = None
        while not self._closed.is_set():
            try:
                loaded = next(self._loading, None)
            except BaseException as error:
                loaded = error
            while not self._closed.is_set():
                with suppress(queue.Full):
                    self._taken.put(loaded, timeout=_POLL_S)
                    break
            if not isinstance(loaded, Loaded):
                return

    def take(self, stop: Callable[[], bool] = lambda: False) -> Loaded | None:
        """The next batch; None at the end, or as soon as `stop` returns True.

        Raises DataError for any error in a worker except unreadable images.
        """
        while True:
            try:
                loaded = self._taken.get(timeout=_POLL_S)
                break
            except queue.Empty:
                if stop():
                    return None
        if isinstance(loaded, BaseException):
            # Where signals cannot be blocked, a signal to all processes ends the workers, too.
            if isinstance(loaded, RuntimeError) and stop():
                return None
            raise loaded
        if loaded is not None and loaded.error is not None:
            raise DataError(loaded.error[0], hint=loaded.error[1])
        return loaded

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Loaded:
        if (loaded := self.take()) is None:
            raise StopIteration
        return loaded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Does not wait until the workers finish their samples: whatever they need to keep is on disk."""
        self._closed.set()
        if getattr(self._loading, "_worker_pids_set", False):
            _remove_worker_pids(id(self._loading))  # else torch reports their end as a failure, anywhere
            self._loading._worker_pids_set = False
        for worker in self._workers:
            worker.terminate()
        self._thread.join(timeout=_JOIN_S)


def load_samples(dataset: Dataset[Any], batches: Iterable[list[int]], workers: int) -> Batches:
    """Batches of samples with these numbers, from `workers` processes. Takes one number from torch's generator."""
    return Batches(
        DataLoader(
            ReadableSamples(dataset),
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=workers,
            prefetch_factor=6 if workers else None,
            worker_init_fn=partial(_begin_worker, os.getpid()),
            # A forked worker inherits the locks that other threads hold, and may wait for them for ever.
            multiprocessing_context="spawn" if workers else None,
        )
    )


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Processes started inside of the block have SIGINT and SIGTERM blocked from the beginning.

    A worker needs seconds until it can block them itself. Until then a signal to all processes would end it.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # else the first worker starts it, which would unblock both
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(parent: int, worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach all processes, but the main process still needs its next batch."""
    if os.getppid() != parent:  # it was killed already; torch would wait for ever
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere the sender is unknown; a worker ends after its current batch
        threading.Thread(target=_end_on_sigterm_from, args=(parent,), daemon=True).start()


def _end_on_sigterm_from(parent: int) -> None:
    """The main process ends its workers by SIGTERM. SIGTERM from all other processes is ignored."""
    assert sys.platform == "linux"
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


class Unreadable:
    """The list of images that were skipped, in a file that a resumed run continues."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / UNREADABLE
        self._names: dict[str, None] = {}
        if self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                self._names = {row[0]: None for row in list(csv.reader(file))[1:] if row}

    def __len__(self) -> int:
        return len(self._names)

    def note(self, failures: Sequence[str], images: int | None) -> list[str]:
        """Adds failures, and returns the new ones. `images` is the size of the data set, if it is known.

        Raises DataError when more than 1 % of the images were skipped.
        """
        new = [failure for failure in dict.fromkeys(failures) if failure not in self._names]
        if not new:
            return new
        self._names |= dict.fromkeys(new)
        write_csv(self._path, [["what"], *([name] for name in self._names)])
        if images is not None and len(self) > _TOLERATED * images:
            what = f"{len(self)} of {images} images cannot be read, more than 1 %; the last: {new[-1]}"
            raise DataError(what, hint=f"{self._path} lists them; repair the data set, then --resume")
        return new


class Step(NamedTuple):
    """One step's batch in parts."""

    parts: list[Any]
    fractions: list[float]  # of this process's batch
    unreadable: tuple[str, ...]  # images skipped for the first time, in any process


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLoader:
    """Loads the batches of training steps: this process's part of every batch, cut into smaller parts if wanted."""

    task: TrainingTask
    group: ProcessGroup
    device: torch.device
    workers: int  # processes that load, for each that trains
    parts: int  # of a process's batch, computed one after the other
    unreadable: Unreadable

    def steps(self, recipe: Recipe, index: int, step: int, stop: Callable[[], bool]) -> Generator[Step | None]:
        """The steps of stage number `index` from step `step` on. Ends with None as soon as `stop` says so anywhere.

        A recipe with a time budget has steps until `stop`. Sample numbers depend on the step alone. So a resumed run
        sees the same samples, and several processes together see those of a single one. Loading begins at once, and
        takes one number from torch's generator.
        """
        stage, repeats = recipe.stages[index], self.task.steps_per_sample
        before = sum(-(-s.steps // repeats) * s.batch for s in recipe.stages[:index])
        end = _ENDLESS if recipe.minutes else stage.steps
        first, last = before + step // repeats * stage.batch, before + -(-end // repeats) * stage.batch
        dataset = self.task.dataset(stage)
        numbers = (list(self.group.shard(range(k, k + stage.batch))) for k in range(first, last, stage.batch))
        batches = load_samples(dataset, numbers, self.workers)
        return self._steps(batches, range(step, end), getattr(dataset, "image_count", None), stop)

    def _steps(
        self, batches: Batches, steps: range, images: int | None, stop: Callable[[], bool]
    ) -> Generator[Step | None]:
        cut: Iterator[Any] = iter(())
        fractions = [1.0]
        new: tuple[str, ...] = ()
        done = steps.start % self.task.steps_per_sample  # steps of the first sample, taken before the run was resumed
        with batches:
            for _ in steps:
                if self.group.all_reduce_max(int(stop()))[0]:
                    yield None
                    return
                if (parts := next(cut, None)) is None:
                    loaded = self.group.run_on_all(partial(batches.take, stop))
                    failed = len(loaded.failures) if loaded else 0
                    ended, failed = self.group.all_reduce_max(int(loaded is None), failed)
                    if ended or loaded is None:
                        yield None
                        return
                    new = ()
                    if failed:  # new failures of any process; too many raise DataError in all of them
                        gathered = [one for part in self.group.all_gather(loaded.failures) for one in part]
                        new = tuple(self.group.run_on_rank0(partial(self.unreadable.note, gathered, images)))
                    samples, fractions = _split(loaded.sample, self.parts)
                    streams = [self.task.batches(sample, self.device) for sample in samples]
                    cut = islice(zip(*streams, strict=True), done, None)
                    parts, done = next(cut), 0
                yield Step(list(parts), fractions, new)
                new = ()


def _split(sample: Any, count: int) -> tuple[list[Any], list[float]]:
    """Up to `count` parts of a collated sample, each with at least one item, and their fractions of the batch.

    Samples are nested named tuples of tensors with a leading B, as `default_collate` returns them.
    """
    first_tensor = sample
    while not isinstance(first_tensor, Tensor):
        first_tensor = first_tensor[0]
    size = len(first_tensor)
    count = min(count, size)
    if count == 1:
        return [sample], [1.0]
    spans = list(pairwise(size * k // count for k in range(count + 1)))
    return [_slice(sample, first, last) for first, last in spans], [(last - first) / size for first, last in spans]


def _slice(sample: Any, first: int, last: int) -> Any:
    if isinstance(sample, Tensor):
        return sample[first:last]
    return type(sample)(*(_slice(item, first, last) for item in sample))
