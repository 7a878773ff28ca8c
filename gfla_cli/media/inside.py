"""Names out of tables and lists, which must not lead out of the folder that they are names in."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from gfla_cli.errors import DataError


def leads_out(name: str) -> bool:
    """Whether a name is absolute or climbs up, on this system or another; looks at no file."""
    spelled = PurePosixPath(name), PureWindowsPath(name)
    return "\0" in name or any(path.drive or path.root or ".." in path.parts for path in spelled)


def inside(folder: Path, name: str) -> Path:
    """A file of the folder; raises DataError for names that lead out of it, by themselves or over a link."""
    path = folder / name if not leads_out(name) else None
    if path is None or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise DataError(f"{name}: leads out of {folder}", hint="names are those of files in that folder")
    return path
