"""`gfla evaluate --table`: the layout of the paper's table 2, with what was measured here beside it.

Columns hold rows of one data set, protocol and set of judging weights; anything else gets columns of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from gfla_cli.commands.console import print_table
from gfla_cli.errors import DataError

_SHOWN = ("fid", "lpips", "vgg", "ssim", "psnr", "l1", "pck")  # of ours, in this order
_NOT_CONDITIONS = ("note", "run")


@dataclass(slots=True)
class Column:
    """Rows that may be compared with each other: sampler -> row of a report."""

    conditions: str
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Data set, size and budget, for people."""
        said = next(iter(self.rows.values()))["protocol"]
        data = said.get("data", {})
        budgets = {_budget(row) for row in self.rows.values()}
        budget = budgets.pop() if len(budgets) == 1 else "budgets differ"
        pairs = str(data.get("pairs", "?")).split(" of ")[0]
        how = f"{said.get('size', '?')}, protocol {said.get('name', '?')}"
        return f"{data.get('name', 'unknown data')}, {how}, {pairs} pairs; {budget}"

    @property
    def metrics(self) -> list[str]:
        """Figures that any row of it has."""
        return [name for name in _SHOWN if any(row.get(name) is not None for row in self.rows.values())]


def read_columns(files: Sequence[Path]) -> list[Column]:
    """What the reports of `gfla evaluate` hold, grouped into columns; DataError names a file that is none."""
    columns: list[Column] = []
    for file in files:
        for row in _rows(file):
            sampler, said = row["model"]["sampler"], _conditions(row)
            # A second model of one sampler is another run: it starts columns of its own.
            fitting = (c for c in columns if c.conditions == said and sampler not in c.rows)
            column = next(fitting, None)
            if column is None:
                columns.append(column := Column(said))
            column.rows[sampler] = row
    if not columns:
        what = "no model of a known sampler in these reports"
        raise DataError(what, hint="gfla evaluate MODEL... --json-file FILE writes them")
    return columns


def print_ablations(files: Sequence[Path], *, as_json: bool) -> None:
    """The table on stdout, or the same as JSON."""
    from gfla_cli.evaluation.protocols import CONDITIONS, TABLE_2

    columns = read_columns(files)
    if as_json:
        ours = [{"conditions": c.label, "rows": [_plain(c, sampler) for sampler in c.rows]} for c in columns]
        paper = {"conditions": CONDITIONS, "rows": [entry._asdict() for entry in TABLE_2]}
        typer.echo(json.dumps({"paper": paper, "ours": ours}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    from gfla_cli.evaluation.names import LABELS, figure_text

    table = Table("model", "FID\n(paper)", "LPIPS\n(paper)", caption=f"paper: {CONDITIONS}")
    for number, column in enumerate(columns, start=1):
        for name in column.metrics:
            table.add_column(f"{LABELS[name]}\n({number})", justify="right")
    for entry in TABLE_2:
        cells = [figure_text(n, c.rows.get(entry.sampler, {}).get(n)) for c in columns for n in c.metrics]
        table.add_row(entry.name, f"{entry.fid:.3f}", f"{entry.lpips:.4f}", *cells)
    console = Console()
    print_table(table)
    for number, column in enumerate(columns, start=1):
        console.print(f"({number}) {column.label}", highlight=False)
        if len({_budget(row) for row in column.rows.values()}) > 1:
            for sampler, row in column.rows.items():
                console.print(f"    {sampler}: {_budget(row)}", highlight=False)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows of models, with their sampler and conditions."""
    hint = "gfla evaluate MODEL... --json-file FILE writes one"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a report ({error})"[:200], hint=hint) from error
    rows = content if isinstance(content, list) else []
    if not rows or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise DataError(f"{file}: not a report of gfla evaluate", hint=hint)
    if not any("protocol" in row for row in rows):
        raise DataError(f"{file}: it does not say under which conditions it was measured", hint="measure again")
    for row in rows:
        model = row.get("model")
        if isinstance(model, dict) and "sampler" in model and isinstance(row.get("protocol"), dict):
            yield row


def _conditions(row: Mapping[str, Any]) -> str:
    """The same text for rows that may stand in one column."""
    said = {name: value for name, value in row["protocol"].items() if name not in _NOT_CONDITIONS}
    return json.dumps(said, sort_keys=True)


def _budget(row: Mapping[str, Any]) -> str:
    """How long the model was trained, as far as its bundle says."""
    trained = row["model"].get("trained") or {}
    if not isinstance(trained, dict) or "samples" not in trained:
        return "budget unknown"
    dataset = f" of {trained['dataset']}" if "dataset" in trained else ""
    return f"{trained['samples']:,} samples{dataset}".replace(",", " ")


def _plain(column: Column, sampler: str) -> dict[str, Any]:
    row = column.rows[sampler]
    return {"sampler": sampler, "budget": _budget(row), **{name: row.get(name) for name in column.metrics}}
