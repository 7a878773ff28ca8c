"""Measuring pose bundles on the pairs of a data set, beside what copying the source would give.

Every model sees the same pairs at the same size; figures are means over all of them, and over those whose pose
changes little, moderately or much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gfla_cli.bundles.files import sha256_of
from gfla_cli.data.deepfashion import SQUARE, Layout
from gfla_cli.errors import DataError
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.media.image import to_uint8
from gfla_cli.metrics.evaluation import Evaluation, conditions
from gfla_cli.metrics.fid import FidMeter
from gfla_cli.metrics.frechet import Gaussian
from gfla_cli.metrics.keypoints import pose_change
from gfla_cli.metrics.measures import Measures, plain_measures
from gfla_cli.metrics.pose_judge import PoseJudge
from gfla_cli.metrics.scores import PairFigures, Score
from gfla_cli.pipelines.compared_poses import COPY, REAL, ComparedPoses, Example, Rendered
from gfla_cli.pipelines.fid_reference import FidReference, fid_conditions, find_reference
from gfla_cli.runtime.device import Placement
from gfla_cli.runtime.session import Session

__all__ = ["COPY", "REAL", "evaluate_bundles", "measure"]

_TARGETS = "targets"  # the set that FID is measured against unless another is named

Progress = Callable[[int, int], None]


def measure(
    test: ComparedPoses,
    measures: Measures,
    *,
    limit: int | None = None,
    fid_reference: Path | None = None,
    cache: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """One Score per model after those of copying the source and, with PCK or FID of other pictures, of the target.

    `fid_reference`: what FID is measured against, else what the protocol says; statistics of files are kept in
    `cache`. Raises what reading the set raises, UsageError when a figure that was named cannot be taken.
    """
    rows = test.rows(limit)
    fid = _Fid(test, measures, fid_reference, cache, progress)
    with_real = measures.pck or fid.against is not None
    scores = {name: Score(name) for name in (COPY, *((REAL,) if with_real else ()), *test.models)}
    judge = _Judge(measures, test)
    for done, pair in enumerate(test.rendered(rows), start=1):
        made = pair.made | ({REAL: pair.real} if with_real else {})
        change = pose_change(pair.source_points, pair.target_points)
        for name, score in scores.items():
            score.pairs.append(PairFigures(pair.row, change, judge(made[name], pair)))
        fid.add(made, pair)
        progress(done, len(rows))
    said = _conditions(test, measures, len(rows)) | fid.finish(scores.values(), len(rows))
    for label, model in test.models.items():
        scores[label].about = _origin(model)
    return Evaluation(list(scores.values()), said, measures.skipped, test.pictures, test.title)


def _reference(
    test: ComparedPoses, measures: Measures, given: Path | None, cache: Path | None, progress: Progress
) -> tuple[FidReference | None, Gaussian | None]:
    """What FID is measured against; nothing for the targets of the pairs. Leaves FID out where it is not to be had."""
    if "fid" not in measures.metrics:
        return None, None
    try:
        reference = find_reference(test.protocol, given, test.root / "train")
    except DataError as error:
        measures.without("fid", f"{error}; {error.hint}")
        return None, None
    if reference is None:
        return None, None
    return reference, reference.gaussian(measures, test.protocol, test.size, cache, progress)


def evaluate_bundles(
    models: Sequence[str | Path],
    root: Path,
    layout: Layout,
    *,
    vgg: Vgg19 | None,
    placement: Placement,
    limit: int | None = None,
    pck: bool = False,
    examples: int = 0,
    progress: Progress = lambda done, total: None,
) -> tuple[list[Score], list[Example]]:
    """The scores of `measure` without FID and LPIPS, and some pairs to look at."""
    test = ComparedPoses(models, root, layout, placement)
    found = measure(test, plain_measures(vgg, placement.device, pck=pck), limit=limit, progress=progress)
    return found.scores, test.examples(limit, examples)


class _Fid:
    """FID of everybody's pictures against one reference; does nothing where FID is left out."""

    def __init__(
        self, test: ComparedPoses, measures: Measures, given: Path | None, cache: Path | None, progress: Progress
    ) -> None:
        self._reference, self.against = _reference(test, measures, given, cache, progress)
        self._meter = FidMeter(measures.inception, measures.device) if measures.inception else None
        self._test, self._targets = test, set[str]()

    def add(self, made: Mapping[str, Tensor], pair: Rendered) -> None:
        """What everybody, by name, made of a pair; the target, which several pairs may share, counts once."""
        if self._meter is None:
            return
        for name, picture in made.items():
            self._meter.add(name, picture)
        target = self._test.pairs.pairs[pair.row][1]
        if self.against is None and target not in self._targets:
            self._targets.add(target)
            self._meter.add(_TARGETS, pair.real)

    def finish(self, scores: Iterable[Score], count: int) -> dict[str, Any]:
        """Adds the figure of `count` pictures each to the scores; what to say about it in the report."""
        if self._meter is None:
            return {}
        against = self.against or self._meter.gaussian(_TARGETS)
        for score in scores:
            score.sets["fid"] = self._meter.distance(score.name, against)
        return {"fid_reference": fid_conditions(self._reference, against, count)}


class _Judge:
    """All figures of one picture."""

    def __init__(self, measures: Measures, test: ComparedPoses) -> None:
        self._measures, self._test = measures, test
        self._distances = measures.distances(test.protocol, test.layout.name)
        self._poses = PoseJudge(rendered=test.layout is SQUARE) if measures.pck else None

    def __call__(self, made: Tensor, pair: Rendered) -> dict[str, float]:
        target = self._test.pairs.pairs[pair.row][1]
        size = self._test.size
        mask = self._measures.mask(target, pair.target_points, size) if self._measures.masked else None
        figures = self._distances(made, pair.real, mask)
        if self._poses is not None:
            figures["pck"] = self._poses.pck(to_uint8(made), pair.target_points)
        return figures


def _conditions(test: ComparedPoses, measures: Measures, count: int) -> dict[str, Any]:
    table = test.root / f"{test.layout.prefix}-pairs-test.csv"
    data = {
        "name": test.root.resolve().name,
        "layout": test.layout.name,
        "pairs": f"{count} of {len(test.pairs)}",
        "sha256": sha256_of(table),
    }
    if test.layout is SQUARE:
        measures.refine("pck", "a renderer's joints moved to where mediapipe sees them")
    place = str(test.placement).split(" (")[0]
    return conditions(test.protocol, test.layout.name, test.size, measures, data=data, place=place)


def _origin(model: Session) -> dict[str, Any]:
    """What tells this model from others: how it samples, its weights, how long it was trained."""
    known: dict[str, Any] = {name: model.about[name] for name in ("sha256", "trained") if name in model.about}
    return {"sampler": model.config.sampler, **known}
