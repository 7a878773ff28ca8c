"""Read other people's weights, and convert the authors' checkpoints (`latest_net_G.pth`) to bundles and back.

Files hold tensors by name; code in them is never run. A released generator is a state dict of a few networks built
from repeated blocks: `_MODULES` names the networks and their blocks, `_LAYERS` the layers of each kind of block.
"""

from __future__ import annotations

import zipfile
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from gfla_cli.arrays import read_npz
from gfla_cli.bundles.bundle import FLOW_ONLY, is_flow_tensor, read_bundle, save_bundle
from gfla_cli.config import ModelConfig, preset
from gfla_cli.errors import BundleError, UsageError
from gfla_cli.io.background import python_warnings_silenced
from gfla_cli.io.files import atomic_path
from gfla_cli.networks.build import build

_LARGEST = 4 << 30  # bytes
_HINT = "a state dict saved with torch.save; files that hold code are refused"
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
# Settings that do not change the network: how an image becomes a frame.
_FRAMING = ("image_size", "heatmap_sigma", "frame_aspect")
_PRESETS = ("pose-fashion", "pose-market", "face", "body", "view-chair")
_FLOW = "flow_net"  # prefix of the flow estimators' names

# kind of block -> our name of a layer -> its released name
_LAYERS: dict[str, dict[str, str]] = {
    "encoder": {"norm1": "model.0", "down": "model.2", "norm2": "model.3", "conv": "model.5"},
    "residual": {
        "norm1": "model.0",
        "conv1": "model.2",
        "norm2": "model.3",
        "conv2": "model.5",
        "shortcut": "shortcut.0",
    },
    "decoder": {"norm1": "model.0", "conv": "model.2", "norm2": "model.3", "up": "model.5", "shortcut": "shortcut.0"},
    "attention": {"hidden": "fully_connect_layer.0", "score": "fully_connect_layer.2"},
    "padded": {"conv": "model.2"},  # skip and output blocks, which store this tensor twice, also as `conv1`
    "plain": {"": ""},
}


class _Module(NamedTuple):
    """A block of a network: its name here and in a released file, and its kind in `_LAYERS`."""

    ours: str
    theirs: str
    kind: str


def _encoder_modules(ours: str, theirs: str, depth: int) -> list[_Module]:
    names = ["block0", *(f"encoder{i}" for i in range(depth - 1))]
    return [_Module(f"{ours}.down.{i}", f"{theirs}.{name}", "encoder") for i, name in enumerate(names)]


def _flow_modules(ours: str, theirs: str) -> list[_Module]:
    modules = _encoder_modules(ours, theirs, 5)
    for i, stride in enumerate((16, 8, 4)):
        modules.append(_Module(f"{ours}.up.{stride}", f"{theirs}.decoder{i}", "decoder"))
        modules.append(_Module(f"{ours}.skip.{stride}", f"{theirs}.jump{i}", "padded"))
    for i, stride in ((1, 8), (2, 4)):
        modules.append(_Module(f"{ours}.offset_head.{stride}", f"{theirs}.output{i}", "plain"))
        modules.append(_Module(f"{ours}.mask_head.{stride}", f"{theirs}.mask{i}.0", "plain"))
    return modules


def _decoder_modules(attention: tuple[str, ...]) -> list[_Module]:
    modules = [_Module("decoder.to_image", "target.outconv", "padded")]
    for i, stride in enumerate((8, 4, 2)):
        modules.append(_Module(f"decoder.levels.{stride}.residual", f"target.decoder{i}.0.model.0", "residual"))
        modules.append(_Module(f"decoder.levels.{stride}.up", f"target.decoder{i}.1", "decoder"))
        for k, name in enumerate(attention):
            modules.append(_Module(f"decoder.levels.{stride}.samplers.{k}", f"target.{name}{i}", "attention"))
    return modules


_POSE = [
    *_encoder_modules("source_encoder", "source", 3),
    *_encoder_modules("target_encoder", "target", 3),
    *_decoder_modules(("attn",)),
    *_flow_modules("flow_estimator", "flow_net"),
]
_SEQUENCE = [
    *_encoder_modules("previous_encoder", "source_previous", 3),
    *_encoder_modules("reference_encoder", "source_reference", 3),
    *_encoder_modules("target_encoder", "target", 3),
    *_decoder_modules(("attn_p", "attn_r")),
]
_MODULES: dict[str, list[_Module]] = {
    "pose": _POSE,
    "face": [*_SEQUENCE, *_flow_modules("flow_estimator", "flow_net")],
    "body": [
        *_SEQUENCE,
        *_flow_modules("previous_flow", "flow_net_previous"),
        *_flow_modules("reference_flow", "flow_net_reference"),
    ],
    "view": [
        *_encoder_modules("source_encoder", "source", 3),
        _Module("code_up.0", "target.block0", "decoder"),
        _Module("code_up.1", "target.block1", "decoder"),
        *_decoder_modules(("attn",)),
        *_flow_modules("flow_estimator", "flow_net"),
        _Module("flow_estimator.bottleneck", "flow_net.cat.model.0", "residual"),
    ],
}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, on the CPU. Raises BundleError for any other file.

    The shapes are those that the file claims: compare them with the expected ones before copying any tensor.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file", hint="check the spelling")
    _refuse_bomb(path)
    try:
        with python_warnings_silenced:  # about unusual pickles
            content = torch.load(path, map_location="cpu", weights_only=True)
    # Damaged files raise errors of torch's C++ code, pickle, zipfile and struct: no list is complete.
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{path}: not a checkpoint of plain tensors ({first[:120]})", hint=_HINT) from error
    items = content.items() if isinstance(content, dict) else ()
    if not items or not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in items):
        raise BundleError(f"{path}: not a state dict", hint="names with tensors, as in latest_net_G.pth")
    for name, tensor in items:
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.dtype.is_floating_point:
            raise BundleError(f"{path}: {name:.80} is not a plain tensor of numbers", hint=_HINT)
    return dict(items)


def _refuse_bomb(path: Path) -> None:
    """Raises BundleError when an archive is compressed, which torch.save never does, or too large."""
    size = path.stat().st_size
    if size > _LARGEST:
        raise BundleError(f"{path}: {size / 1e9:.1f} GB is too large for a checkpoint", hint=_HINT)
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{path}: a damaged archive ({error})"[:200], hint=_HINT) from error
    if unpacked > size:
        raise BundleError(f"{path}: unpacks to {unpacked / 1e6:.0f} MB, more than it holds", hint=_HINT)


def read_state(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of an .npz, .safetensors or torch file, by name, on the CPU. `what` names the weights in errors.

    Only tensors are unpickled. Raises BundleError when the file is missing or holds no state dict.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file", hint=f"give {what} (.npz, .safetensors or .pth)")
    try:
        if path.suffix == ".npz":
            return {name: torch.from_numpy(array.astype(np.float32)) for name, array in read_npz(path).items()}
        return load_file(path) if path.suffix == ".safetensors" else read_tensors(path)
    except BundleError:
        raise
    except Exception as error:  # damaged files raise any type
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BundleError(f"{path}: not readable as {what} ({reason})", hint="copy or download it again") from error


def import_checkpoint(checkpoint: Path, preset_name: str, folder: Path, *, overwrite: bool = False) -> Path:
    """Converts a checkpoint of the authors to a bundle and returns its folder.

    A file with only a flow estimator becomes a bundle with that part. Raises BundleError with a list when names or
    shapes do not fit the preset, UsageError when `folder` is not empty.
    """
    config = preset(preset_name)
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty", hint="--overwrite writes into it")
    released = _bare(read_tensors(checkpoint), str(checkpoint))
    flow = all(map(_is_flow_name, released))
    state = translate(released, config, where=str(checkpoint))
    part = _FLOW_PART if flow else ""
    card = _CARD.format(name=folder.name, file=checkpoint.name, preset=preset_name, part=part)
    about = {"license": AUTHORS_LICENCE} | ({"part": FLOW_ONLY} if flow else {})
    save_bundle(folder, config, state, dtype=torch.float32, card=card, **about)
    return folder


def export_checkpoint(model: str | Path, output: Path, *, flow_only: bool = False, overwrite: bool = False) -> int:
    """Writes a bundle's weights in the authors' layout; returns the number of tensors.

    Importing the file gives exactly the same weights. Raises UsageError when the authors' code has no such network or
    `output` is not allowed, BundleError when the bundle is unknown or damaged.
    """
    stored = read_bundle(model)
    _refuse_other_networks(stored.config)
    state = to_authors(stored.state, stored.config)
    if flow_only:
        state = {name: tensor for name, tensor in state.items() if _is_flow_name(name)}
    with atomic_path(output, overwrite=overwrite) as temporary:
        # The format of torch before 1.6, which all versions read; the authors used 1.0.
        torch.save(state, temporary, _use_new_zipfile_serialization=False)
    return len(state)


def translate(released: dict[str, Tensor], config: ModelConfig, *, where: str = "the checkpoint") -> dict[str, Tensor]:
    """Released tensors under our names. Raises BundleError with a list of missing, unknown and misshapen ones."""
    released = _bare(released, where)
    doubled, names = aliases(config), names_from_authors(config)
    ours = {names[name]: tensor for name, tensor in released.items() if name in names}
    theirs = {ours_name: their_name for their_name, ours_name in names.items()}
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}
    if all(map(_is_flow_name, released)):
        expected = {name: shape for name, shape in expected.items() if is_flow_tensor(name)}
    # Presets of our own have parts that no released model has; they are named as here.
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
    """Our tensors under the released names, in float32, with their duplicates: the inverse of `translate`."""
    released = {}
    for theirs, ours in names_from_authors(config).items():
        if ours in state:
            released[theirs] = state[ours].float().contiguous()
    for double, original in aliases(config).items():
        if original in released:
            released[double] = released[original]
    return released


def _bare(released: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The names without DataParallel's `module.`, and with the prefix that a flow estimator saved alone lacks."""
    bare = {name.removeprefix("module."): tensor for name, tensor in released.items()}
    if len(bare) != len(released):
        raise BundleError(
            f"{where} holds tensors with and without the prefix module.", hint="save it without the prefix"
        )
    if all(name.startswith(("block0.", "encoder", "decoder", "jump", "output", "mask", "cat.")) for name in bare):
        return {f"{_FLOW}.{name}": tensor for name, tensor in bare.items()}
    return bare


def _list(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _refuse_other_networks(config: ModelConfig) -> None:
    """Raises UsageError unless the authors' code has this network. Its tensors alone would not tell."""
    differing: list[list[str]] = []
    for name in _PRESETS:
        theirs = preset(name)
        if theirs.task == config.task:
            settings = [field.name for field in fields(config) if field.name not in _FRAMING]
            differing.append([one for one in settings if getattr(theirs, one) != getattr(config, one)])
    if all(differing):
        fewest = min(differing, key=lambda settings: len(settings))
        what = f"the authors' code has no such network: it differs in {', '.join(fewest)}"
        raise UsageError(what, hint=f"models with the presets {', '.join(_PRESETS)} can be exported")


def _is_flow_name(name: str) -> bool:
    """Whether a released tensor belongs to a flow estimator."""
    return name.startswith(_FLOW)


def names_from_authors(config: ModelConfig) -> dict[str, str]:
    """Their tensor name -> ours, for all tensors of the task; a model uses those of its levels."""
    table = {}
    for module in _MODULES[config.task]:
        for ours, theirs in _LAYERS[module.kind].items():
            for leaf in ("weight", "bias"):
                key = ".".join(part for part in (module.theirs, theirs, leaf) if part)
                table[key] = ".".join(part for part in (module.ours, ours, leaf) if part)
    return table


def aliases(config: ModelConfig) -> dict[str, str]:
    """Second name of a tensor in a released file -> the name that is used."""
    return {
        f"{module.theirs}.conv1.{leaf}": f"{module.theirs}.model.2.{leaf}"
        for module in _MODULES[config.task]
        if module.kind == "padded"
        for leaf in ("weight", "bias")
    }
