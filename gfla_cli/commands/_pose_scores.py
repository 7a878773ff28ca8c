"""How `gfla evaluate` shows the scores of pose models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gfla_cli.pipelines.evaluate import Score


def print_pose_scores(scores: Sequence[Score], *, as_json: bool) -> None:
    """A table over all pairs and by how far the pose changed; or the same as JSON."""
    from rich.console import Console
    from rich.table import Table

    from gfla_cli.pipelines.evaluate import CHANGES

    if as_json:
        rows = [
            {"name": s.name, "pairs": len(s.pairs), **s.means(), "by_change": {c: s.means(c) for c in CHANGES}}
            for s in scores
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("pairs", "model", *scores[0].means())
    for change in (None, *CHANGES):
        for score in scores:
            figures = score.means(change)
            if figures:
                table.add_row(change or "all", score.name, *(f"{value:.4f}" for value in figures.values()))
        table.add_section()
    Console().print(table)
