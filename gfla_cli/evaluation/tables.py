"""The tables of `gfla evaluate`: scores, and the paper's table 2 beside the figures of reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from gfla_cli.errors import DataError
from gfla_cli.evaluation.scores import LABELS, Score, figure_text, plain

_SHOWN = ("fid", "lpips", "vgg", "ssim", "psnr", "l1", "pck")  # of ours beside the paper's, in this order
_NOT_CONDITIONS = ("note", "run")
_HINT = "gfla evaluate MODEL... --json-file FILE writes one"


class Ablation(NamedTuple):
    """One row of table 2: its name in the paper, the sampler it is here, and the published figures."""

    name: str
    sampler: str
    fid: float
    lpips: float


# Ren et al., CVPR 2020, table 2: what each way to fetch source features gives on DeepFashion.
TABLE_2 = (
    Ablation("Baseline", "none", 16.008, 0.2473),
    Ablation("Global-Attn", "global", 18.616, 0.2575),
    Ablation("Bi-Sample", "bilinear", 12.143, 0.2406),
    Ablation("Full Model", "local", 10.573, 0.2341),
)
CONDITIONS = "DeepFashion 256x256, 8570 pairs"


def score_tables(scores: Sequence[Score]) -> list[Table]:
    """A table over all images and over every part of them, and one of how well views are estimated."""
    first = scores[0]
    names = list(first.means())
    # Parts of the pairs are rows; where there are none, the number of images is a column.
    parted = first.parted_by is not None
    head = {"change": ("pairs", "model"), "difference": ("turned by", "model"), None: ("model", first.unit)}
    table = Table(*head[first.parted_by], *names)
    for part in (None, *(first.parts if parted else ())):
        for score in scores:
            figures = plain(score.means(part))
            if figures:
                label = "all" if part is None else f"{part}°" if score.parted_by == "difference" else part
                cells = [_cell(figures.get(metric)) for metric in names]
                name = escape(score.name)
                table.add_row(*((label, name) if parted else (name, str(len(score.images)))), *cells)
        table.add_section()
    if not any(score.views for score in scores):
        return [table]
    views = Table("views estimated by", "images", "azimuth right", "within 20°", "elevation right")
    for score in scores:
        if score.views:
            count, *shares = score.view_accuracy().values()
            views.add_row(escape(score.name), str(count), *(f"{share:.1%}" for share in shares))
    return [table, views]


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


@dataclass(slots=True)
class Column:
    """Rows that may be compared with each other: sampler -> row of a report."""

    conditions: str
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Data set, size and budget, for people."""
        protocol = next(iter(self.rows.values()))["protocol"]
        data = protocol.get("data", {})
        budgets = {_budget(row) for row in self.rows.values()}
        budget = budgets.pop() if len(budgets) == 1 else "budgets differ"
        pairs = str(data.get("pairs", "?")).split(" of ")[0]
        how = f"{protocol.get('size', '?')}, protocol {protocol.get('name', '?')}"
        return f"{data.get('name', 'unknown data')}, {how}, {pairs} pairs; {budget}"

    @property
    def metrics(self) -> list[str]:
        """The metrics that any row of it has."""
        return [name for name in _SHOWN if any(row.get(name) is not None for row in self.rows.values())]


def read_columns(files: Sequence[Path]) -> list[Column]:
    """The rows of reports of `gfla evaluate`, grouped by data set, protocol and weights of the metrics.

    Raises DataError for a file that is not such a report.
    """
    columns: list[Column] = []
    for file in files:
        for row in _rows(file):
            sampler, conditions = row["model"]["sampler"], _conditions(row)
            # A second model of one sampler is another run: it starts a column of its own.
            fitting = (c for c in columns if c.conditions == conditions and sampler not in c.rows)
            column = next(fitting, None)
            if column is None:
                columns.append(column := Column(conditions))
            column.rows[sampler] = row
    if not columns:
        raise DataError("no model of a known sampler in these reports", hint=_HINT)
    return columns


def ablation_json(columns: Sequence[Column]) -> dict[str, Any]:
    """The paper's table 2 and ours, as plain JSON values."""
    ours = []
    for column in columns:
        rows = [
            {"sampler": sampler, "budget": _budget(row), **{name: row.get(name) for name in column.metrics}}
            for sampler, row in column.rows.items()
        ]
        ours.append({"conditions": column.label, "rows": rows})
    return {"paper": {"conditions": CONDITIONS, "rows": [entry._asdict() for entry in TABLE_2]}, "ours": ours}


def ablation_table(columns: Sequence[Column]) -> tuple[Table, list[str]]:
    """The paper's table 2 with our columns beside it, and lines that explain the numbers of the columns."""
    table = Table("model", "FID\n(paper)", "LPIPS\n(paper)", caption=f"paper: {CONDITIONS}")
    for number, column in enumerate(columns, start=1):
        for name in column.metrics:
            table.add_column(f"{LABELS[name]}\n({number})", justify="right")
    for entry in TABLE_2:
        cells = [figure_text(n, c.rows.get(entry.sampler, {}).get(n)) for c in columns for n in c.metrics]
        table.add_row(entry.name, f"{entry.fid:.3f}", f"{entry.lpips:.4f}", *cells)
    lines = []
    for number, column in enumerate(columns, start=1):
        lines.append(f"({number}) {column.label}")
        if len({_budget(row) for row in column.rows.values()}) > 1:
            lines += [f"    {sampler}: {_budget(row)}" for sampler, row in column.rows.items()]
    return table, lines


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows of models, with their sampler and conditions."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a report ({error})"[:200], hint=_HINT) from error
    rows = content if isinstance(content, list) else []
    if not rows or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise DataError(f"{file}: not a report of gfla evaluate", hint=_HINT)
    if not any("protocol" in row for row in rows):
        raise DataError(f"{file}: it holds no conditions of the measurement", hint="measure again")
    for row in rows:
        model = row.get("model")
        if isinstance(model, dict) and "sampler" in model and isinstance(row.get("protocol"), dict):
            yield row


def _conditions(row: Mapping[str, Any]) -> str:
    """The same text for rows that may stand in one column."""
    conditions = {name: value for name, value in row["protocol"].items() if name not in _NOT_CONDITIONS}
    return json.dumps(conditions, sort_keys=True)


def _budget(row: Mapping[str, Any]) -> str:
    """How long the model was trained, as far as its bundle says, and where the depth of its joints is from."""
    trained = row["model"].get("trained") or {}
    depth = f", depth {row['model']['depth']}" if "depth" in row["model"] else ""
    if not isinstance(trained, dict) or "samples" not in trained:
        return f"budget unknown{depth}"
    dataset = f" of {trained['dataset']}" if "dataset" in trained else ""
    return f"{trained['samples']:,} samples{dataset}".replace(",", " ") + depth
