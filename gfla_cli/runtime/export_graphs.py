"""The networks as the graphs of an exported model: one that runs for every picture, and parts that run before it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gfla_cli.bundles.bundle import Bundle
from gfla_cli.config import ModelConfig
from gfla_cli.networks.appearance_flow import AppearanceFlow
from gfla_cli.networks.build import ALWAYS_FLOAT
from gfla_cli.networks.curve_flow import CURVE_DISTANCES
from gfla_cli.networks.sequence import SequenceGenerator
from gfla_cli.networks.view import ViewGenerator
from gfla_cli.runtime.onnx_file import INPUTS, SOURCE, Part
from gfla_cli.structure.face import INSIDE_LIPS

# Traced at a small size of its own and a batch of two: sizes of one are special, and float16 is slow on the CPU.
_BATCH, _HEIGHT, _WIDTH = 2, 64, 96


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph to export: a module of tensors, and example inputs and the outputs by name."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


class Step(nn.Module):
    """The network's inputs in order, then what was encoded before, to the picture in float32."""

    def __init__(self, network: nn.Module, inputs: int, dtype: torch.dtype, spec: pytree.TreeSpec | None) -> None:
        super().__init__()
        self.network = network
        self._inputs, self._dtype, self._spec = inputs, dtype, spec

    def forward(self, *tensors: Tensor) -> Tensor:
        """(B, 3, H, W)."""
        given = [x.to(self._dtype) for x in tensors[: self._inputs]]
        encoded = [] if self._spec is None else [pytree.tree_unflatten(tensors[self._inputs :], self._spec)]
        image: Tensor = self.network(*given, *encoded).image
        return image.float()


class Encode(nn.Module):
    """The source picture to what the step takes beside it, in the network's number format."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network, dtype

    def encoded(self, image: Tensor) -> Any:
        """As the network gives it: nested."""
        if isinstance(self.network, SequenceGenerator):
            return self.network.encode_reference(image.to(self._dtype))
        assert isinstance(self.network, ViewGenerator | AppearanceFlow)
        return self.network.encode_source(image.to(self._dtype))

    def forward(self, image: Tensor) -> list[Tensor]:
        """As flat as ONNX wants it."""
        return pytree.tree_leaves(self.encoded(image))


class Estimate(nn.Module):
    """A picture to the scores of its view."""

    def __init__(self, network: ViewGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(B, 21)."""
        return self.network.estimate_view(image)


@torch.inference_mode()
def graphs_of(bundle: Bundle, *, half: bool) -> tuple[Graph, dict[Part, Graph]]:
    """The graph that makes pictures, and those that run before it, by name."""
    network = _half_precision(bundle.network) if half else bundle.network
    dtype = torch.float16 if half else torch.float32
    task, parts = bundle.config.task, dict[Part, Graph]()
    reduction = bundle.config.flow_reduction
    inputs = example_inputs(bundle.config, _BATCH, reduction * _HEIGHT, reduction * _WIDTH)
    source = SOURCE[task]
    encoded, spec = {}, None
    if task != "pose":
        encode = Encode(network, dtype)
        nested = encode.encoded(inputs[source])
        spec = pytree.tree_structure(nested)
        encoded = _named(nested, source.removesuffix("_image"))
        if encoded:  # the ablation without attention encodes nothing
            parts["encode"] = Graph(encode, {source: inputs[source]}, tuple(encoded))
    if isinstance(network, ViewGenerator) and network.view_estimator is not None:
        parts["estimate"] = Graph(Estimate(network), {source: inputs[source]}, ("scores",))
    step = Step(network, len(inputs), dtype, spec)
    return Graph(step, inputs | encoded, ("image",)), parts


def example_inputs(config: ModelConfig, batch: int, height: int, width: int, seed: int = 0) -> dict[str, Tensor]:
    """Random pictures, structures and codes for a network, by name, in its order.

    As smooth as pictures are: where neighbours differ by all there is, a flow's rounding error alone is a large one.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(channels: int) -> Tensor:
        coarse = torch.rand(batch, channels, height // 8, width // 8, generator=generator)
        return F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)

    drawn = {}
    for name in INPUTS[config.task]:
        if name.endswith("_code"):
            drawn[name] = torch.rand(batch, config.structure_channels, 1, 1, generator=generator).round()
        else:
            drawn[name] = draw(3) * 2 - 1 if name.endswith("_image") else draw(config.structure_channels)
        if config.task == "face" and name.endswith("_structure"):
            drawn[name][:, CURVE_DISTANCES] *= 0.02  # every curve is somewhere, or nothing would be told by them
            drawn[name][:, -1:] = (drawn[name][:, -1:] * INSIDE_LIPS).round()  # labels of parts
    return drawn


def _named(nested: Any, prefix: str) -> dict[str, Tensor]:
    """The tensors by where they are, such as source_samples_8_keys."""
    leaves, _ = pytree.tree_flatten_with_path(nested)
    return {"_".join([prefix, *(_step_name(step) for step in path)]): tensor for path, tensor in leaves}


def _step_name(step: Any) -> str:
    return str(next(getattr(step, name) for name in ("name", "key", "idx") if hasattr(step, name)))


def _half_precision(network: nn.Module) -> nn.Module:
    """A copy in float16 but for the few parts that need more digits."""
    network = copy.deepcopy(network).half()
    for name, module in network.named_modules():
        if name.endswith(ALWAYS_FLOAT):
            module.float()
    return network
