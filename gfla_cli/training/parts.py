"""A collated batch in parts that fit into memory one after another."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor


def split_sample(sample: Any, count: int) -> tuple[list[Any], list[float]]:
    """`count` parts, or as many as there are samples, and how much of the batch each is; together 1.

    `sample` is what `default_collate` makes of named tuples: tensors with a leading B, nested in them.
    """
    size = len(first_tensor(sample))
    count = min(count, size)
    bounds = [size * k // count for k in range(count + 1)]
    spans = list(pairwise(bounds))
    if count == 1:
        return [sample], [1.0]
    return [_cut(sample, first, last) for first, last in spans], [(last - first) / size for first, last in spans]


def first_tensor(sample: Any) -> Tensor:
    """Any tensor of it; all have the same B."""
    while not isinstance(sample, Tensor):
        sample = sample[0]
    return sample


def _cut(sample: Any, first: int, last: int) -> Any:
    if isinstance(sample, Tensor):
        return sample[first:last]
    return type(sample)(*(_cut(item, first, last) for item in sample))
