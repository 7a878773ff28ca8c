"""Builds the generator of a ModelConfig, and initialises it for training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.blocks import DecoderBlock, ResidualBlock, ToImage
from gfla_cli.networks.generator import PoseGenerator
from gfla_cli.networks.sequence import SequenceGenerator
from gfla_cli.networks.view import AppearanceFlow, ViewGenerator

# Parts that always compute in float32: positions need its digits, and the view estimator costs almost nothing.
ALWAYS_FLOAT = ("offset_head", "mask_head", "choice_head", "volume_head", "camera_head", "refiner", "view_estimator")


def build(config: ModelConfig) -> nn.Module:
    """The generator of a config, with torch's initial values."""
    if config.task == "pose":
        return PoseGenerator(config)
    if config.task == "view":
        return AppearanceFlow(config) if config.sampler == "pixels" else ViewGenerator(config)
    return SequenceGenerator(config)


def initialise(network: nn.Module, initial: Literal["orthogonal", "kaiming"]) -> None:
    """Initialises the weights for training, with torch's global random generator.

    "orthogonal" with gain 0.02 is the authors' choice. "kaiming" keeps the variance through encoders without norms,
    scales residual branches down, and starts images near mid-grey: a saturated tanh has no gradient.
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
        _scale_outputs_down(network)


def convolutions_in(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Converts the weights of the convolutions to the number format of autocast, in place. For inference only.

    Autocast then does not convert them in every pass. Training needs float32 weights.
    """
    for name, module in network.named_modules():
        always_float = any(part in ALWAYS_FLOAT for part in name.split("."))
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not always_float:
            module.to(dtype)
    return network


def _scale_outputs_down(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, ResidualBlock):
            module.conv2.weight.data *= 0.1
        elif isinstance(module, DecoderBlock):
            module.up.weight.data *= 0.1
        elif isinstance(module, ToImage):
            module.conv.weight.data *= 0.1
        elif isinstance(module, nn.Conv2d) and ("_head." in name or name.endswith(".score")):
            module.weight.data *= 0.1
