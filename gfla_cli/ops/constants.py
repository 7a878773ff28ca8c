"""Small tables on the device where they are needed: copied once, lest every step wait for the copy."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


@functools.cache
def constant(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A (nested) tuple of numbers as a tensor; not to be written to."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)
