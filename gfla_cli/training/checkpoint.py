"""Checkpoints: everything a run needs to go on as if it had never stopped, in one file that is complete or absent."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from gfla_cli.config import ModelConfig
from gfla_cli.errors import DataError
from gfla_cli.io.files import atomic_path
from gfla_cli.training.recipe import Recipe

LAST, BEST, _NUMBERED = "checkpoint.pt", "checkpoint-best.pt", "checkpoint-[0-9]*.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replaces `path` once the new file is complete and on disk."""
    with atomic_path(path, overwrite=True) as temporary:
        torch.save(state, temporary)
        with temporary.open("r+b") as file:  # a rename may reach the disk before the bytes do
            os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads tensors and plain values only; raises DataError when the file is missing or damaged."""
    if not path.is_file():
        raise DataError(f"{path}: no checkpoint to resume from", hint="leave out --resume to start anew")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        others = [other.name for other in [*numbered(path.parent)[::-1], path.parent / BEST] if other.is_file()]
        restore = f"copy {others[0]} over it" if others else "start anew, or restore an older copy"
        raise DataError(f"{path}: damaged checkpoint", hint=restore) from error
    return dict(state)


def numbered(folder: Path) -> list[Path]:
    """The older checkpoints of a run, oldest first."""
    # By time, not by number: whoever went back to an older one has newer ones with smaller numbers.
    return sorted(folder.glob(_NUMBERED), key=lambda path: (path.stat().st_mtime_ns, path.name))


def keep_copy(path: Path, name: str) -> None:
    """A second name for the checkpoint that was just written; the next one does not touch it."""
    target = path.with_name(name)
    temporary = path.with_name(f".{name}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
        temporary.replace(target)
    except OSError:  # a file system without links
        with atomic_path(target, overwrite=True) as copy:
            shutil.copyfile(path, copy)


def keep_last(path: Path, steps: int, count: int) -> None:
    """Keeps the newest `count` checkpoints by their steps, the one just written included; 1 leaves all as it is."""
    if count > 1:
        keep_copy(path, f"checkpoint-{steps:07d}.pt")
        for old in numbered(path.parent)[:-count]:
            old.unlink(missing_ok=True)


def refuse_another(path: Path, saved_json: str, wanted: Recipe) -> None:
    """Raises DataError that says how the recipe of a checkpoint differs, when it cannot go on with the wanted one."""
    saved = json.loads(saved_json)
    # Compared as configs: a run from before a setting existed has its default, and is the same model.
    model = ModelConfig.from_json(saved["model"])
    differs = []
    if saved["dataset"] != wanted.dataset:
        differs.append(f"--dataset {saved['dataset']}, not {wanted.dataset}")
    if saved.get("seed", 0) != wanted.seed:
        differs.append(f"--seed {saved.get('seed', 0)}, not {wanted.seed}")
    if model != wanted.model:
        differs.append(f"another model: {_model_differences(model, wanted.model)}")
    stages = [stage["name"] for stage in saved["stages"]]
    if stages != [stage.name for stage in wanted.stages]:
        differs.append(f"the stages {', '.join(stages)}, not {', '.join(stage.name for stage in wanted.stages)}")
    if differs:
        hint = "resume with the options it was started with, or choose another --output"
        raise DataError(f"{path}: made with {'; '.join(differs)}", hint=hint)


def _model_differences(saved: ModelConfig, wanted: ModelConfig) -> str:
    before, now = saved.to_json(), wanted.to_json()
    names = [name for name in now if before.get(name) != now[name]]
    return ", ".join(f"{name} {before.get(name)} instead of {now[name]}" for name in names)
