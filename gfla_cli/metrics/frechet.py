"""The Frechet distance between two sets of features, whose means and covariances are gathered as they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gfla_cli.errors import DataError
from gfla_cli.media.atomic import atomic_path


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
