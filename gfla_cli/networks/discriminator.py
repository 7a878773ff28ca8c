"""Discriminators of images and clips, and a joint detector that compares poses. Used in training only."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gfla_cli.networks.blocks import (
    DecoderBlock,
    ResidualBlock,
    activation,
    encoder_blocks,
    features_after,
    norm,
    widths,
)


class DiscriminatorBlock(nn.Module):
    """Halves the resolution: (B, a, H, W) -> (B, b, H/2, W/2). The first one has no activation on its input.

    `clips`: the 3-D form, which keeps the number of frames: (B, a, T, H, W) -> (B, b, T, H/2, W/2).
    """

    def __init__(self, a: int, b: int, *, first: bool = False, clips: bool = False) -> None:
        super().__init__()
        hidden = b if first else a
        conv = nn.Conv3d if clips else nn.Conv2d
        self.before = nn.Identity() if first else activation()
        self.conv = spectral_norm(conv(a, hidden, 3, padding=1))
        down = nn.Conv3d(hidden, b, (3, 4, 4), (1, 2, 2), 1) if clips else nn.Conv2d(hidden, b, 4, 2, 1)
        self.down = spectral_norm(down)
        self.shortcut = spectral_norm(conv(a, b, 1))
        self.pool = nn.AvgPool3d((1, 2, 2)) if clips else nn.AvgPool2d(2)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.act(self.conv(self.before(x))))
        y = y + self.shortcut(self.pool(x))
        return y


class Discriminator(nn.Module):
    """Residual patch discriminator with spectral norm: (B, C, H, W) -> scores (B, 1, H/2^blocks, W/2^blocks), 1 = real.

    The input is in [-1, 1]; C = 3 per image. `clips`: it scores the motion of (B, C, T, H, W) frames, with half of the
    channels: (B, 1, T, H/2^blocks, W/2^blocks).
    """

    def __init__(self, channels: int = 3, blocks: int = 4, *, clips: bool = False) -> None:
        super().__init__()
        w = widths(*((16, 64) if clips else (32, 128)), blocks)
        pairs = enumerate(zip([channels, *w], w, strict=False))
        self.blocks = nn.Sequential(*(DiscriminatorBlock(a, b, first=i == 0, clips=clips) for i, (a, b) in pairs))
        self.act = activation()
        self.score = spectral_norm((nn.Conv3d if clips else nn.Conv2d)(w[-1], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.score(self.act(self.blocks(x)))
        return scores


STRIDE = 4  # of the heat maps of PoseReader
_WIDTHS = (24, 48, 96, 160, 192)  # its channels at strides 2 to 32


class PoseReader(nn.Module):
    """Detects joints: (B, 3, H, W) images in [-1, 1] -> heat maps (B, J, H/4, W/4), about 1 on a joint, 0 elsewhere.

    Not in the paper. A generated person has to show the joints of the real one. J = 18 joints in OpenPose's order;
    H and W are multiples of 32.
    """

    def __init__(self, joints: int = 18) -> None:
        super().__init__()
        self.down = encoder_blocks([3, *_WIDTHS])
        self.whole = ResidualBlock(_WIDTHS[-1])
        self.up = nn.ModuleList(DecoderBlock(a, b) for a, b in pairwise(_WIDTHS[:0:-1]))
        last = nn.Conv2d(_WIDTHS[1], joints, 3, padding=1)
        for parameter in last.parameters():  # an untrained detector finds no joints and gives no gradient
            nn.init.zeros_(parameter)
        self.head = nn.Sequential(norm(_WIDTHS[1]), activation(), last)

    def forward(self, image: Tensor) -> Tensor:
        """A U-Net with additive skip connections."""
        features = features_after(self.down, image)
        x = self.whole(features[-1])
        for block, skip in zip(self.up, features[-2:0:-1], strict=True):
            x = block(x) + skip
        maps: Tensor = self.head(x)
        return maps
