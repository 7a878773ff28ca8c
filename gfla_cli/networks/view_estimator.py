"""Where a picture of an object was taken from: a small classifier beside the view generator."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.networks.blocks import EncoderBlock, activation, widths

_SIDE = 128  # pixels of the picture that is looked at, whatever the frame's size
_DEPTH = 4


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
        x = F.adaptive_avg_pool2d(image, _SIDE) if image.shape[-2:] != (_SIDE, _SIDE) else image
        x = self.act(self.squeeze(self.act(self.down(x))))
        scores: Tensor = self.scores(x.flatten(1))
        return scores.float()
