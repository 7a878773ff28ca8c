"""One loop for every evaluation: the batches of a test set, times the metrics, give one score for each name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from gfla_cli import __version__
from gfla_cli.arrays import Image, Points
from gfla_cli.errors import DataError
from gfla_cli.evaluation.fid import FidMeter, fid_conditions, find_reference, frechet_distance
from gfla_cli.evaluation.metrics import Measures, PoseJudge
from gfla_cli.evaluation.protocols import Protocol, Size
from gfla_cli.evaluation.scores import ImageFigures, Score
from gfla_cli.io.background import Progress, silent
from gfla_cli.io.image import to_uint8

COPY, REAL = "copy of the source", "the target itself"
_REAL_SET = "\0real"  # in the FID meter, the real images of the pairs; no score has this name


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B generated images for each name, and what they are compared with, on any device."""

    numbers: Sequence[int]  # of the pairs in the set
    made: Mapping[str, Tensor]  # name of a score -> (B, 3, H, W) in [-1, 1]
    real: Tensor | None = None  # (B, 3, H, W); None: these images have no partners
    silhouettes: Sequence[Image] = ()  # (H, W) 255 on the object of the B real images; () where they are not known
    real_names: Sequence[str] = ()  # of the B real images; needed for masks and FID
    joints: Sequence[Points | None] = ()  # (18, 3) or (68, 2) of the real images, in their pixels
    parts: Sequence[str | None] = ()  # of the set; () where it has none
    views: Mapping[str, Sequence[dict[str, float]]] = field(default_factory=dict)  # see Score.views


class TestSet(ABC):
    """Pairs, folders, views or clips that models or folders are measured on."""

    __test__ = False  # pytest takes classes of this name for tests

    protocol: Protocol
    layout: str  # whose sizes of the protocol hold
    size: Size | None  # height and width at which images are compared; known after `prepare`
    total: int  # real images in all batches, or generated ones without partners; known after `prepare`
    train_folder: Path | None = None  # training images, which some protocols measure FID against
    real_folder: Path | None = None  # all real images; None: FID is measured against those of the pairs
    judge: PoseJudge | None = None  # where PCK is taken; known after `prepare`

    @abstractmethod
    def prepare(self, measures: Measures) -> None:
        """Called first: leaves out the metrics that this set cannot give. Raises DataError or UsageError."""

    @abstractmethod
    def scores(self, *, with_real: bool) -> list[Score]:
        """Empty scores, in the order of the table. `with_real`: with one for the real images, if the set has that."""

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """All images of the set."""

    @abstractmethod
    def describe(self) -> tuple[dict[str, Any], str]:
        """The data, and the device with its number format, for the report."""

    def more(self, made: Tensor, batch: Batch, k: int) -> dict[str, float]:
        """Further figures of one (1, 3, H, W) image, the `k`-th of its batch: PCK, where the set has a `judge`.

        NaN where neither the set nor the judge knows the pose of the real image.
        """
        if self.judge is None or batch.real is None:
            return {}
        wanted = batch.joints[k]
        if wanted is None:
            wanted = self.judge.pose(to_uint8(batch.real[k]))
        if wanted is None:
            return {"pck": math.nan, "mirrored": math.nan}
        return self.judge.figures(to_uint8(made), wanted)

    def shown(self, name: str, number: int) -> tuple[str, dict[str, Image]]:
        """What a pair is called, and its images by name: the result of a score and what belongs to it, if anything."""
        return str(number), {}

    def sheet(self, count: int) -> list[dict[str, Image]]:
        """Rows of images by name, of that many pairs, spread over the set."""
        return []


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of several models or folders on one test set, and the conditions they hold under."""

    test: TestSet
    scores: list[Score]
    conditions: dict[str, Any]
    skipped: dict[str, str]  # metric -> why it was not taken

    @property
    def count(self) -> str:
        """How much was measured, in words."""
        first = self.scores[0]
        return f"{len(first.images)} {first.unit}" if first.images else f"{first.unpaired} unpaired images"

    def to_json(self) -> list[dict[str, Any]]:
        """A row for each score with its conditions: rows of several files can be told apart."""
        rows = []
        for score in self.scores:
            # Reports of views and clips never held what was left out; their keys stay as scripts know them.
            more = {"skipped": self.skipped} if self.skipped and score.parted_by == "change" else {}
            rows.append({**score.to_json(), **more, "protocol": self.conditions})
        return rows


def measure(
    test: TestSet,
    measures: Measures,
    *,
    fid_reference: Path | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """One score for each model or folder, after the scores of a copy of the source and the like.

    `fid_reference`: what FID is measured against, else what the protocol says. Statistics of files are kept in
    `cache`. Raises what reading the set raises, and UsageError when a metric that an option named cannot be taken.
    """
    test.prepare(measures)
    assert test.size is not None
    measures.padded = test.protocol.padded_for_ssim.get(test.layout)
    reference = None
    if "fid" in measures.metrics:
        try:
            reference = find_reference(test.protocol, fid_reference, train=test.train_folder, real=test.real_folder)
        except DataError as error:
            measures.without("fid", f"{error}; {error.hint}")
    against = reference.gaussian(measures, test.protocol, test.size, cache, progress) if reference else None
    meter = FidMeter(measures.inception, measures.device) if measures.inception else None
    scores = {score.name: score for score in test.scores(with_real=test.judge is not None or against is not None)}
    done = 0
    for batch in test.batches():
        masks = measures.masks(batch.real, batch.real_names, batch.joints)
        for name, images in batch.made.items():
            if name in scores:
                _add(scores[name], test, batch, images, measures, masks)
                if meter is not None:
                    meter.add(name, images)
        if meter is not None and against is None and batch.real is not None:
            meter.add(_REAL_SET, batch.real, batch.real_names)
        done += len(batch.numbers)
        progress(done, test.total)
    data, place = test.describe()
    how = {key: value for key, value in test.protocol.to_json(test.layout, test.size).items() if value}
    ran = {"gfla": __version__, **{name: version(name) for name in ("torch", "torchmetrics")}, "place": place}
    # Everything that the figures depend on, as plain JSON values.
    conditions = {**how, "colour": "RGB", "data": data, "metrics": dict(measures.described), "run": ran}
    if meter is not None:
        against = against or meter.gaussian(_REAL_SET)
        for score in scores.values():
            score.sets["fid"] = frechet_distance(meter.gaussian(score.name), against)
        fewest = min(score.unpaired or len(score.images) for score in scores.values())
        conditions["fid_reference"] = fid_conditions(reference, against, fewest)
    return Evaluation(test, list(scores.values()), conditions, measures.skipped)


def _add(score: Score, test: TestSet, batch: Batch, made: Tensor, measures: Measures, masks: Tensor | None) -> None:
    """Adds the figures of the B generated images of one batch to their score."""
    if batch.real is None:
        score.unpaired += len(made)
        return
    score.views += batch.views.get(score.name, ())
    for k, figures in enumerate(measures.figures(made, batch.real, masks)):
        figures |= test.more(made[k : k + 1], batch, k)
        part = batch.parts[k] if batch.parts else None
        score.images.append(ImageFigures(batch.numbers[k], part, figures))
