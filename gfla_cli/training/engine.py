"""How a step is computed, as far as that does not decide what is learnt: memory, number formats, compilation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from gfla_cli.errors import GflaError
from gfla_cli.runtime.device import Placement
from gfla_cli.runtime.memory import is_out_of_memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """Choices that trade memory for time; the recipe, and with it what is learnt, stays the same."""

    # Parts that a batch is computed in, one after another; the step is taken with the mean of their gradients.
    accumulate: int = 1
    channels_last: bool = False
    compile: bool = False

    def prepare(self, network: nn.Module) -> None:
        """Lays a network's weights out in memory as chosen, in place."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def compiled(self, network: nn.Module) -> None:
        """Compiles the parts of a network in place, where that was chosen; the names of its weights stay.

        Part by part, since flow stages call some parts without the network around them.
        """
        if self.compile:
            for part in network.children():
                part.compile()


def gradient_scaler(placement: Placement) -> torch.amp.GradScaler:
    """Keeps float16 gradients from vanishing; with any other number format, and on Macs, it does nothing."""
    wanted = placement.dtype is torch.float16 and placement.device.type != "mps"
    return torch.amp.GradScaler(placement.device.type, enabled=wanted)


def memory_error(
    error: RuntimeError, batch: int, image_size: tuple[int, int], engine: Engine, placement: Placement
) -> GflaError | None:
    """What to say when a batch of one process was too large for the device; None when `error` is something else."""
    if not is_out_of_memory(error):
        return None
    parts = f" in {engine.accumulate} parts" if engine.accumulate > 1 else ""
    height, width = image_size
    what = f"a batch of {batch} at {width}x{height}{parts} is too large for the memory of {placement.device.type}"
    if engine.accumulate >= batch:
        return GflaError(what, hint="--precision bf16 halves it; else only a device with more memory helps")
    more = min(batch, 2 * engine.accumulate)
    return GflaError(what, hint=f"--accumulate {more} computes the same step in {more} parts; --resume goes on")
