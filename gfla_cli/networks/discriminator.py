"""Discriminators: residual networks with spectral norm that score patches of pictures, or of clips, as real or made."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gfla_cli.networks.blocks import DecoderBlock, EncoderBlock, ResidualBlock, activation, norm, widths


class DiscriminatorBlock(nn.Module):
    """Halves the resolution: (B, a, H, W) -> (B, b, H/2, W/2). The first one takes the picture as it is."""

    def __init__(self, a: int, b: int, *, first: bool = False) -> None:
        super().__init__()
        hidden = b if first else a
        self.before = nn.Identity() if first else activation()
        self.conv = spectral_norm(nn.Conv2d(a, hidden, 3, padding=1))
        self.down = spectral_norm(nn.Conv2d(hidden, b, 4, stride=2, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(a, b, 1))
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.act(self.conv(self.before(x))))
        y = y + self.shortcut(F.avg_pool2d(x, 2))
        return y


class Discriminator(nn.Module):
    """(B, C, H, W) picture(s) in [-1, 1] -> (B, 1, H/2^blocks, W/2^blocks) scores, 1 = real."""

    def __init__(self, channels: int = 3, blocks: int = 4, width: int = 32, max_width: int = 128) -> None:
        super().__init__()
        w = widths(width, max_width, blocks)
        self.blocks = nn.Sequential(
            *(DiscriminatorBlock(a, b, first=i == 0) for i, (a, b) in enumerate(zip([channels, *w], w, strict=False)))
        )
        self.act = activation()
        self.score = spectral_norm(nn.Conv2d(w[-1], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.score(self.act(self.blocks(x)))
        return scores


class ClipDiscriminatorBlock(nn.Module):
    """The same in three dimensions; time keeps its length: (B, a, T, H, W) -> (B, b, T, H/2, W/2)."""

    def __init__(self, a: int, b: int, *, first: bool = False) -> None:
        super().__init__()
        hidden = b if first else a
        self.before = nn.Identity() if first else activation()
        self.conv = spectral_norm(nn.Conv3d(a, hidden, 3, padding=1))
        self.down = spectral_norm(nn.Conv3d(hidden, b, (3, 4, 4), stride=(1, 2, 2), padding=1))
        self.shortcut = spectral_norm(nn.Conv3d(a, b, 1))
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.act(self.conv(self.before(x))))
        y = y + self.shortcut(F.avg_pool3d(x, (1, 2, 2)))
        return y


class ClipDiscriminator(nn.Module):
    """(B, 3, T, H, W) frames in [-1, 1] -> (B, 1, T, H/2^blocks, W/2^blocks) scores of how they follow one another."""

    def __init__(self, blocks: int = 4, width: int = 16, max_width: int = 64) -> None:
        super().__init__()
        w = widths(width, max_width, blocks)
        self.blocks = nn.Sequential(
            *(ClipDiscriminatorBlock(a, b, first=i == 0) for i, (a, b) in enumerate(zip([3, *w], w, strict=False)))
        )
        self.act = activation()
        self.score = spectral_norm(nn.Conv3d(w[-1], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.score(self.act(self.blocks(x)))
        return scores


# Reads the joints of a picture: what a generated person has to agree with the real one in, seen by whom it is for.
#
# Not in the paper. B batch, J = 18 joints in OpenPose's order, H x W a picture whose sides are multiples of 32.


STRIDE = 4  # of the maps it gives
_WIDTHS = (24, 48, 96, 160, 192)  # at strides 2 to 32


class PoseReader(nn.Module):
    """(B, 3, H, W) pictures in [-1, 1] -> (B, J, H/4, W/4) heat maps, about 1 on a joint and 0 elsewhere."""

    def __init__(self, joints: int = 18) -> None:
        super().__init__()
        between = list(zip((3, *_WIDTHS), _WIDTHS, strict=False))
        self.down = nn.ModuleList(EncoderBlock(a, b, normed=i > 0) for i, (a, b) in enumerate(between))
        self.whole = ResidualBlock(_WIDTHS[-1])
        self.up = nn.ModuleList(DecoderBlock(b, a) for a, b in reversed(between[2:]))
        last = nn.Conv2d(_WIDTHS[1], joints, 3, padding=1)
        for parameter in last.parameters():  # who has learnt nothing sees nothing, and has nothing to say to others
            nn.init.zeros_(parameter)
        self.head = nn.Sequential(norm(_WIDTHS[1]), activation(), last)

    def forward(self, image: Tensor) -> Tensor:
        """Every resolution on the way up sees what was there on the way down."""
        seen = []
        x = image
        for block in self.down:
            x = block(x)
            seen.append(x)
        x = self.whole(x)
        for block, before in zip(self.up, seen[-2:0:-1], strict=True):
            x = block(x) + before
        maps: Tensor = self.head(x)
        return maps
