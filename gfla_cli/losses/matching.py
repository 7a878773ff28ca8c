"""Whether positions that show the same place of a body have descriptors that are alike."""

from __future__ import annotations

import torch
from torch import Tensor

from gfla_cli.networks.matching import SOURCE_STRIDE, TARGET_STRIDE, Matches
from gfla_cli.ops.warp import cell_middles

_COMPARED = 1024  # target positions a pair; a quarter of a frame of 128x128, and most of a body


def matching_loss(matches: Matches, offset: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the cell that a known correspondence points to, and the distance of the expected place from it.

    `offset` (B, 2, h, w) true offsets in pixels of that grid, `weight` (B, 1, h, w) how often each is drawn. Both are
    means over positions drawn with torch's global generator; the distance is in cells of the source.
    """
    height, width = offset.shape[-2:]
    drawn = torch.multinomial(weight.flatten(1) + 1e-6, _COMPARED, replacement=True)  # (B, K)
    wanted = (cell_middles(height, width, TARGET_STRIDE, offset) + offset * TARGET_STRIDE).flatten(2)
    wanted = wanted.gather(2, drawn[:, None].expand(-1, 2, -1))  # (B, 2, K), pixels
    logits = matches.likeness(drawn)  # (B, K, n)
    places = matches.places().flatten(2)
    cells, shares = _around(wanted, matches.source.shape[-2:])
    logarithm = logits.log_softmax(dim=2)
    entropy = -(logarithm.gather(2, cells) * shares).sum(dim=2).mean()
    expected = (logarithm.exp() @ places.transpose(1, 2)).transpose(1, 2)
    distance = (expected - wanted).square().sum(dim=1).add(1e-2).sqrt().mean()
    return entropy, distance / SOURCE_STRIDE


def _around(wanted: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(B, K, 4) the cells around places (B, 2, K) in pixels, and their bilinear shares."""
    height, width = size
    x, y = ((wanted - (SOURCE_STRIDE - 1) / 2) / SOURCE_STRIDE).unbind(dim=1)  # (B, K), cells
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, above = x.floor().clamp(max=width - 2), y.floor().clamp(max=height - 2)
    right_share, below_share = x - left, y - above
    first = above * width + left
    cells = torch.stack([first, first + 1, first + width, first + width + 1], dim=2).long()
    across = torch.stack([1 - right_share, right_share], dim=2)
    shares = torch.cat([across * (1 - below_share)[..., None], across * below_share[..., None]], dim=2)
    return cells, shares
