"""What can be measured here and now: the networks that were found, and why the other figures are left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfla_cli.bundles.convert import read_state
from gfla_cli.bundles.files import sha256_of
from gfla_cli.errors import BundleError, GflaError, UsageError
from gfla_cli.evaluation.inception import FEATURES, SIDE, FidInception, build_inception
from gfla_cli.evaluation.lpips import VERSION, Backbone, Lpips, load_lpips
from gfla_cli.evaluation.masks import MASK_RULE, MaskFiles, body_mask
from gfla_cli.evaluation.metrics import SSIM_RULE, VGG_LAYERS, PictureDistances
from gfla_cli.evaluation.names import ALWAYS, BY_PAIR, METRICS
from gfla_cli.evaluation.protocols import OWN, Protocol, Size
from gfla_cli.evaluation.weights import INCEPTION, WeightFile, find_weights
from gfla_cli.losses.vgg import Vgg19, load_vgg19


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for, and the files that were named."""

    metrics: tuple[str, ...] | None = None  # None: whatever is possible
    vgg: Path | None = None
    lpips_net: Backbone = "alex"
    lpips_backbone: Path | None = None
    inception: Path | None = None
    pck: bool = False
    masks: bool = False  # whether masked figures are taken without being named
    mask_folder: Path | None = None  # masks from files instead of from the pose
    rank_by: str | None = None  # figure that examples are chosen by

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.metrics or ()) - set(METRICS)):
            raise UsageError(f"unknown metric: {', '.join(unknown)}", hint=f"known: {', '.join(METRICS)}")
        if self.rank_by is not None and self.rank_by not in _asked(self):
            taken = ", ".join(name for name in METRICS if name in _asked(self))
            raise UsageError(f"--rank-by {self.rank_by}: not among the figures that are taken", hint=f"taken: {taken}")


@dataclass(slots=True)
class Measures:
    """Networks on their device, ready to judge; `skipped` says why a figure is not taken."""

    metrics: tuple[str, ...]  # in the order of every table
    device: torch.device
    vgg: Vgg19 | None = None
    lpips: Lpips | None = None
    inception: FidInception | None = None
    mask_files: MaskFiles | None = None
    named: frozenset[str] = frozenset()  # figures that were asked for by name, and must be possible
    skipped: dict[str, str] = field(default_factory=dict)
    described: dict[str, Any] = field(default_factory=dict)  # name -> how and with which weights it is measured

    def distances(self, protocol: Protocol = OWN, layout: str = "") -> PictureDistances:
        """What judges pairs under a protocol."""
        padded = protocol.padded_for_ssim.get(layout)
        return PictureDistances(self.vgg, self.lpips, metrics=self.metrics, padded=padded)

    @property
    def masked(self) -> bool:
        """Whether any figure needs a mask."""
        return bool({"mask-ssim", "mask-lpips"} & set(self.metrics))

    @property
    def paired(self) -> bool:
        """Whether any figure needs the real picture of a generated one; FID alone compares two sets."""
        return self.metrics != ("fid",)

    @property
    def pck(self) -> bool:
        """Whether the pose is looked for in every result."""
        return "pck" in self.metrics

    def mask(self, name: str, points: NDArray[np.float32] | None, size: Size) -> Tensor:
        """(1, 1, H, W) on the device, 1 on the person of the picture `name`, from its file or from (18, 3) points."""
        if self.mask_files is not None:
            mask = self.mask_files(name, size)
        elif points is not None:
            mask = body_mask(points, size)
        else:
            raise ValueError(f"{name}: neither a mask nor a pose")
        return torch.from_numpy(mask).float().view(1, 1, *size).to(self.device)

    def refine(self, metric: str, more: str) -> None:
        """Adds to what the report says about a figure, if it is taken."""
        if metric in self.described:
            self.described[metric] = f"{self.described[metric]}; {more}"

    def without(self, metric: str, reason: str) -> None:
        """Leaves a figure out, with the reason; raises UsageError when it was asked for by name."""
        if metric not in self.metrics:
            return
        if metric in self.named:
            raise UsageError(f"{metric} cannot be measured: {reason}", hint=f"leave {metric} out")
        self.metrics = tuple(name for name in self.metrics if name != metric)
        self.inception = None if metric == "fid" else self.inception
        self.skipped[metric] = reason
        self.described.pop(metric, None)
        if not {"lpips", "mask-lpips"} & set(self.metrics):
            self.described.pop("lpips", None)


def plain_measures(vgg: Vgg19 | None, device: torch.device, *, pck: bool = False) -> Measures:
    """Figures that need no file but VGG19's."""
    names = {*ALWAYS, *(("vgg",) if vgg else ()), *(("pck",) if pck else ())}
    return Measures(tuple(name for name in METRICS if name in names), device, vgg=vgg)


def gather(wanted: Wanted, device: torch.device) -> Measures:
    """Loads what is wanted; what is missing is left out with the reason, or an error where metric or file was named."""
    asked = _asked(wanted)
    named = _named(wanted)
    measures = Measures(tuple(name for name in METRICS if name in asked), device, named=named)
    measures.described = {name: rule for name, rule in _RULES.items() if name in asked}
    if wanted.mask_folder is not None:
        measures.mask_files = MaskFiles(wanted.mask_folder)
        rule = f"masks of {wanted.mask_folder.name}; outside black in both pictures"
        measures.described |= {name: rule for name in ("mask-ssim", "mask-lpips") if name in asked}
    if "vgg" in asked:
        measures.vgg = load_vgg19(wanted.vgg).to(device)
        file = WeightFile(wanted.vgg, sha256_of(wanted.vgg)).to_json() if wanted.vgg else {"weights": "from the hub"}
        measures.described["vgg"] = {"layers": "+".join(VGG_LAYERS), **file}
    if {"lpips", "mask-lpips"} & asked:
        try:
            judge, used = load_lpips(wanted.lpips_net, wanted.lpips_backbone)
            measures.lpips = judge.to(device)
            measures.described["lpips"] = {"network": wanted.lpips_net, "version": VERSION, **used.to_json()}
        except GflaError as error:
            for name in ("lpips", "mask-lpips"):
                _leave_out(measures, name, error, insisted=name in named or wanted.lpips_backbone is not None)
    if "fid" in asked:
        try:
            measures.inception, used = _load_inception(wanted.inception)
            measures.inception.to(device)
            measures.described["fid"] = {
                "features": f"{FEATURES} of Inception-v3, bilinear to {SIDE}x{SIDE} without antialiasing",
                **used.to_json(),
            }
        except GflaError as error:
            _leave_out(measures, "fid", error, insisted="fid" in named or wanted.inception is not None)
    return measures


def _asked(wanted: Wanted) -> set[str]:
    if wanted.metrics is not None:
        return {*wanted.metrics, *(("pck",) if wanted.pck else ())}
    asked = {*ALWAYS, "lpips", "fid"}
    if wanted.masks:
        asked |= {name for name in BY_PAIR if name.startswith("mask-")}
    return asked | ({"vgg"} if wanted.vgg else set()) | ({"pck"} if wanted.pck else set())


def _named(wanted: Wanted) -> frozenset[str]:
    """Figures that were asked for by name, whichever option names them."""
    ranking = (wanted.rank_by,) if wanted.rank_by is not None else ()
    return frozenset({*(wanted.metrics or ()), *(("pck",) if wanted.pck else ()), *ranking})


def _leave_out(measures: Measures, name: str, error: GflaError, *, insisted: bool) -> None:
    if insisted and name in measures.metrics:
        raise error
    reason = f"{error}; {error.hint}" if error.hint else str(error)
    measures.without(name, "as lpips" if name == "mask-lpips" and "lpips" in measures.skipped else reason)


def _load_inception(given: Path | None) -> tuple[FidInception, WeightFile]:
    file = find_weights(INCEPTION, given)
    try:
        return build_inception(read_state(file.path, INCEPTION.what)), file
    except BundleError as error:
        raise BundleError(f"{file.path.name}: {error}", hint=error.hint) from error


_RULES = {
    "ssim": SSIM_RULE,
    "psnr": "dB over red, green and blue, 100 at most",
    "l1": "mean absolute difference of values in [-1, 1]",
    "mask-ssim": MASK_RULE,
    "mask-lpips": MASK_RULE,
    "pck": "share of joints that mediapipe finds within a tenth of the longer side of the wanted pose",
}
