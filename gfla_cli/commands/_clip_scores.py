"""How `gfla evaluate` shows the scores of models that animate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gfla_cli.pipelines.evaluate_clips import ClipScore


def print_clip_scores(scores: Sequence[ClipScore], *, as_json: bool) -> None:
    """A table with a row for each model, or the same as JSON."""
    from rich.console import Console
    from rich.table import Table

    if as_json:
        typer.echo(json.dumps([score.to_json() for score in scores], indent=2))
        return
    table = Table("model", "frames", *scores[0].means())
    for score in scores:
        table.add_row(score.name, str(len(score.frames)), *(f"{value:.4f}" for value in score.means().values()))
    Console().print(table)
