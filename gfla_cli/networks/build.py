"""From a ModelConfig to a generator, and the initial values it starts training from."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.blocks import DecoderBlock, ResidualBlock, ToImage
from gfla_cli.networks.generator import PoseGenerator
from gfla_cli.networks.sequence import SequenceGenerator
from gfla_cli.networks.view import AppearanceFlow, ViewGenerator

# Parts that compute in float32 whatever the rest does: positions need its digits, and of views half a megaflop decides.
ALWAYS_FLOAT = ("offset_head", "mask_head", "choice_head", "refiner", "view_estimator")


def build(config: ModelConfig) -> nn.Module:
    """The generator the config describes, with torch's initial values."""
    if config.task == "pose":
        return PoseGenerator(config)
    if config.task == "view":
        return AppearanceFlow(config) if config.sampler == "pixels" else ViewGenerator(config)
    return SequenceGenerator(config)


def initialise(network: nn.Module, initial: Literal["orthogonal", "kaiming"]) -> None:
    """Draws the weights a training starts from, with torch's global generator.

    `orthogonal` with gain 0.02 is the authors'. `kaiming` keeps the variance through encoders without norms, closes
    residual branches almost to zero, and starts the picture near mid-grey: a tanh that saturates does not recover.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if initial == "orthogonal":
                nn.init.orthogonal_(module.weight, gain=0.02)
            else:
                nn.init.kaiming_normal_(module.weight, a=0.1)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if initial == "kaiming":
        _quiet_outputs(network)


def convolutions_in(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network, with the weights of its convolutions in the number format that autocast has them in.

    Kept so, they need not be brought to it in every pass. For inference alone: what is trained needs more digits.
    """
    for name, module in network.named_modules():
        always_float = any(part in ALWAYS_FLOAT for part in name.split("."))
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not always_float:
            module.to(dtype)
    return network


def _quiet_outputs(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, ResidualBlock):
            module.conv2.weight.data *= 0.1
        elif isinstance(module, DecoderBlock):
            module.up.weight.data *= 0.1
        elif isinstance(module, ToImage):
            module.conv.weight.data *= 0.1
        elif isinstance(module, nn.Conv2d) and ("_head." in name or name.endswith(".score")):
            module.weight.data *= 0.1
