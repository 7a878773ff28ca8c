"""Read and write bundles: config.json and model.safetensors in one folder.

config.json holds `format`, `version`, the network's configuration under `model`, the sha256 of the weights, and notes
for people (`license`, `trained`). The weights are usually float16; networks compute in float32 or in autocast.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from gfla_cli.bundles.files import CARD, CONFIG, FORMAT, WEIGHTS, check_digest, read_config
from gfla_cli.bundles.shelf import bundle_name, find_bundle
from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError
from gfla_cli.io.files import atomic_path, make_folder, write_text
from gfla_cli.networks.build import build

FLOW_ONLY = "flow"  # value of `part` in config.json
_FLOW_MODULES = ("flow_estimator", "previous_flow", "reference_flow")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that is ready to run."""

    name: str
    folder: Path
    config: ModelConfig
    network: nn.Module  # eval mode, float32, on the CPU
    about: dict[str, Any]  # the other entries of config.json: license, sha256, trained, ...


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """The content of a bundle. Its tensors have the names and shapes of the configured network."""

    folder: Path
    config: ModelConfig
    state: dict[str, Tensor]  # in the number format of the file
    about: dict[str, Any]
    network: nn.Module  # on the meta device: shapes without values


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Loads a bundle, ready to run: by name, by folder, or of the hub (`hf:owner/name`).

    Raises BundleError when it is unknown, damaged, or holds only a flow estimator.
    """
    stored = read_bundle(name_or_path)
    if stored.about.get("part") == FLOW_ONLY:
        raise BundleError(
            f"{stored.folder}: only a flow estimator, no generator", hint="gfla train --flow starts from it"
        )
    network = stored.network
    network.load_state_dict({name: tensor.float() for name, tensor in stored.state.items()}, assign=True)
    name = bundle_name(stored.folder)
    return Bundle(name, stored.folder, stored.config, network.eval().requires_grad_(False), stored.about)


def read_bundle(name_or_path: str | Path) -> StoredBundle:
    """Reads and checks a bundle without making it ready to run; also one that holds only a flow estimator."""
    folder = find_bundle(name_or_path)
    config, about = read_config(folder)
    # On the meta device the network takes no memory; the file's tensors become its parameters.
    with torch.device("meta"):
        network = build(config)
    state = _read_weights(folder / WEIGHTS, about.get("sha256"))
    _check_fit(folder, network, state, flow_only=about.get("part") == FLOW_ONLY)
    return StoredBundle(folder, config, state, about, network)


def save_bundle(
    folder: Path,
    config: ModelConfig,
    state: dict[str, Tensor],
    *,
    dtype: torch.dtype = torch.float16,
    card: str | None = None,
    **about: object,
) -> None:
    """Writes the weights, the card, and last the config with the weights' hash, without which a folder is no bundle.

    `dtype` is that of the file, `about` are further entries of config.json. Raises MediaError when the disk cannot be
    written.
    """
    make_folder(folder)
    (folder / CONFIG).unlink(missing_ok=True)  # so that an interrupted replacement leaves no bundle
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
    content = save(tensors, metadata={"format": "pt"})  # `save_file` would make a file that only its owner can read
    with atomic_path(folder / WEIGHTS, overwrite=True) as temporary:
        temporary.write_bytes(content)
    if card is not None:
        write_text(folder / CARD, card)
    digest = hashlib.sha256(content).hexdigest()
    description = {"format": FORMAT, "version": 1, "model": config.to_json(), "sha256": digest, **about}
    write_text(folder / CONFIG, json.dumps(description, indent=2) + "\n")


def is_flow_tensor(name: str) -> bool:
    """Whether a tensor of our networks, by its name, belongs to a flow estimator."""
    return name.split(".")[0] in _FLOW_MODULES


def _read_weights(path: Path, digest: object) -> dict[str, Tensor]:
    check_digest(path, digest)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"{path}: damaged ({error})", hint="get the bundle again") from error


def _check_fit(folder: Path, network: nn.Module, state: dict[str, Tensor], *, flow_only: bool) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if flow_only:
        expected = {name: shape for name, shape in expected.items() if is_flow_tensor(name)}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        listed = ", ".join(wrong[:4]) + (", ..." if len(wrong) > 4 else "")
        raise BundleError(
            f"{folder}: {len(wrong)} tensors do not fit its {CONFIG}: {listed}", hint="get the bundle again"
        )
