"""Rendering the pictures of a training beforehand, or while it runs, with several processes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gfla_cli.datasets.people import PeoplePairs
from gfla_cli.datasets.render_cache import AlbumFiles, Albums, write_detections
from gfla_cli.errors import DataError, GflaError, UsageError
from gfla_cli.training.data import RENDERED, open_training_data, rendered_files
from gfla_cli.training.recipe import Recipe

_LOWER_PRIORITY = 5  # a training beside goes first
_POLL_S = 0.2
_WRITE_EVERY_S = 60.0


class _Done(NamedTuple):
    """What a process says of an album."""

    folder: Path
    album: int
    rendered: bool  # it was not there before
    detected: NDArray[np.float32] | None  # (views, 18, 4)


class RenderReport(NamedTuple):
    """What is new."""

    albums: int
    detections: int  # albums in whose pictures joints were looked for


def render_data(
    recipe: Recipe,
    root: Path | None,
    cache: Path,
    *,
    processes: int,
    most: int | None = None,
    seconds: float | None = None,
    detect: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RenderReport:
    """Renders albums into `cache` until all `most` of each kind are there, or the time is up.

    A training with --no-render and the same cache uses each of them at once. `detect`: also look for the joints in
    every picture of people, as a detector's errors are what a model has to live with. Raises DataError where the data
    set cannot be rendered, UsageError where it is not of that kind.
    """
    if recipe.dataset not in RENDERED:
        raise UsageError(f"{recipe.dataset} is not rendered", hint=f"these are: {', '.join(RENDERED)}")
    if detect and recipe.dataset != "people":
        raise UsageError(f"--detect: joints are looked for in people, not in {recipe.dataset}", hint="leave it out")
    kinds = _files(recipe, root, cache)
    total = sum(min(files.count, most or files.count) for files in kinds)
    context = multiprocessing.get_context("spawn")  # threads of this process may hold locks
    done, errors = context.SimpleQueue(), context.SimpleQueue()
    workers = [
        context.Process(
            target=_work, args=(recipe, root, cache, rank, processes, most, detect, done, errors), daemon=True
        )
        for rank in range(processes)
    ]
    started = written = time.monotonic()
    for worker in workers:
        worker.start()
    found: dict[Path, dict[int, NDArray[np.float32]]] = {}
    seen = new = looked = 0
    try:
        while any(worker.is_alive() for worker in workers) or not done.empty():
            while not done.empty():
                album: _Done = done.get()
                seen, new = seen + 1, new + album.rendered
                if album.detected is not None:
                    looked += 1
                    found.setdefault(album.folder, {})[album.album] = album.detected
                progress(seen, total)
            if time.monotonic() - written > _WRITE_EVERY_S:
                _write(found)
                written = time.monotonic()
            if seconds is not None and time.monotonic() - started > seconds:
                break
            time.sleep(_POLL_S)
    finally:
        for worker in workers:
            worker.terminate()  # an album appears complete or not at all
        _write(found)
    if not errors.empty():
        what, hint = errors.get()
        raise DataError(what, hint=hint)
    if any(worker.exitcode not in (0, None, -15) for worker in workers):
        raise DataError("a process that renders has died", hint="fewer --processes need less memory")
    return RenderReport(new, looked)


def _write(found: dict[Path, dict[int, NDArray[np.float32]]]) -> None:
    for folder, detected in found.items():
        write_detections(folder, detected)
    found.clear()


def _files(recipe: Recipe, root: Path | None, cache: Path) -> list[AlbumFiles]:
    return rendered_files(open_training_data(recipe, root, cache)(recipe.stages[-1]))


def _work(
    recipe: Recipe,
    root: Path | None,
    cache: Path,
    rank: int,
    processes: int,
    most: int | None,
    detect: bool,
    done: multiprocessing.SimpleQueue[_Done],
    errors: multiprocessing.SimpleQueue[tuple[str, str]],
) -> None:
    """One of the processes: every album whose turn is its own."""
    if hasattr(os, "nice"):
        os.nice(_LOWER_PRIORITY)
    try:
        dataset = open_training_data(recipe, root, cache)(recipe.stages[-1])
        look = _Detection(dataset.albums) if detect and isinstance(dataset, PeoplePairs) else None
        turns = _turns(rendered_files(dataset), most)
        for files, album in islice(turns, rank, None, processes):
            rendered = files.ensure(album)
            detected = look(album) if look is not None and files is look.albums.files else None
            done.put(_Done(files.folder, album, rendered, detected))
    except GflaError as error:
        errors.put((str(error), error.hint))


class _Detection:
    """Looks for the joints of whole people; in pictures of heads alone there are none to find."""

    def __init__(self, albums: Albums) -> None:
        from gfla_cli.person.detect import PersonDetector

        self.albums = albums
        self._detector = PersonDetector()

    def __call__(self, album: int) -> NDArray[np.float32] | None:
        """(views, 18, 4) of an album; None where somebody looked before."""
        from gfla_cli.person.pose import nearest_person

        if self.albums.is_detected(album):
            return None
        rows = []
        for number in range(self.albums.plan.views):
            view = self.albums.view(album, number)
            people = [person.pose for person in self._detector.detect(view.picture.image)]
            pose = nearest_person(people, view.points)
            joints = np.tile(np.array([-1, -1, 0, 0], np.float32), (18, 1))
            if pose is not None:
                joints = np.nan_to_num(pose.within_frame().deep_points)
            rows.append(joints)
        return np.stack(rows)


def _turns(kinds: list[AlbumFiles], most: int | None) -> Iterator[tuple[AlbumFiles, int]]:
    """All albums of all kinds, of each the same share at any time, so that a training can begin with the first."""
    counts = [min(files.count, most or files.count) for files in kinds]
    albums = [(number / count, kind, number) for kind, count in enumerate(counts) for number in range(count)]
    return ((kinds[kind], number) for _, kind, number in sorted(albums))
