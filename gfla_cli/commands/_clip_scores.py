"""How `gfla evaluate` shows the scores of models that animate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gfla_cli.commands._tables import print_table

if TYPE_CHECKING:
    from gfla_cli.pipelines.evaluate_clips import ClipScore


def print_clip_scores(scores: Sequence[ClipScore]) -> None:
    """A table with a row for each model."""
    from rich.table import Table

    table = Table("model", "frames", *scores[0].means())
    for score in scores:
        table.add_row(score.name, str(len(score.frames)), *(f"{value:.4f}" for value in score.means().values()))
    print_table(table)
