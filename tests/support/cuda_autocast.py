"""An autocast on the CPU that treats operations as CUDA's does: refused, in float32, or in the widest type.

The lists are those of torch's documentation ("CUDA Ops that ..."). CPU's autocast allows more, so that a loss that
works there may end a training on a GPU before its first step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name

REFUSED = {"binary_cross_entropy"}
IN_FLOAT32 = {
    "__pow__", "__rdiv__", "__rpow__", "__rtruediv__", "acos", "asin", "binary_cross_entropy_with_logits", "cosh",
    "cosine_embedding_loss", "cdist", "cosine_similarity", "cross_entropy", "cumprod", "cumsum", "dist", "erfinv",
    "exp", "expm1", "group_norm", "hinge_embedding_loss", "kl_div", "l1_loss", "layer_norm", "log", "log10",
    "log_softmax", "log1p", "log2", "margin_ranking_loss", "mse_loss", "nll_loss", "norm", "normalize", "pow", "prod",
    "reciprocal", "rsqrt", "sinh", "smooth_l1_loss", "softmax", "softmin", "softplus", "sum", "renorm", "tan",
}  # fmt: skip
IN_WIDEST = {
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "grid_sample", "index_put", "scatter_add", "tensordot",
}  # fmt: skip


class CudaAutocast(TorchFunctionMode):
    """Applies the lists wherever autocast is enabled."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = (resolve_name(func) or getattr(func, "__name__", "")).rsplit(".", 1)[-1]
        self.calls.add(name)
        if torch.is_autocast_enabled("cpu"):
            if name in REFUSED:
                raise RuntimeError(f"torch.{name} is unsafe to autocast")
            if name in IN_FLOAT32:
                args, kwargs = _cast(args, torch.float32), _cast(kwargs, torch.float32)
            elif name in IN_WIDEST:
                wide = torch.float32 if torch.float32 in set(_types((args, kwargs))) else torch.bfloat16
                args, kwargs = _cast(args, wide), _cast(kwargs, wide)
        return func(*args, **kwargs)


@contextmanager
def cuda_autocast() -> Iterator[CudaAutocast]:
    """The block runs as under CUDA's autocast, as far as a CPU can play it."""
    with CudaAutocast() as mode:
        yield mode


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.dtype in (torch.bfloat16, torch.float32) else value
    if isinstance(value, dict):
        return {key: _cast(item, dtype) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_cast(item, dtype) for item in value)
    return value


def _types(value: Any) -> Iterator[torch.dtype]:
    if isinstance(value, torch.Tensor):
        yield value.dtype
    elif isinstance(value, dict):
        for item in value.values():
            yield from _types(item)
    elif type(value) in (list, tuple):
        for item in value:
            yield from _types(item)
