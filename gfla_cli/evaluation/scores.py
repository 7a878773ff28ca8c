"""The metrics by name, and the score of a model or a folder. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar


@dataclass(frozen=True, slots=True)
class Metric:
    """How a figure is shown, and how it is measured."""

    label: str
    rule: str = ""  # for the report; of a metric that is defined by a network, its weights are named instead
    up: bool = False  # whether a higher figure is better
    decimals: int = 4
    counted: bool = False  # 0 or 1 of an image; the number of images, not a mean, of several


_SSIM = "Gaussian window of 11, sigma 1.5, range 1, mean over red, green and blue"
_MASK = "limbs as strokes of H/8, torso filled, head disc of H/10, closed by H/16; outside black in both pictures"
_PCK = "share of joints that mediapipe finds within a tenth of the longer side of the wanted pose"
_KNOWN = {
    "ssim": Metric("SSIM", _SSIM, up=True),
    "psnr": Metric("PSNR, dB", "dB over red, green and blue, 100 at most", up=True, decimals=2),
    "l1": Metric("l1", "mean absolute difference of values in [-1, 1]"),
    "vgg": Metric("VGG"),
    "lpips": Metric("LPIPS"),
    "mask-ssim": Metric("mask-SSIM", _MASK, up=True),
    "mask-lpips": Metric("mask-LPIPS", _MASK),
    "pck": Metric("PCK@0.1", _PCK, up=True),
    "mirrored": Metric("mirrored", decimals=0, counted=True),  # comes with pck
    "found": Metric("found", up=True),  # the faces of clips
    "fid": Metric("FID", decimals=2),
}
BY_PAIR = ("ssim", "psnr", "l1", "vgg", "lpips", "mask-ssim", "mask-lpips")  # of a generated image and the real one
MASKED = ("mask-ssim", "mask-lpips")
RANKING = (*BY_PAIR, "pck")  # of single images: examples can be chosen by them
METRICS = (*RANKING, "fid")  # in the order of every table; fid is of sets of images
# Mean joint displacement in torsos; each class holds about a third of the rendered test pairs.
CHANGES = {"small change": 0.35, "medium change": 0.6, "large change": math.inf}
_PICKED = 4  # images that are shown as worst, as median and as best

_Item = TypeVar("_Item")


def metric_of(name: str) -> Metric:
    """What is known of a figure; those of some test sets only, such as holes, are called by their name."""
    return _KNOWN.get(name) or Metric(label=name)


def figure_text(name: str, value: float | None) -> str:
    """A figure with as many decimals as mean something; a dash where there is none."""
    return "-" if value is None else f"{value:.{metric_of(name).decimals}f}"


def change_class(change: float) -> str | None:
    """The class of CHANGES that a pose change belongs to; None for NaN, an unknown change."""
    return next((name for name, limit in CHANGES.items() if change <= limit), None)


@dataclass(slots=True)
class ImageFigures:
    """One generated image: the number of its pair, the part of the set it belongs to, and its figures by name."""

    number: int
    part: str | None  # None: of no part
    figures: dict[str, float]  # NaN where a figure does not exist


@dataclass(slots=True)
class Score:
    """All images of one model or of one folder."""

    name: str
    images: list[ImageFigures] = field(default_factory=list)
    sets: dict[str, float] = field(default_factory=dict)  # figures of all images together: fid
    about: dict[str, Any] = field(default_factory=dict)  # of the model: sampler, weights, training
    unit: Literal["pairs", "frames"] = "pairs"
    parted_by: Literal["change", "difference", None] = "change"  # of poses, or of views in degrees
    unpaired: int = 0  # images without a real one, which only `sets` are about
    # Of models that estimate views, for each image: whether azimuth, neighbouring azimuth and elevation are right.
    views: list[dict[str, float]] = field(default_factory=list)

    @property
    def parts(self) -> list[str]:
        """Names of the parts that have figures, in order."""
        found = {image.part for image in self.images if image.part is not None and image.figures}
        return [part for part in CHANGES if part in found] if self.parted_by == "change" else sorted(found, key=int)

    def means(self, part: str | None = None) -> dict[str, float]:
        """Metric -> mean over all images, or over those of one part; figures of sets only over all."""
        chosen = [image.figures for image in self.images if part in (None, image.part)]
        return column_means(chosen) | (self.sets if part is None else {})

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, without the single images."""
        unit, count = ("pictures", self.unpaired) if self.unpaired else (self.unit, len(self.images))
        row: dict[str, Any] = {"name": self.name, unit: count, **_plain(self.means())}
        if self.parted_by:
            row[f"by_{self.parted_by}"] = {part: _plain(self.means(part)) for part in self.parts}
        if self.views:
            row["view_accuracy"] = {"pictures": len(self.views), **column_means(self.views)}
        return row | ({"model": self.about} if self.about else {})


def column_means(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Name -> mean over the rows in which that figure exists, or their sum if it is counted; NaN where none has it."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).extend([] if math.isnan(value) else [value])
    means: dict[str, float] = {}
    for name, known in columns.items():
        total = sum(map(int, known)) if metric_of(name).counted else math.fsum(known) / max(1, len(known))
        means[name] = total if known else math.nan
    return means


def _plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def spread(items: Sequence[_Item], most: int | None) -> list[_Item]:
    """At most that many of the items, None = all, evenly spread over them: neighbours often share a person."""
    count = len(items) if most is None else min(most, len(items))
    return [items[k * len(items) // count] for k in range(count)]


def picked(score: Score, name: str) -> dict[str, Sequence[ImageFigures]]:
    """Worst, median and best images by one metric, none of them twice; all of them when there are few."""
    known = [image for image in score.images if not math.isnan(image.figures.get(name, math.nan))]
    order = sorted(known, key=lambda image: image.figures[name], reverse=not metric_of(name).up)
    count = min(_PICKED, -(-len(order) // 3))
    end = max(count, len(order) - count)  # here the best begin
    start = max(count, end // 2)
    return {"worst": order[:count], "median": order[start : min(start + count, end)], "best": order[end:][::-1]}
