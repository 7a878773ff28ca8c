"""A process group over torch.distributed, and how its processes find each other, also after a restart by torchrun."""

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

from gfla_cli.distributed.launch import Launch, ProcessGroup
from gfla_cli.errors import GflaError

_RENDEZVOUS_S, _POLL_S = 600, 0.02
_TIMEOUT = timedelta(days=1)  # parts of a long job may end hours apart; when a process dies, torchrun ends the others
_Value = TypeVar("_Value")

# Freeing the group joins gloo's thread while this thread holds the interpreter's lock. That thread may be waiting for
# the same lock to free its last tensor, and the process would never end. So one reference to the group stays.
_NEVER_FREED: list[Any] = []


class TorchProcessGroup(ProcessGroup):
    """The processes that torchrun started together. What these operations exchange is on the CPU."""

    def all_reduce_max(self, *numbers: int) -> list[int]:
        """The maximum of each number over all processes."""
        tensor = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [int(number) for number in tensor.tolist()]

    def all_reduce_mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over all processes, NaN when one of them is NaN. All pass the same names."""
        tensor = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(tensor)
        return dict(zip(values, (tensor / self.world_size).tolist(), strict=True))

    def all_gather(self, value: _Value) -> list[_Value]:
        """The values of all processes, ordered by rank."""
        values: list[_Value] = [value] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def run_on_rank0(self, function: Callable[[], _Value]) -> _Value:
        """Calls `function` on rank 0 alone, and returns its result in all processes. Its GflaError ends them all."""
        result = [self.run_on_all(function if self.is_rank0 else lambda: cast(_Value, None))]
        dist.broadcast_object_list(result, src=0)
        return result[0]

    def run_on_all(self, function: Callable[[], _Value]) -> _Value:
        """Calls `function` in every process. A GflaError in one of them ends them all, with one message."""
        value: list[_Value] = []
        error: GflaError | None = None
        try:
            value.append(function())
        except GflaError as raised:
            error = raised
        if self.all_reduce_max(int(error is not None))[0]:
            errors = self.all_gather((str(error), error.hint, error.exit_code) if error else None)
            if error is None:  # take that of the lowest rank
                what, hint, code = next(one for one in errors if one is not None)
                error = GflaError(what, hint=hint)
                error.exit_code = code
            self.raise_on_rank0(error)
        return value[0]


@contextmanager
def init_torch_distributed(launch: Launch) -> Iterator[TorchProcessGroup]:
    """The group for the block, see `init_distributed`. Raises GflaError in every process when they do not connect."""
    with_cuda = torch.cuda.is_available() and dist.is_nccl_available()
    if with_cuda and launch.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(launch.local_rank)
    try:
        store = _restart_safe_store(launch) if launch.agent is not None else None  # None: torch reads the environment
        names = {"store": store, "rank": launch.rank, "world_size": launch.world_size} if store is not None else {}
        dist.init_process_group("cpu:gloo,cuda:nccl" if with_cuda else "gloo", timeout=_TIMEOUT, **names)
    except RuntimeError as error:
        what = f"the processes cannot connect to each other: {str(error).splitlines()[0]}"
        raise GflaError(what, hint="GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the network to use") from error
    _NEVER_FREED.append(dist.group.WORLD)
    group = TorchProcessGroup(launch)
    try:
        yield group
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):  # gloo raises plain RuntimeErrors
            raise
        group.raise_on_rank0(GflaError("another process has ended", hint="see that process's own message"), error)
    finally:
        if not with_cuda:  # NCCL would wait for an operation that others have left
            dist.destroy_process_group()
    if with_cuda:
        dist.destroy_process_group()


def _restart_safe_store(launch: Launch) -> Any:
    """A part of the store of torchrun's agent that only the processes of this start use.

    The agent keeps its store over restarts. So the addresses of dead processes are still there, under the keys that
    the new processes look up (https://github.com/pytorch/pytorch/issues/135712). The environment does not tell one
    start from the next on all machines. Therefore rank 0 draws a random prefix for this start. Every other process
    asks for it under a random key of its own.
    """
    assert launch.agent is not None
    store = dist.TCPStore(  # type: ignore[attr-defined]
        *launch.agent, is_master=False, timeout=timedelta(seconds=_RENDEZVOUS_S)
    )
    own = secrets.token_hex(8)
    if launch.is_rank0:
        _send_prefix(store, own, launch.world_size)
        prefix = own
    else:
        store.set(f"gfla/asks/{launch.rank}", own)
        prefix = str(store.get(f"gfla/answer/{own}"), "ascii")
        store.set(f"gfla/received/{prefix}/{launch.rank}", "")
    return dist.PrefixStore(f"gfla/{prefix}", store)  # type: ignore[attr-defined]


def _send_prefix(store: Any, prefix: str, world_size: int) -> None:
    """Answers until all processes have received the prefix. Answering a dead process is harmless."""
    waiting, until_s = set(range(1, world_size)), time.monotonic() + _RENDEZVOUS_S
    while waiting:
        for rank in list(waiting):
            if store.check([f"gfla/received/{prefix}/{rank}"]):
                waiting.remove(rank)
            elif store.check([f"gfla/asks/{rank}"]):
                store.set(f"gfla/answer/{str(store.get(f'gfla/asks/{rank}'), 'ascii')}", prefix)
        if time.monotonic() > until_s:
            raise RuntimeError(f"{len(waiting)} of {world_size} processes did not connect within {_RENDEZVOUS_S} s")
        time.sleep(_POLL_S)


def broadcast_weights(network: nn.Module, group: ProcessGroup) -> None:
    """Gives all processes the weights and buffers of rank 0: other processors initialise slightly different ones."""
    if group.launch.distributed:
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, src=0)


def all_reduce_gradients(parameters: Iterable[nn.Parameter], group: ProcessGroup) -> None:
    """Replaces gradients by their mean over all processes. The same parameters must have one in each process."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not (group.launch.distributed and gradients):
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients]) / group.world_size
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
