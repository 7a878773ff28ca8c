"""Measuring view bundles by how far the object is turned, beside what copying the source would give (paper, Fig. 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from gfla_cli.arrays import Image
from gfla_cli.conditioning.view_code import AZIMUTH_STEP, AZIMUTHS, azimuth_difference
from gfla_cli.datasets.chairs import UnseenChairs
from gfla_cli.datasets.sample import ViewPair
from gfla_cli.datasets.shapenet import ShapeNetPairs, find_file
from gfla_cli.errors import DataError
from gfla_cli.evaluation.measures import Measures
from gfla_cli.evaluation.metrics import PictureDistances
from gfla_cli.evaluation.models import generated, open_compared
from gfla_cli.evaluation.poses import COPY
from gfla_cli.evaluation.scores import column_means
from gfla_cli.inference.device import Placement
from gfla_cli.inference.session import ViewSession
from gfla_cli.io.image import to_uint8
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.training.tasks.view import ViewBatch, view_batch

_PAIRS = 900  # unless a limit is given: 100 chairs, or as many draws from a list
_TARGET = "target"


@dataclass(frozen=True, slots=True)
class ViewAccuracy:
    """How well a model tells where a picture was taken from, as shares of the pictures."""

    pictures: int
    azimuth: float  # exactly right
    neighbour: float  # right, or the angle beside it
    elevation: float


@dataclass(slots=True)
class ViewScore:
    """All pictures of one model."""

    name: str
    pairs: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # degrees turned, figures by name
    accuracy: ViewAccuracy | None = None  # of models that estimate views

    def means(self, difference: int | None = None) -> dict[str, float]:
        """Column -> mean over all pairs, or over those turned by that many degrees."""
        return column_means(figures for turned, figures in self.pairs if difference in (None, turned))

    @property
    def differences(self) -> list[int]:
        """The angles between source and target that occur, degrees."""
        return sorted({turned for turned, _ in self.pairs})

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        by_difference = {str(turned): self.means(turned) for turned in self.differences}
        told = {"view_accuracy": asdict(self.accuracy)} if self.accuracy else {}
        return {"name": self.name, "pairs": len(self.pairs), **self.means(), "by_difference": by_difference, **told}


def evaluate_views(
    models: Sequence[str | Path],
    root: Path | None,
    *,
    vgg: Vgg19 | None,
    placement: Placement,
    limit: int | None = None,
    examples: int = 0,
    batch: int = 6,
    measures: Measures | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[ViewScore], list[dict[str, Image]]]:
    """One score per model after that of copying the source, and pictures (H, W, 3) by name of some pairs to look at.

    `measures` takes the place of `vgg` and may hold more. The pairs are those of the paper's test list when `root`
    names its data, else of rendered chairs that no training sees. Raises BundleError when the models cannot be
    compared, DataError when `root` cannot be used.
    """
    named = open_compared(models, placement, "view")
    size = next(iter(named.values())).config.image_size
    total = limit or _PAIRS
    scores = {name: ViewScore(name) for name in (COPY, *named)}
    told: dict[str, list[tuple[float, bool]]] = {name: [] for name in named}
    # Neighbouring pairs share an object, and every ninth turns by the same angle; examples should show many of both.
    shown = {(i * total // examples + i) % total for i in range(min(examples, total))} if examples else set()
    distances, kept = measures.distances() if measures else PictureDistances(vgg), []
    for numbers, views in _batches(_test_pairs(root, size), total, batch, placement.device):
        inputs = (views.source_image, views.source_code, views.target_code)
        made = {COPY: views.source_image} | {name: generated(model, *inputs) for name, model in named.items()}
        for name, pictures in made.items():
            pairs = zip(_differences(views), pictures.split(1), views.target_image.split(1), strict=True)
            scores[name].pairs += [(turned, distances(one, real)) for turned, one, real in pairs]
        for name, model in named.items():
            told[name] += _guesses(model, views)
        made[_TARGET] = views.target_image
        kept += [{n: to_uint8(x[k : k + 1]) for n, x in made.items()} for k, i in enumerate(numbers) if i in shown]
        progress(numbers.stop, total)
    for name, rows in told.items():
        scores[name].accuracy = _accuracy(rows)
    return list(scores.values()), kept


def _test_pairs(root: Path | None, size: tuple[int, int]) -> Dataset[ViewPair]:
    if root is None:
        return UnseenChairs(size[0])
    if not root.exists():
        raise DataError(f"{root}: no such file or folder", hint="without --data-root, rendered chairs are the test set")
    return ShapeNetPairs(find_file(root), "test", size)


def _batches(
    data: Dataset[ViewPair], total: int, batch: int, device: torch.device
) -> Iterator[tuple[range, ViewBatch]]:
    """The numbers of some pairs, and the pairs."""
    for first in range(0, total, batch):
        numbers = range(first, min(first + batch, total))
        yield numbers, view_batch(default_collate([data[i] for i in numbers]), device)


def _differences(batch: ViewBatch) -> list[int]:
    """Degrees between source and target of every pair."""
    codes = (batch.source_code, batch.target_code)
    source, target = (code[:, : len(AZIMUTHS)].argmax(dim=1).flatten() for code in codes)
    return [
        round(azimuth_difference(int(s) * AZIMUTH_STEP, int(t) * AZIMUTH_STEP))
        for s, t in zip(source, target, strict=True)
    ]


def _guesses(model: ViewSession, batch: ViewBatch) -> list[tuple[float, bool]]:
    """Error of the azimuth in degrees, and whether the elevation is right, of every target: sources repeat."""
    if not model.estimates_views:
        return []
    scores = torch.from_numpy(model.view_scores(batch.target_image.cpu().numpy()))
    code = batch.target_code.flatten(1).cpu()
    count = len(AZIMUTHS)
    found, true = (x[:, :count].argmax(dim=1) * AZIMUTH_STEP for x in (scores, code))
    right = scores[:, count:].argmax(dim=1) == code[:, count:].argmax(dim=1)
    return [(azimuth_difference(int(f), int(t)), bool(r)) for f, t, r in zip(found, true, right, strict=True)]


def _accuracy(rows: Sequence[tuple[float, bool]]) -> ViewAccuracy | None:
    if not rows:
        return None
    error, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    exact, beside = float((error == 0).mean()), float((error <= AZIMUTH_STEP).mean())
    return ViewAccuracy(len(rows), exact, beside, float(right.mean()))
