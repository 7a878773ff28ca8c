"""Features moved by the flows that a renderer knows, while the network's own flows are still far off.

Not in the paper. A decoder that only ever sees features from the wrong places learns that they tell colours at best,
and melts stripes and faces even when the flows get better. Shown the right places in a share of the pairs, it learns to
copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gfla_cli.networks.flow import Flow
from gfla_cli.training.batch import on_device

# (height, width) of a grid -> offsets (B, 2, h, w) in its pixels, weights and visibility (B, 1, h, w)
KnownAt = Callable[[int, int], tuple[Tensor, Tensor, Tensor]]


def partly_known(flows: Sequence[Flow], known_at: KnownAt, share: float) -> list[Flow]:
    """The flows of each level, in a `share` of the pairs as the renderer knows them; none where there are none."""
    if not flows:
        return []
    offset = flows[0].offset
    return with_known_flows(flows, known_at, drawn_pairs(len(offset), share, offset.device))


def drawn_pairs(count: int, share: float, device: torch.device) -> Tensor:
    """(B, 1, 1, 1) which of `count` pairs go by known flows, drawn with torch's global generator."""
    return on_device(torch.rand(count) < share, device).view(-1, 1, 1, 1)


def with_known_flows(flows: Sequence[Flow], known_at: KnownAt, chosen: Tensor) -> list[Flow]:
    """The flows of each level, in the `chosen` pairs replaced by the known ones wherever anything is known.

    `chosen` (B, 1, 1, 1) as `drawn_pairs` gives it. Where the renderer leaves the mask free it stays estimated.
    """
    return [_replaced(flow, known_at, chosen) for flow in flows]


def _replaced(flow: Flow, known_at: KnownAt, chosen: Tensor) -> Flow:
    offset, weight, visible = known_at(flow.offset.shape[-2], flow.offset.shape[-1])
    return Flow(
        torch.where(chosen & (weight > 0), offset, flow.offset),
        torch.where(chosen & (visible >= 0), visible.clamp(min=0), flow.mask),
    )
