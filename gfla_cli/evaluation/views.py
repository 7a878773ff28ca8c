"""View models by how far the object is turned, beside copying the source (paper, Fig. 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from gfla_cli.arrays import Image
from gfla_cli.conditioning.view_code import AZIMUTH_STEP, AZIMUTHS, azimuth_difference
from gfla_cli.datasets.chairs import UnseenChairs
from gfla_cli.datasets.sample import ViewPair
from gfla_cli.datasets.shapenet import ShapeNetPairs, find_file
from gfla_cli.evaluation.loop import COPY, Batch, TestSet, generate, only_pairs
from gfla_cli.evaluation.measures import Measures
from gfla_cli.evaluation.metrics import hole_share
from gfla_cli.evaluation.protocols import OWN, Size
from gfla_cli.evaluation.run import no_view_data
from gfla_cli.evaluation.scores import Score
from gfla_cli.inference.session import ViewSession
from gfla_cli.io.image import to_uint8
from gfla_cli.training.tasks.view import ViewBatch, view_batch

_PAIRS = 900  # unless a limit is given: 100 chairs, or as many draws from a list
_BATCH = 6
_TARGET = "target"
_WHAT = "rendered chairs that no training sees"


class ViewPairs(TestSet):
    """View models and pairs of views: of the paper's test list, or of rendered chairs that no training sees."""

    protocol, layout = OWN, "square"
    size: Size

    def __init__(
        self, models: Mapping[str, ViewSession], root: Path | None, device: torch.device, limit: int | None = None
    ) -> None:
        """`models` by name, all of one frame size. `root`: the data of the paper's list, else chairs are rendered.

        Raises DataError when `root` cannot be used.
        """
        self._models, self._root, self._device = models, root, device
        self.size = next(iter(models.values())).config.image_size
        self.total = limit or _PAIRS
        self._data: Dataset[ViewPair]
        if root is None:
            self._data = UnseenChairs(self.size[0])
        elif root.exists():
            self._data = ShapeNetPairs(find_file(root), "test", self.size)
        else:
            raise no_view_data(root)

    def prepare(self, measures: Measures) -> None:
        only_pairs(measures, bodies=False)

    def scores(self, *, with_real: bool) -> list[Score]:
        return [Score(name, parted_by="difference") for name in (COPY, *self._models)]

    def batches(self) -> Iterator[Batch]:
        for first in range(0, self.total, _BATCH):
            yield self._generated(range(first, min(first + _BATCH, self.total)))

    def more(self, made: Tensor, batch: Batch, k: int) -> dict[str, float]:
        if batch.real is None or not batch.silhouettes:
            return {}
        images = to_uint8(made), to_uint8(batch.real[k : k + 1])
        return {"holes": hole_share(*images, batch.silhouettes[k])}

    def describe(self) -> tuple[dict[str, Any], str]:
        return {"name": self._root.resolve().name if self._root else _WHAT, "what": _WHAT}, ""

    def sheet(self, count: int) -> list[dict[str, Image]]:
        # Neighbouring pairs share an object, and every ninth turns by the same angle; a sheet should show many of both.
        numbers = {(i * self.total // count + i) % self.total for i in range(min(count, self.total))}
        rows = []
        for number in sorted(numbers):
            batch = self._generated([number])
            assert batch.real is not None
            rows.append({name: to_uint8(image) for name, image in {**batch.made, _TARGET: batch.real}.items()})
        return rows

    def _generated(self, numbers: Sequence[int]) -> Batch:
        pairs = [self._data[number] for number in numbers]
        views = view_batch(default_collate(pairs), self._device)
        inputs = views.source_image, views.source_code, views.target_code
        return Batch(
            numbers=numbers,
            made={COPY: views.source_image} | {name: generate(m, *inputs) for name, m in self._models.items()},
            real=views.target_image,
            silhouettes=[] if self._root is not None else [pair.target_mask for pair in pairs],
            parts=_differences(views),
            views={name: _guesses(model, views) for name, model in self._models.items() if model.estimates_views},
        )


def _differences(batch: ViewBatch) -> list[str]:
    """Degrees between source and target of every pair."""
    codes = (batch.source_code, batch.target_code)
    source, target = (code[:, : len(AZIMUTHS)].argmax(dim=1).flatten() for code in codes)
    pairs = zip(source.tolist(), target.tolist(), strict=True)
    return [str(round(azimuth_difference(s * AZIMUTH_STEP, t * AZIMUTH_STEP))) for s, t in pairs]


def _guesses(model: ViewSession, batch: ViewBatch) -> list[dict[str, float]]:
    """Whether the model sees the view of every target: the azimuth, one at most a step away, the elevation."""
    scores = torch.from_numpy(model.view_scores(batch.target_image.cpu().numpy()))
    code = batch.target_code.flatten(1).cpu()
    count = len(AZIMUTHS)
    found, true = (x[:, :count].argmax(dim=1) * AZIMUTH_STEP for x in (scores, code))
    elevation = scores[:, count:].argmax(dim=1) == code[:, count:].argmax(dim=1)
    errors = [azimuth_difference(f, t) for f, t in zip(found.tolist(), true.tolist(), strict=True)]
    return [
        {"azimuth": float(error == 0), "neighbour": float(error <= AZIMUTH_STEP), "elevation": float(right)}
        for error, right in zip(errors, elevation.tolist(), strict=True)
    ]
