"""How torchrun started this process, and the group of processes that share one job. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from gfla_cli.errors import GflaError, UsageError

_NUMBERS, _ADDRESS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"), "MASTER_ADDR"
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Launch:
    """How this process was started. The defaults are those of a single process without torchrun."""

    rank: int = 0  # over all machines
    world_size: int = 1  # processes on all machines
    local_rank: int = 0  # on this machine: the number of the GPU to use
    distributed: bool = False  # torchrun started this process, possibly as the only one
    agent: tuple[str, int] | None = None  # host and port of the store that torchrun itself keeps
    job: str = ""  # names the job; a restart by torchrun keeps it

    @property
    def is_rank0(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0


def current_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Reads the variables that torchrun sets. Raises UsageError when they are not valid."""
    if not all(name in environment for name in (*_NUMBERS, _ADDRESS)):
        return Launch()
    try:
        rank, world_size, local_rank, port = (int(environment[name]) for name in _NUMBERS)
    except ValueError as error:
        raise UsageError(f"{', '.join(_NUMBERS)} must be numbers: {error}", hint="torchrun sets them") from error
    if not (0 <= rank < world_size and local_rank >= 0):
        raise UsageError(f"RANK {rank} is not valid for WORLD_SIZE {world_size}", hint="torchrun sets them")
    return Launch(
        rank,
        world_size,
        local_rank,
        distributed=True,
        agent=(environment[_ADDRESS], port) if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else None,
        job=_job(environment.get("TORCHELASTIC_RUN_ID")),
    )


def _job(run_id: str | None) -> str:
    """The run id that torchrun was given; without one, the host and process id of torchrun."""
    if run_id is None:
        return ""
    import socket

    return run_id if run_id != "none" else f"{socket.gethostname()}:{os.getppid()}"


class ProcessGroup:
    """The processes of one job; this class is the group of a single process, where every operation is trivial.

    The operations are collective: all processes must call the same ones in the same order, or they wait for ever.
    """

    def __init__(self, launch: Launch | None = None) -> None:
        self.launch = launch or Launch()
        self.rank, self.world_size, self.is_rank0 = self.launch.rank, self.launch.world_size, self.launch.is_rank0

    def shard(self, numbers: range) -> range:
        """This process's part of a batch. Not collective. Raises UsageError when the batch cannot be divided evenly."""
        size, rest = divmod(len(numbers), self.world_size)
        if rest:
            raise UsageError(
                f"a batch of {len(numbers)} cannot be shared evenly by {self.world_size} processes",
                hint="a resumed run keeps its batch: start a number of processes that divides it",
            )
        return numbers[self.rank * size : (self.rank + 1) * size]

    def all_reduce_max(self, *numbers: int) -> list[int]:
        """The maximum of each number over all processes."""
        return list(numbers)

    def all_reduce_mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over all processes, NaN when one of them is NaN. All pass the same names."""
        return values

    def all_gather(self, value: _Value) -> list[_Value]:
        """The values of all processes, ordered by rank."""
        return [value]

    def run_on_rank0(self, function: Callable[[], _Value]) -> _Value:
        """Calls `function` on rank 0 alone, and returns its result in all processes. Its GflaError ends them all."""
        return function()

    def run_on_all(self, function: Callable[[], _Value]) -> _Value:
        """Calls `function` in every process. A GflaError in one of them ends them all, with one message."""
        return function()

    def raise_on_rank0(self, error: GflaError, cause: BaseException | None = None) -> NoReturn:
        """Raises the error on rank 0, and SystemExit with its exit code elsewhere: the message appears once."""
        raise error if self.is_rank0 else SystemExit(error.exit_code) from cause


@contextmanager
def init_distributed(launch: Launch) -> Iterator[ProcessGroup]:
    """The process group for the block: all processes that torchrun started, or this process alone.

    On CUDA each process uses the GPU of its local rank. Raises GflaError, on rank 0 alone, when another process ends
    before the job does.
    """
    if not launch.distributed:
        yield ProcessGroup()
        return
    from gfla_cli.distributed.process_group import init_torch_distributed

    with init_torch_distributed(launch) as group:
        yield group
