"""FID: the Frechet distance between two sets of images, and the set that it is measured against.

Means and covariances of features are gathered image by image. Those of a reference are computed once and kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gfla_cli.bundles.files import sha256_of
from gfla_cli.errors import DataError
from gfla_cli.evaluation.metrics import Measures
from gfla_cli.evaluation.protocols import Protocol, Size, prepared
from gfla_cli.io.background import Progress, overlapped, silent
from gfla_cli.io.files import atomic_path
from gfla_cli.io.image import find_images, read_image, to_tensor

_BATCH = 16
_FEW = 2048  # images; with fewer than features the covariance is not known in every direction


@dataclass(eq=False)
class Gaussian:
    """Mean (C,) and covariance (C, C) of a set, float64, and how many features it had (0: not known)."""

    mean: Tensor
    covariance: Tensor
    count: int

    @cached_property
    def root(self) -> Tensor:
        """The symmetric root of the covariance, computed once: seconds for the 2048 features of FID."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * _positive(values).sqrt()) @ vectors.T
        return root


class FeatureSums:
    """Gathers features batch by batch; memory is that of one (C, C) matrix, however many there are."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._products = torch.zeros((), dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """(B, C) features of any float type."""
        x = features.detach()
        x = (x.cpu() if x.device.type == "mps" else x).double()  # which has no float64
        if not self.count:
            self._sum, self._products = x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1], x.shape[1])
        self._sum += x.sum(dim=0)
        self._products.addmm_(x.T, x)
        self.count += len(x)

    def gaussian(self) -> Gaussian:
        """Mean and unbiased covariance; raises DataError for fewer than two features."""
        if self.count < 2:
            raise DataError(f"FID needs at least 2 images in each set, got {self.count}", hint="use thousands")
        if not bool(torch.isfinite(self._products).all()):
            raise DataError("features are not finite numbers", hint="are these the weights of FID's Inception?")
        mean = self._sum / self.count
        covariance = (self._products - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return Gaussian(mean.cpu(), covariance.cpu(), self.count)


def frechet_distance(one: Gaussian, reference: Gaussian) -> float:
    """|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½); never below 0.

    S1 S2 has the eigenvalues of the symmetric S2^½ S1 S2^½, which are found exactly and cannot be complex.
    """
    if one.mean.shape != reference.mean.shape:
        what = f"features of {len(one.mean)} and {len(reference.mean)} dimensions cannot be compared"
        raise DataError(what, hint="FID has 2048; were the statistics made with another layer?")
    shared = _positive(torch.linalg.eigvalsh(reference.root @ one.covariance @ reference.root)).sqrt().sum()
    spread = one.covariance.trace() + reference.covariance.trace() - 2 * shared
    return max(0.0, float((one.mean - reference.mean).square().sum() + spread))


def _positive(values: Tensor) -> Tensor:
    """Eigenvalues without rounding errors: of few images most are 0, and 2000 roots of nearly 0 add up."""
    noise = values.abs().amax() * len(values) * torch.finfo(values.dtype).eps
    return torch.where(values > noise, values, torch.zeros_like(values))


def write_gaussian(path: Path, gaussian: Gaussian) -> None:
    """As .npz with `mu` and `sigma`, as pytorch-fid has them, and `count`."""
    with atomic_path(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(file, mu=gaussian.mean.numpy(), sigma=gaussian.covariance.numpy(), count=gaussian.count)


def read_gaussian(path: Path) -> Gaussian:
    """What `write_gaussian` or pytorch-fid wrote; raises DataError when it is something else."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = (torch.from_numpy(arrays[name].astype(np.float64)) for name in ("mu", "sigma"))
            count = int(arrays["count"]) if "count" in arrays.files else 0
    except Exception as error:  # damaged archives raise any type
        raise DataError(f"{path}: no statistics of features in it", hint="an .npz with mu and sigma") from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        what = f"{path}: mu {tuple(mean.shape)} and sigma {tuple(covariance.shape)} do not belong together"
        raise DataError(what, hint="write the file again")
    return Gaussian(mean, covariance, count)


class FidMeter:
    """Gathers features of any number of named sets; a batch for the network may hold images of several."""

    def __init__(self, network: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._network, self._device = network, device
        self._sums: dict[str, FeatureSums] = {}
        self._waiting: list[tuple[str, Tensor]] = []
        self._known = set[tuple[str, str]]()

    def add(self, name: str, images: Tensor, files: Sequence[str] = ()) -> None:
        """(B, 3, H, W) images in [-1, 1] of a set; those of named files count once."""
        for k, image in enumerate(images.to(self._device).split(1)):
            if files:
                if (name, files[k]) in self._known:
                    continue
                self._known.add((name, files[k]))
            if len(self._waiting) >= _BATCH or (self._waiting and self._waiting[0][1].shape != image.shape):
                self._flush()
            self._waiting.append((name, image))

    def gaussian(self, name: str) -> Gaussian:
        """Mean and covariance of a set; raises DataError when it has fewer than two images."""
        self._flush()
        return self._sums.get(name, FeatureSums()).gaussian()

    @torch.inference_mode()
    def _flush(self) -> None:
        if not self._waiting:
            return
        names, images = zip(*self._waiting, strict=True)
        features = self._network(torch.cat(images))
        for name in dict.fromkeys(names):
            rows = [row for row, owner in enumerate(names) if owner == name]
            self._sums.setdefault(name, FeatureSums()).add(features[rows])
        self._waiting = []


@dataclass(frozen=True, slots=True)
class FidReference:
    """A folder of images, or an .npz of statistics that were computed with the same network and protocol."""

    path: Path
    kind: str  # in words, for the report

    def gaussian(
        self, measures: Measures, protocol: Protocol, size: Size, cache: Path | None, progress: Progress = silent
    ) -> Gaussian:
        """Its mean and covariance. Those of a folder are computed once and kept in `cache`.

        Raises DataError or MediaError when the reference cannot be used.
        """
        if self.path.suffix == ".npz":
            return read_gaussian(self.path)
        if measures.inception is None:
            raise ValueError("no network to compare images by")
        paths = find_images(self.path)
        kept = None
        if cache is not None:  # the name changes when an image, the network or the preparation does
            files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
            how = [str(protocol.steps(size)), protocol.jpeg_quality, measures.described["fid"]["sha256"]]
            kept = cache / f"{hashlib.sha256(json.dumps([files, how]).encode()).hexdigest()[:24]}.npz"
        if kept is not None and kept.is_file():
            try:
                return read_gaussian(kept)
            except DataError:  # damaged, by a full disk for example
                kept.unlink(missing_ok=True)
        meter = FidMeter(measures.inception, measures.device)
        images = overlapped((prepared(read_image(path), protocol, size) for path in paths), size=2 * _BATCH)
        for done, image in enumerate(images, start=1):
            meter.add(self.kind, to_tensor(image))
            progress(done, len(paths))
        found = meter.gaussian(self.kind)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_gaussian(kept, found)
        return found


def find_reference(
    protocol: Protocol, given: Path | None, *, train: Path | None, real: Path | None
) -> FidReference | None:
    """What was given, else what the protocol says: a set's training images, or all its real ones.

    None stands for the real images of the measured pairs, where `real` names no folder. Raises DataError when the
    protocol wants training images and `train` names none.
    """
    if given is not None:
        return FidReference(given, "statistics" if given.suffix == ".npz" else "pictures")
    if protocol.fid_reference == "targets":
        return FidReference(real, "all real pictures") if real else None
    if train is None or not train.is_dir():
        where = f"{train} is not there" if train else "their folder is not known"
        raise DataError(
            f"the protocol {protocol.name} measures FID against the training pictures, and {where}",
            hint="--fid-reference names the folder, or an .npz of statistics",
        )
    return FidReference(train, "training pictures")


def fid_conditions(reference: FidReference | None, against: Gaussian, generated: int) -> dict[str, Any]:
    """What FID was measured against, and a note when one of the sets is small."""
    said: dict[str, Any] = {"kind": "the real pictures of these pairs"}
    if reference is not None:
        said = {"kind": reference.kind, "name": reference.path.name}
        if reference.path.suffix == ".npz":
            said["sha256"] = sha256_of(reference.path)
    said |= {"pictures": against.count or "unknown", "generated": generated}
    smallest = min(against.count or generated, generated)
    if smallest < _FEW:
        said["note"] = f"of {smallest} pictures only: too high, by an unknown amount"
    return said
