"""Checkpoints: everything a run needs to go on as if it had never stopped, in one file that is complete or absent."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from gfla_cli.errors import DataError
from gfla_cli.media.atomic import atomic_path


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replaces `path` once the new file is complete."""
    with atomic_path(path, overwrite=True) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads tensors and plain values only; raises DataError when the file is missing or damaged."""
    if not path.is_file():
        raise DataError(f"{path}: no checkpoint to resume from", hint="leave out --resume to start anew")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: damaged checkpoint", hint="start anew, or restore an older copy") from error
    return dict(state)
