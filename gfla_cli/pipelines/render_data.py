"""Rendering the pictures of a training beforehand, or while it runs, with several processes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest
from pathlib import Path

from gfla_cli.data.albums import AlbumFiles
from gfla_cli.data.open import RENDERED, open_training_data, rendered_files
from gfla_cli.errors import DataError, GflaError, UsageError
from gfla_cli.training.recipe import Recipe

_LOWER_PRIORITY = 5  # a training beside goes first
_POLL_S = 0.2


def render_data(
    recipe: Recipe,
    root: Path | None,
    cache: Path,
    *,
    processes: int,
    most: int | None = None,
    seconds: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Renders albums into `cache` until all `most` of each kind are there, or the time is up; returns how many are new.

    A training with --no-render and the same cache uses each of them at once. Raises DataError where the data set
    cannot be rendered, UsageError where it is not of that kind.
    """
    if recipe.dataset not in RENDERED:
        raise UsageError(f"{recipe.dataset} is not rendered", hint=f"these are: {', '.join(RENDERED)}")
    total = sum(min(files.count, most or files.count) for files in _files(recipe, root, cache))
    context = multiprocessing.get_context("spawn")  # threads of this process may hold locks
    done, errors = context.SimpleQueue(), context.SimpleQueue()
    workers = [
        context.Process(target=_render, args=(recipe, root, cache, rank, processes, most, done, errors), daemon=True)
        for rank in range(processes)
    ]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    seen = new = 0
    try:
        while any(worker.is_alive() for worker in workers) or not done.empty():
            while not done.empty():
                seen, new = seen + 1, new + done.get()
                progress(seen, total)
            if seconds is not None and time.monotonic() - started > seconds:
                break
            time.sleep(_POLL_S)
    finally:
        for worker in workers:
            worker.terminate()  # an album appears complete or not at all
    if not errors.empty():
        what, hint = errors.get()
        raise DataError(what, hint=hint)
    if any(worker.exitcode not in (0, None, -15) for worker in workers):
        raise DataError("a process that renders has died", hint="fewer --processes need less memory")
    return new


def _files(recipe: Recipe, root: Path | None, cache: Path) -> list[AlbumFiles]:
    return rendered_files(open_training_data(recipe, root, cache)(recipe.stages[-1]))


def _render(
    recipe: Recipe,
    root: Path | None,
    cache: Path,
    rank: int,
    processes: int,
    most: int | None,
    done: multiprocessing.SimpleQueue[bool],
    errors: multiprocessing.SimpleQueue[tuple[str, str]],
) -> None:
    """One of the processes: every album whose turn is its own."""
    if hasattr(os, "nice"):
        os.nice(_LOWER_PRIORITY)
    try:
        for files, album in islice(_turns(_files(recipe, root, cache), most), rank, None, processes):
            done.put(files.ensure(album))
    except GflaError as error:
        errors.put((str(error), error.hint))


def _turns(kinds: list[AlbumFiles], most: int | None) -> Iterator[tuple[AlbumFiles, int]]:
    """All albums of all kinds, the kinds in turn, so that a training can begin with the first."""
    albums = [[(files, number) for number in range(min(files.count, most or files.count))] for files in kinds]
    for turn in zip_longest(*albums):
        yield from (album for album in turn if album is not None)
