"""Global attention, the ablation without flow: a softmax over the whole source."""

from __future__ import annotations

import pytest
import torch

from gfla_cli.networks.samplers import GlobalAttention


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return GlobalAttention(8)


def by_definition(attention, source, target):
    query, key = attention.query(target).flatten(2), attention.key(source).flatten(2)
    weights = (query.transpose(1, 2) @ key / query.shape[1] ** 0.5).softmax(dim=2)  # (B, target, source)
    return (source.flatten(2) @ weights.transpose(1, 2)).unflatten(2, target.shape[-2:])


@pytest.mark.parametrize("size", [(6, 5), (4, 7)])
def test_global_attention_is_the_softmax_over_all_of_the_source(attention, size):
    source, target = torch.randn(2, 8, 6, 5), torch.randn(2, 8, *size)
    fetched = attention(attention.prepare(source), target)
    torch.testing.assert_close(fetched, by_definition(attention, source, target))


def test_global_attention_does_not_store_the_weights_of_all_pairs(attention):
    kept = []
    source, target = torch.randn(1, 8, 32, 32), torch.randn(1, 8, 32, 32)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: (kept.append(tensor.numel()), tensor)[1], lambda x: x):
        attention(attention.prepare(source), target).sum().backward()
    assert max(kept) < 32**4 / 10
