"""The files of a bundle: their names, largest sizes and hashes, and reading config.json. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError, ConfigError

FORMAT = "gfla-bundle"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
# Bytes. The largest network that a config may describe is smaller.
LARGEST = {CONFIG: 1 << 20, WEIGHTS: 4 << 30, CARD: 1 << 20}
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
