"""Measuring folders of generated pictures against a folder of real ones, whatever has generated them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from gfla_cli.arrays import Image, Points
from gfla_cli.errors import DataError
from gfla_cli.evaluation.fid import FidMeter, Gaussian
from gfla_cli.evaluation.fid_reference import FidReference, fid_conditions, find_reference
from gfla_cli.evaluation.folder_pairs import FilePair, pair_folders
from gfla_cli.evaluation.keypoints import PoseJudge, pose_change
from gfla_cli.evaluation.measures import Measures
from gfla_cli.evaluation.outcome import Evaluation, conditions
from gfla_cli.evaluation.protocols import OWN_FILES, Protocol, Size, prepared
from gfla_cli.evaluation.scores import PairFigures, Score, spread
from gfla_cli.io.background import overlapped
from gfla_cli.io.image import find_images, read_image, to_tensor
from gfla_cli.person.drawing import draw_pose
from gfla_cli.person.pose import Pose

Progress = Callable[[int, int], None]

_BATCH = 8  # pairs that are judged at once


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedFolders:
    """What is compared, and how."""

    real: Path
    generated: Sequence[Path]
    pairs: Path | None = None  # a table; else by name
    protocol: Protocol = OWN_FILES
    layout: str = "square"  # whose sizes of the protocol hold
    size: Size | None = None
    poses: Mapping[str, Pose] = field(default_factory=dict)  # of real pictures, by name without suffix
    fid_reference: Path | None = None
    cache: Path | None = None
    limit: int | None = None


def evaluate_folders(
    test: ComparedFolders, measures: Measures, *, progress: Progress = lambda done, total: None
) -> Evaluation:
    """One Score for each folder of generated pictures.

    FID alone needs no pairs. Raises DataError and MediaError that name what is missing, UsageError when a figure that
    was named cannot be taken.
    """
    names = _labels(test.generated)
    if not measures.paired:
        files = {
            name: spread(find_images(folder), test.limit) for name, folder in zip(names, test.generated, strict=True)
        }
        judge = _Judge(test, measures, _size(test, files.values()))
        against = judge.reference(progress)
        scores = [judge.unpaired(name, files[name], against, progress) for name in names]
        return judge.evaluation(scores, {}, {name: len(files[name]) for name in names}, against)
    pairs = {
        name: spread(pair_folders(test.real, folder, test.pairs), test.limit)
        for name, folder in zip(names, test.generated, strict=True)
    }
    _drop_masks(test, measures)
    judge = _Judge(test, measures, _size(test, ([pair.generated for pair in chosen] for chosen in pairs.values())))
    against = judge.reference(progress) if "fid" in measures.metrics else None
    scores = [judge.paired(name, pairs[name], against, progress) for name in names]
    return judge.evaluation(scores, pairs, {name: len(pairs[name]) for name in names}, against)


class _Judge:
    """Takes the figures of one folder after the other."""

    def __init__(self, test: ComparedFolders, measures: Measures, size: Size) -> None:
        self.test, self.measures, self.size = test, measures, size
        self._distances = measures.distances(test.protocol, test.layout)
        self._poses = PoseJudge(rendered=False) if measures.pck else None
        self._reference: FidReference | None = None

    def reference(self, progress: Progress) -> Gaussian | None:
        """What FID is measured against: what was named, the training pictures, or all real ones."""
        test, measures = self.test, self.measures
        try:
            self._reference = find_reference(test.protocol, test.fid_reference, None)
        except DataError as error:
            measures.without("fid", f"{error}; {error.hint}")
            return None
        against = self._reference or FidReference(test.real, "all real pictures")
        self._reference = against
        return against.gaussian(measures, test.protocol, self.size, test.cache, progress)

    def unpaired(self, name: str, files: Sequence[Path], against: Gaussian | None, progress: Progress) -> Score:
        """FID of pictures that have no partners."""
        score, meter = Score(name, unpaired=len(files)), self._meter(against)
        for done, image in enumerate(overlapped(self._images(files)), start=1):
            if meter:
                meter.add(name, to_tensor(image))
            progress(done, len(files))
        if meter and against:
            score.sets["fid"] = meter.distance(name, against)
        return score

    def paired(self, name: str, pairs: Sequence[FilePair], against: Gaussian | None, progress: Progress) -> Score:
        """All figures of one folder; pictures are read ahead and judged some at a time."""
        score, meter = Score(name), self._meter(against)
        read = overlapped(self._pictures(pairs), size=2 * _BATCH)
        for first in range(0, len(pairs), _BATCH):
            group = pairs[first : first + _BATCH]
            pictures = list(islice(read, len(group)))
            made, real = (torch.cat([to_tensor(both[k]) for both in pictures]) for k in (0, 1))
            for pair, both, figures in zip(group, pictures, self._figures(group, made, real), strict=True):
                points = self._points(pair.real.stem)
                if self._poses is not None:
                    figures["pck"] = self._pck(both, points)
                score.pairs.append(PairFigures(len(score.pairs), self._change(pair, points), figures))
            if meter:
                for picture in made.split(1):
                    meter.add(name, picture)
            progress(len(score.pairs), len(pairs))
        if meter and against:
            score.sets["fid"] = meter.distance(name, against)
        return score

    def evaluation(
        self,
        scores: list[Score],
        pairs: Mapping[str, Sequence[FilePair]],
        counts: Mapping[str, int],
        against: Gaussian | None,
    ) -> Evaluation:
        """Scores with what they depend on, and a way to the pictures behind them."""
        test = self.test
        data = {
            "name": "/".join(test.real.resolve().parts[-2:]),
            "layout": test.layout,
            "pairs": ", ".join(str(count) for count in dict.fromkeys(counts.values())),
            "paired_by": "nothing" if not pairs else test.pairs.name if test.pairs else "name",
        }
        if not test.poses:
            self.measures.refine("pck", "of the pose that it finds in the real picture")
        said = conditions(test.protocol, test.layout, self.size, self.measures, data=data)
        if against:
            said["fid_reference"] = fid_conditions(self._reference, against, min(counts.values()))
        return Evaluation(
            scores,
            said,
            self.measures.skipped,
            lambda name, number: self._illustrated(pairs[name][number]),
            lambda name, number: pairs[name][number].generated.name,
        )

    def _meter(self, against: Gaussian | None) -> FidMeter | None:
        if against is None or self.measures.inception is None:
            return None
        return FidMeter(self.measures.inception, self.measures.device)

    def _change(self, pair: FilePair, target: Points | None) -> float:
        """How far the pose changed; NaN where one of the two is not known."""
        source = self._points(pair.source) if pair.source else None
        return math.nan if source is None or target is None else pose_change(source, target)

    def _figures(self, pairs: Sequence[FilePair], made: torch.Tensor, real: torch.Tensor) -> list[dict[str, float]]:
        device, measures = self.measures.device, self.measures
        masks = None
        if measures.masked:
            known = [(pair.real.name, self._points(pair.real.stem)) for pair in pairs]
            masks = torch.cat([measures.mask(name, points, self.size) for name, points in known])
        return self._distances.of_batch(made.to(device), real.to(device), masks)

    def _points(self, stem: str) -> Points | None:
        """(18, 3) joints of a real picture in the pixels pictures are compared at; None where nobody knows them."""
        pose = self.test.poses.get(stem)
        return None if pose is None else pose.scaled(self.size).points

    def _pck(self, both: tuple[Image, Image], points: Points | None) -> float:
        """Of the generated picture; NaN where neither a table nor the detector knows the pose of the real one."""
        assert self._poses is not None
        wanted = points if points is not None else self._poses.pose(both[1])
        return math.nan if wanted is None else self._poses.pck(both[0], wanted)

    def _images(self, files: Iterable[Path]) -> Iterator[Image]:
        for file in files:
            yield prepared(read_image(file), self.test.protocol, self.size)

    def _pictures(self, pairs: Iterable[FilePair]) -> Iterator[tuple[Image, Image]]:
        """The generated and the real picture of each pair."""
        for pair in pairs:
            made, real = self._images((pair.generated, pair.real))
            yield made, real

    def _illustrated(self, pair: FilePair) -> dict[str, Image]:
        result, real = self._images((pair.generated, pair.real))
        shown: dict[str, Image] = {}
        source = next(iter(sorted(self.test.real.glob(f"{pair.source}.*"))), None) if pair.source else None
        if source is not None:
            (shown["source"],) = self._images((source,))
        if (points := self._points(pair.real.stem)) is not None:
            shown["target pose"] = draw_pose(np.full((*self.size, 3), 255, np.uint8), Pose(points, self.size))
        return shown | {"result": result, "real": real}


def _drop_masks(test: ComparedFolders, measures: Measures) -> None:
    """Masked figures need masks, or the joints of the real pictures."""
    if measures.masked and measures.mask_files is None and not test.poses:
        for metric in ("mask-ssim", "mask-lpips"):
            measures.without(metric, "no masks; --keypoints names a table of joints, --masks a folder of masks")


def _size(test: ComparedFolders, files: Iterable[Sequence[Path]]) -> Size:
    """Height and width that pictures are compared at: what was asked for, or that of the first generated one."""
    named = test.size or test.protocol.size(test.layout)
    if named:
        return named
    height, width = read_image(next(iter(files))[0]).shape[:2]
    return height, width


def _labels(folders: Sequence[Path]) -> list[str]:
    """Names of folders; those of one name with the one above."""
    resolved = [folder.resolve() for folder in folders]
    names = [folder.name for folder in resolved]
    return [
        n if names.count(n) == 1 else f"{folder.parent.name}/{n}" for n, folder in zip(names, resolved, strict=True)
    ]
