"""Opens the data set of a recipe for each of its training stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from gfla_cli.conditioning.face_map import sees_irises
from gfla_cli.datasets.deepfashion import BenchmarkPairs, ShuffledPairs
from gfla_cli.datasets.render_cache import RenderCache
from gfla_cli.training.inputs import LAYOUTS, RENDERED, check_data
from gfla_cli.training.recipe import Recipe, Stage

if TYPE_CHECKING:
    from gfla_cli.datasets.chairs import ChairPlan

_FINEST_GRID = 64  # of ground-truth flow

OpenStage = Callable[[Stage], Dataset[Any]]


def open_training_data(recipe: Recipe, root: Path | None, cache: Path, *, render: bool = True) -> OpenStage:
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
    pairs = BenchmarkPairs(root, "train", LAYOUTS[name], stage.image_size)
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
    from gfla_cli.datasets.rendered_clips import FaceClips, PortraitPlan

    portraits = PortraitPlan(glances=sees_irises(recipe.model))
    return FaceClips(root, cache, portraits, frames=recipe.frames, size=size, grid=grid, seed=seed)
