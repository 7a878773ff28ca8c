"""Where processes that torchrun started find each other, also when it started them in place of others that died."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

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


# Weights and gradients that are the same in all processes of a training.


def level(network: nn.Module, team: Team) -> None:
    """Gives everybody the first process's weights and buffers: other processors draw slightly different ones."""
    if team.launch.grouped:
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, src=0)


def averaging(trained: nn.Module, team: Team) -> Callable[[Tensor], Tensor]:
    """A function for the loss; `backward` of what it gives averages the gradients of `trained` over the team."""
    return _AveragedGradients(trained) if team.launch.grouped else _unchanged


class _AveragedGradients:
    """Averages gradients while they are computed, with torch's DDP.

    DDP takes part in a forward pass only to learn that a backward pass will follow. Here just the loss passes
    through it: a stage may train parts of a network, call them one by one and leave some weights out. Which ones it
    reaches, the first loss tells; later ones have to reach the same.
    """

    def __init__(self, trained: nn.Module) -> None:
        self._trained = trained
        self._passing: DistributedDataParallel | None = None

    def __call__(self, loss: Tensor) -> Tensor:
        if self._passing is None:
            reached = _reached_by(loss)
            chosen = _Passing([p for p in self._trained.parameters() if p in reached])
            # init_sync would write to the weights between a forward and its backward pass; they are the same already.
            self._passing = DistributedDataParallel(chosen, init_sync=False)
        passed: Tensor = self._passing(loss)
        return passed


class _Passing(nn.Module):
    """Gives back what it gets, and owns the parameters whose gradients are averaged."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.parameters_of_others = nn.ParameterList(parameters)

    def forward(self, loss: Tensor) -> Tensor:
        return loss


def _reached_by(loss: Tensor) -> set[Tensor]:
    """The leaves that `backward` would give gradients to. Tensors are told apart by identity."""
    waiting, seen, leaves = [loss.grad_fn], set(), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            leaves.add(leaf)
        waiting += [following for following, _ in node.next_functions]
    return leaves


def _unchanged(loss: Tensor) -> Tensor:
    return loss
