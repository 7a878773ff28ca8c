"""The data of a training and the folder of its run: checked before torch is loaded, and opened for each stage.

Imports torch only where a data set is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfla_cli.datasets.tables import DEEPFASHION, MARKET, SQUARE, require_set
from gfla_cli.errors import DataError, UsageError
from gfla_cli.training.recipe import Recipe, Stage

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from gfla_cli.datasets.chairs import ChairPlan
    from gfla_cli.datasets.render_cache import RenderCache

LAST = "checkpoint.pt"  # of a run: the checkpoint that --resume continues
RECIPE = "recipe.json"  # of a run
RENDERED = ("people", "chairs", "objects", "people-faces", "bodies")
_LAYOUTS = {"fashion": DEEPFASHION, "market": MARKET, "photos": SQUARE}
_FINEST_GRID = 64  # of ground-truth flow


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
    if name in _LAYOUTS:
        require_set(root, "train", _LAYOUTS[name])


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


def open_training_data(
    recipe: Recipe, root: Path | None, cache: Path, *, render: bool = True
) -> Callable[[Stage], Dataset[Any]]:
    """A function from stage to data set. `cache` is the folder of rendered images.

    Without `render` only images that exist are used; other processes may add images meanwhile. Raises UsageError
    without the root that a data set needs, or without `render` for data that is not rendered; DataError when the data
    cannot be used.
    """
    check_data(recipe, root, cache, render=render)
    chairs = _chair_plan(recipe, root)

    def open_stage(stage: Stage) -> Dataset[Any]:
        if recipe.dataset not in RENDERED:
            return _real(recipe, root, stage)
        dataset = _rendered(recipe, root, cache, stage, chairs)
        for rendered in render_caches(dataset):
            rendered.existing_only = not render
        return dataset

    if recipe.dataset not in RENDERED:
        open_stage(recipe.stages[0])  # reports errors before anything is written
    return open_stage


def render_caches(dataset: Dataset[Any]) -> list[RenderCache]:
    """The render caches that a data set reads."""
    caches: list[RenderCache] = dataset.render_caches()  # type: ignore[attr-defined]
    return caches


def _real(recipe: Recipe, root: Path | None, stage: Stage) -> Dataset[Any]:
    assert root is not None  # `check_data` refuses a missing one
    name = recipe.dataset
    if name == "faces":
        from gfla_cli.datasets.face_folders import FaceFolders

        return FaceFolders(root, stage.image_size[0], recipe.frames, recipe.seed)
    if name == "shapenet":
        from gfla_cli.datasets.shapenet import ShapeNetPairs, find_file

        return ShapeNetPairs(find_file(root), "train", stage.image_size, recipe.seed)
    from gfla_cli.datasets.deepfashion import BenchmarkPairs, ShuffledPairs

    pairs = BenchmarkPairs(root, "train", _LAYOUTS[name], stage.image_size)
    return ShuffledPairs(pairs, recipe.seed, jittered=name == "market")


def _chair_plan(recipe: Recipe, root: Path | None) -> ChairPlan | None:
    """None for other data sets. `root` is a folder of GLB files to mix in, or of the only objects."""
    if recipe.dataset not in ("chairs", "objects"):
        return None
    from gfla_cli.datasets.chairs import plan_with

    plan = plan_with(root)
    return replace(plan, extra_share=1.0) if recipe.dataset == "objects" else plan


def _rendered(recipe: Recipe, root: Path | None, cache: Path, stage: Stage, chairs: ChairPlan | None) -> Dataset[Any]:
    size, name, seed = stage.image_size[0], recipe.dataset, recipe.seed
    grid = min(size // recipe.model.levels[-1].stride, _FINEST_GRID)  # side of the grid of the finest flow
    if chairs is not None:
        from gfla_cli.datasets.chairs import ChairPairs, RenderedChairs

        return ChairPairs(RenderedChairs(cache, chairs, root), size=size, grid=grid, seed=seed)
    assert root is not None  # `check_data` refuses a missing one
    if name == "people":
        from gfla_cli.datasets.people import PeoplePairs, RenderPlan

        plan = RenderPlan(size=2 * RenderPlan().size) if recipe.halves else RenderPlan()
        return PeoplePairs(
            root,
            cache,
            plan,
            size=size,
            grid=grid,
            seed=seed,
            heads=recipe.heads,
            halves=recipe.halves,
            depth=recipe.model.has_depth,
        )
    if name == "bodies":
        from gfla_cli.datasets.rendered_clips import BodyClips, MotionPlan

        return BodyClips(root, cache, MotionPlan(), frames=recipe.frames, size=size, grid=grid, seed=seed)
    from gfla_cli.conditioning.face_map import sees_irises
    from gfla_cli.datasets.rendered_clips import FaceClips, PortraitPlan

    portraits = PortraitPlan(glances=sees_irises(recipe.model))
    return FaceClips(root, cache, portraits, frames=recipe.frames, size=size, grid=grid, seed=seed)
