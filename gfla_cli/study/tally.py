"""The share of generated pictures that raters took for real, and how sure that share is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

import numpy as np

from gfla_cli.errors import DataError, GflaError
from gfla_cli.study.answers import Answer, Result, read_result

_Z95 = 1.959964  # standard normal quantile of 97.5 %
_RESAMPLES = 4000
CATCH_SHARE = 0.75  # of the catch trials must be right; one slip in four is not inattention

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTally:
    """How one model did."""

    model: str
    answers: int
    fooled: int
    pairs: int
    raters: int
    wilson: Interval
    over_raters: Interval | None  # None with a single rater

    @property
    def share(self) -> float:
        """Of the answers that took the generated picture for the real one; 0.5 = nobody can tell."""
        return self.fooled / self.answers


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a set of result files says."""

    study: str
    models: list[ModelTally]
    raters: int
    sittings: int
    excluded: list[tuple[Path, str]] = field(default_factory=list)  # readable, and why it does not count
    unreadable: list[GflaError] = field(default_factory=list)


def find_results(paths: Iterable[Path]) -> list[Path]:
    """The files themselves and the .json files of folders; raises DataError for what is not there."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.glob("*.json") if not file.name.startswith("."))
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path}: no such file or folder", hint="give result files, or folders with them")
    if not found:
        raise DataError("no result files there", hint="the study page saves them as study-….json")
    return list(dict.fromkeys(found))


def tally(files: Sequence[Path], study: str | None = None) -> Tally:
    """Counts the answers to one study: `study`, or the one that most files belong to.

    Left out, and named: other studies, the same session again (the longest file counts), a sitting that its rater had
    done before, and sittings with more than a quarter of the catch trials wrong. Raises DataError when nothing is
    left, or two studies have equally many files.
    """
    results: list[tuple[Path, Result]] = []
    unreadable: list[GflaError] = []
    for path in files:
        try:
            results.append((path, read_result(path)))
        except GflaError as error:
            unreadable.append(error)
    if not results:
        raise DataError(f"none of {len(files)} files is a readable result", hint=str(unreadable[0]))
    chosen = study or _commonest([result.study for _, result in results])
    counted, excluded = _sorted_out(results, chosen)
    answers = [(result.rater, answer) for result in counted for answer in result.answers if answer.kind == "pair"]
    if not answers:
        reason = f"; {excluded[0][0]} {excluded[0][1]}" if excluded else ""
        raise DataError(f"no answers to study {chosen}{reason}", hint="--study chooses another")
    return Tally(
        study=chosen,
        models=_per_model(answers),
        raters=len({rater for rater, _ in answers}),
        sittings=len(counted),
        excluded=excluded,
        unreadable=unreadable,
    )


def _commonest(studies: list[str]) -> str:
    ranked = Counter(studies).most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        both = " and ".join(name for name, _ in ranked)
        raise DataError(f"the files belong to several studies: {both}", hint="--study chooses one")
    return ranked[0][0]


def _sorted_out(results: list[tuple[Path, Result]], study: str) -> tuple[list[Result], list[tuple[Path, str]]]:
    """The results that count, and the files that do not, with the reason."""
    counted: list[Result] = []
    excluded: list[tuple[Path, str]] = []
    sessions: dict[str, Path] = {}
    sittings: dict[tuple[str, int], Path] = {}
    # Of several files of a session the longest comes first; of several sessions of a rater the earliest.
    for path, result in sorted(results, key=lambda item: (item[1].started, -len(item[1].answers), str(item[0]))):
        place = (result.rater, result.sitting)
        if result.study != study:
            excluded.append((path, f"belongs to study {result.study}"))
        elif result.session in sessions:
            excluded.append((path, f"the same session as {sessions[result.session].name}"))
        elif place in sittings:
            excluded.append((path, f"the same rater did set {result.sitting} in {sittings[place].name} already"))
        elif not _is_attentive(result):
            excluded.append((path, _catch_trials(result)))
        else:
            counted.append(result)
        if result.study == study:
            sessions.setdefault(result.session, path)
            sittings.setdefault(place, path)
    return counted, excluded


def _caught(result: Result) -> list[Answer]:
    return [answer for answer in result.answers if answer.kind == "catch"]


def _is_attentive(result: Result) -> bool:
    caught = _caught(result)
    return sum(not answer.fooled for answer in caught) >= CATCH_SHARE * len(caught)


def _catch_trials(result: Result) -> str:
    caught = _caught(result)
    return f"failed {sum(answer.fooled for answer in caught)} of {len(caught)} catch trials"


def _per_model(answers: Sequence[tuple[str, Answer]]) -> list[ModelTally]:
    """`answers`: rater and answer. Sorted by the models' names."""
    tallies = []
    for model in sorted({answer.model for _, answer in answers}):
        by_rater: dict[str, list[bool]] = {}
        for rater, answer in answers:
            if answer.model == model:
                by_rater.setdefault(rater, []).append(answer.fooled)
        fooled, count = sum(map(sum, by_rater.values())), sum(map(len, by_rater.values()))
        tallies.append(
            ModelTally(
                model=model,
                answers=count,
                fooled=fooled,
                pairs=len({answer.picture for _, answer in answers if answer.model == model}),
                raters=len(by_rater),
                wilson=wilson_interval(fooled, count),
                over_raters=bootstrap_over_raters(list(by_rater.values())),
            )
        )
    return tallies


def wilson_interval(successes: int, count: int) -> Interval:
    """95 % score interval of a share (Wilson 1927): (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).

    Not p ± z √(p(1−p)/n): that one has no width when nobody was fooled, leaves [0, 1] near its ends, and holds the
    truth too seldom for some dozens of answers. It takes the answers for independent, though, and those of one rater
    are not: see `bootstrap_over_raters`.
    """
    share, z2 = successes / count, _Z95**2 / count
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z95 * sqrt(share * (1 - share) / count + z2 / (4 * count)) / (1 + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_over_raters(by_rater: Sequence[Sequence[bool]]) -> Interval | None:
    """95 % percentile interval of the pooled share when whole raters are drawn again with replacement.

    It is as wide as raters differ, so it speaks about new raters, where the pooled interval speaks about more answers
    of these. With fewer than about ten raters it is too narrow, and it has no width where all raters agree: then the
    pooled one holds. None with fewer than two. The draw is seeded.
    """
    if len(by_rater) < 2:
        return None
    fooled = np.array([sum(some) for some in by_rater])
    counts = np.array([len(some) for some in by_rater])
    drawn = np.random.default_rng(0).integers(0, len(by_rater), (_RESAMPLES, len(by_rater)))
    low, high = np.quantile(fooled[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (0.025, 0.975))
    return float(low), float(high)
