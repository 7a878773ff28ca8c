"""Which of how many processes this is, as torchrun says in the environment. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from gfla_cli.errors import GflaError, UsageError

_NUMBERS, _ADDRESS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"), "MASTER_ADDR"


@dataclass(frozen=True, slots=True)
class Launch:
    """How this process was started; the defaults are those of one that was started alone."""

    rank: int = 0  # over all machines
    processes: int = 1  # on all machines
    local_rank: int = 0  # on this machine: which GPU it takes
    grouped: bool = False  # there are others, or may be: also when torchrun started a single one
    agent: tuple[str, int] | None = None  # host and port of the store that torchrun itself keeps
    job: str = ""  # the same for the processes that torchrun starts in place of these, should one of them die

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0


def launched(environment: Mapping[str, str] = os.environ) -> Launch:
    """Reads the variables of torchrun, or of whatever sets the same ones; raises UsageError when they make no sense."""
    if not all(name in environment for name in (*_NUMBERS, _ADDRESS)):
        return Launch()
    try:
        rank, processes, local_rank, port = (int(environment[name]) for name in _NUMBERS)
    except ValueError as error:
        raise UsageError(f"RANK and its like are numbers: {error}", hint="torchrun sets them") from error
    if not (0 <= rank < processes and local_rank >= 0):
        raise UsageError(f"RANK {rank} of WORLD_SIZE {processes} cannot be", hint="torchrun sets them")
    return Launch(
        rank,
        processes,
        local_rank,
        grouped=True,
        agent=(environment[_ADDRESS], port) if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else None,
        job=_job(environment.get("TORCHELASTIC_RUN_ID")),
    )


def _job(run_id: str | None) -> str:
    """torchrun's own name of the job, where it has one; else which torchrun started this process."""
    if run_id is None:
        return ""
    import socket

    return run_id if run_id != "none" else f"{socket.gethostname()}:{os.getppid()}"


# Several processes that do one job: what one of them knows and all need. Imports no torch.
#
# A process that was started alone is a team of its own, for which all of this costs nothing.


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
    from gfla_cli.distributed.process_group import opened

    with opened(launch) as team:
        yield team
