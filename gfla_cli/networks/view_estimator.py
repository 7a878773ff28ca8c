"""Where a picture of an object was taken from: a small classifier beside the view generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gfla_cli.networks.blocks import EncoderBlock, activation, widths

_SIDE = 128  # pixels of the picture that is looked at, whatever the frame's size
_DEPTH = 4


def averaged(image: Tensor, side: int) -> Tensor:
    """Means over equal parts, (B, C, H, W) -> (B, C, side, side), as adaptive average pooling.

    As two products of matrices, because ONNX pools to a given size only from sizes that are known when it is written.
    """
    down, across = (_shares(length, side, image) for length in image.shape[-2:])
    return down @ image @ across.T


def _shares(length: int, parts: int, like: Tensor) -> Tensor:
    """(parts, length): what every pixel contributes to every part; parts overlap where they do not divide."""
    part = torch.arange(parts, device=like.device)[:, None]
    first, end = part * length // parts, ((part + 1) * length + parts - 1) // parts
    pixel = torch.arange(length, device=like.device)
    inside = ((pixel >= first) & (pixel < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class ViewEstimator(nn.Module):
    """(B, 3, H, W) picture in [-1, 1] -> (B, codes) scores: one group of them per part of the view code."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        channels = widths(width, 6 * width, _DEPTH)
        # The norm over the raw picture is wanted here: how bright it is says nothing about the view.
        self.down = nn.Sequential(*(EncoderBlock(a, b) for a, b in zip([3, *channels], channels, strict=False)))
        self.squeeze = nn.Conv2d(channels[-1], 2 * width, 1)
        self.act = activation()
        self.scores = nn.Linear(2 * width * (_SIDE >> _DEPTH) ** 2, codes)

    def forward(self, image: Tensor) -> Tensor:
        """Unnormalised scores; each group's softmax is a probability."""
        x = self.act(self.squeeze(self.act(self.down(averaged(image, _SIDE)))))
        scores: Tensor = self.scores(x.flatten(1))
        return scores.float()
