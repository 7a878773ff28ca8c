"""Weights of other people's networks, from whatever file they come in: .npz, .safetensors or a torch state dict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gfla_cli.errors import BundleError


def read_state(path: Path, what: str) -> dict[str, Tensor]:
    """Name -> tensor on the CPU; `what` says in errors whose weights were expected.

    Nothing but tensors is ever unpickled. Raises BundleError for a missing file and for one that holds no state dict.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file", hint=f"give {what} (.npz, .safetensors or .pth)")
    try:
        return _read(path)
    except Exception as error:  # of the three formats, damaged files raise any type
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BundleError(f"{path}: not readable as {what} ({reason})", hint="copy or download it again") from error


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError("it holds something else than tensors by name")
    return dict(state)
