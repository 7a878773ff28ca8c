"""The outcome of an evaluation: scores, the conditions they hold under, and pictures to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from gfla_cli import __version__
from gfla_cli.arrays import Image
from gfla_cli.evaluation.measures import Measures
from gfla_cli.evaluation.protocols import Protocol, Size
from gfla_cli.evaluation.scores import Score


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of several models or folders under one protocol."""

    scores: list[Score]
    conditions: dict[str, Any]
    skipped: dict[str, str] = field(default_factory=dict)  # metric -> why it was not taken
    # Name of a score and number of a pair -> pictures by name, made or read again.
    pictures: Callable[[str, int], dict[str, Image]] = lambda name, pair: {}
    title: Callable[[str, int], str] = lambda name, pair: str(pair)  # what a pair is called

    def to_json(self) -> list[dict[str, Any]]:
        """A row for each score, each with its conditions: rows of several files can be told apart."""
        more = {"skipped": self.skipped} if self.skipped else {}
        return [{**score.to_json(), **more, "protocol": self.conditions} for score in self.scores]


def conditions(
    protocol: Protocol,
    layout: str,
    size: Size,
    measures: Measures,
    *,
    data: Mapping[str, Any],
    place: str = "",
) -> dict[str, Any]:
    """Everything that figures depend on, as plain JSON values; what FID is measured against is added by who knows.

    `place`: where the models ran and in what numbers.
    """
    said = {key: value for key, value in protocol.to_json(layout, size).items() if value}
    run = {"gfla": __version__, **{name: version(name) for name in ("torch", "torchmetrics")}, "place": place}
    return {**said, "colour": "RGB", "data": dict(data), "metrics": dict(measures.described), "run": run}


def lines(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The same for people: a name and a text for each condition."""
    for name, value in said.items():
        if name == "metrics":
            yield from lines(value)
        else:
            yield "protocol" if name == "name" else name.replace("_", " "), _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    told = [(key, str(part)[:12] if key == "sha256" else part) for key, part in value.items() if part not in ("", None)]
    return ", ".join(f"{key.replace('_', ' ')} {part}" for key, part in told)
