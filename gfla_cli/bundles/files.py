"""The files of a bundle: their names, largest sizes and hashes, and reading them. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from gfla_cli.arrays import Float32Array
from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError, ConfigError

FORMAT = "gfla-bundle"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
GRAPH = "graph.onnx"  # how ONNX Runtime computes the network; without the weights
GRAPH_VERSION = 9  # grows when what graphs compute changes: older ones in bundles and in the cache are then not used
# Bytes. The largest network that a config may describe is smaller.
LARGEST = {CONFIG: 1 << 20, WEIGHTS: 4 << 30, CARD: 1 << 20, GRAPH: 64 << 20}
_AGAIN = "get the bundle again"


def read_config(folder: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """The network's configuration, and the other entries of config.json. Raises BundleError when it is invalid."""
    path = folder / CONFIG
    try:
        content = json.loads(_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not readable ({error})"[:200], hint=_AGAIN) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "model" not in content:
        raise BundleError(f"{path}: not a gfla bundle", hint=f'its "format" should be "{FORMAT}"')
    try:
        config = ModelConfig.from_json(content.pop("model"))
    except ConfigError as error:
        raise BundleError(f"{path}: {error}", hint=error.hint) from error
    return config, content


def read_card(folder: Path) -> str | None:
    """The model card, in Markdown; None when there is none."""
    path = folder / CARD
    return _bytes(path).decode("utf-8", errors="replace") if path.is_file() else None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal. Raises BundleError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})", hint="check its permissions") from error


def shapes_of(path: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a safetensors file, by name. Raises BundleError when it is damaged."""
    refuse_too_large(path)
    with _opened(path) as file:
        return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping


def read_arrays(path: Path) -> dict[str, Float32Array]:
    """The weights in float32, by name. Raises BundleError when the file is damaged."""
    with _opened(path) as file:
        return {name: np.ascontiguousarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file, for NumPy. What it raises in the block becomes a BundleError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            yield file
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise BundleError(f"{path}: damaged ({error})", hint=_AGAIN) from error


def check_digest(path: Path, digest: object) -> None:
    """Raises BundleError when the weights are missing, too large, or not those of the config's sha256."""
    refuse_too_large(path)
    if isinstance(digest, str) and sha256_of(path) != digest:
        raise BundleError(f"{path}: damaged, its sha256 is not the one in {CONFIG}", hint=_AGAIN)


def architecture_of(config: ModelConfig, shapes: dict[str, list[int]]) -> str:
    """What a graph depends on, as a hash: all but the values of the weights."""
    # Without defaults: a graph must not become useless because a later release has more settings.
    defaults = {field.name: field.default for field in fields(config)}
    settings = {name: value for name, value in config.to_json().items() if value != defaults[name]}
    described = json.dumps([GRAPH_VERSION, settings, shapes], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def refuse_too_large(path: Path) -> None:
    """Raises BundleError when a file of a bundle is missing or larger than `LARGEST` allows."""
    if not path.is_file():
        raise BundleError(f"{path}: missing", hint=_AGAIN)
    size, most = path.stat().st_size, LARGEST[path.name]
    if size > most:
        raise BundleError(f"{path}: {size / 1e6:.0f} MB are too much, {most / 1e6:.0f} are allowed", hint=_AGAIN)


def _bytes(path: Path) -> bytes:
    refuse_too_large(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: not readable ({error.strerror})", hint=_AGAIN) from error
