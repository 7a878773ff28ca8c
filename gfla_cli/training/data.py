"""From a data set's name and its folder to the pairs that a training stage sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from gfla_cli.datasets.deepfashion import BenchmarkPairs, ShuffledPairs
from gfla_cli.datasets.render_cache import RenderCache
from gfla_cli.datasets.sample import ClipSample, PosePair, ViewPair
from gfla_cli.datasets.tables import DEEPFASHION, MARKET, SQUARE
from gfla_cli.errors import DataError, UsageError
from gfla_cli.training.recipe import Recipe, Stage

RENDERED = ("people", "chairs", "people-faces", "bodies")


def open_training_data(
    recipe: Recipe, root: Path | None, cache: Path, *, render: bool = True
) -> Callable[[Stage], Dataset[Any]]:
    """A function from stage to data set. `cache` is where rendered samples are kept.

    Without `render` only those count that are there by then; other processes may add to them meanwhile. Raises
    UsageError where there is nothing to render.
    """
    opened = _opened(recipe, root, cache)
    if render:
        return opened
    if recipe.dataset not in RENDERED:
        raise UsageError(f"--no-render: {recipe.dataset} is not rendered", hint=f"these are: {', '.join(RENDERED)}")

    def open_stage(stage: Stage) -> Dataset[Any]:
        dataset = opened(stage)
        for cache in render_caches(dataset):
            cache.existing_only = True
        return dataset

    return open_stage


def render_caches(dataset: Dataset[Any]) -> list[RenderCache]:
    """The render caches that a data set reads from."""
    caches: list[RenderCache] = dataset.render_caches()  # type: ignore[attr-defined]
    return caches


def _opened(recipe: Recipe, root: Path | None, cache: Path) -> Callable[[Stage], Dataset[Any]]:
    """Only `chairs` can do without a `root`; it may name a folder of GLB files to mix in. Raises UsageError without the
    root that a data set needs, DataError when it cannot be used.
    """
    if recipe.dataset == "chairs":
        return _chairs(recipe, root, cache)
    if root is None:
        raise UsageError(f"--dataset {recipe.dataset} needs --data-root", hint="the folder that holds the data")
    if not root.is_dir() and not (recipe.dataset == "shapenet" and root.is_file()):
        raise DataError(f"{root}: no such folder", hint="--data-root names the folder that holds the data")
    if recipe.dataset == "shapenet":
        return _shapenet(recipe, root)
    if recipe.dataset in ("people", "people-faces", "bodies"):
        _refuse_nothing_to_render(root, cache)
    if recipe.dataset == "people":
        return lambda stage: _people(recipe, root, cache, stage)
    if recipe.dataset in ("faces", "people-faces", "bodies"):
        return _clips(recipe, root, cache)
    return _benchmark(recipe, root)


_LAYOUTS = {"fashion": DEEPFASHION, "market": MARKET, "photos": SQUARE}


def _benchmark(recipe: Recipe, root: Path) -> Callable[[Stage], Dataset[PosePair]]:
    def open_stage(stage: Stage) -> Dataset[PosePair]:
        pairs = BenchmarkPairs(root, "train", _LAYOUTS[recipe.dataset], stage.image_size)
        return ShuffledPairs(pairs, recipe.seed, jittered=recipe.dataset == "market")

    open_stage(recipe.stages[0])  # names what is wrong before anything is written
    return open_stage


def _refuse_nothing_to_render(pack: Path, cache: Path) -> None:
    """Raises DataError when there is no pack, unless pictures of an earlier run may do without one."""
    if cache.is_dir() and any(cache.iterdir()):
        return
    from gfla_cli.synth.pack import check_pack

    check_pack(pack)


def _people(recipe: Recipe, root: Path, cache: Path, stage: Stage) -> Dataset[PosePair]:
    from gfla_cli.datasets.people import PeoplePairs, RenderPlan

    side = stage.image_size[0]
    finest = side // recipe.model.levels[-1].stride
    return PeoplePairs(
        root,
        cache,
        RenderPlan(),
        size=side,
        grid=min(finest, 64),
        seed=recipe.seed,
        heads=recipe.heads,
        depth=recipe.model.has_depth,
    )


def _chairs(recipe: Recipe, extras: Path | None, cache: Path) -> Callable[[Stage], Dataset[ViewPair]]:
    from gfla_cli.datasets.chairs import ChairPairs, RenderedChairs, plan_with

    if extras is not None and not extras.is_dir():
        raise DataError(f"{extras}: no such folder", hint="for chairs, --data-root may name a folder of .glb files")
    plan = plan_with(extras)

    def open_stage(stage: Stage) -> Dataset[ViewPair]:
        side = stage.image_size[0]
        grid = min(side // recipe.model.levels[-1].stride, 64)
        return ChairPairs(RenderedChairs(cache, plan, extras), size=side, grid=grid, seed=recipe.seed)

    return open_stage


def _shapenet(recipe: Recipe, root: Path) -> Callable[[Stage], Dataset[ViewPair]]:
    from gfla_cli.datasets.shapenet import ShapeNetPairs, find_file

    file = find_file(root)
    ShapeNetPairs(file, "train", recipe.stages[0].image_size)  # names what is wrong before anything is written
    return lambda stage: ShapeNetPairs(file, "train", stage.image_size, recipe.seed)


def _clips(recipe: Recipe, root: Path, cache: Path) -> Callable[[Stage], Dataset[ClipSample]]:
    if recipe.dataset == "faces":
        from gfla_cli.datasets.face_folders import FaceFolders

        # Names what is wrong before anything is written.
        FaceFolders(root, recipe.stages[0].image_size[0], recipe.frames)
        return lambda stage: FaceFolders(root, stage.image_size[0], recipe.frames, recipe.seed)
    from gfla_cli.datasets.rendered_clips import BodyClips, FaceClips, MotionPlan, PortraitPlan

    def open_stage(stage: Stage) -> Dataset[ClipSample]:
        side = stage.image_size[0]
        grid = min(side // recipe.model.levels[-1].stride, 64)
        if recipe.dataset == "bodies":
            return BodyClips(root, cache, MotionPlan(), frames=recipe.frames, size=side, grid=grid, seed=recipe.seed)
        return FaceClips(root, cache, PortraitPlan(), frames=recipe.frames, size=side, grid=grid, seed=recipe.seed)

    return open_stage
