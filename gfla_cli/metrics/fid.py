"""FID of several sets of pictures against one reference, picture by picture; a reference is computed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gfla_cli.arrays import Image
from gfla_cli.errors import DataError
from gfla_cli.media.image import read_image, to_tensor
from gfla_cli.media.overlap import overlapped
from gfla_cli.metrics.frechet import FeatureSums, Gaussian, frechet_distance, read_gaussian, write_gaussian
from gfla_cli.metrics.prepare import prepared
from gfla_cli.metrics.protocol import Protocol, Size

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
