"""The files that `gfla evaluate` writes beside its table: CSV, JSON, an HTML page, a sheet of pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gfla_cli.evaluation.report_page import ExampleGroup
    from gfla_cli.evaluation.run import Outcome


_PREFERRED = ("lpips", "vgg", "ssim", "l1", "psnr")  # by which examples are chosen: the nearest to what people see


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """Where to write; None: not at all."""

    csv: Path | None
    json: Path | None
    html: Path | None
    sheet: Path | None
    rank_by: str | None

    def paths(self) -> list[Path]:
        """Those that are written."""
        return [path for path in (self.csv, self.json, self.html, self.sheet) if path is not None]

    def check(self, *, overwrite: bool) -> None:
        """Raises what writing would raise, before anything is measured."""
        from gfla_cli.errors import UsageError
        from gfla_cli.evaluation.names import RANKING
        from gfla_cli.io.files import refuse_output
        from gfla_cli.io.image import WRITABLE

        for path in self.paths():
            refuse_output(path, overwrite=overwrite)
        if len({path.resolve() for path in self.paths()}) < len(self.paths()):
            raise UsageError("two reports cannot be one file", hint="give each a name of its own")
        if self.sheet is not None and self.sheet.suffix.lower() not in WRITABLE:
            raise UsageError(f"{self.sheet}: unknown picture format", hint=f"known: {' '.join(WRITABLE)}")
        if self.rank_by is not None and self.rank_by not in RANKING:
            what = f"--rank-by {self.rank_by}: not a figure of single pictures"
            raise UsageError(what, hint=f"known: {', '.join(RANKING)}")

    def write(self, outcome: Outcome, *, overwrite: bool) -> None:
        """All of them, each complete or not at all."""
        from gfla_cli.evaluation.contact_sheet import contact_sheet
        from gfla_cli.io.image import write_image

        if self.csv is not None:
            _write(self.csv, as_csv(outcome.rows), overwrite=overwrite)
        if self.json is not None:
            _write(self.json, json.dumps(outcome.rows, indent=2) + "\n", overwrite=overwrite)
        if self.html is not None:
            _write(self.html, _page(outcome, self.rank_by), overwrite=overwrite)
        if self.sheet is not None:
            write_image(self.sheet, contact_sheet(outcome.sheet), overwrite=overwrite)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for every row and every part of its pairs; what held for the row is in columns with a dot."""
    lines = [line for row in rows for line in _lines(row)]
    names = list(dict.fromkeys(name for line in lines for name in line if "." not in name))
    names += list(dict.fromkeys(name for line in lines for name in line if "." in name))
    text = StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _lines(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    whole = {name: value for name, value in row.items() if not isinstance(value, Mapping)}
    said = dict(_flat({name: row[name] for name in ("model", "skipped", "protocol") if name in row}))
    first = {"name": whole.pop("name"), "part": "all"}
    yield first | whole | said
    for key, parts in row.items():
        if key.startswith("by_"):
            for part, figures in parts.items():
                yield first | {"part": part} | figures | said


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _page(outcome: Outcome, rank_by: str | None) -> str:
    from gfla_cli.evaluation.outcome import lines
    from gfla_cli.evaluation.report_page import report_page

    names = [str(row["name"]) for row in outcome.rows if "model" in row] or [str(r["name"]) for r in outcome.rows]
    title = f"Evaluation of {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    said = outcome.conditions
    lead = f"{outcome.count} of {said['data']['name']}, {said['size']}, protocol {said['name']}"
    groups = list(_examples(outcome, rank_by))
    return report_page(title, lead, outcome.rows, lines(said), outcome.skipped, groups)


def _examples(outcome: Outcome, rank_by: str | None) -> Iterator[ExampleGroup]:
    """Worst, median and best pairs of every model, or of every folder; their pictures are made once more."""
    from gfla_cli.evaluation.report_page import Example, ExampleGroup
    from gfla_cli.evaluation.scores import picked

    evaluation = outcome.evaluation
    if evaluation is None:
        return
    models = [score for score in evaluation.scores if score.about] or evaluation.scores
    for score in models:
        taken = (name for name in _PREFERRED if score.pairs and name in score.pairs[0].figures)
        metric = rank_by or next(taken, None)
        if metric is None:
            continue
        for kind, pairs in picked(score, metric).items():
            named = [(pair.pair, pair.figures[metric]) for pair in pairs]
            shown = [
                Example(evaluation.title(score.name, number), figure, evaluation.pictures(score.name, number))
                for number, figure in named
            ]
            if shown:
                yield ExampleGroup(score.name, kind, metric, shown)


def _write(path: Path, text: str, *, overwrite: bool) -> None:
    from gfla_cli.io.files import atomic_path

    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
