"""What is on the shelves, without loading any weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gfla_cli.bundles.files import read_config
from gfla_cli.bundles.shelves import bundle_names, find_bundle
from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError


@dataclass(frozen=True, slots=True)
class ShelfEntry:
    """One bundle on a shelf."""

    name: str
    folder: Path
    config: ModelConfig
    licence: str
    bytes: int


def shelf_entries() -> list[ShelfEntry]:
    """All readable bundles by name; a damaged one is left out here and named when somebody asks for it."""
    entries = []
    for name in bundle_names():
        folder = find_bundle(name)
        try:
            config, about = read_config(folder)
        except BundleError:
            continue
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        entries.append(ShelfEntry(name, folder, config, str(about.get("license", "")), size))
    return entries
