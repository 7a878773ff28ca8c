"""Weights of other people's networks, from whatever file they come in: .npz, .safetensors or a torch state dict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gfla_cli.bundles.pth import read_tensors
from gfla_cli.errors import BundleError
from gfla_cli.media.npz import read_npz


def read_state(path: Path, what: str) -> dict[str, Tensor]:
    """Name -> tensor on the CPU; `what` says in errors whose weights were expected.

    Nothing but tensors is ever unpickled. Raises BundleError for a missing file and for one that holds no state dict.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file", hint=f"give {what} (.npz, .safetensors or .pth)")
    try:
        return _read(path)
    except BundleError:
        raise
    except Exception as error:  # of the formats, damaged files raise any type
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BundleError(f"{path}: not readable as {what} ({reason})", hint="copy or download it again") from error


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".npz":
        return {name: torch.from_numpy(array.astype(np.float32)) for name, array in read_npz(path).items()}
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return read_tensors(path)
