"""How `gfla evaluate` shows the scores of pose models and of folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gfla_cli.commands.console import print_table

if TYPE_CHECKING:
    from gfla_cli.evaluation.clips import ClipScore
    from gfla_cli.evaluation.scores import Score
    from gfla_cli.evaluation.views import ViewScore


def print_pose_scores(scores: Sequence[Score]) -> None:
    """A table over all pairs and by how far the pose changed, where that is known."""
    from rich.markup import escape
    from rich.table import Table

    from gfla_cli.evaluation.scores import CHANGES, plain

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


# How `gfla evaluate` shows the scores of models that animate.


def print_clip_scores(scores: Sequence[ClipScore]) -> None:
    """A table with a row for each model."""
    from rich.table import Table

    table = Table("model", "frames", *scores[0].means())
    for score in scores:
        table.add_row(score.name, str(len(score.frames)), *(f"{value:.4f}" for value in score.means().values()))
    print_table(table)


# How `gfla evaluate` shows the scores of view models.


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
