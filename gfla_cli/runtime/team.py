"""Several processes that do one job: what one of them knows and all need. A process alone pays nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gfla_cli.errors import GflaError, UsageError
from gfla_cli.runtime.device import Placement, choose_device
from gfla_cli.runtime.launch import Launch
from gfla_cli.runtime.session import DeviceName, Precision

_PATIENCE = timedelta(days=1)  # shares of a long job may end hours apart; when a process dies, torchrun ends the others
_Value = TypeVar("_Value")


@contextmanager
def joined(launch: Launch) -> Iterator[Team]:
    """The team of this process for the block: itself alone, or all that were started with it.

    On CUDA each process takes the GPU of its local rank. Raises GflaError when another process ends before the job
    does; of all processes only the first says so.
    """
    if not launch.grouped:
        yield Team()
        return
    with_cuda = torch.cuda.is_available() and dist.is_nccl_available()
    if with_cuda and launch.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(launch.local_rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if with_cuda else "gloo", timeout=_PATIENCE)
    team = Team(launch)
    try:
        yield team
    except RuntimeError as error:
        if not _is_about_others(error):
            raise
        raise team.one_voice(GflaError("another process has ended", hint="its own message says why")) from error
    finally:
        if not with_cuda:  # NCCL would wait for an operation that others have left
            dist.destroy_process_group()
    if with_cuda:
        dist.destroy_process_group()


class Team:
    """The processes of one job. Every process makes the same calls in the same order, or all of them wait for ever."""

    def __init__(self, launch: Launch | None = None) -> None:
        self.launch = launch or Launch()
        self.rank, self.processes, self.is_first = self.launch.rank, self.launch.processes, self.launch.is_first

    def place(self, device: DeviceName, precision: Precision) -> Placement:
        """`choose_device`, once for all; raises UsageError also when a machine has fewer GPUs than processes."""

        def choose() -> Placement:
            placement = choose_device(device, precision)
            kind, there = placement.device.type, torch.cuda.device_count()
            if kind == "cuda" and self.launch.local_rank >= there:
                hint = f"--nproc-per-node {there}, or --device cpu"
                raise UsageError(f"process {self.launch.local_rank + 1} of a machine with {there} GPUs", hint=hint)
            if kind == "mps" and self.processes > 1:
                raise UsageError("several processes cannot share a Mac's GPU", hint="--device cpu")
            return placement

        return self.agreed(choose)

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
        if not self.launch.grouped:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [int(number) for number in tensor.tolist()]

    def means(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over all processes, not a number when one of them is none; all have the same names."""
        if not self.launch.grouped:
            return values
        tensor = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(tensor)
        return dict(zip(values, (tensor / self.processes).tolist(), strict=True))

    def gathered(self, value: _Value) -> list[_Value]:
        """Everybody's value, in the order of the processes."""
        if not self.launch.grouped:
            return [value]
        values: list[_Value] = [value] * self.processes
        dist.all_gather_object(values, value)
        return values

    def from_first(self, function: Callable[[], _Value]) -> _Value:
        """The result of `function`, which only the first process calls; its GflaError ends them all."""
        told = [self.agreed(function if self.is_first else _nothing)]
        if self.launch.grouped:
            dist.broadcast_object_list(told, src=0)
        return cast(_Value, told[0])

    def agreed(self, function: Callable[[], _Value]) -> _Value:
        """The result of `function`, which every process calls; a GflaError in one ends them all, with one message."""
        if not self.launch.grouped:
            return function()
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

    def one_voice(self, error: GflaError) -> BaseException:
        """What to raise when all processes end for the same reason: the error, and in all but the first its code."""
        return error if self.is_first else SystemExit(error.exit_code)

    def level(self, network: nn.Module) -> None:
        """Gives everybody the first process's weights and buffers; other processors draw slightly different ones."""
        if self.launch.grouped:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, src=0)

    def averaging(self, trained: nn.Module) -> Callable[[Tensor], Tensor]:
        """A function for the loss; `backward` of what it gives averages the gradients of `trained` over the team."""
        return _AveragedGradients(trained) if self.launch.grouped else _unchanged


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


def _unchanged(loss: Tensor) -> Tensor:
    return loss
