"""Find bundles and the example images of gfla. Imports no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gfla_cli.bundles.files import GRAPH, read_config
from gfla_cli.bundles.hub import as_hub_name, cached_bundles, hub_bundle, is_hub_name
from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError

_LIKE_HUB = re.compile(r"(https://\S+/)?\w[\w.-]*/\w[\w.-]*", re.ASCII)
_PACKAGE = Path(__file__).resolve().parent.parent


def _beside(name: str) -> Path:
    """A folder that is inside the package in a wheel, and beside it in a checkout."""
    inside = _PACKAGE / f"_{name}"
    return inside if inside.is_dir() else _PACKAGE.parent / name


def shelves() -> list[Path]:
    """Folders of bundles: first the user's own (GFLA_MODELS), then that of gfla."""
    own = [Path(folder) for folder in os.environ.get("GFLA_MODELS", "").split(os.pathsep) if folder]
    return [*own, _beside("models")]


def graphs(folder: Path) -> list[Path]:
    """Graphs for ONNX Runtime that may fit the bundle in a folder: its own, then those of the bundles of gfla."""
    places = [folder, *sorted(_beside("models").glob("*/"))]
    return [place / GRAPH for place in places if (place / GRAPH).is_file()]


def assets() -> Path:
    """The folder of example images that the README's commands use."""
    return _beside("assets")


def bundle_names() -> list[str]:
    """The sorted names of all bundles in `shelves()`."""
    return sorted(
        {
            folder.name
            for shelf in shelves()
            if shelf.is_dir()
            for folder in shelf.iterdir()
            if (folder / "config.json").is_file()
        }
    )


def bundle_name(folder: Path) -> str:
    """A bundle's name: that of its folder, or of its repository in the hub's cache."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.rsplit("--", 1)[-1]
    return folder.name


def find_bundle(name_or_path: str | Path) -> Path:
    """The folder of a bundle, by name, by path, or of the hub: `hf:owner/name[@revision]`.

    The first of `shelves()` with that name counts. Raises BundleError that lists the known names, or says why the
    model cannot be downloaded.
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
    hub = f", or {as_hub_name(text)} for one of the hub" if _LIKE_HUB.fullmatch(text) else ""
    raise BundleError(what, hint=f"known models: {known}; or give the folder of a bundle{hub}")


@dataclass(frozen=True, slots=True)
class InstalledBundle:
    """A bundle in `shelves()` or in the hub's cache."""

    name: str  # for --model
    folder: Path
    config: ModelConfig
    licence: str
    bytes: int


def installed_bundles() -> list[InstalledBundle]:
    """All bundles with a readable config: those of `shelves()` by name, then those of the hub's cache.

    Reads no weights. Damaged bundles are left out; opening one by name gives the error.
    """
    found = [(name, find_bundle(name)) for name in bundle_names()]
    entries = []
    for name, folder in [*found, *((str(name), folder) for name, folder in cached_bundles())]:
        try:
            config, about = read_config(folder)
        except BundleError:
            continue
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        entries.append(InstalledBundle(name, folder, config, str(about.get("license", "")), size))
    return entries
