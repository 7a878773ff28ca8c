"""From a released checkpoint (`latest_net_G.pth`) to a bundle."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from gfla_cli.bundles.authors import aliases, names_from_authors
from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.config import ModelConfig, preset
from gfla_cli.errors import BundleError, UsageError
from gfla_cli.networks.build import build

AUTHORS_LICENCE = "CC BY-NC 4.0"
_LISTED = 6  # names in an error message before it says "and N more"
_CARD = """---
license: cc-by-nc-4.0
---
# {name}

Imported from `{file}`, a checkpoint in the layout of the models released by the authors of "Deep Image Spatial
Transformation for Person Image Generation" (Ren et al., CVPR 2020), with the preset `{preset}`.

The released weights are licensed CC BY-NC 4.0: attribution is required, commercial use is not allowed.
"""


def import_checkpoint(checkpoint: Path, preset_name: str, folder: Path, *, overwrite: bool = False) -> Path:
    """Writes the bundle and returns its folder.

    Reads tensors only, never code. Raises BundleError with a list when names or shapes do not fit the preset,
    UsageError when `folder` holds something already.
    """
    config = preset(preset_name)
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty", hint="--overwrite writes into it")
    state = translate(_read(checkpoint), config, where=str(checkpoint))
    card = _CARD.format(name=folder.name, file=checkpoint.name, preset=preset_name)
    save_bundle(folder, config, state, dtype=torch.float32, card=card, license=AUTHORS_LICENCE)
    return folder


def translate(released: dict[str, Tensor], config: ModelConfig, *, where: str = "the checkpoint") -> dict[str, Tensor]:
    """Released tensors under our names; raises BundleError that lists what is missing, unknown or of another shape."""
    released = {name.removeprefix("module."): tensor for name, tensor in released.items()}
    doubled, names = aliases(config), names_from_authors(config)
    ours = {names.get(name, name): tensor for name, tensor in released.items() if name not in doubled}
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}
    theirs = {ours_name: their_name for their_name, ours_name in names.items()}
    # Our own presets have parts that no released model has, and so no name for.
    missing = [theirs.get(name, name) for name in expected if name not in ours]
    unknown = [theirs.get(name, name) for name in ours if name not in expected]
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


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(
            f"{path}: not a checkpoint of plain tensors ({first[:120]})",
            hint="a state dict saved with torch.save; files that hold code are refused",
        ) from error
    if not isinstance(content, dict) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise BundleError(f"{path}: not a state dict", hint="names with tensors, as in latest_net_G.pth")
    return content


def _list(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
