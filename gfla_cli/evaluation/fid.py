"""The Frechet distance between two sets of features, whose means and covariances are gathered as they come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gfla_cli.arrays import Image
from gfla_cli.errors import DataError
from gfla_cli.evaluation.protocols import Protocol, Size, prepared
from gfla_cli.io.background import overlapped
from gfla_cli.io.files import atomic_path
from gfla_cli.io.image import read_image, to_tensor


@dataclass(slots=True, eq=False)
class Gaussian:
    """Mean (C,) and covariance (C, C) of a set, float64, and how many features it had (0: nobody knows)."""

    mean: Tensor
    covariance: Tensor
    count: int
    _root: Tensor | None = field(default=None, init=False, repr=False)

    def root(self) -> Tensor:
        """The symmetric root of the covariance, computed once: seconds for the 2048 features of FID."""
        if self._root is None:
            values, vectors = torch.linalg.eigh(self.covariance)
            self._root = (vectors * _positive(values).sqrt()) @ vectors.T
        return self._root


class FeatureSums:
    """Gathers features batch by batch; memory is that of one (C, C) matrix, however many there are."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Tensor | None = None
        self._products: Tensor | None = None

    def add(self, features: Tensor) -> None:
        """(B, C) features of any float type."""
        x = features.detach()
        x = (x.cpu() if x.device.type == "mps" else x).double()  # which has no float64
        if self._sum is None or self._products is None:
            self._sum, self._products = x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1], x.shape[1])
        self._sum += x.sum(dim=0)
        self._products.addmm_(x.T, x)
        self.count += len(x)

    def gaussian(self) -> Gaussian:
        """Mean and unbiased covariance; raises DataError for fewer than two features."""
        if self.count < 2 or self._sum is None or self._products is None:
            raise DataError(f"FID needs at least 2 pictures in each set, got {self.count}", hint="use thousands")
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
    root = reference.root()
    shared = _positive(torch.linalg.eigvalsh(root @ one.covariance @ root)).sqrt().sum()
    spread = one.covariance.trace() + reference.covariance.trace() - 2 * shared
    return max(0.0, float((one.mean - reference.mean).square().sum() + spread))


def _positive(values: Tensor) -> Tensor:
    """Eigenvalues without what rounding adds: of few pictures most are 0, and 2000 roots of nearly 0 are something."""
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


# FID of several sets of pictures against one reference, picture by picture; a reference is computed once and kept.


_BATCH = 16
_FEW = 2048  # pictures; with fewer than features the covariance is not known in every direction

Progress = Callable[[int, int], None]


class FidMeter:
    """Gathers features of any number of named sets; pictures are judged in batches of mixed sets."""

    def __init__(self, network: Callable[[Tensor], Tensor], device: torch.device, batch: int = _BATCH) -> None:
        self._network, self._device, self._batch = network, device, batch
        self._sums: dict[str, FeatureSums] = {}
        self._waiting: list[tuple[str, Tensor]] = []

    def add(self, name: str, picture: Tensor) -> None:
        """One (1, 3, H, W) picture in [-1, 1] of a set."""
        if self._waiting and self._waiting[0][1].shape != picture.shape:
            self._flush()
        self._waiting.append((name, picture.to(self._device)))
        if len(self._waiting) >= self._batch:
            self._flush()

    def gaussian(self, name: str) -> Gaussian:
        """What a set looks like; raises DataError when it has fewer than two pictures."""
        self._flush()
        return self._sums.get(name, FeatureSums()).gaussian()

    def distance(self, name: str, reference: Gaussian) -> float:
        """FID of a set."""
        return frechet_distance(self.gaussian(name), reference)

    @torch.inference_mode()
    def _flush(self) -> None:
        if not self._waiting:
            return
        features = self._network(torch.cat([picture for _, picture in self._waiting]))
        names = [name for name, _ in self._waiting]
        for name in dict.fromkeys(names):
            rows = [row for row, owner in enumerate(names) if owner == name]
            self._sums.setdefault(name, FeatureSums()).add(features[rows])
        self._waiting = []


def caution(smallest: int) -> str:
    """What to know about FID when the smaller set has this many pictures; "" when it has enough."""
    return f"of {smallest} pictures only: too high, by an unknown amount" if smallest < _FEW else ""


def reference_of_files(
    paths: Sequence[Path],
    network: Callable[[Tensor], Tensor],
    digest: str,
    protocol: Protocol,
    size: Size,
    *,
    device: torch.device,
    cache: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Gaussian:
    """Mean and covariance of picture files under a protocol; kept in `cache` for the next call.

    `digest` is that of the network's weights. Raises DataError and MediaError when the pictures cannot be used.
    """
    kept = cache / f"{_key(paths, digest, protocol, size)}.npz" if cache else None
    if kept is not None and kept.is_file():
        try:
            return read_gaussian(kept)
        except DataError:  # from a disk that was full, say
            kept.unlink(missing_ok=True)
    meter = FidMeter(network, device)
    for done, image in enumerate(overlapped(_prepared(paths, protocol, size), size=2 * _BATCH), start=1):
        meter.add("", to_tensor(image))
        progress(done, len(paths))
    found = meter.gaussian("")
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_gaussian(kept, found)
    return found


def _prepared(paths: Iterable[Path], protocol: Protocol, size: Size) -> Iterable[Image]:
    for path in paths:
        yield prepared(read_image(path), protocol, size)


def _key(paths: Sequence[Path], digest: str, protocol: Protocol, size: Size) -> str:
    """Changes when a picture, the network or the preparation does."""
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    how = [str(protocol.steps(size)), protocol.jpeg_quality, digest]
    return hashlib.sha256(json.dumps([files, how]).encode()).hexdigest()[:24]
