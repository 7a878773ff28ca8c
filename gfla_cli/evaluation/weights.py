"""Finding the weights of FID and LPIPS: a file that was named, or one in torch's cache. Nothing is downloaded.

Both metrics are defined by their weights, so every report holds the hash of the file that was used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gfla_cli.bundles.files import sha256_of
from gfla_cli.errors import BundleError

_PYTORCH = "https://download.pytorch.org/models"
_FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights"


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """A published file: what it is, the names it has in torch's cache, where it is from, the option that takes it."""

    what: str
    names: tuple[str, ...]
    url: str
    option: str


# Names end with the first eight digits of the file's sha256.
INCEPTION = KnownWeights(
    "the Inception weights of FID (2015-12-05)",
    ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"),
    f"{_FID}/pt_inception-2015-12-05-6726825d.pth",
    "--inception",
)
ALEXNET = KnownWeights(
    "AlexNet's weights",
    ("alexnet-owt-7be5be79.pth", "alexnet-owt-4df8aa71.pth"),
    f"{_PYTORCH}/alexnet-owt-7be5be79.pth",
    "--lpips-backbone",
)
VGG16 = KnownWeights("VGG16's weights", ("vgg16-397923af.pth",), f"{_PYTORCH}/vgg16-397923af.pth", "--lpips-backbone")


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A file that was found, and its sha256 in hexadecimal."""

    path: Path
    sha256: str

    def to_json(self) -> dict[str, str]:
        """Name and hash; not the path, which means nothing on another machine."""
        return {"weights": self.path.name, "sha256": self.sha256}


def find_weights(known: KnownWeights, given: Path | None = None) -> WeightFile:
    """The file that was given, else one in torch's cache; BundleError says what is missing and where it belongs."""
    if given is not None:
        if not given.is_file():
            raise BundleError(f"{given}: no such file", hint=f"{known.option} takes {known.what}")
        return WeightFile(given, sha256_of(given))
    folder = torch_cache()
    for name in known.names:
        if (folder / name).is_file():
            return WeightFile(folder / name, sha256_of(folder / name))
    raise BundleError(
        f"no {known.names[0]} in {_shortened(folder)}",
        hint=f"download {known.url} to there, or name a file with {known.option}",
    )


def torch_cache() -> Path:
    """Where torch.hub keeps weights: TORCH_HOME/hub/checkpoints; imports no torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch") / "hub" / "checkpoints"


def _shortened(folder: Path) -> str:
    """With ~ for the home folder: the text goes into reports that other people read."""
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)
