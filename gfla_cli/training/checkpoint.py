"""Checkpoints of a run, each a single file that is complete or absent; and runs that start from a trained model."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from gfla_cli.bundles.bundle import is_flow_tensor, read_bundle
from gfla_cli.bundles.shelf import find_bundle
from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError, DataError
from gfla_cli.io.files import atomic_path
from gfla_cli.networks.sequence import with_irises
from gfla_cli.training.data import no_checkpoint
from gfla_cli.training.learner import Learner
from gfla_cli.training.recipe import Recipe

BEST, _NUMBERED = "checkpoint-best.pt", "checkpoint-[0-9]*.pt"
CRITICS = "critics.safetensors"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replaces `path` once the new file is complete and on disk."""
    with atomic_path(path, overwrite=True) as temporary:
        torch.save(state, temporary)
        with temporary.open("r+b") as file:  # a rename may reach the disk before the bytes do
            os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads tensors and plain values only. Raises DataError when the file is missing or damaged."""
    if not path.is_file():
        raise no_checkpoint(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        older = [*_numbered(path.parent)[::-1], path.parent / BEST]
        others = [other.name for other in older if other.is_file()]
        hint = f"copy {others[0]} over it" if others else "start a new run, or restore an older copy"
        raise DataError(f"{path}: damaged checkpoint", hint=hint) from error
    return dict(state)


def keep_copy(path: Path, name: str) -> None:
    """A second name for the checkpoint that was just written. The next checkpoint does not change it."""
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
    """Keeps the newest `count` checkpoints under names with their steps, this one included. With 1 it does nothing."""
    if count > 1:
        keep_copy(path, f"checkpoint-{steps:07d}.pt")
        for old in _numbered(path.parent)[:-count]:
            old.unlink(missing_ok=True)


def _numbered(folder: Path) -> list[Path]:
    """The older checkpoints of a run, oldest first."""
    # By time, not by number: a run that went back to an older checkpoint has newer ones with smaller numbers.
    return sorted(folder.glob(_NUMBERED), key=lambda path: (path.stat().st_mtime_ns, path.name))


def check_same_recipe(path: Path, saved_json: str, wanted: Recipe) -> None:
    """Raises DataError that names the differences when a checkpoint's recipe cannot continue with the wanted one."""
    saved = json.loads(saved_json)
    # Compared as configs: a recipe from before a setting existed has its default, and is the same model.
    model = ModelConfig.from_json(saved["model"])
    differs = []
    if saved["dataset"] != wanted.dataset:
        differs.append(f"--dataset {saved['dataset']}, not {wanted.dataset}")
    if saved.get("seed", 0) != wanted.seed:
        differs.append(f"--seed {saved.get('seed', 0)}, not {wanted.seed}")
    if model != wanted.model:
        before, now = model.to_json(), wanted.model.to_json()
        settings = [
            f"{name} {before.get(name)} instead of {now[name]}" for name in now if before.get(name) != now[name]
        ]
        differs.append(f"another model: {', '.join(settings)}")
    stages = [stage["name"] for stage in saved["stages"]]
    if stages != [stage.name for stage in wanted.stages]:
        differs.append(f"the stages {', '.join(stages)}, not {', '.join(stage.name for stage in wanted.stages)}")
    if differs:
        hint = "resume with the options it was started with, or choose another --output"
        raise DataError(f"{path}: made with {'; '.join(differs)}", hint=hint)


def load_flow_estimator(learner: Learner, model: str | Path) -> None:
    """Copies the flow estimator of a bundle, which may contain nothing else, into the generator.

    One of a face model that does not see irises starts one that does, see `load_weights`. Raises BundleError when the
    bundle is unknown or damaged, or its estimator does not fit the generator.
    """
    _load(learner, model, is_flow_tensor, "flow estimator")


def load_weights(learner: Learner, model: str | Path) -> None:
    """Copies the whole network of a bundle into the generator. Raises as `load_flow_estimator` does.

    A face model that does not see irises starts one that does: it gets weights of zero for the channel of the irises.
    If the folder of the bundle also has critics, as that of a run does, those that fit are copied, too.
    """
    _load(learner, model, lambda name: True, "network")
    critics = find_bundle(model) / CRITICS
    if critics.is_file():
        own = learner.discriminators.state_dict()
        stored = load_file(critics).items()
        fitting = {n: tensor.float() for n, tensor in stored if n in own and own[n].shape == tensor.shape}
        learner.discriminators.load_state_dict(fitting, strict=False)


def save_critics(learner: Learner, folder: Path) -> None:
    """Writes the critics into the folder of a bundle, for a run that starts from it."""
    half = {n: t.detach().to("cpu", torch.float16).contiguous() for n, t in learner.discriminators.state_dict().items()}
    with atomic_path(folder / CRITICS, overwrite=True) as temporary:
        save_file(half, temporary)


def _load(learner: Learner, model: str | Path, wanted: Callable[[str], bool], part: str) -> None:
    stored = read_bundle(model)
    theirs = {name: tensor.float() for name, tensor in stored.state.items() if wanted(name)}
    theirs = with_irises(theirs, stored.config, learner.task.recipe.model)
    own = {name: tensor.shape for name, tensor in learner.generator.state_dict().items() if wanted(name)}
    if {name: tensor.shape for name, tensor in theirs.items()} != own:
        what = f"{stored.folder}: its {part} does not fit the recipe's model"
        raise BundleError(what, hint="use a model with the same preset; --show prints the recipe's model")
    learner.generator.load_state_dict(theirs, strict=False)
    learner.average.load_state_dict(learner.generator.state_dict())
