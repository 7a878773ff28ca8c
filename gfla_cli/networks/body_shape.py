"""The size of the solids that a body is made of, as flows of rendered people tell it, and a body at rest."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from gfla_cli.networks.body_solids import Shape

# Fitted by gradient descent to the renderer's flows of 285 pairs, with joints of the rig and of mediapipe.
SHAPE = Shape(
    radius=torch.tensor(
        (
            (0.563, 0.436),
            (0.569, 0.418),
            (0.128, 0.129),
            (0.337, 0.326),
            (0.135, 0.167),
            (0.235, 0.272),
            (0.213, 0.091),
            (0.105, 0.066),
            (0.062, 0.058),
            (0.312, 0.314),
            (0.206, 0.125),
            (0.142, 0.115),
        )
    ),
    flat=torch.tensor((0.713, 0.696, 0.789, 0.988, 0.855, 1.058, 1.031, 1.092, 1.363, 0.846, 1.059, 1.102)),
    shift=torch.tensor(
        (
            ((0.0, -0.002), (0.0, 0.051)),
            ((0.0, 0.033), (0.0, -0.038)),
            ((0.086, 0.146), (0.086, 0.146)),
            ((0.026, -0.007), (0.026, -0.007)),
            ((0.0, -0.21), (0.0, -0.036)),
            ((0.0, -0.339), (0.0, -0.043)),
            ((-0.07, -0.011), (0.03, 0.021)),
            ((0.009, 0.023), (-0.004, -0.008)),
            ((0.005, 0.034), (-0.081, 0.019)),
            ((-0.018, 0.11), (-0.069, -0.055)),
            ((0.028, -0.081), (0.01, -0.016)),
            ((0.004, -0.098), (0.069, -0.067)),
        )
    ),
    usual=torch.tensor((1.235, 1.235, 1.185, 1.185, 1.392, 1.392, 0.749, 0.749, 0.974, 0.974, 0.942)),
    twist=torch.tensor((0.419, -0.026)),
    waist=torch.tensor(0.755),
    head=torch.tensor(
        (
            (0.0, 0.271, 0.292),
            (0.0, -0.115, -0.162),
            (-0.097, 0.2, 0.536),
            (0.097, 0.2, 0.536),
            (-0.195, -0.047, 0.42),
            (0.195, -0.047, 0.42),
        )
    ),
    head_weight=torch.tensor((0.719, 0.394, 1.049, 1.049, 1.115, 1.115)),
    head_ends=torch.tensor(
        (
            (0.0, 0.146, 0.319),
            (0.0, 0.0, 0.608),
        )
    ),
    upright=torch.tensor(0.024),
    hand=torch.tensor(0.356),
    foot=torch.tensor((0.422, 0.155)),
    hinge=torch.tensor((0.244, 0.758)),
    reach=torch.tensor(0.02),
    blur=torch.tensor(0.091),
    beside=torch.tensor(2.768),
    background=torch.tensor(6.441),
)
# (1, 18, 3) the joints of a body at rest in trunks from the neck: the mean of eight of the renderer's.
REST = torch.tensor(
    [
        [
            (0.0, -0.432, -0.328),
            (0.0, 0.0, 0.0),
            (-0.402, 0.0, 0.0),
            (-0.761, 0.406, -0.005),
            (-1.037, 0.673, -0.39),
            (0.402, 0.0, 0.0),
            (0.761, 0.406, -0.005),
            (1.037, 0.673, -0.39),
            (-0.239, 0.999, 0.045),
            (-0.322, 1.879, -0.027),
            (-0.412, 2.805, 0.012),
            (0.239, 0.999, 0.045),
            (0.322, 1.879, -0.027),
            (0.412, 2.805, 0.012),
            (-0.067, -0.51, -0.266),
            (0.067, -0.51, -0.266),
            (-0.153, -0.469, -0.059),
            (0.153, -0.469, -0.059),
        ]
    ]
)


@functools.cache
def body_shape(device: torch.device) -> tuple[Shape, Tensor]:
    """The shape of all solids, and the joints of a body at rest, on a device."""
    with torch.inference_mode(False):
        return SHAPE.of_solids().to(device), REST.to(device)
