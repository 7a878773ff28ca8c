"""What FID is measured against: the targets themselves, the training pictures, or what somebody names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gfla_cli.bundles.files import sha256_of
from gfla_cli.errors import DataError, MediaError
from gfla_cli.evaluation.fid import Gaussian, caution, read_gaussian, reference_of_files
from gfla_cli.evaluation.measures import Measures
from gfla_cli.evaluation.protocols import Protocol, Size
from gfla_cli.io.image import find_images

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FidReference:
    """A folder of pictures, or an .npz of statistics that were computed with the same network and protocol."""

    path: Path
    kind: str  # in words, for the report

    def gaussian(
        self, measures: Measures, protocol: Protocol, size: Size, cache: Path | None, progress: Progress
    ) -> Gaussian:
        """Its mean and covariance, read or computed; raises DataError or MediaError when it cannot be used."""
        if self.path.suffix == ".npz":
            return read_gaussian(self.path)
        if measures.inception is None:
            raise ValueError("no network to compare pictures by")
        digest = str(measures.described["fid"]["sha256"])
        paths = find_images(self.path)
        return reference_of_files(
            paths, measures.inception, digest, protocol, size, device=measures.device, cache=cache, progress=progress
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        digest = {"sha256": sha256_of(self.path)} if self.path.suffix == ".npz" else {}
        return {"kind": self.kind, "name": self.path.name, **digest}


def find_reference(protocol: Protocol, given: Path | None, train: Path | None) -> FidReference | None:
    """What was given, else what the protocol says; None stands for the real pictures of the measured pairs.

    Raises MediaError for a path that is not there, DataError when the protocol wants training pictures and `train`
    names none.
    """
    if given is not None:
        if not given.exists():
            raise MediaError(f"{given}: no such file or folder", hint="--fid-reference takes a folder or an .npz file")
        return FidReference(given, "statistics" if given.suffix == ".npz" else "pictures")
    if protocol.fid_reference == "targets":
        return None
    if train is None or not train.is_dir():
        where = f"{train} is not there" if train else "their folder is not known"
        raise DataError(
            f"the protocol {protocol.name} measures FID against the training pictures, and {where}",
            hint="--fid-reference names the folder, or an .npz of statistics",
        )
    return FidReference(train, "training pictures")


def fid_conditions(reference: FidReference | None, against: Gaussian, generated: int) -> dict[str, Any]:
    """What FID was measured against, and what to know about sets this small."""
    said = reference.to_json() if reference else {"kind": "the real pictures of these pairs"}
    said = {**said, "pictures": against.count or "unknown", "generated": generated}
    note = caution(min(against.count or generated, generated))
    return said | ({"note": note} if note else {})
