"""Opens the data set of a recipe for each of its training stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from gfla_cli.datasets.deepfashion import DEEPFASHION, MARKET, SQUARE, BenchmarkPairs
from gfla_cli.datasets.render_cache import AlbumFiles, AlbumPlan
from gfla_cli.datasets.sample import ClipSample, PosePair, ViewPair
from gfla_cli.errors import DataError, UsageError
from gfla_cli.training.recipe import Recipe, Stage

RENDERED = ("people", "chairs", "people-faces", "bodies")


def open_training_data(
    recipe: Recipe, root: Path | None, cache: Path, *, render: bool = True
) -> Callable[[Stage], Dataset[Any]]:
    """A function from stage to data set. `cache` is the folder of rendered images.

    Without `render` only images that exist are used; other processes may add images meanwhile. Raises UsageError
    without the root that a data set needs, or without `render` for data that is not rendered; DataError when the data
    cannot be used.
    """
    opened = _opened(recipe, root, cache)
    if render:
        return opened
    if recipe.dataset not in RENDERED:
        raise UsageError(
            f"--no-render: {recipe.dataset} is not rendered", hint=f"rendered data sets: {', '.join(RENDERED)}"
        )

    def open_stage(stage: Stage) -> Dataset[Any]:
        dataset = opened(stage)
        for files in rendered_files(dataset):
            files.existing_only = True
        return dataset

    return open_stage


def rendered_files(dataset: Dataset[Any]) -> list[AlbumFiles]:
    """The render caches that a data set reads."""
    files: list[AlbumFiles] = dataset.rendered()  # type: ignore[attr-defined]
    return files


def _opened(recipe: Recipe, root: Path | None, cache: Path) -> Callable[[Stage], Dataset[Any]]:
    if recipe.dataset == "chairs":  # the only one without a root; a root is a folder of GLB files to mix in
        return _chairs(recipe, root, cache)
    if root is None:
        raise UsageError(f"--dataset {recipe.dataset} needs --data-root", hint="the folder that holds the data")
    if not root.is_dir() and not (recipe.dataset == "shapenet" and root.is_file()):
        raise DataError(f"{root}: no such folder", hint="--data-root names the folder that holds the data")
    if recipe.dataset == "shapenet":
        return _shapenet(recipe, root)
    rendered_before = cache.is_dir() and any(cache.iterdir())  # images of an earlier run may be enough without a pack
    if recipe.dataset in ("people", "people-faces", "bodies") and not rendered_before:
        from gfla_cli.synth.pack import check_pack

        check_pack(root)
    if recipe.dataset == "people":
        return lambda stage: _people(recipe, root, cache, stage)
    if recipe.dataset in ("faces", "people-faces", "bodies"):
        return _clips(recipe, root, cache)
    return _pairs(recipe, root)


_LAYOUTS = {"fashion": DEEPFASHION, "market": MARKET, "photos": SQUARE}


def _pairs(recipe: Recipe, root: Path) -> Callable[[Stage], Dataset[PosePair]]:
    from gfla_cli.datasets.order import ShuffledPairs

    def open_stage(stage: Stage) -> Dataset[PosePair]:
        pairs = BenchmarkPairs(root, "train", _LAYOUTS[recipe.dataset], stage.image_size)
        return ShuffledPairs(pairs, recipe.seed, jittered=recipe.dataset == "market")

    open_stage(recipe.stages[0])  # reports errors before anything is written
    return open_stage


def _people(recipe: Recipe, root: Path, cache: Path, stage: Stage) -> Dataset[PosePair]:
    from gfla_cli.datasets.people import PeoplePairs

    side = stage.image_size[0]
    finest = side // recipe.model.levels[-1].stride
    return PeoplePairs(
        root,
        cache,
        AlbumPlan(),
        size=side,
        grid=min(finest, 64),
        seed=recipe.seed,
        heads=recipe.heads,
        depth=recipe.model.has_depth,
    )


def _chairs(recipe: Recipe, extras: Path | None, cache: Path) -> Callable[[Stage], Dataset[ViewPair]]:
    from gfla_cli.datasets.chairs import ChairAlbums, ChairPairs, plan_with

    if extras is not None and not extras.is_dir():
        raise DataError(f"{extras}: no such folder", hint="for chairs, --data-root may name a folder of .glb files")
    plan = plan_with(extras)

    def open_stage(stage: Stage) -> Dataset[ViewPair]:
        side = stage.image_size[0]
        grid = min(side // recipe.model.levels[-1].stride, 64)
        return ChairPairs(ChairAlbums(cache, plan, extras), size=side, grid=grid, seed=recipe.seed)

    return open_stage


def _shapenet(recipe: Recipe, root: Path) -> Callable[[Stage], Dataset[ViewPair]]:
    from gfla_cli.datasets.shapenet import ShapeNetPairs, find_file

    file = find_file(root)
    ShapeNetPairs(file, "train", recipe.stages[0].image_size)  # reports errors before anything is written
    return lambda stage: ShapeNetPairs(file, "train", stage.image_size, recipe.seed)


def _clips(recipe: Recipe, root: Path, cache: Path) -> Callable[[Stage], Dataset[ClipSample]]:
    if recipe.dataset == "faces":
        from gfla_cli.datasets.faces import FaceFolders

        # Reports errors before anything is written.
        FaceFolders(root, recipe.stages[0].image_size[0], recipe.frames)
        return lambda stage: FaceFolders(root, stage.image_size[0], recipe.frames, recipe.seed)
    from gfla_cli.datasets.body_clips import BodyClips, MotionPlan
    from gfla_cli.datasets.face_clips import FaceClips, PortraitPlan

    def open_stage(stage: Stage) -> Dataset[ClipSample]:
        side = stage.image_size[0]
        grid = min(side // recipe.model.levels[-1].stride, 64)
        if recipe.dataset == "bodies":
            return BodyClips(root, cache, MotionPlan(), frames=recipe.frames, size=side, grid=grid, seed=recipe.seed)
        return FaceClips(root, cache, PortraitPlan(), frames=recipe.frames, size=side, grid=grid, seed=recipe.seed)

    return open_stage
