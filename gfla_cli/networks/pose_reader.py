"""Reads the joints of a picture: what a generated person has to agree with the real one in, seen by whom it is for.

Not in the paper. B batch, J = 18 joints in OpenPose's order, H x W a picture whose sides are multiples of 32.
"""

from __future__ import annotations

from torch import Tensor, nn

from gfla_cli.networks.blocks import DecoderBlock, EncoderBlock, ResidualBlock, activation, norm

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
