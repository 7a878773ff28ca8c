"""An exponential average of weights over training time: less noisy than the last weights, and what ships."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Keeps the average beside a network. A decay of 0 follows the network exactly."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves the average towards the network; early on by more, or the random start would linger."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        current = network.state_dict()
        names = list(self._state)
        torch._foreach_lerp_([self._state[n] for n in names], [current[n] for n in names], share)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return dict(self._state)

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Takes over a saved average."""
        self.steps = steps
        for name, tensor in self._state.items():
            tensor.copy_(state[name])

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Runs the block with the averaged weights in the network, then puts its own back."""
        own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self._state)
        try:
            yield
        finally:
            network.load_state_dict(own)
