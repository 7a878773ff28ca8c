"""Measuring pose bundles on the pairs of a data set, beside what copying the source would give.

Every model sees the same pairs at the same size; figures are means over all of them, and over those whose pose
changes little, moderately or much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gfla_cli.bundles.bundle import Bundle, load_bundle
from gfla_cli.data.deepfashion import BenchmarkPairs, Layout
from gfla_cli.data.detected import as_detected
from gfla_cli.errors import BundleError
from gfla_cli.landmarks.detector import PersonDetector
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.media.image import to_uint8
from gfla_cli.metrics.keypoints import correct_keypoints, pose_change
from gfla_cli.metrics.pictures import PictureDistances
from gfla_cli.runtime.device import Placement
from gfla_cli.training.batch import PoseBatch, to_device

COPY, REAL = "copy of the source", "the target itself"
# Mean joint displacement in torsos; each holds about a third of the rendered test pairs.
CHANGES = {"small change": 0.35, "medium change": 0.6, "large change": float("inf")}


@dataclass(slots=True)
class PairFigures:
    """One generated picture: which pair, how far the pose changed, and its figures by name."""

    pair: int  # row of the pairs file
    change: float
    figures: dict[str, float]


@dataclass(slots=True)
class Score:
    """All pictures of one model."""

    name: str
    pairs: list[PairFigures] = field(default_factory=list)

    def means(self, change: str | None = None) -> dict[str, float]:
        """Column -> mean over all pairs, or over those of one class of CHANGES."""
        chosen = [p for p in self.pairs if change is None or change_class(p.change) == change]
        names = list(chosen[0].figures) if chosen else []
        return {name: float(np.mean([p.figures[name] for p in chosen])) for name in names}


@dataclass(frozen=True, slots=True)
class Example:
    """Pictures of one pair to look at, all (H, W, 3) uint8."""

    pair: int
    pictures: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]


def change_class(change: float) -> str:
    """The class of CHANGES that a pose change belongs to."""
    return next(name for name, limit in CHANGES.items() if change <= limit)


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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Score], list[Example]]:
    """One Score per model after those of copying the source and, with `pck`, of the real target."""
    bundles = [load_bundle(model) for model in models]
    sizes = {bundle.config.image_size for bundle in bundles}
    if len(sizes) != 1 or any(bundle.config.task != "pose" for bundle in bundles):
        raise BundleError("only pose models of one frame size can be compared in one table")
    pairs = BenchmarkPairs(root, "test", layout, sizes.pop())
    count = min(limit or len(pairs), len(pairs))
    # Neighbouring rows share a person; a limited run should still see all of them.
    rows = [i * len(pairs) // count for i in range(count)]
    shown = {rows[i * count // examples] for i in range(min(examples, count))} if examples else set()
    judge = _Judge(vgg, pck=pck)
    names = [COPY, *([REAL] if pck else []), *_labels(bundles)]
    scores = {name: Score(name) for name in names}
    kept = []
    for done, (row, pair) in enumerate(zip(rows, DataLoader(pairs, batch_size=1, sampler=rows), strict=True), start=1):
        batch = to_device(pair, bundles[0].config, placement.device)
        made = {COPY: batch.source_image} | ({REAL: batch.target_image} if pck else {})
        made |= {name: _render(b, batch, placement) for name, b in zip(_labels(bundles), bundles, strict=True)}
        source, target = (np.asarray(points[0]) for points in (pair.source_points, pair.target_points))
        for name, image in made.items():
            figures = judge(image, batch.target_image, target)
            scores[name].pairs.append(PairFigures(row, pose_change(source, target), figures))
        if row in shown:
            kept.append(Example(row, {n: to_uint8(i) for n, i in (made | {REAL: batch.target_image}).items()}))
        progress(done, count)
    return list(scores.values()), kept


class _Judge:
    """All figures of one picture."""

    def __init__(self, vgg: Vgg19 | None, *, pck: bool) -> None:
        self._distances = PictureDistances(vgg)
        self._detector = PersonDetector() if pck else None

    def __call__(
        self, made: Tensor, real: Tensor, wanted: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    ) -> dict[str, float]:
        figures = self._distances(made, real)
        if self._detector is not None:
            people = self._detector.detect(to_uint8(made))
            found = people[0].pose.points if people else None
            hit, total = correct_keypoints(found, as_detected(wanted))
            figures["pck"] = hit / max(total, 1)
        return figures


@torch.inference_mode()
def _render(bundle: Bundle, batch: PoseBatch, placement: Placement) -> Tensor:
    network = bundle.network.to(placement.device)
    with placement.autocast:
        image: Tensor = network(batch.source_image, batch.source_structure, batch.target_structure).image
    return image.clamp(-1, 1)


def _labels(bundles: Sequence[Bundle]) -> list[str]:
    """Name and sampler; the folder above tells two bundles of one name apart."""
    labels = [f"{bundle.name} ({bundle.config.sampler})" for bundle in bundles]
    return [
        label if labels.count(label) == 1 else f"{bundle.folder.resolve().parent.name}/{label}"
        for label, bundle in zip(labels, bundles, strict=True)
    ]
