"""Opens the data set of a recipe for each of its training stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from gfla_cli.conditioning.face_map import sees_irises
from gfla_cli.datasets.deepfashion import BenchmarkPairs, ShuffledPairs
from gfla_cli.datasets.render_cache import RenderCache
from gfla_cli.training.inputs import LAYOUTS, RENDERED, check_data
from gfla_cli.training.recipe import Recipe, Stage

_FINEST_GRID = 64  # of ground-truth flow

OpenStage = Callable[[Stage], Dataset[Any]]


def open_training_data(recipe: Recipe, root: Path | None, cache: Path, *, render: bool = True) -> OpenStage:
    """A function from stage to data set. `cache` is the folder of rendered images.

    Without `render` only images that exist are used; other processes may add images meanwhile. Raises UsageError
    without the root that a data set needs, or without `render` for data that is not rendered; DataError when the data
    cannot be used.
    """
    check_data(recipe, root, cache, render=render)
    if root is None or recipe.dataset in ("chairs", "objects"):
        open_stage = _open_chairs(recipe, root, cache)
    else:
        open_stage = _open(recipe, root, cache)
    if render:
        return open_stage

    def open_existing(stage: Stage) -> Dataset[Any]:
        dataset = open_stage(stage)
        for rendered in render_caches(dataset):
            rendered.existing_only = True
        return dataset

    return open_existing


def render_caches(dataset: Dataset[Any]) -> list[RenderCache]:
    """The render caches that a data set reads."""
    caches: list[RenderCache] = dataset.render_caches()  # type: ignore[attr-defined]
    return caches


def _open(recipe: Recipe, root: Path, cache: Path) -> OpenStage:
    name = recipe.dataset
    if name in RENDERED:
        return lambda stage: _rendered(recipe, root, cache, stage)

    def open_stage(stage: Stage) -> Dataset[Any]:
        if name == "faces":
            from gfla_cli.datasets.face_folders import FaceFolders

            return FaceFolders(root, stage.image_size[0], recipe.frames, recipe.seed)
        if name == "shapenet":
            from gfla_cli.datasets.shapenet import ShapeNetPairs, find_file

            return ShapeNetPairs(find_file(root), "train", stage.image_size, recipe.seed)
        pairs = BenchmarkPairs(root, "train", LAYOUTS[name], stage.image_size)
        return ShuffledPairs(pairs, recipe.seed, jittered=name == "market")

    open_stage(recipe.stages[0])  # reports errors before anything is written
    return open_stage


def _open_chairs(recipe: Recipe, extras: Path | None, cache: Path) -> OpenStage:
    """Chairs need no root; it may be a folder of GLB files to mix in. Objects are the files of that folder alone."""
    from gfla_cli.datasets.chairs import ChairPairs, RenderedChairs, plan_with

    plan = plan_with(extras)
    if recipe.dataset == "objects":
        plan = replace(plan, extra_share=1.0)
    return lambda stage: ChairPairs(
        RenderedChairs(cache, plan, extras), size=stage.image_size[0], grid=_grid(recipe, stage), seed=recipe.seed
    )


def _rendered(recipe: Recipe, root: Path, cache: Path, stage: Stage) -> Dataset[Any]:
    size, grid, seed = stage.image_size[0], _grid(recipe, stage), recipe.seed
    if recipe.dataset == "people":
        from gfla_cli.datasets.people import PeoplePairs, RenderPlan

        depth = recipe.model.has_depth
        return PeoplePairs(root, cache, RenderPlan(), size=size, grid=grid, seed=seed, heads=recipe.heads, depth=depth)
    if recipe.dataset == "bodies":
        from gfla_cli.datasets.rendered_clips import BodyClips, MotionPlan

        return BodyClips(root, cache, MotionPlan(), frames=recipe.frames, size=size, grid=grid, seed=seed)
    from gfla_cli.datasets.rendered_clips import FaceClips, PortraitPlan

    plan = PortraitPlan(glances=sees_irises(recipe.model))
    return FaceClips(root, cache, plan, frames=recipe.frames, size=size, grid=grid, seed=seed)


def _grid(recipe: Recipe, stage: Stage) -> int:
    """Side of the ground truth's grid: that of the finest flow, up to a limit."""
    return min(stage.image_size[0] // recipe.model.levels[-1].stride, _FINEST_GRID)
