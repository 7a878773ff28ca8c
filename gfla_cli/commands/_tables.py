"""Printing tables of figures: never cut, however narrow the terminal or the pipe is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def print_table(table: Table) -> None:
    """On stdout, as wide as it needs to be: a wrapped line can be read, half a number cannot."""
    from rich.console import Console

    console = Console()
    # Asked at a width that nothing exceeds, the table tells how much it needs.
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    Console(width=max(console.width, needed)).print(table)
