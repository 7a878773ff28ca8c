"""How `gfla evaluate` shows the scores of view models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gfla_cli.commands._tables import print_table

if TYPE_CHECKING:
    from gfla_cli.pipelines.evaluate_views import ViewScore


def print_view_scores(scores: Sequence[ViewScore]) -> None:
    """A table by degrees turned, and one of how well views are told."""
    from rich.table import Table

    table = Table("turned by", "model", *scores[0].means())
    for turned in (None, *scores[0].differences):
        for score in scores:
            figures = (f"{value:.4f}" for value in score.means(turned).values())
            table.add_row("all" if turned is None else f"{turned}°", score.name, *figures)
        table.add_section()
    print_table(table)
    if not any(score.accuracy for score in scores):
        return
    told = Table("views told by", "pictures", "azimuth right", "within 20°", "elevation right")
    for score in scores:
        if score.accuracy is not None:
            shares = (score.accuracy.azimuth, score.accuracy.neighbour, score.accuracy.elevation)
            told.add_row(score.name, str(score.accuracy.pictures), *(f"{share:.1%}" for share in shares))
    print_table(told)
