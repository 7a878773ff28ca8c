"""Where processes that torchrun started find each other, also when it started them in place of others that died."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

from gfla_cli.distributed.launch import Launch, Team
from gfla_cli.errors import GflaError

_PATIENCE_S, _LOOK_AGAIN_S = 600, 0.02


def common_store(launch: Launch) -> Any:
    """A part of the store of torchrun's agent that only the processes of this start write to.

    The agent keeps its store over restarts, so the addresses of processes that died are still there, under the names
    that the new ones look for (https://github.com/pytorch/pytorch/issues/135712). Nothing in the environment tells
    one start from the next on all machines. Therefore the first process draws a name for this start, and answers
    whoever asks for it under a name of his own, which is new, too.
    """
    assert launch.agent is not None
    patience = timedelta(seconds=_PATIENCE_S)
    store = dist.TCPStore(*launch.agent, is_master=False, timeout=patience)  # type: ignore[attr-defined]
    own = secrets.token_hex(8)
    if launch.is_first:
        _tell_all(store, own, launch.processes)
        start = own
    else:
        store.set(f"gfla/asks/{launch.rank}", own)
        start = str(store.get(f"gfla/told/{own}"), "ascii")
        store.set(f"gfla/heard/{start}/{launch.rank}", "")
    return dist.PrefixStore(f"gfla/{start}", store)  # type: ignore[attr-defined]


def _tell_all(store: Any, start: str, processes: int) -> None:
    """Answers until everybody has heard it; a question that a process left which died is answered to no harm."""
    waiting, until_s = set(range(1, processes)), time.monotonic() + _PATIENCE_S
    while waiting:
        for rank in list(waiting):
            if store.check([f"gfla/heard/{start}/{rank}"]):
                waiting.remove(rank)
            elif store.check([f"gfla/asks/{rank}"]):
                store.set(f"gfla/told/{str(store.get(f'gfla/asks/{rank}'), 'ascii')}", start)
        if time.monotonic() > until_s:
            raise RuntimeError(f"of {processes} processes {len(waiting)} did not come within {_PATIENCE_S} s")
        time.sleep(_LOOK_AGAIN_S)


# A team of several processes, which talk to each other through torch.


_PATIENCE = timedelta(days=1)  # shares of a long job may end hours apart; when a process dies, torchrun ends the others
_Value = TypeVar("_Value")

# Freeing the group joins gloo's thread while this thread holds the interpreter's lock. That thread may be waiting for
# the same lock to free its last tensor, and the process would never end. So one reference to the group stays.
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


def broadcast_weights(network: nn.Module, team: Team) -> None:
    """Gives all processes the weights and buffers of rank 0: other processors draw slightly different ones."""
    if team.launch.grouped:
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, src=0)


def all_reduce_gradients(parameters: Iterable[nn.Parameter], team: Team) -> None:
    """Replaces gradients by their mean over all processes. The same parameters must have one in each process."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not (team.launch.grouped and gradients):
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients]) / team.processes
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
