"""Networks run by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.networks.samplers import LocalAttention
from gfla_cli.runtime.device import choose_device
from gfla_cli.runtime.session import DeviceName, Precision
from gfla_cli.show.looks import Look


class TorchSession:
    """A bundle's network on the best device at hand."""

    def __init__(self, model: str | Path, device: DeviceName = "auto", precision: Precision = "auto") -> None:
        bundle = load_bundle(model)
        self.name, self.config = bundle.name, bundle.config
        self._placement = choose_device(device, precision)
        # On the CPU oneDNN's convolutions want channels last, and the norms keep it.
        on_cpu = self._placement.device.type == "cpu"
        self._layout = torch.channels_last if on_cpu else torch.contiguous_format
        self.network = bundle.network.to(self._placement.device).to(memory_format=self._layout)  # type: ignore[call-overload]

    @property
    def place(self) -> str:
        """Device and number format, with the reason."""
        return str(self._placement)

    @property
    def autocast(self) -> torch.autocast:
        """The context to run the network in."""
        return self._placement.autocast

    def tensor(self, array: NDArray[np.float32]) -> Tensor:
        """An array (B, C, H, W) where the network is, in the layout it likes."""
        return torch.from_numpy(array).to(self._placement.device).contiguous(memory_format=self._layout)

    @torch.inference_mode()
    def image(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The generated picture, (B, 3, H, W), from the network's inputs in order."""
        with self.autocast:
            made = self.network(*(self.tensor(array) for array in inputs)).image
        return np.asarray(made.float().cpu().numpy(), np.float32)

    @torch.inference_mode()
    def looks(self, *inputs: NDArray[np.float32]) -> list[Look]:
        """Where the network looks for the first picture of its inputs, coarse to fine; empty where it has no flow."""
        attention: list[Tensor] = []

        def note(module: nn.Module, seen: tuple[Any, ...], _: Tensor) -> None:
            assert isinstance(module, LocalAttention)
            attention.append(module.attend(*seen).attention)

        samplers = [module for module in self.network.modules() if isinstance(module, LocalAttention)]
        hooks = [module.register_forward_hook(note) for module in samplers]
        try:
            with self.autocast:
                flows = self.network(*(self.tensor(array) for array in inputs)).flows
        finally:
            for hook in hooks:
                hook.remove()
        weights = [_array(found[0]) for found in attention] if attention else [None] * len(flows)
        return [
            Look(_array(flow.offset[0]), _array(flow.mask[0]), found)
            for flow, found in zip(flows, weights, strict=True)
        ]


def _array(x: Tensor) -> NDArray[np.float32]:
    return np.asarray(x.float().cpu().numpy(), np.float32)
