"""A bundle: config.json and model.safetensors in one folder, read and written here and nowhere else.

config.json holds `format`, `version`, the model's description under `model`, the sha256 of the weights, and notes
for people (`license`, `trained`). Weights are safetensors, usually float16; networks compute in float32 or in what
the runtime chooses.
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

from gfla_cli.bundles.files import CONFIG, FORMAT, WEIGHTS, read_config
from gfla_cli.bundles.shelves import find_bundle
from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError
from gfla_cli.media.atomic import atomic_path
from gfla_cli.networks.build import build


@dataclass(frozen=True, slots=True)
class Bundle:
    """A ready-to-run model."""

    name: str
    folder: Path
    config: ModelConfig
    network: nn.Module  # eval mode, float32, on the CPU
    about: dict[str, Any]  # everything else in config.json: license, sha256, how it was trained


def load_bundle(name_or_path: str | Path) -> Bundle:
    """The bundle of a name on the shelf or of a folder; raises BundleError when it is unknown or damaged."""
    folder = find_bundle(name_or_path)
    config, about = read_config(folder)
    # On the meta device the network costs nothing; the file's tensors then become its parameters.
    with torch.device("meta"):
        network = build(config)
    state = _read_weights(folder / WEIGHTS, about.get("sha256"))
    _check_fit(folder, network, state)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return Bundle(folder.name, folder, config, network.eval().requires_grad_(False), about)


def save_bundle(
    folder: Path,
    config: ModelConfig,
    state: dict[str, Tensor],
    *,
    dtype: torch.dtype = torch.float16,
    card: str | None = None,
    **about: object,
) -> None:
    """Writes the weights, then the config that names their hash, then the card; each file appears complete."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
    content = save(tensors, metadata={"format": "pt"})  # not save_file: it makes files that only their owner can read
    with atomic_path(folder / WEIGHTS, overwrite=True) as temporary:
        temporary.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    description = {"format": FORMAT, "version": 1, "model": config.to_json(), "sha256": digest, **about}
    with atomic_path(folder / CONFIG, overwrite=True) as temporary:
        temporary.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    if card is not None:
        with atomic_path(folder / "README.md", overwrite=True) as temporary:
            temporary.write_text(card, encoding="utf-8")


def _read_weights(path: Path, digest: object) -> dict[str, Tensor]:
    if not path.is_file():
        raise BundleError(f"{path}: missing", hint="get the bundle again")
    if isinstance(digest, str) and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise BundleError(f"{path}: damaged, its sha256 is not the one in {CONFIG}", hint="get the bundle again")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"{path}: damaged ({error})", hint="get the bundle again") from error


def _check_fit(folder: Path, network: nn.Module, state: dict[str, Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        listed = ", ".join(wrong[:4]) + (", ..." if len(wrong) > 4 else "")
        raise BundleError(
            f"{folder}: {len(wrong)} tensors do not fit its {CONFIG}: {listed}", hint="get the bundle again"
        )
