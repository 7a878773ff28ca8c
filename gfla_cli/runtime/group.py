"""A team of several processes, which talk to each other through torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from gfla_cli.errors import GflaError
from gfla_cli.runtime.launch import Launch
from gfla_cli.runtime.meeting import common_store
from gfla_cli.runtime.team import Team

_PATIENCE = timedelta(days=1)  # shares of a long job may end hours apart; when a process dies, torchrun ends the others
_Value = TypeVar("_Value")

# What DDP leaves behind may outlive `destroy_process_group`, and would free the group while holding the interpreter's
# lock. The thread of gloo may be waiting for that lock to free its last tensor, and the process would never end.
_NEVER_FREED: list[Any] = []


class Group(Team):
    """The processes that torchrun started together. What they tell each other goes through the CPU."""

    def largest(self, *numbers: int) -> list[int]:
        """The largest of each number over all processes."""
        tensor = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [int(number) for number in tensor.tolist()]

    def means(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over all processes, not a number when one of them is none; all have the same names."""
        tensor = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(tensor)
        return dict(zip(values, (tensor / self.processes).tolist(), strict=True))

    def gathered(self, value: _Value) -> list[_Value]:
        """Everybody's value, in the order of the processes."""
        values: list[_Value] = [value] * self.processes
        dist.all_gather_object(values, value)
        return values

    def from_first(self, function: Callable[[], _Value]) -> _Value:
        """The result of `function`, which only the first process calls; its GflaError ends them all."""
        told = [self.agreed(function if self.is_first else _nothing)]
        dist.broadcast_object_list(told, src=0)
        return cast(_Value, told[0])

    def agreed(self, function: Callable[[], _Value]) -> _Value:
        """The result of `function`, which every process calls; a GflaError in one ends them all, with one message."""
        value: list[_Value] = []
        error: GflaError | None = None
        try:
            value.append(function())
        except GflaError as raised:
            error = raised
        if self.largest(int(error is not None))[0]:
            told = self.gathered((str(error), error.hint, error.exit_code) if error else None)
            raise self.one_voice(error or _first_error(told)) from error
        return value[0]


@contextmanager
def opened(launch: Launch) -> Iterator[Group]:
    """The group for the block, see `joined`."""
    with_cuda = torch.cuda.is_available() and dist.is_nccl_available()
    if with_cuda and launch.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(launch.local_rank)
    group = _meet(launch, "cpu:gloo,cuda:nccl" if with_cuda else "gloo")
    try:
        yield group
    except RuntimeError as error:
        if not _is_about_others(error):
            raise
        raise group.one_voice(GflaError("another process has ended", hint="its own message says why")) from error
    finally:
        if not with_cuda:  # NCCL would wait for an operation that others have left
            dist.destroy_process_group()
    if with_cuda:
        dist.destroy_process_group()


def _meet(launch: Launch, backend: str) -> Group:
    """Raises GflaError, in every process for itself, when they do not come together."""
    try:
        store = common_store(launch) if launch.agent is not None else None  # None: as the environment says
        names = {"store": store, "rank": launch.rank, "world_size": launch.processes} if store is not None else {}
        dist.init_process_group(backend, timeout=_PATIENCE, **names)
    except RuntimeError as error:
        what = f"the processes do not find each other: {str(error).splitlines()[0]}"
        raise GflaError(what, hint="GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the network to use") from error
    _NEVER_FREED.append(dist.group.WORLD)
    return Group(launch)


def _first_error(told: list[tuple[str, str, int] | None]) -> GflaError:
    what, hint, code = next(one for one in told if one is not None)
    error = GflaError(what, hint=hint)
    error.exit_code = code
    return error


def _is_about_others(error: RuntimeError) -> bool:
    """gloo raises RuntimeErrors as any other, known by its name in the text alone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _nothing() -> None:
    return None
