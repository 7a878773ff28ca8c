"""A collated batch in parts that fit into memory one after another."""

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
from gfla_cli.io.files import atomic_path
from gfla_cli.training.recipe import Recipe
from gfla_cli.training.tasks.base import TrainingTask


def split_sample(sample: Any, count: int) -> tuple[list[Any], list[float]]:
    """`count` parts, or as many as there are samples, and how much of the batch each is; together 1.

    `sample` is what `default_collate` makes of named tuples: tensors with a leading B, nested in them.
    """
    size = len(first_tensor(sample))
    count = min(count, size)
    bounds = [size * k // count for k in range(count + 1)]
    spans = list(pairwise(bounds))
    if count == 1:
        return [sample], [1.0]
    return [_cut(sample, first, last) for first, last in spans], [(last - first) / size for first, last in spans]


def first_tensor(sample: Any) -> Tensor:
    """Any tensor of it; all have the same B."""
    while not isinstance(sample, Tensor):
        sample = sample[0]
    return sample


def _cut(sample: Any, first: int, last: int) -> Any:
    if isinstance(sample, Tensor):
        return sample[first:last]
    return type(sample)(*(_cut(item, first, last) for item in sample))


# Reading training samples in the background, past pictures that cannot be read.


UNREADABLE = "unreadable.csv"
_ATTEMPTS = 20  # samples in a row; when none of them can be read, it is not about single pictures
_POLL_S = 0.1  # between two looks whether somebody wants to stop
_LAST_S = 1.0  # that a thread gets to end
_TOLERATED = 0.01  # of the data set's pictures


class Loaded(NamedTuple):
    """One batch as it comes from a worker."""

    sample: Any  # collated; None when there is an error
    failures: list[str]  # what was wrong with pictures that were skipped
    error: tuple[str, str] | None  # what and hint: the worker's exceptions would arrive with its whole traceback


class ReadableSamples(Dataset[Any]):
    """The same numbered samples; where one cannot be read, the next that can, together with what was wrong."""

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
        return Loaded(None, failures, (what, "gfla data check names what is missing or damaged"))


def collate(items: Sequence[Loaded]) -> Loaded:
    """Single samples as one batch."""
    failures = [failure for item in items for failure in item.failures]
    error = next((item.error for item in items if item.error is not None), None)
    return Loaded(None if error else default_collate([item.sample for item in items]), failures, error)


class Batches(Iterator[Loaded]):
    """Loaded batches in their order. A context manager, at whose end the processes that load end, too.

    A thread takes them from the loader, so that whoever waits for one can stop waiting.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        before = set(multiprocessing.active_children())
        with _signals_held_back():
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
        """The next batch; None at the end, or once `stop` says so.

        Raises DataError for whatever goes wrong in a worker other than a picture that cannot be read.
        """
        while True:
            try:
                loaded = self._taken.get(timeout=_POLL_S)
                break
            except queue.Empty:
                if stop():
                    return None
        if isinstance(loaded, BaseException):
            # Where signals cannot be held back, one that reaches all processes ends the workers, too.
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
        """Does not wait for what the workers are busy with: they keep nothing that is not on disk."""
        self._closed.set()
        if getattr(self._loading, "_worker_pids_set", False):
            _remove_worker_pids(id(self._loading))  # else torch takes their end for a failure, and raises it anywhere
            self._loading._worker_pids_set = False
        for worker in self._workers:
            worker.terminate()
        self._thread.join(timeout=_LAST_S)


def load_samples(dataset: Dataset[Any], batches: Iterable[list[int]], workers: int) -> Batches:
    """Batches of samples with these numbers, prepared by so many processes. Takes one number from torch's generator."""
    return Batches(
        DataLoader(
            ReadableSamples(dataset),
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=workers,
            prefetch_factor=6 if workers else None,
            worker_init_fn=partial(_begin_worker, os.getpid()),
            # A forked worker inherits locks that other threads of this process held, and may wait for them for ever.
            multiprocessing_context="spawn" if workers else None,
        )
    )


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Processes that are started meanwhile are born with SIGINT and SIGTERM blocked.

    A worker needs seconds until it comes to say so itself, and would die of a signal that reaches all processes.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # started by the first worker, it would unblock both
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(parent: int, worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process; the main one still wants the batch it waits for."""
    if os.getppid() != parent:  # killed while this process started: torch would take init for it, and wait for ever
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere nothing tells who sent it, and the worker ends after the batch at hand
        threading.Thread(target=_end_when_the_main_process_says_so, args=(parent,), daemon=True).start()


def _end_when_the_main_process_says_so(parent: int) -> None:
    """At its own end the main process sends its workers SIGTERM and waits for them; all other senders are ignored."""
    assert sys.platform == "linux"
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


class Unreadable:
    """The pictures that were skipped, in a file that a resumed run goes on with."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / UNREADABLE
        self._names: dict[str, None] = {}
        if self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                self._names = {row[0]: None for row in list(csv.reader(file))[1:] if row}

    def __len__(self) -> int:
        return len(self._names)

    def note(self, failures: Sequence[str], pictures: int | None) -> list[str]:
        """The new ones among them. `pictures` is the size of the data set, where that is known.

        Raises DataError once more than one picture in a hundred was skipped.
        """
        new = [failure for failure in dict.fromkeys(failures) if failure not in self._names]
        if not new:
            return new
        self._names |= dict.fromkeys(new)
        with (
            atomic_path(self._path, overwrite=True) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file).writerows([["what"], *([name] for name in self._names)])
        if pictures is not None and len(self) > _TOLERATED * pictures:
            what = f"{len(self)} of {pictures} pictures cannot be read, more than 1 %; the last: {new[-1]}"
            raise DataError(what, hint=f"{self._path} names them; mend the data set, then --resume")
        return new


# What a stage's steps are taken with: this process's share of every batch, cut into steps and parts.


_ENDLESS = 10**9  # steps


class Step(NamedTuple):
    """One step's batch in its parts, and how much of this process's share each of them is."""

    parts: list[Any]
    shares: list[float]
    unreadable: tuple[str, ...]  # pictures that any process had to skip, when that is new


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """What loading has in common in all stages of a run."""

    task: TrainingTask
    group: ProcessGroup
    device: torch.device
    workers: int  # processes that load, for each that trains
    parts: int  # that a share is computed in
    unreadable: Unreadable


def stage_steps(feed: Feed, recipe: Recipe, index: int, step: int, stop: Callable[[], bool]) -> Generator[Step | None]:
    """The steps of stage number `index` from its step `step` on; None, and no more, once any process wants to stop.

    A recipe with a budget in minutes has as many as fit, until `stop` says so.

    Sample numbers follow from the step alone, so a resumed run sees the same ones, and all processes together see
    those that one would see. Loading begins at once, and takes one number from torch's generator.
    """
    stage, repeats = recipe.stages[index], feed.task.steps_per_sample
    before = sum(-(-s.steps // repeats) * s.batch for s in recipe.stages[:index])
    end = _ENDLESS if recipe.minutes else stage.steps
    first, last = before + step // repeats * stage.batch, before + -(-end // repeats) * stage.batch
    dataset = feed.task.dataset(stage)
    shares = (list(feed.group.shard(range(k, k + stage.batch))) for k in range(first, last, stage.batch))
    batches = load_samples(dataset, shares, feed.workers)
    return _taken(feed, batches, range(step, end), getattr(dataset, "pictures", None), stop)


def _taken(
    feed: Feed, batches: Batches, steps: range, pictures: int | None, stop: Callable[[], bool]
) -> Generator[Step | None]:
    with batches:
        yield from _taken_from(feed, batches, steps, pictures, stop)


def _taken_from(
    feed: Feed, batches: Batches, steps: range, pictures: int | None, stop: Callable[[], bool]
) -> Generator[Step | None]:
    cut: Iterator[Any] = iter(())
    shares = [1.0]
    new: tuple[str, ...] = ()
    done = steps.start % feed.task.steps_per_sample  # steps of the first sample that were taken before
    for _ in steps:
        if feed.group.all_reduce_max(int(stop()))[0]:
            yield None
            return
        if (parts := next(cut, None)) is None:
            loaded = feed.group.run_on_all(partial(batches.take, stop))
            ended, failed = feed.group.all_reduce_max(int(loaded is None), len(loaded.failures) if loaded else 0)
            if ended or loaded is None:
                yield None
                return
            new = _noted(feed, loaded.failures, pictures) if failed else ()
            samples, shares = split_sample(loaded.sample, feed.parts)
            streams = [feed.task.batches(sample, feed.device) for sample in samples]
            cut = islice(zip(*streams, strict=True), done, None)
            parts, done = next(cut), 0
        yield Step(list(parts), shares, new)
        new = ()


def _noted(feed: Feed, failures: list[str], pictures: int | None) -> tuple[str, ...]:
    """What is new about them; raises DataError in all processes when it is too much."""
    everybodys = [failure for part in feed.group.all_gather(failures) for failure in part]
    return tuple(feed.group.run_on_rank0(lambda: feed.unreadable.note(everybodys, pictures)))
