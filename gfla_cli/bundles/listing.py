"""What is on the shelves and in the cache of the hub, without loading any weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gfla_cli.bundles.files import read_config
from gfla_cli.bundles.hub import cached_bundles
from gfla_cli.bundles.shelves import bundle_names, find_bundle
from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError


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
