"""Seeded weights of the networks behind FID and LPIPS, and a network that needs none."""

from __future__ import annotations

import math

import torch

from gfla_cli.evaluation.features import FidInception


def fid_state(seeded, *, thin=False):
    """Seeded weights of FID's Inception. `thin`: a number for each channel only, so that a file of them is small."""
    state = {}
    for name, tensor in FidInception().state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("conv.weight"):
            fan = math.prod(shape[1:])
            kernel = seeded.normal(name, (shape[0], 1, 1, 1)) / fan if thin else seeded.normal(name, shape) / fan**0.5
            state[name] = (1.4 * kernel).expand(shape)
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = 1 + 0.1 * seeded.normal(name, shape).abs()
        elif not name.endswith("num_batches_tracked"):
            state[name] = 0.1 * seeded.normal(name, shape)
    return state


def lpips_state(seeded, name):
    widths, sides, numbers = {
        "alex": ((64, 192, 384, 256, 256), (11, 5, 3, 3, 3), (0, 3, 6, 8, 10)),
        "vgg": (
            (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512),
            (3,) * 13,
            (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        ),
    }[name]
    state = {}
    for number, out, into, side in zip(numbers, widths, (3, *widths), sides, strict=False):
        state[f"features.{number}.weight"] = seeded.weight(f"{name}{number}", (out, into, side, side))
        state[f"features.{number}.bias"] = seeded.normal(f"{name}{number}.bias", (out,)) * 0.05
    return state


class Colours(torch.nn.Module):
    """Stands for Inception: means and spreads of the three colours."""

    num_features = 6

    def forward(self, image):
        image = image.float()
        return torch.cat([image.mean(dim=(2, 3)), image.std(dim=(2, 3))], dim=1)
