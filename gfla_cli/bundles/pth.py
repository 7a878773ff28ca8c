"""PyTorch files of strangers, from and to disk: tensors by name, never code."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from gfla_cli.errors import BundleError
from gfla_cli.media.atomic import atomic_path

_LARGEST = 4 << 30  # bytes
_HINT = "a state dict saved with torch.save; files that hold code are refused"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, on the CPU. Raises BundleError for everything else.

    Their shapes are what the file claims: compare them with what is expected before copying any.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file", hint="check the spelling")
    _refuse_bomb(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles, on stderr
            content = torch.load(path, map_location="cpu", weights_only=True)
    # For damaged files torch raises what its C++, pickle, zipfile and struct raise: no list is safe.
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{path}: not a checkpoint of plain tensors ({first[:120]})", hint=_HINT) from error
    if not isinstance(content, dict) or not content:
        raise BundleError(f"{path}: not a state dict", hint="names with tensors, as in latest_net_G.pth")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise BundleError(f"{path}: not a state dict", hint="names with tensors, as in latest_net_G.pth")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.dtype.is_floating_point:
            raise BundleError(f"{path}: {name:.80} is no plain tensor of numbers", hint=_HINT)
    return content


def write_tensors(path: Path, state: dict[str, Tensor], *, overwrite: bool = False) -> None:
    """Writes a state dict in the format of torch before 1.6, which every version reads, the authors' 1.0 too.

    Raises UsageError and MediaError when `path` cannot be written.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        torch.save(state, temporary, _use_new_zipfile_serialization=False)


def _refuse_bomb(path: Path) -> None:
    """Raises BundleError for an archive that unpacks to more than there is: torch.save compresses nothing."""
    size = path.stat().st_size
    if size > _LARGEST:
        raise BundleError(f"{path}: {size / 1e9:.1f} GB are too much for a checkpoint", hint=_HINT)
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{path}: a damaged archive ({error})"[:200], hint=_HINT) from error
    if unpacked > size:
        raise BundleError(f"{path}: unpacks to {unpacked / 1e6:.0f} MB, more than it holds", hint=_HINT)
