"""Networks run by torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.networks.build import convolutions_in
from gfla_cli.networks.samplers import LocalAttention
from gfla_cli.runtime.allocator import keep_freed_memory
from gfla_cli.runtime.device import choose_device
from gfla_cli.runtime.session import Array, DeviceName, Precision
from gfla_cli.show.inside import AttentionMaps, Inside


class TorchSession:
    """A bundle's network on the best device at hand.

    On the CPU, memory that torch frees stays with the process from then on (`keep_freed_memory`).
    """

    def __init__(self, model: str | Path, device: DeviceName = "auto", precision: Precision = "auto") -> None:
        bundle = load_bundle(model)
        self.name, self.config, self.about = bundle.name, bundle.config, bundle.about
        self._placement = choose_device(device, precision)
        # On the CPU oneDNN's convolutions want channels last, and the norms keep it.
        on_cpu = self._placement.device.type == "cpu"
        if on_cpu:
            keep_freed_memory()
        self._layout = torch.channels_last if on_cpu else torch.contiguous_format
        network = convolutions_in(bundle.network, self._placement.dtype).to(self._placement.device)
        self.network = network.to(memory_format=self._layout)  # type: ignore[call-overload]

    @property
    def place(self) -> str:
        """Device and number format, with the reason."""
        return str(self._placement)

    @property
    def autocast(self) -> torch.autocast:
        """The context to run the network in."""
        return self._placement.autocast

    def tensor(self, array: Array) -> Tensor:
        """An array (B, C, H, W) where the network is, in the layout it likes."""
        return torch.from_numpy(array).to(self._placement.device).contiguous(memory_format=self._layout)

    @staticmethod
    def array(tensor: Tensor) -> Array:
        """The way back, from any number format."""
        return np.asarray(tensor.float().cpu().numpy(), np.float32)

    @torch.inference_mode()
    def image(self, *inputs: Array) -> Array:
        """The generated picture, (B, 3, H, W), from the network's inputs in order."""
        with self.autocast:
            return self.array(self.network(*map(self.tensor, inputs)).image)

    @torch.inference_mode()
    def image_and_inside(self, *inputs: Array) -> tuple[Array, Inside]:
        """The picture, and what the network made of the first one on the way to it."""
        with self.autocast, _attention_noted(self.network) as attention:
            made = self.network(*map(self.tensor, inputs))
        weights = [self.array(found[0]) for found in attention] if attention else [None] * len(made.flows)
        levels = [
            AttentionMaps(self.array(flow.offset[0]), self.array(flow.mask[0]), found)
            for flow, found in zip(made.flows, weights, strict=True)
        ]
        bodies = getattr(made, "bodies", None)
        maps = None if bodies is None else np.stack([self.array(body[0]) for body in (bodies.source, bodies.target)])
        return self.array(made.image), Inside(levels, maps)


@contextmanager
def _attention_noted(network: nn.Module) -> Iterator[list[Tensor]]:
    """Gives a list that the attention (B, n*n, h, w) of every level is added to, coarse to fine."""
    attention: list[Tensor] = []

    def note(module: nn.Module, seen: tuple[Any, ...], _: Tensor) -> None:
        assert isinstance(module, LocalAttention)
        attention.append(module.attend(*seen).attention)

    samplers = [module for module in network.modules() if isinstance(module, LocalAttention)]
    hooks = [module.register_forward_hook(note) for module in samplers]
    try:
        yield attention
    finally:
        for hook in hooks:
            hook.remove()
