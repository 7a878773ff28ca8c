"""How a decoder level samples source features: the paper's local attention and its ablations (table 2).

Every sampler prepares the source once (`prepare`), and is then called once per target.
B batch, C channels, h x w feature grid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.config import Level, ModelConfig
from gfla_cli.networks.flow import Flow
from gfla_cli.ops.local_attention import Attended, AttentionWeights, attend, bilinear, source_keys
from gfla_cli.ops.warp import positions


class Source(NamedTuple):
    """Source features of one level, and what a sampler derives from them only."""

    features: Tensor  # (B, C, h, w)
    keys: Tensor  # (B, D, ·, ·); the features themselves where a sampler derives nothing


class LocalAttention(nn.Module):
    """Content-aware sampling (paper, eq. 8 and 9): a learned softmax over the n x n source patch at l + w(l)."""

    def __init__(self, channels: int, level: Level, config: ModelConfig) -> None:
        super().__init__()
        self.reduction = config.attention_reduction
        self.hidden = nn.Conv2d(2 * channels, level.hidden, level.patch)
        self.score = nn.Conv2d(level.hidden, level.patch**2, 1)

    def weights(self) -> AttentionWeights:
        """The parameters, in the form that `ops.local_attention` takes them."""
        hidden, score = self.hidden, self.score
        assert hidden.bias is not None
        assert score.bias is not None
        return AttentionWeights(hidden.weight, hidden.bias, score.weight, score.bias)

    def prepare(self, features: Tensor) -> Source:
        """The half of the scoring layer that depends on the source only."""
        return Source(features, source_keys(features, self.weights()))

    def forward(self, source: Source, target: Tensor, flow: Flow) -> Tensor:
        """Source features warped to the target, (B, C, h, w)."""
        return self.attend(source, target, flow).features

    def attend(self, source: Source, target: Tensor, flow: Flow) -> Attended:
        """The same, with the attention weights."""
        return attend(source.features, source.keys, target, flow.offset, self.weights(), self.reduction)


class BilinearSampling(nn.Module):
    """No attention: each target position is a bilinear sample of the source at l + w(l). An ablation of the paper.

    Local attention with patches of one pixel is the same. Fast models have it at fine levels.
    """

    def prepare(self, features: Tensor) -> Source:
        """Nothing is derived."""
        return Source(features, features)

    def forward(self, source: Source, target: Tensor, flow: Flow) -> Tensor:
        """Source features warped to the target, (B, C, h, w)."""
        return bilinear(source.features, positions(flow.offset))


class GlobalAttention(nn.Module):
    """Ablation: no flow; every target position attends to the whole source by feature similarity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 2, 1)
        self.key = nn.Conv2d(channels, channels // 2, 1)

    def prepare(self, features: Tensor) -> Source:
        """The keys, which depend on the source only."""
        return Source(features, self.key(features))

    def forward(self, source: Source, target: Tensor, flow: Flow | None = None) -> Tensor:
        """Source features rearranged for the target, (B, C, h, w); the flow is ignored."""
        query, key, value = (
            x.flatten(2).transpose(1, 2).contiguous() for x in (self.query(target), source.keys, source.features)
        )
        # Torch's kernels that do not store the h*w x h*w weights need one width for all three. So queries and keys are
        # padded to the width of the values. (Two heads of values would compute every weight twice.)
        scale = query.shape[-1] ** -0.5
        query, key = (F.pad(x, [0, value.shape[-1] - x.shape[-1]]) for x in (query, key))
        attended = F.scaled_dot_product_attention(
            query[:, None], key[:, None].to(query.dtype), value[:, None].to(query.dtype), scale=scale
        )
        rearranged: Tensor = attended[:, 0].transpose(1, 2).unflatten(2, target.shape[-2:])
        return rearranged


def sampler(channels: int, level: Level, config: ModelConfig) -> LocalAttention | BilinearSampling | GlobalAttention:
    """The sampler of the config for one level."""
    if config.sampler == "bilinear" or (config.sampler == "local" and level.patch == 1):
        return BilinearSampling()
    if config.sampler == "local":
        return LocalAttention(channels, level, config)
    return GlobalAttention(channels)
