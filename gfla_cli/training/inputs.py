"""Checks of what a training reads and writes, before torch is loaded. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gfla_cli.bundles.files import read_config
from gfla_cli.bundles.shelf import find_bundle
from gfla_cli.datasets.tables import DEEPFASHION, MARKET, SQUARE, require_set
from gfla_cli.errors import DataError, UsageError
from gfla_cli.training.recipe import Recipe, joint_stages

LAST = "checkpoint.pt"  # of a run: the checkpoint that --resume continues
RENDERED = ("people", "chairs", "objects", "people-faces", "bodies")
LAYOUTS = {"fashion": DEEPFASHION, "market": MARKET, "photos": SQUARE}


def without_flow_stage(plan: Recipe) -> Recipe:
    """The recipe from its first joint stage on. Raises UsageError when it has no stage for the flow alone."""
    joint = joint_stages(plan)
    if len(joint) == len(plan.stages):
        raise UsageError(
            f"a model with the sampler {plan.model.sampler} has no flow estimator", hint="leave --flow out"
        )
    return replace(plan, stages=joint)


def fine_tuning_recipe(plan: Recipe, model: str | Path) -> Recipe:
    """The recipe from its first joint stage on, for the network of a bundle, whatever its size.

    Raises BundleError when the bundle is unknown or damaged, UsageError when its task is not that of the recipe.
    """
    folder = find_bundle(model)
    config, _ = read_config(folder)  # the weights are read later, into the network
    if config.task != plan.model.task:
        what = f"{folder}: a model for the task {config.task}, not for {plan.model.task}"
        raise UsageError(what, hint=f"--dataset {plan.dataset} is for {plan.model.task}")
    refines_heads = config.refines_heads or (plan.heads > 0 and config.is_square)
    refines_halves = config.refines_halves or (plan.halves > 0 and config.is_square)
    config = replace(config, refines_heads=refines_heads, refines_halves=refines_halves)
    return replace(plan, model=config, stages=joint_stages(plan))


def check_data(recipe: Recipe, root: Path | None, cache: Path | None, *, render: bool = True) -> None:
    """Raises UsageError without the root that a data set needs, or without `render` for data that is not rendered.

    Raises DataError for a root that is not what the data set needs. `cache`: images of an earlier run; they may be
    enough without a pack.
    """
    name = recipe.dataset
    if not render and name not in RENDERED:
        hint = f"rendered data sets: {', '.join(RENDERED)}"
        raise UsageError(f"--no-render: {name} is not rendered", hint=hint)
    if name == "chairs":  # they need no root
        if root is not None and not root.is_dir():
            raise DataError(f"{root}: no such folder", hint="for chairs, --data-root may name a folder of .glb files")
        return
    if root is None:
        raise UsageError(f"--dataset {name} needs --data-root", hint="the folder that holds the data")
    if not root.is_dir() and not (name == "shapenet" and root.is_file()):
        raise DataError(f"{root}: no such folder", hint="--data-root names the folder that holds the data")
    if name == "objects" and not any(root.glob("*.glb")):
        raise DataError(f"{root}: no .glb files in it", hint="objects to train on are .glb files that face +z")
    if name in RENDERED and name != "objects" and not (cache is not None and cache.is_dir() and any(cache.iterdir())):
        from gfla_cli.synth.pack import check_pack

        check_pack(root)
    if name in LAYOUTS:
        require_set(root, "train", LAYOUTS[name])


def check_cache(recipe: Recipe, cache: Path | None) -> None:
    """Raises UsageError for a folder of rendered images when the data set is not rendered."""
    if cache is not None and recipe.dataset not in RENDERED:
        hint = f"leave it out; rendered data sets: {', '.join(RENDERED)}"
        raise UsageError(f"--cache: {recipe.dataset} is not rendered", hint=hint)


def check_run(folder: Path | None, *, resume: bool) -> None:
    """Raises DataError when the folder of a run holds a run that is not to be resumed, or none to resume."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, not the folder of a run", hint="choose another --output")
    there = (folder / LAST).is_file()
    if resume and not there:
        raise no_checkpoint(folder / LAST)
    if there and not resume:
        raise run_exists(folder)


def no_checkpoint(path: Path) -> DataError:
    """The error for a run that has nothing to resume."""
    return DataError(f"{path}: no checkpoint to resume from", hint="leave out --resume to start a new run")


def run_exists(folder: Path) -> DataError:
    """The error for a folder with a run, when another one is to start there."""
    return DataError(f"{folder}: there is a run already", hint="continue it with --resume, or choose another --output")
