"""Weights and gradients that are the same in all processes of a training."""

from __future__ import annotations

from collections.abc import Callable

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gfla_cli.runtime.team import Team


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
