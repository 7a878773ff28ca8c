"""Which metrics are taken, with which networks, and why the others are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gfla_cli.arrays import Points
from gfla_cli.bundles.convert import read_state
from gfla_cli.bundles.files import sha256_of
from gfla_cli.errors import GflaError, UsageError
from gfla_cli.evaluation.inception import FEATURES, SIDE, FidInception, build_inception
from gfla_cli.evaluation.lpips import VERSION, Lpips, load_lpips
from gfla_cli.evaluation.metrics import MASK_RULE, SSIM_RULE, VGG_LAYERS, MaskFiles, body_mask
from gfla_cli.evaluation.scores import MASKED, METRICS, Wanted
from gfla_cli.evaluation.weights import INCEPTION, find_weights
from gfla_cli.io.background import Say, silent
from gfla_cli.losses.image import Vgg19, load_vgg19

_RULES = {
    "ssim": SSIM_RULE,
    "psnr": "dB over red, green and blue, 100 at most",
    "l1": "mean absolute difference of values in [-1, 1]",
    "mask-ssim": MASK_RULE,
    "mask-lpips": MASK_RULE,
    "pck": "share of joints that mediapipe finds within a tenth of the longer side of the wanted pose",
}


@dataclass(slots=True)
class Measures:
    """The metrics to take and their networks on their device; `skipped` holds why a metric is not taken."""

    metrics: tuple[str, ...]  # in the order of every table
    device: torch.device
    vgg: Vgg19 | None = None
    lpips: Lpips | None = None
    inception: FidInception | None = None
    mask_files: MaskFiles | None = None
    named: frozenset[str] = frozenset()  # must be possible
    skipped: dict[str, str] = field(default_factory=dict)
    described: dict[str, Any] = field(default_factory=dict)  # name -> how and with which weights it is measured

    @property
    def masked(self) -> bool:
        """Whether any metric needs a mask."""
        return bool(set(MASKED) & set(self.metrics))

    @property
    def paired(self) -> bool:
        """Whether any metric needs the real image of a generated one; FID alone compares two sets."""
        return self.metrics != ("fid",)

    @property
    def pck(self) -> bool:
        return "pck" in self.metrics

    def masks(self, real: Tensor | None, names: Sequence[str], joints: Sequence[Points | None]) -> Tensor | None:
        """(B, 1, H, W) on the device, 1 on the person of each real image, from its file or from (18, 3) joints.

        None where no metric needs a mask, or without real images (B, 3, H, W).
        """
        if real is None or not self.masked:
            return None
        size, masks = (real.shape[2], real.shape[3]), []
        for name, points in zip(names, joints, strict=True):
            if self.mask_files is not None:
                masks.append(self.mask_files(name, size))
            elif points is not None:
                masks.append(body_mask(points, size))
            else:
                raise ValueError(f"{name}: neither a mask nor a pose")
        return torch.from_numpy(np.stack(masks)).float()[:, None].to(self.device)

    def refine(self, metric: str, more: str) -> None:
        """Adds to the description of a metric, if it is taken."""
        if metric in self.described:
            self.described[metric] = f"{self.described[metric]}; {more}"

    def without(self, metric: str, reason: str) -> None:
        """Leaves a metric out, with the reason; raises UsageError when an option named it."""
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

    def missing(self, metric: str, error: GflaError, *, required: bool) -> None:
        """Leaves a metric out whose network cannot be loaded; raises the error when an option named metric or file."""
        if metric not in self.metrics:
            return
        if required or metric in self.named:
            raise error
        reason = f"{error}; {error.hint}" if error.hint else str(error)
        self.without(metric, "as lpips" if metric == "mask-lpips" and "lpips" in self.skipped else reason)


def gather(
    wanted: Wanted,
    device: torch.device,
    *,
    compares_sets: bool = True,
    say: Say = silent,
) -> Measures:
    """Loads the networks of the wanted metrics; that of FID only if the test set `compares_sets`.

    `say` gets a line before a download.

    A metric whose weights are missing is left out, with the reason. Raises BundleError instead when an option named
    the metric or the file.
    """
    asked = wanted.asked
    measures = Measures(tuple(name for name in METRICS if name in asked), device, named=wanted.named)
    measures.described = {name: rule for name, rule in _RULES.items() if name in asked}
    if wanted.mask_folder is not None:
        measures.mask_files = MaskFiles(wanted.mask_folder)
        rule = f"masks of {wanted.mask_folder.name}; outside black in both pictures"
        measures.described |= {name: rule for name in MASKED if name in asked}
    if "vgg" in asked:
        measures.vgg = load_vgg19(wanted.vgg).to(device)
        weights = _described(wanted.vgg) if wanted.vgg else {"weights": "from the hub"}
        measures.described["vgg"] = {"layers": "+".join(VGG_LAYERS), **weights}
    if {"lpips", "mask-lpips"} & asked:
        try:
            lpips, file = load_lpips(wanted.lpips_net, wanted.lpips_backbone, say=say)
            measures.lpips = lpips.to(device)
            measures.described["lpips"] = {"network": wanted.lpips_net, "version": VERSION, **_described(file)}
        except GflaError as error:
            for name in ("lpips", "mask-lpips"):
                measures.missing(name, error, required=wanted.lpips_backbone is not None)
    if "fid" in asked and compares_sets:
        try:
            file = find_weights(INCEPTION, wanted.inception, say=say)
            measures.inception = build_inception(read_state(file, INCEPTION.what), file.name).to(device)
            features = f"{FEATURES} of Inception-v3, bilinear to {SIDE}x{SIDE} without antialiasing"
            measures.described["fid"] = {"features": features, **_described(file)}
        except GflaError as error:
            measures.missing("fid", error, required=wanted.inception is not None)
    return measures


def _described(file: Path) -> dict[str, str]:
    """Name and hash of a file of weights; not its path, which means nothing on another machine."""
    return {"weights": file.name, "sha256": sha256_of(file)}
