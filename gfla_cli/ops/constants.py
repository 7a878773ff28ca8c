"""Small tables on the device that needs them. Each is copied there once, so no step waits for a copy."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


def constant(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A (nested) tuple of numbers as a tensor on `device`. It is shared: do not write to it."""
    if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():  # a traced tensor must not be kept
        return torch.tensor(values, device=device, dtype=dtype)
    return _kept(values, device, dtype)


@functools.cache
def _kept(values: Any, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)
