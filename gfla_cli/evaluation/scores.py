"""What was measured: figures of every picture of a model, their means, and what holds for all of them together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gfla_cli.evaluation.names import higher_is_better

_Item = TypeVar("_Item")

# Mean joint displacement in torsos; each holds about a third of the rendered test pairs.
CHANGES = {"small change": 0.35, "medium change": 0.6, "large change": float("inf")}


@dataclass(slots=True)
class PairFigures:
    """One generated picture: which pair, how far the pose changed, and its figures by name."""

    pair: int  # row of the pairs file
    change: float  # NaN where the poses are not known
    figures: dict[str, float]


@dataclass(slots=True)
class Score:
    """All pictures of one model, or of one folder."""

    name: str
    pairs: list[PairFigures] = field(default_factory=list)
    sets: dict[str, float] = field(default_factory=dict)  # figures of all pictures together: fid
    about: dict[str, Any] = field(default_factory=dict)  # of the model: sampler, weights, training
    unpaired: int = 0  # pictures without partners, of which only sets have figures

    def means(self, change: str | None = None) -> dict[str, float]:
        """Column -> mean over all pairs, or over those of one class of CHANGES; figures of sets only over all."""
        chosen = [p.figures for p in self.pairs if change is None or change_class(p.change) == change]
        return column_means(chosen) | (self.sets if change is None else {})

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, without the single pairs."""
        by_change = {change: means for change in CHANGES if (means := plain(self.means(change)))}
        about = {"model": self.about} if self.about else {}
        count = {"pictures": self.unpaired} if self.unpaired else {"pairs": len(self.pairs)}
        return {"name": self.name, **count, **plain(self.means()), "by_change": by_change, **about}


def change_class(change: float) -> str | None:
    """The class of CHANGES that a pose change belongs to; None where it is not known."""
    return next((name for name, limit in CHANGES.items() if change <= limit), None)


def column_means(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Name -> mean over the rows in which that figure exists; NaN where it exists in none."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    known = {name: [value for value in values if not math.isnan(value)] for name, values in columns.items()}
    return {name: math.fsum(values) / len(values) if values else math.nan for name, values in known.items()}


def plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def spread(items: Sequence[_Item], most: int | None) -> list[_Item]:
    """At most that many of the items, None = all, evenly spread over them: neighbours often share a person."""
    count = len(items) if most is None else min(most, len(items))
    return [items[k * len(items) // count] for k in range(count)]


def ranked(score: Score, metric: str) -> list[PairFigures]:
    """The pairs of a score that have this figure, worst first."""
    known = [pair for pair in score.pairs if not math.isnan(pair.figures.get(metric, math.nan))]
    return sorted(known, key=lambda pair: pair.figures[metric], reverse=not higher_is_better(metric))


def picked(score: Score, metric: str, count: int = 4) -> dict[str, Sequence[PairFigures]]:
    """Worst, median and best pairs by one figure, none of them twice; all of them when there are few."""
    order = ranked(score, metric)
    count = min(count, -(-len(order) // 3))
    worst, rest = order[:count], order[count:]
    best, middle = rest[max(0, len(rest) - count) :], rest[: max(0, len(rest) - count)]
    start = max(0, (len(middle) - count) // 2)
    return {"worst": worst, "median": middle[start : start + count], "best": best[::-1]}
