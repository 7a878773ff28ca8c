"""Reading training samples in the background, past pictures that cannot be read."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset, default_collate

from gfla_cli.errors import DataError, GflaError, MediaError
from gfla_cli.media.atomic import atomic_path

UNREADABLE = "unreadable.csv"
_ATTEMPTS = 20  # samples in a row; when none of them can be read, it is not about single pictures
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


def load_samples(dataset: Dataset[Any], numbers: range, batch: int, workers: int) -> Iterator[Loaded]:
    """Batches of these samples in their order, prepared by so many processes. Takes one number from torch's generator.

    Raises DataError for whatever goes wrong in a worker other than a picture that cannot be read.
    """
    loader: DataLoader[Any] = DataLoader(
        ReadableSamples(dataset),
        batch_size=batch,
        sampler=numbers,
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=6 if workers else None,
        worker_init_fn=_leave_signals_to_the_main_process,
        # A forked worker inherits locks that other threads of this process held, and may wait for them for ever.
        multiprocessing_context="spawn" if workers else None,
    )
    batches = iter(loader)

    def checked() -> Iterator[Loaded]:
        for loaded in batches:
            if loaded.error is not None:
                raise DataError(loaded.error[0], hint=loaded.error[1])
            yield loaded

    return checked()


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process; the main one still wants the batch it waits for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_after_the_main_process, daemon=True).start()
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_end_when_the_main_process_says_so, daemon=True).start()


def _end_after_the_main_process() -> None:
    """A killed process ends no workers, and torch's own watch misses a parent that was gone before it began."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _end_when_the_main_process_says_so() -> None:
    """At its own end the main process sends its workers SIGTERM and waits for them; all other senders are ignored."""
    assert sys.platform == "linux"
    parent = os.getppid()
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
