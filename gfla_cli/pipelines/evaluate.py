"""Measuring pose bundles on the pairs of a data set, beside what copying the source would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gfla_cli.bundles.bundle import Bundle, load_bundle
from gfla_cli.data.deepfashion import BenchmarkPairs, Layout
from gfla_cli.errors import BundleError
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.metrics.pictures import PictureMetrics
from gfla_cli.runtime.device import Placement
from gfla_cli.training.batch import PoseBatch, to_device

COPY = "copy of the source"


@dataclass(frozen=True, slots=True)
class Score:
    """Mean figures of one model over a set."""

    name: str
    pairs: int
    figures: dict[str, float]


def evaluate_bundles(
    models: Sequence[str | Path],
    root: Path,
    layout: Layout,
    *,
    vgg: Vgg19 | None,
    placement: Placement,
    limit: int | None = None,
    batch: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Score]:
    """One Score per model, and first that of copying the source. All see the same pairs at the same size."""
    bundles = [load_bundle(model) for model in models]
    sizes = {bundle.config.image_size for bundle in bundles}
    if len(sizes) != 1 or any(bundle.config.task != "pose" for bundle in bundles):
        raise BundleError("only pose models of one frame size can be compared in one table")
    pairs = BenchmarkPairs(root, "test", layout, sizes.pop())
    count = min(limit or len(pairs), len(pairs))
    # Neighbouring rows share a person; a limited run should still see all of them.
    rows = [i * len(pairs) // count for i in range(count)]
    collected = {COPY: PictureMetrics(vgg)} | {_label(bundle): PictureMetrics(vgg) for bundle in bundles}
    done = 0
    for pair in DataLoader(pairs, batch_size=batch, sampler=rows):
        inputs = to_device(pair, bundles[0].config, placement.device)
        collected[COPY].add(inputs.source_image, inputs.target_image)
        for bundle in bundles:
            collected[_label(bundle)].add(_render(bundle, inputs, placement), inputs.target_image)
        done += len(inputs.source_image)
        progress(done, count)
    return [Score(name, count, metrics.means()) for name, metrics in collected.items()]


@torch.inference_mode()
def _render(bundle: Bundle, batch: PoseBatch, placement: Placement) -> Tensor:
    network = bundle.network.to(placement.device)
    with placement.autocast:
        image: Tensor = network(batch.source_image, batch.source_structure, batch.target_structure).image
    return image.clamp(-1, 1)


def _label(bundle: Bundle) -> str:
    return f"{bundle.name} ({bundle.config.sampler})"
