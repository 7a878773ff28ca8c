"""Several processes that do one job: what one of them knows and all need. Imports no torch.

A process that was started alone is a team of its own, for which all of this costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from gfla_cli.errors import GflaError, UsageError
from gfla_cli.runtime.launch import Launch

_Value = TypeVar("_Value")


class Team:
    """The processes of one job. Every process makes the same calls in the same order, or all of them wait for ever."""

    def __init__(self, launch: Launch | None = None) -> None:
        self.launch = launch or Launch()
        self.rank, self.processes, self.is_first = self.launch.rank, self.launch.processes, self.launch.is_first

    def share(self, numbers: range) -> range:
        """This process's part of a batch; raises UsageError when it cannot be divided evenly."""
        size, rest = divmod(len(numbers), self.processes)
        if rest:
            raise UsageError(
                f"a batch of {len(numbers)} cannot be shared evenly by {self.processes} processes",
                hint="a resumed run keeps its batch: start a number of processes that divides it",
            )
        return numbers[self.rank * size : (self.rank + 1) * size]

    def largest(self, *numbers: int) -> list[int]:
        """The largest of each number over all processes."""
        return list(numbers)

    def means(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over all processes, not a number when one of them is none; all have the same names."""
        return values

    def gathered(self, value: _Value) -> list[_Value]:
        """Everybody's value, in the order of the processes."""
        return [value]

    def from_first(self, function: Callable[[], _Value]) -> _Value:
        """The result of `function`, which only the first process calls; its GflaError ends them all."""
        return function()

    def agreed(self, function: Callable[[], _Value]) -> _Value:
        """The result of `function`, which every process calls; a GflaError in one ends them all, with one message."""
        return function()

    def one_voice(self, error: GflaError) -> BaseException:
        """What to raise when all processes end for the same reason: the error, and in all but the first its code."""
        return error if self.is_first else SystemExit(error.exit_code)


@contextmanager
def joined(launch: Launch) -> Iterator[Team]:
    """The team of this process for the block: itself alone, or all that were started with it.

    On CUDA each process takes the GPU of its local rank. Raises GflaError when another process ends before the job
    does; of all processes only the first says so.
    """
    if not launch.grouped:
        yield Team()
        return
    from gfla_cli.runtime.group import opened

    with opened(launch) as team:
        yield team
