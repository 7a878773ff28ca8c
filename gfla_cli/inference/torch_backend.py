"""Networks run by torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.conditioning.view_code import CODE_LENGTH
from gfla_cli.config import DeviceName, Precision
from gfla_cli.errors import UsageError
from gfla_cli.geometry.volume import RayVolume
from gfla_cli.inference.device import choose_device
from gfla_cli.inference.runtime import keep_freed_memory
from gfla_cli.inference.session import Array, no_gpu_after_fork
from gfla_cli.inference.visualize import AttentionMaps, Intermediates
from gfla_cli.io.background import ProcessLock, tell_of_forks
from gfla_cli.networks.build import convolutions_in
from gfla_cli.networks.generator import Generated
from gfla_cli.networks.layers import layers_of
from gfla_cli.networks.samplers import BilinearSampling, LocalAttention
from gfla_cli.networks.view import AppearanceFlow, EncodedSource, ViewGenerator

_CORES = torch.get_num_threads()  # unless their number was chosen before
_is_forked = False


def _single_threaded() -> None:
    # OpenMP would wait for ever for the parent's threads, which a forked child does not have.
    global _is_forked
    _is_forked = True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_single_threaded)


def use_threads(count: int) -> None:
    """Sets torch's threads on the CPU. A forked child keeps its single one."""
    if not _is_forked:
        torch.set_num_threads(count)


def leave_a_core() -> None:
    """Takes one thread less than there are cores, unless their number was chosen.

    The other stages of a clip keep a core busy. Threads that wait for it would stop all others.
    """
    if torch.get_num_threads() == _CORES > 1:
        use_threads(_CORES - 1)


@contextmanager
def _single_thread() -> Iterator[None]:
    """A context, or a decorator: torch uses one thread there, so that OpenMP starts none for the caller.

    OpenMP keeps threads for every thread that has computed something. Once there are more than cores, all of them go
    to sleep after each operation, and a network takes twice as long. So only the thread that draws computes.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


class TorchSession:
    """A bundle's network on the chosen device. See Session.

    Threads may share it: the network runs for one at a time. A forked child goes on with one thread on the CPU; there
    is no GPU in it.

    On the CPU the process keeps the memory that torch frees (`keep_freed_memory`).
    """

    @_single_thread()
    def __init__(
        self, model: str | Path, device: DeviceName = "auto", precision: Precision = "auto", reason: str = ""
    ) -> None:
        """`reason`: why torch computes it, for people."""
        self._reason = reason
        bundle = load_bundle(model)
        self.name, self.config, self.about = bundle.name, bundle.config, bundle.about
        self._placement = choose_device(device, precision)
        self._lock = ProcessLock()
        self._lost_gpu = False
        if self._placement.device.type == "cuda" and torch.cuda._is_in_bad_fork():
            raise no_gpu_after_fork()
        tell_of_forks(self)
        # oneDNN's convolutions on the CPU are fastest with channels last.
        on_cpu = self._placement.device.type == "cpu"
        if on_cpu:
            keep_freed_memory()
        self._layout = torch.channels_last if on_cpu else torch.contiguous_format
        network = convolutions_in(bundle.network, self._placement.dtype).to(self._placement.device)
        self.network = network.to(memory_format=self._layout)  # type: ignore[call-overload]

    @property
    def place(self) -> str:
        """See Session."""
        return f"torch, {self._placement}" + (f", {self._reason}" if self._reason else "")

    def forked(self) -> None:
        """See `tell_of_forks`."""
        self._lost_gpu = self._placement.device.type != "cpu"

    @contextmanager
    def running(self) -> Iterator[None]:
        """The context to run the network in. Raises GflaError in a forked process without its GPU."""
        with self._lock:
            if self._lost_gpu:
                raise no_gpu_after_fork()
            with self.autocast():
                yield

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which operations of the network choose its number format."""
        return self._placement.autocast

    @property
    def on_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self._placement.device.type != "cpu"

    def tensor(self, array: Array) -> Tensor:
        """An array (B, C, H, W) on the network's device and in its memory layout."""
        if self._layout is torch.channels_last:
            return _channels_last(array)
        return torch.from_numpy(array).to(self._placement.device)

    @staticmethod
    def array(tensor: Tensor) -> Array:
        """A tensor as a float32 array."""
        return np.asarray(tensor.float().cpu().numpy(), np.float32)

    @torch.inference_mode()
    def image(self, *inputs: Array) -> Array:
        """See Session."""
        with self.running():
            return self.array(self.network(*map(self.tensor, inputs)).image)

    @torch.inference_mode()
    def image_and_layers(self, *inputs: Array) -> tuple[Array, Array]:
        """See Session."""
        with self.running():
            given = [self.tensor(array) for array in inputs]
            made = self.network(*given)
            layers = layers_of(made, given[0], self.config.task)
        return self.array(made.image), self.array(layers)

    @torch.inference_mode()
    def image_and_intermediates(self, *inputs: Array) -> tuple[Array, Array, Intermediates]:
        """See Session."""
        if not self.config.has_flow:
            raise UsageError(
                f"{self.name} has the sampler {self.config.sampler!r}, which has no flow to show",
                hint="use a model with the sampler local or bilinear",
            )
        with self.running(), _recorded_attention(self.network) as attention:
            given = [self.tensor(array) for array in inputs]
            made = self.network(*given)
            layers = layers_of(made, given[0], self.config.task)
        weights = [None if found is None else self.array(found[0]) for found in attention]
        levels = [
            AttentionMaps(self.array(flow.offset[0]), self.array(flow.mask[0]), found)
            for flow, found in zip(made.flows, weights, strict=True)
        ]
        bodies = getattr(made, "body_prior", None)
        maps = None if bodies is None else np.stack([self.array(body[0]) for body in (bodies.source, bodies.target)])
        return self.array(made.image), self.array(layers), Intermediates(levels, maps)


def _channels_last(array: Array) -> Tensor:
    """An array (B, C, H, W) as a tensor in channels_last. OpenCV transposes eight times as fast as torch."""
    count, channels, height, width = array.shape
    result = np.empty((count, height * width, channels), array.dtype)  # OpenCV would leave one of another type as it is
    for maps, rows in zip(array.reshape(count, channels, height * width), result, strict=True):
        cv2.transpose(maps, rows)
    return torch.from_numpy(result).view(count, height, width, channels).permute(0, 3, 1, 2)


@contextmanager
def _recorded_attention(network: nn.Module) -> Iterator[list[Tensor | None]]:
    """A list to which forward passes in the block add the attention (B, n*n, h, w) of every level, coarse to fine.

    None for a level without attention.
    """
    attention: list[Tensor | None] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], _: Tensor) -> None:
        attention.append(module.attend(*inputs).attention if isinstance(module, LocalAttention) else None)

    samplers = [module for module in network.modules() if isinstance(module, LocalAttention | BilinearSampling)]
    hooks = [module.register_forward_hook(record) for module in samplers]
    try:
        yield attention
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """Source images and what the network derives from them alone."""

    image: Tensor  # (B, 3, H, W)
    encoded: Any  # what `encode_source` returns


class TorchView(TorchSession):
    """A view bundle's network on the chosen device. See ViewSession."""

    @property
    def estimates_views(self) -> bool:
        """See ViewSession."""
        return isinstance(self.network, ViewGenerator) and self.network.view_estimator is not None

    @torch.inference_mode()
    def encode(self, image: Array) -> EncodedImage:
        """See ViewSession."""
        assert isinstance(self.network, ViewGenerator | AppearanceFlow)
        with self.running():
            source = self.tensor(image)
            return EncodedImage(source, self.network.encode_source(source))

    def volume(self, source: EncodedImage) -> RayVolume | None:
        """See ViewSession."""
        if self.config.flow_prior != "volume" or not isinstance(source.encoded, EncodedSource):
            return None
        density, clear, camera = (self.array(part[0]) for part in source.encoded.flow[:3])
        return RayVolume(density, clear, camera.ravel())

    def with_volume(self, source: EncodedImage, volume: RayVolume) -> EncodedImage:
        """See ViewSession."""
        flow = source.encoded.flow
        parts = [torch.from_numpy(new).to(old).view_as(old) for new, old in zip(volume, flow, strict=False)]
        return EncodedImage(source.image, source.encoded._replace(flow=[*parts, *flow[len(parts) :]]))

    @torch.inference_mode()
    def view(self, source: EncodedImage, source_code: Array, target_code: Array) -> tuple[Array, Array]:
        """See ViewSession."""
        codes = (self.tensor(code.reshape(-1, CODE_LENGTH, 1, 1)) for code in (source_code, target_code))
        with self.running():
            made: Generated = self.network(source.image, *codes, source.encoded)
            return self.array(made.image), self.array(layers_of(made, source.image, "view"))

    @torch.inference_mode()
    def view_scores(self, image: Array) -> Array:
        """See ViewSession."""
        assert isinstance(self.network, ViewGenerator)
        with self.running(), torch.autocast(self._placement.device.type, enabled=False):  # cheap, and ties matter
            return self.array(self.network.estimate_view(self.tensor(image)))
