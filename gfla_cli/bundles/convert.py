"""PyTorch files of strangers, from and to disk: tensors by name, never code."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gfla_cli.bundles.authors import (
    aliases,
    is_flow_name,
    names_from_authors,
    refuse_other_networks,
    with_flow_prefix,
)
from gfla_cli.bundles.bundle import FLOW_ONLY, is_flow_tensor, read_bundle, save_bundle
from gfla_cli.config import ModelConfig, preset
from gfla_cli.errors import BundleError, UsageError
from gfla_cli.io.files import atomic_path
from gfla_cli.io.npz import read_npz
from gfla_cli.networks.build import build

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


# Weights of other people's networks, from whatever file they come in: .npz, .safetensors or a torch state dict.


def read_state(path: Path, what: str) -> dict[str, Tensor]:
    """Name -> tensor on the CPU; `what` says in errors whose weights were expected.

    Nothing but tensors is ever unpickled. Raises BundleError for a missing file and for one that holds no state dict.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file", hint=f"give {what} (.npz, .safetensors or .pth)")
    try:
        return _read(path)
    except BundleError:
        raise
    except Exception as error:  # of the formats, damaged files raise any type
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BundleError(f"{path}: not readable as {what} ({reason})", hint="copy or download it again") from error


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".npz":
        return {name: torch.from_numpy(array.astype(np.float32)) for name, array in read_npz(path).items()}
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return read_tensors(path)


# From a released checkpoint (`latest_net_G.pth`) to a bundle, and back to one.


AUTHORS_LICENCE = "CC BY-NC 4.0"
_LISTED = 6  # names in an error message before it says "and N more"
_CARD = """---
license: cc-by-nc-4.0
---
# {name}

Imported from `{file}`, a checkpoint in the layout of the models released by the authors of "Deep Image Spatial
Transformation for Person Image Generation" (Ren et al., CVPR 2020), with the preset `{preset}`.{part}

The released weights are licensed CC BY-NC 4.0: attribution is required, commercial use is not allowed.
"""
_FLOW_PART = """

It holds the flow estimator alone, from the first stage of their training: `gfla train --flow` starts from it, pictures
need the whole generator."""


def import_checkpoint(checkpoint: Path, preset_name: str, folder: Path, *, overwrite: bool = False) -> Path:
    """Writes the bundle and returns its folder. A file with a flow estimator alone becomes a bundle that says so.

    Reads tensors only, never code. Raises BundleError with a list when names or shapes do not fit the preset,
    UsageError when `folder` holds something already.
    """
    config = preset(preset_name)
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty", hint="--overwrite writes into it")
    released = _bare(read_tensors(checkpoint), str(checkpoint))
    flow = all(map(is_flow_name, released))
    state = translate(released, config, where=str(checkpoint))
    part = _FLOW_PART if flow else ""
    card = _CARD.format(name=folder.name, file=checkpoint.name, preset=preset_name, part=part)
    about = {"license": AUTHORS_LICENCE} | ({"part": FLOW_ONLY} if flow else {})
    save_bundle(folder, config, state, dtype=torch.float32, card=card, **about)
    return folder


def export_checkpoint(model: str | Path, output: Path, *, flow_only: bool = False, overwrite: bool = False) -> int:
    """Writes a bundle's weights in the authors' layout; returns how many tensors there are.

    Imported again they are the same to the last bit. Raises UsageError when the authors' code has no such network or
    `output` cannot be written there, BundleError when the bundle is unknown or damaged.
    """
    stored = read_bundle(model)
    refuse_other_networks(stored.config)
    state = to_authors(stored.state, stored.config)
    if flow_only:
        state = {name: tensor for name, tensor in state.items() if is_flow_name(name)}
    write_tensors(output, state, overwrite=overwrite)
    return len(state)


def translate(released: dict[str, Tensor], config: ModelConfig, *, where: str = "the checkpoint") -> dict[str, Tensor]:
    """Released tensors under our names; raises BundleError that lists what is missing, unknown or of another shape."""
    released = _bare(released, where)
    doubled, names = aliases(config), names_from_authors(config)
    ours = {names[name]: tensor for name, tensor in released.items() if name in names}
    theirs = {ours_name: their_name for their_name, ours_name in names.items()}
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}
    if all(map(is_flow_name, released)):
        expected = {name: shape for name, shape in expected.items() if is_flow_tensor(name)}
    # Our own presets have parts that no released model has, and so no name for.
    missing = [theirs.get(name, name) for name in expected if name not in ours]
    unknown = [name for name in released if name not in doubled and names.get(name) not in expected]
    misshapen = [
        f"{theirs[name]} {tuple(ours[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in ours and tuple(ours[name].shape) != shape
    ]
    problems = [
        f"{len(found)} {what}: {_list(found)}"
        for what, found in (("missing", missing), ("unknown", unknown), ("of another shape", misshapen))
        if found
    ]
    if problems:
        raise BundleError(
            f"{where} does not fit the preset: " + "; ".join(problems), hint="try another --preset, if its name fits"
        )
    return {name: ours[name].float() for name in expected}


def to_authors(state: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our tensors under the released names, float32, those that they store twice twice; undoes `translate`."""
    released = {}
    for theirs, ours in names_from_authors(config).items():
        if ours in state:
            released[theirs] = state[ours].float().contiguous()
    for double, original in aliases(config).items():
        if original in released:
            released[double] = released[original]
    return released


def _bare(released: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The same without DataParallel's `module.`, and with the prefix that an estimator saved by itself lacks."""
    bare = {name.removeprefix("module."): tensor for name, tensor in released.items()}
    if len(bare) != len(released):
        raise BundleError(f"{where} holds tensors with and without the prefix module.", hint="which ones are meant?")
    if all(name.startswith(("block0.", "encoder", "decoder", "jump", "output", "mask", "cat.")) for name in bare):
        return {with_flow_prefix(name): tensor for name, tensor in bare.items()}
    return bare


def _list(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
