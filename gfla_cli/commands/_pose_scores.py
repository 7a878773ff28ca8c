"""How `gfla evaluate` shows the scores of pose models and of folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gfla_cli.commands._tables import print_table

if TYPE_CHECKING:
    from gfla_cli.metrics.scores import Score


def print_pose_scores(scores: Sequence[Score]) -> None:
    """A table over all pairs and by how far the pose changed, where that is known."""
    from rich.markup import escape
    from rich.table import Table

    from gfla_cli.metrics.scores import CHANGES, plain

    names = list(scores[0].means())
    table = Table("pairs", "model", *names)
    for change in (None, *CHANGES):
        for score in scores:
            figures = plain(score.means(change))
            if figures:
                cells = ["-" if figures.get(n) is None else f"{figures[n]:.4f}" for n in names]
                table.add_row(change or "all", escape(score.name), *cells)
        table.add_section()
    print_table(table)
