"""What a stage's steps are taken with: this process's share of every batch, cut into steps and parts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch

from gfla_cli.runtime.team import Team
from gfla_cli.training.loading import Batches, Unreadable, load_samples
from gfla_cli.training.parts import split_sample
from gfla_cli.training.recipe import Recipe
from gfla_cli.training.task import TrainingTask

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
    team: Team
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
    shares = (list(feed.team.share(range(k, k + stage.batch))) for k in range(first, last, stage.batch))
    batches = load_samples(dataset, shares, feed.workers)
    return _cut(feed, batches, range(step, end), getattr(dataset, "pictures", None), stop)


def _cut(
    feed: Feed, batches: Batches, steps: range, pictures: int | None, stop: Callable[[], bool]
) -> Generator[Step | None]:
    with batches:
        yield from _cut_open(feed, batches, steps, pictures, stop)


def _cut_open(
    feed: Feed, batches: Batches, steps: range, pictures: int | None, stop: Callable[[], bool]
) -> Generator[Step | None]:
    cut: Iterator[Any] = iter(())
    shares = [1.0]
    new: tuple[str, ...] = ()
    done = steps.start % feed.task.steps_per_sample  # steps of the first sample that were taken before
    for _ in steps:
        if feed.team.largest(int(stop()))[0]:
            yield None
            return
        if (parts := next(cut, None)) is None:
            loaded = feed.team.agreed(partial(batches.take, stop))
            ended, failed = feed.team.largest(int(loaded is None), len(loaded.failures) if loaded else 0)
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
    everybodys = [failure for part in feed.team.gathered(failures) for failure in part]
    return tuple(feed.team.from_first(lambda: feed.unreadable.note(everybodys, pictures)))
