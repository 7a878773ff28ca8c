"""Pose bundles on the test pairs of a data set: what every model makes of each pair, ready to be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from gfla_cli.arrays import Image, Points
from gfla_cli.bundles.files import sha256_of
from gfla_cli.datasets.deepfashion import BenchmarkPairs
from gfla_cli.datasets.sample import PosePair
from gfla_cli.datasets.tables import SQUARE, Layout
from gfla_cli.errors import DataError
from gfla_cli.evaluation.depths import DetectedDepths
from gfla_cli.evaluation.fid import FidMeter, Gaussian
from gfla_cli.evaluation.fid_reference import FidReference, fid_conditions, find_reference
from gfla_cli.evaluation.keypoints import PoseJudge, pose_change
from gfla_cli.evaluation.measures import Measures, plain_measures
from gfla_cli.evaluation.models import generated, open_compared
from gfla_cli.evaluation.outcome import Evaluation, conditions
from gfla_cli.evaluation.protocols import OWN, OWN_FILES, Protocol, Size, prepared
from gfla_cli.evaluation.scores import PairFigures, Score, spread
from gfla_cli.geometry.crop import Crop
from gfla_cli.inference.device import Placement
from gfla_cli.inference.session import Session
from gfla_cli.io.background import overlapped
from gfla_cli.io.image import read_image, to_tensor, to_uint8
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.person.drawing import draw_pose
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.head_refinement import SourceHead
from gfla_cli.training.batch import PoseBatch, to_device

COPY, REAL = "copy of the source", "the target itself"


@dataclass(frozen=True, slots=True)
class Example:
    """Pictures of one pair to look at, all (H, W, 3) uint8."""

    pair: int
    pictures: dict[str, Image]


class Rendered(NamedTuple):
    """One pair as it is compared: `made` by name and `real` (1, 3, H, W) on the device, points in their pixels."""

    row: int
    made: dict[str, Tensor]
    real: Tensor
    source_points: Points  # (18, 3)
    target_points: Points


class ComparedPoses:
    """Pose bundles and the test pairs they are measured on, rendered one by one under a protocol."""

    def __init__(
        self,
        models: Sequence[str | Path],
        root: Path,
        layout: Layout,
        placement: Placement,
        protocol: Protocol = OWN,
        size: Size | None = None,
        *,
        refine_head: bool = True,
    ) -> None:
        """`size`: what pictures are compared at, else the protocol's for this layout, else the network's frame.

        `refine_head`: models that were trained for it draw small heads again at a larger scale. Raises BundleError when
        the models cannot be compared, DataError when the set cannot be read.
        """
        self.models = open_compared(models, placement, "pose")
        configs = [model.config for model in self.models.values()]
        self._config = next((config for config in configs if config.has_depth), configs[0])
        self._depths = DetectedDepths() if self._config.has_depth else None
        self.frame = self._config.image_size
        self.root, self.layout, self.placement = root, layout, placement
        self.size = size or protocol.size(layout.name) or self.frame
        self._with_heads = refine_head and any(model.config.refines_heads for model in self.models.values())
        self.protocol = OWN_FILES if protocol is OWN and self.size != self.frame else protocol
        self.pairs = BenchmarkPairs(root, "test", layout, self.frame)

    def rows(self, limit: int | None) -> list[int]:
        """Row numbers of that many pairs, of all of them without a limit."""
        return spread(range(len(self.pairs)), limit)

    def rendered(self, rows: Sequence[int]) -> Iterator[Rendered]:
        """The pairs of some rows, with the copy and every model's picture; read ahead, one in memory at a time."""
        for row, pair, source, files in overlapped(self._read(rows)):
            batch = to_device(default_collate([pair]), self._config, self.placement.device)
            made = {name: _made(model, batch) for name, model in self.models.items()}
            if source is not None:
                made = self._with_refined_head(made, pair, source)
            pictures = [batch.source_image, batch.target_image]
            if files:
                pictures = [to_tensor(file).to(self.placement.device) for file in files]
                made = {name: self._as_file(picture) for name, picture in made.items()}
            scale = np.array([self.size[1] / self.frame[1], self.size[0] / self.frame[0], 1], np.float32)
            joints = [points[:, :3] for points in (pair.source_points, pair.target_points)]
            points = [np.where(p[:, 2:] > 0, p * scale, p) for p in joints]
            yield Rendered(row, {COPY: pictures[0], **made}, pictures[1], points[0], points[1])

    def pictures(self, name: str, row: int) -> dict[str, Image]:
        """Source, target pose, result and real picture of one pair and one score."""
        (pair,) = self.rendered([row])
        made = pair.real if name == REAL else pair.made[name]
        white = np.full((*self.size, 3), 255, np.uint8)
        pose = draw_pose(white, Pose(pair.target_points, self.size))
        real = to_uint8(pair.real)
        return {"source": to_uint8(pair.made[COPY]), "target pose": pose, "result": to_uint8(made), "real": real}

    def title(self, name: str, row: int) -> str:
        """What a pair is called, the same for every score."""
        return " to ".join(self.pairs.pairs[row])

    def examples(self, limit: int | None, count: int) -> list[Example]:
        """Some pairs of those that a run with this limit sees, spread over them, with everybody's pictures."""
        pairs = self.rendered(spread(self.rows(limit), count))
        return [Example(p.row, {n: to_uint8(i) for n, i in (p.made | {REAL: p.real}).items()}) for p in pairs]

    def _read(self, rows: Sequence[int]) -> Iterator[tuple[int, PosePair, Image | None, list[Image]]]:
        """Pairs as the network takes them, the source's file where heads are cut out of it, and both files prepared.

        The last is for protocols that want other pictures than the network's, as they want them.
        """
        for row in rows:
            other = self.protocol is not OWN
            deep = self._depths is not None
            names = self.pairs.pairs[row][: 2 if other or deep else int(self._with_heads)]
            files = [read_image(self.root / self.pairs.split / name) for name in names]
            compared = [prepared(file, self.protocol, self.size) for file in files] if other else []
            yield row, self._deeper(row, files), files[0] if self._with_heads else None, compared

    def _deeper(self, row: int, files: Sequence[Image]) -> PosePair:
        """A pair, for models that know depth with that of its joints as they are found in both pictures."""
        pair = self.pairs[row]
        if self._depths is None:
            return pair
        points = [
            self._depths.of(name, file, joints, self.frame)
            for name, file, joints in zip(
                self.pairs.pairs[row], files, (pair.source_points, pair.target_points), strict=True
            )
        ]
        return pair._replace(source_points=points[0], target_points=points[1])

    def _with_refined_head(self, made: dict[str, Tensor], pair: PosePair, source: Image) -> dict[str, Tensor]:
        """The pictures of one pair with heads from near, as `gfla infer --no-crop --no-align` draws them."""
        pose = Pose.of(pair.source_points, self.frame).scaled((source.shape[0], source.shape[1]))
        target = Pose.of(pair.target_points, self.frame).scaled(self.layout.frame)
        cut = SourceHead.of(source, pose, self.frame)
        head = cut.at(target, Crop.whole(self.layout.frame, self.frame)) if cut else None
        if head is None:
            return made
        near = pair._replace(
            source_image=head.source_image,
            source_points=head.source_points.copy(),
            target_points=head.target_points.copy(),
        )
        batch = to_device(default_collate([near]), self._config, self.placement.device)
        drawn = {n: _made(model, batch) for n, model in self.models.items() if model.config.refines_heads}
        whole = {n: head.paste(to_uint8(made[n]), to_uint8(picture)) for n, picture in drawn.items()}
        return made | {name: to_tensor(image).to(self.placement.device) for name, image in whole.items()}

    def _as_file(self, picture: Tensor) -> Tensor:
        image = prepared(to_uint8(picture), self.protocol, self.size, fresh=True)
        return to_tensor(image).to(self.placement.device)


def _made(model: Session, batch: PoseBatch) -> Tensor:
    """The pictures of a model, which may know less of the structures than another one in the table."""
    count = model.config.structure_channels
    return generated(model, batch.source_image, batch.source_structure[:, :count], batch.target_structure[:, :count])


# Measuring pose bundles on the pairs of a data set, beside what copying the source would give.
#
# Every model sees the same pairs at the same size; figures are means over all of them, and over those whose pose
# changes little, moderately or much.


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
