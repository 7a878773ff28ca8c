"""Whether files lie in a folder; names out of tables and lists must not lead out of the one that they belong to."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from gfla_cli.errors import DataError


def leads_out(name: str) -> bool:
    """Whether a name is absolute or climbs up, on this system or another; looks at no file."""
    spelled = PurePosixPath(name), PureWindowsPath(name)
    return "\0" in name or any(path.drive or path.root or ".." in path.parts for path in spelled)


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path, followed over all links, is in a folder or is that folder."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def inside(folder: Path, name: str) -> Path:
    """A file of the folder; raises DataError for names that lead out of it, by themselves or over a link."""
    path = folder / name if not leads_out(name) else None
    if path is None or not is_inside(folder, path):
        raise DataError(f"{name}: leads out of {folder}", hint="names are those of files in that folder")
    return path
