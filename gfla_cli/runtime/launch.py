"""Which of how many processes this is, as torchrun says in the environment. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from gfla_cli.errors import UsageError

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
