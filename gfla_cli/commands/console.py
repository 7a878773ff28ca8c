"""Progress bars and tables in the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gfla_cli.commands.options import say

if TYPE_CHECKING:
    from rich.table import Table

_LINE_EVERY_S = 60.0


@contextmanager
def progress_bar(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Gives a function (done, expected) that moves a bar on stderr, with the remaining time; silent with `quiet`.

    In a file or pipe it prints a line a minute instead.
    """
    if quiet:
        yield lambda done, expected: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:  # in a file or pipe a bar leaves empty lines
        yield _lines(what)
        return
    columns = (TextColumn(what), *Progress.get_default_columns()[1:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(what, total=None)
        # The length of a long video is an estimate, and a bar must not run over its end.
        yield lambda done, expected: bars.update(task, completed=done, total=max(done, expected))


def _lines(what: str) -> Callable[[int, int], None]:
    """A function (done, expected) that prints a line a minute, the first one after a minute."""
    said_s = time.monotonic()

    def show(done: int, expected: int) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if now_s - said_s >= _LINE_EVERY_S:
            said_s = now_s
            say(f"{what}: {done} of {max(done, expected)}")

    return show


def print_table(table: Table) -> None:
    """Prints a table on stdout at its full width, also in a narrow terminal: it must not cut numbers."""
    from rich.console import Console

    console = Console()
    # Measured at a width that no table exceeds.
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    Console(width=max(console.width, needed)).print(table)
