"""What is on the shelves, without loading any weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gfla_cli.bundles.shelves import bundle_names, find_bundle
from gfla_cli.config import ModelConfig
from gfla_cli.errors import GflaError


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
            content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            config = ModelConfig.from_json(content["model"])
        except (OSError, ValueError, KeyError, GflaError):
            continue
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        entries.append(ShelfEntry(name, folder, config, str(content.get("license", "")), size))
    return entries
