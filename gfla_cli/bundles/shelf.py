"""Where bundles and the pictures that come with gfla are found. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gfla_cli.bundles.files import read_config
from gfla_cli.bundles.hub import cached_bundles, hub_bundle, is_hub_name
from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError

_PACKAGE = Path(__file__).resolve().parent.parent


def _beside(name: str) -> Path:
    """A folder that the wheel carries inside the package and a checkout has beside it."""
    inside = _PACKAGE / f"_{name}"
    return inside if inside.is_dir() else _PACKAGE.parent / name


def shelves() -> list[Path]:
    """Folders of bundles: the user's own (GFLA_MODELS) in front, then those that come with gfla."""
    own = [Path(folder) for folder in os.environ.get("GFLA_MODELS", "").split(os.pathsep) if folder]
    return [*own, _beside("models")]


def assets() -> Path:
    """The small pictures that the README's commands use."""
    return _beside("assets")


def bundle_names() -> list[str]:
    """Names of all bundles on the shelves; the first shelf that has a name wins."""
    found = {
        folder.name: folder
        for shelf in reversed(shelves())
        if shelf.is_dir()
        for folder in sorted(shelf.iterdir())
        if (folder / "config.json").is_file()
    }
    return sorted(found)


def bundle_name(folder: Path) -> str:
    """What to call a bundle: as its folder is called, or its repository in the cache of the hub."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.rsplit("--", 1)[-1]
    return folder.name


def find_bundle(name_or_path: str | Path) -> Path:
    """The folder of a bundle, by name on a shelf, by path, or of the hub: `hf:owner/name[@revision]`.

    Raises BundleError that lists the known names, or says why the hub's model cannot be had.
    """
    text = str(name_or_path)
    if is_hub_name(text):
        return hub_bundle(text)
    if text not in ("", ".", "..") and "/" not in text and os.sep not in text:
        for shelf in shelves():
            if (shelf / text / "config.json").is_file():
                return shelf / text
    folder = Path(name_or_path)
    if (folder / "config.json").is_file():
        return folder
    known = ", ".join(bundle_names()) or "none"
    what = f"{text}: a folder without config.json" if folder.is_dir() else f"unknown model: {text}"
    raise BundleError(what, hint=f"known models: {known}; or give the folder of a bundle")


# What is on the shelves and in the cache of the hub, without loading any weights.


@dataclass(frozen=True, slots=True)
class ShelfEntry:
    """One bundle at hand."""

    name: str  # as --model takes it
    folder: Path
    config: ModelConfig
    licence: str
    bytes: int


def shelf_entries() -> list[ShelfEntry]:
    """All readable bundles, of the shelves by name, then of the hub's cache.

    A damaged one is left out here and named when somebody asks for it.
    """
    found = [(name, find_bundle(name)) for name in bundle_names()]
    entries = []
    for name, folder in [*found, *((str(name), folder) for name, folder in cached_bundles())]:
        try:
            config, about = read_config(folder)
        except BundleError:
            continue
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        entries.append(ShelfEntry(name, folder, config, str(about.get("license", "")), size))
    return entries
