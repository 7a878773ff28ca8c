"""Fills the render cache of a training with several processes, before the training or while it runs."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gfla_cli.arrays import Float32Array
from gfla_cli.datasets.people import PeoplePairs, RenderedPeople, write_detections
from gfla_cli.datasets.render_cache import RenderCache
from gfla_cli.errors import DataError, GflaError, UsageError
from gfla_cli.io.background import Progress, silent
from gfla_cli.person.pose import nearest_person
from gfla_cli.training.data import RENDERED, open_training_data, render_caches
from gfla_cli.training.recipe import Recipe

_LOWER_PRIORITY = 5  # for `nice`: a training on the same machine goes first
_POLL_S = 0.2
_WRITE_EVERY_S = 60.0


class _Done(NamedTuple):
    """What a worker reports of a sample."""

    sample: int
    rendered: bool  # it was not on disk before
    detected: Float32Array | None  # (views, 18, 4) of rendered people


class _Order(NamedTuple):
    """The order to every worker."""

    recipe: Recipe
    root: Path | None
    cache: Path
    processes: int
    most: int | None
    detect: bool


class RenderReport(NamedTuple):
    """What one call added to the cache."""

    samples: int
    detections: int  # samples in whose images joints were looked for


def render_data(
    recipe: Recipe,
    root: Path | None,
    cache: Path,
    *,
    processes: int,
    most: int | None = None,
    seconds: float | None = None,
    detect: bool = False,
    progress: Progress = silent,
) -> RenderReport:
    """Renders samples into `cache` until it holds `most` of each kind, or until `seconds` have passed.

    A training with --no-render and the same cache uses each sample at once. With `detect`, a detector also looks for
    the joints in every image of people, so a model trains with its real errors. Raises DataError when the data set
    cannot be rendered, UsageError when it is not a rendered one.
    """
    if recipe.dataset not in RENDERED:
        raise UsageError(f"{recipe.dataset} is not rendered", hint=f"these are: {', '.join(RENDERED)}")
    if detect and recipe.dataset != "people":
        raise UsageError(f"--detect: joints are detected in people only, not in {recipe.dataset}", hint="leave it out")
    kinds = render_caches(open_training_data(recipe, root, cache)(recipe.stages[-1]))
    total = sum(min(kind.count, most or kind.count) for kind in kinds)
    context = multiprocessing.get_context("spawn")  # threads of this process may hold locks
    done, errors = context.SimpleQueue(), context.SimpleQueue()
    order = _Order(recipe, root, cache, processes, most, detect)
    workers = [
        context.Process(target=_work, args=(order, rank, done, errors), daemon=True) for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    found: dict[int, Float32Array] = {}
    finished = new = looked = 0
    written = time.monotonic()
    try:
        for report in _reports(workers, done, math.inf if seconds is None else seconds):
            finished, new = finished + 1, new + report.rendered
            if report.detected is not None:
                looked += 1
                found[report.sample] = report.detected
            progress(finished, total)
            if time.monotonic() - written > _WRITE_EVERY_S:
                _write(kinds[0], found)
                written = time.monotonic()
    finally:
        for worker in workers:
            worker.terminate()  # a sample appears complete or not at all
        _write(kinds[0], found)
    if not errors.empty():
        what, hint = errors.get()
        raise DataError(what, hint=hint)
    if any(worker.exitcode not in (0, None, -signal.SIGTERM) for worker in workers):
        raise DataError("a process that renders has died", hint="fewer --processes need less memory")
    return RenderReport(new, looked)


def _reports(
    workers: Sequence[BaseProcess], done: multiprocessing.SimpleQueue[_Done], seconds: float
) -> Iterator[_Done]:
    """What the workers report, as it comes, until all of them have ended or `seconds` have passed."""
    end = time.monotonic() + seconds
    while True:
        running = any(worker.is_alive() for worker in workers)
        while not done.empty():
            yield done.get()
        if not running or time.monotonic() > end:
            return
        time.sleep(_POLL_S)


def _write(people: RenderCache, found: dict[int, Float32Array]) -> None:
    """Moves the joints that were found to the folder of rendered people."""
    if found:
        write_detections(people.folder, found)
        found.clear()


def _work(
    order: _Order,
    rank: int,
    done: multiprocessing.SimpleQueue[_Done],
    errors: multiprocessing.SimpleQueue[tuple[str, str]],
) -> None:
    """Worker number `rank`: renders every sample whose turn is its own."""
    if hasattr(os, "nice"):
        os.nice(_LOWER_PRIORITY)
    try:
        dataset = open_training_data(order.recipe, order.root, order.cache)(order.recipe.stages[-1])
        look = _Detection(dataset.people) if order.detect and isinstance(dataset, PeoplePairs) else None
        turns = _turns(render_caches(dataset), order.most)
        for kind, sample in islice(turns, rank, None, order.processes):
            rendered = kind.ensure(sample)
            detected = look(sample) if look is not None and kind is look.people.cache else None
            done.put(_Done(sample, rendered, detected))
    except GflaError as error:
        errors.put((str(error), error.hint))


class _Detection:
    """Looks for the joints of whole people; head crops show too few of them."""

    def __init__(self, people: RenderedPeople) -> None:
        from gfla_cli.person.detect import PersonDetector

        self.people = people
        self._detector = PersonDetector()

    def __call__(self, sample: int) -> Float32Array | None:
        """(views, 18, 4) x, y, confidence, depth of a sample; None where the joints are known already."""
        if self.people.is_detected(sample):
            return None
        rows = []
        for number in range(self.people.plan.views):
            person = self.people.view(sample, number)
            poses = [found.pose for found in self._detector.detect(person.view.image)]
            pose = nearest_person(poses, person.points)
            joints = np.tile(np.array([-1, -1, 0, 0], np.float32), (18, 1))
            if pose is not None:
                joints = np.nan_to_num(pose.within_frame().deep_points)
            rows.append(joints)
        return np.stack(rows)


def _turns(kinds: list[RenderCache], most: int | None) -> Iterator[tuple[RenderCache, int]]:
    """The numbers of all samples of all kinds, every kind at the same pace: a training can start with the first."""
    counts = [min(cache.count, most or cache.count) for cache in kinds]
    turns = [(number / count, kind, number) for kind, count in enumerate(counts) for number in range(count)]
    return ((kinds[kind], number) for _, kind, number in sorted(turns))
