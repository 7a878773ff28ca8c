"""From a data set's name and its folder to the pairs that a training stage sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch.utils.data import Dataset

from gfla_cli.data.deepfashion import DEEPFASHION, MARKET, BenchmarkPairs
from gfla_cli.data.sample import PosePair
from gfla_cli.errors import DataError, UsageError
from gfla_cli.training.recipe import Recipe, Stage


def open_training_data(recipe: Recipe, root: Path | None, cache: Path) -> Callable[[Stage], Dataset[PosePair]]:
    """A function from stage to data set. `cache` is where rendered albums are kept."""
    if root is None:
        raise UsageError(f"--dataset {recipe.dataset} needs --data-root", hint="the folder that holds the data")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", hint="--data-root names the folder that holds the data")
    if recipe.dataset == "people":
        return lambda stage: _people(recipe, root, cache, stage)
    layout = MARKET if recipe.dataset == "market" else DEEPFASHION
    return lambda stage: BenchmarkPairs(root, "train", layout, stage.image_size)


def _people(recipe: Recipe, root: Path, cache: Path, stage: Stage) -> Dataset[PosePair]:
    from gfla_cli.data.albums import AlbumPlan
    from gfla_cli.data.people import PeoplePairs

    side = stage.image_size[0]
    finest = side // recipe.model.levels[-1].stride
    return PeoplePairs(root, cache, AlbumPlan(), size=side, grid=min(finest, 64), seed=recipe.seed)
