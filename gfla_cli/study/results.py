"""Result files of a study: written by the page, checked here, and tallied with confidence intervals."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from gfla_cli.errors import DataError, GflaError

FORMAT, VERSION = "gfla-study-result", 1
LARGEST_FILE = 4 << 20  # bytes; enough for ten thousand answers
_LONGEST_NAME = 300
_ID = re.compile(r"[0-9a-f]{8,32}")
_Z95 = 1.959964  # standard normal quantile of 97.5 %
_RESAMPLES = 4000
CATCH_SHARE = 0.75  # share of the catch trials that a sitting has to get right; people slip now and then

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Answer:
    """One comparison: the side of the real image, and the side that the rater chose."""

    kind: str  # pair, or catch: an easy pair that tests attention
    picture: str
    model: str  # empty for a catch trial
    real: str  # left or right
    chosen: str
    ms: int  # milliseconds until the answer

    @property
    def fooled(self) -> bool:
        """Whether the generated image was taken for the real one."""
        return self.chosen != self.real


@dataclass(frozen=True, slots=True)
class Result:
    """The answers of one rater in one sitting."""

    study: str
    session: str
    rater: str
    sitting: int
    started: str
    finished: str
    complete: bool
    answers: tuple[Answer, ...]


def read_result(path: Path) -> Result:
    """Reads a result file. Raises DataError if it is missing, damaged, too large or something else."""
    hint = "keep the files as the study page saved them"
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path}: too large for a result file", hint=hint)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file", hint=hint) from error
    try:
        return parse_result(text)
    except DataError as error:
        raise DataError(f"{path}: {error}", hint=hint) from error


def parse_result(text: str | bytes) -> Result:
    """Parses the JSON text of a result. Raises DataError that names the field that is wrong."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON, or cut off") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DataError("not a result of a gfla study")
    if data.get("version") != VERSION:
        raise DataError(f"version {str(data.get('version'))[:20]} of the format; this gfla reads {VERSION}")
    answers = data.get("answers")
    if not isinstance(answers, list):
        raise DataError("it has no list of answers")
    return Result(
        **{field: _checked(data, field) for field in ("study", "session", "rater", "sitting", "started", "finished")},
        complete=data.get("complete") is True,
        answers=tuple(_answer(number, answer) for number, answer in enumerate(answers, start=1)),
    )


def _answer(number: int, data: Any) -> Answer:
    try:
        if not isinstance(data, dict):
            raise DataError("not a JSON object")
        fields = ("kind", "picture", "model", "real", "chosen", "ms")
        return Answer(**{field: _checked(data, field) for field in fields})
    except DataError as error:
        raise DataError(f"answer {number}: {error}") from error


# What a field should be, and whether a value is that.
_Rule = tuple[str, Callable[[Any], bool]]
_DIGITS: _Rule = ("8 to 32 hexadecimal digits", lambda x: isinstance(x, str) and _ID.fullmatch(x) is not None)
_TEXT: _Rule = ("a short text", lambda x: isinstance(x, str) and len(x) <= _LONGEST_NAME and x.isprintable())
_WHOLE: _Rule = ("a whole number, not negative", lambda x: type(x) is int and 0 <= x < 1 << 40)
_SIDE: _Rule = ("left or right", lambda x: x in ("left", "right"))
_FIELDS: dict[str, _Rule] = {
    **dict.fromkeys(("study", "session", "rater"), _DIGITS),
    **dict.fromkeys(("started", "finished", "picture", "model"), _TEXT),
    **dict.fromkeys(("sitting", "ms"), _WHOLE),
    **dict.fromkeys(("real", "chosen"), _SIDE),
    "kind": ("pair or catch", lambda x: x in ("pair", "catch")),
}


def _checked(data: dict[str, Any], field: str) -> Any:
    """The value of a field. Raises DataError when it is not what it should be."""
    what, is_right = _FIELDS[field]
    if not is_right(data.get(field)):
        raise DataError(f"{field} should be {what}")
    return data[field]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTally:
    """The answers about one model."""

    model: str
    answers: int
    fooled: int
    pairs: int
    raters: int
    wilson: Interval
    over_raters: Interval | None  # None with a single rater

    @property
    def share(self) -> float:
        """Share of answers that took the generated image for the real one; 0.5 = guessing."""
        return self.fooled / self.answers


@dataclass(slots=True, kw_only=True)
class Tally:
    """The answers of a set of result files."""

    study: str
    models: list[ModelTally]
    raters: int
    sittings: int
    excluded: list[tuple[Path, str]] = field(default_factory=list)  # files that are left out, with the reason
    unreadable: list[GflaError] = field(default_factory=list)


def find_results(paths: Iterable[Path]) -> list[Path]:
    """The given files, and the .json files of given folders. Raises DataError if there is none."""
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

    Excluded, with the reason: other studies, further files of one session (the longest counts), a sitting that its
    rater did before, and sittings with more than a quarter of the catch trials wrong. Raises DataError if nothing is
    left, or if two studies have the same number of files.
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
    ranked = Counter(result.study for _, result in results).most_common(2)
    if not study and len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        both = " and ".join(name for name, _ in ranked)
        raise DataError(f"the files belong to several studies: {both}", hint="--study chooses one")
    chosen = study or ranked[0][0]
    counted, excluded = _exclude(results, chosen)
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


def _exclude(results: list[tuple[Path, Result]], study: str) -> tuple[list[Result], list[tuple[Path, str]]]:
    """The results that count, and the files that do not, each with the reason."""
    counted: list[Result] = []
    excluded: list[tuple[Path, str]] = []
    sessions: dict[str, Path] = {}
    sittings: dict[tuple[str, int], Path] = {}
    # The longest file of a session comes first, and the earliest session of a rater.
    for path, result in sorted(results, key=lambda item: (item[1].started, -len(item[1].answers), str(item[0]))):
        place = (result.rater, result.sitting)
        caught = [answer for answer in result.answers if answer.kind == "catch"]
        failed = sum(answer.fooled for answer in caught)
        if result.study != study:
            excluded.append((path, f"belongs to study {result.study}"))
        elif result.session in sessions:
            excluded.append((path, f"the same session as {sessions[result.session].name}"))
        elif place in sittings:
            excluded.append((path, f"the same rater did set {result.sitting} in {sittings[place].name} already"))
        elif failed > (1 - CATCH_SHARE) * len(caught):
            excluded.append((path, f"failed {failed} of {len(caught)} catch trials"))
        else:
            counted.append(result)
        if result.study == study:
            sessions.setdefault(result.session, path)
            sittings.setdefault(place, path)
    return counted, excluded


def _per_model(answers: Sequence[tuple[str, Answer]]) -> list[ModelTally]:
    """Tallies sorted by the names of the models; `answers` are pairs of rater and answer."""
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

    The simpler p ± z √(p(1−p)/n) has width 0 for p = 0, can leave [0, 1], and is too narrow for a few dozen answers.
    Both assume independent answers. Answers of one rater are not: see `bootstrap_over_raters`.
    """
    share, z2 = successes / count, _Z95**2 / count
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z95 * sqrt(share * (1 - share) / count + z2 / (4 * count)) / (1 + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_over_raters(by_rater: Sequence[Sequence[bool]]) -> Interval | None:
    """95 % percentile interval of the pooled share, by bootstrap over raters with a fixed seed. None below two raters.

    Its width reflects how raters differ, so it holds for new raters. `wilson_interval` holds for more answers of the
    same raters. With fewer than about ten raters, or if all raters agree, this one is too narrow: use the other.
    """
    if len(by_rater) < 2:
        return None
    fooled = np.array([sum(some) for some in by_rater])
    counts = np.array([len(some) for some in by_rater])
    drawn = np.random.default_rng(0).integers(0, len(by_rater), (_RESAMPLES, len(by_rater)))
    low, high = np.quantile(fooled[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (0.025, 0.975))
    return float(low), float(high)
