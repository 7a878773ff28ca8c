"""Finding the weights of FID and LPIPS: a file that was named, one in torch's cache, or the published one.

Both metrics are defined by their weights, so every report holds the hash of the file that was used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from gfla_cli import __version__
from gfla_cli.bundles.files import sha256_of
from gfla_cli.errors import BundleError
from gfla_cli.io.background import Say, silent
from gfla_cli.io.files import atomic_path

_PYTORCH = "https://download.pytorch.org/models"
_TIMEOUT_S = 15
_LARGEST = 1 << 30  # bytes
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
NETWORKS = {"inception": INCEPTION, "alexnet": ALEXNET, "vgg16": VGG16}


def find_weights(known: KnownWeights, given: Path | None = None, *, say: Say = silent) -> Path:
    """The file that was given, else the one in torch's cache; when it is not there, it is downloaded to there.

    Raises BundleError when there is no such file, or when it cannot be downloaded; with HF_HUB_OFFLINE nothing is.
    """
    if given is not None:
        if not given.is_file():
            raise BundleError(f"{given}: no such file", hint=f"{known.option} takes {known.what}")
        return given
    folder, home = torch_cache(), Path.home()
    for name in known.names:
        if (folder / name).is_file():
            return folder / name
    from huggingface_hub import constants

    # With ~ for the home folder: the text goes into reports that other people read.
    shown = f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)
    by_hand = f"download {known.url} to {shown}, or name a file with {known.option}"
    if constants.HF_HUB_OFFLINE:
        raise BundleError(f"no {known.names[0]} in {shown}, and HF_HUB_OFFLINE is set", hint=by_hand)
    path = folder / known.names[0]
    try:
        _download(known, path, say)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        what = f"{path.name} cannot be downloaded from {urlsplit(known.url).hostname} ({reason})"
        raise BundleError(what, hint=by_hand) from error
    return path


def _download(known: KnownWeights, path: Path, say: Say) -> None:
    """Writes the published file, compared with the digits of its hash that its name ends with."""
    request = Request(known.url, headers={"User-Agent": f"gfla/{__version__}"})
    with urlopen(request, timeout=_TIMEOUT_S) as answer, atomic_path(path, overwrite=True) as temporary:
        size = int(answer.headers.get("Content-Length") or 0)
        say(f"downloading {known.what} ({size / 1e6:.0f} MB) from {urlsplit(known.url).hostname} to {path.parent}")
        with temporary.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
                if file.tell() > _LARGEST:
                    raise URLError("it is too large")
        if not sha256_of(temporary).startswith(path.stem.rsplit("-", 1)[-1]):
            raise URLError("it is not what its hash says")


def torch_cache() -> Path:
    """Where torch.hub keeps weights: TORCH_HOME/hub/checkpoints; imports no torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch") / "hub" / "checkpoints"
