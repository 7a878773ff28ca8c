"""Files that somebody names: what is wrong with a path is said in one line before any decoder sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gfla_cli.errors import MediaError

CHECK_SPELLING = "check the spelling; a relative path starts at the current folder"


def require_path(path: Path) -> None:
    """Raises MediaError when there is nothing of that name."""
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:  # a name too long, no access to the folder; ValueError: a NUL byte
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{str(path)!r} cannot be read: {reason}", hint="check the path") from error
    if not exists:
        raise MediaError(f"{path}: no such file", hint=CHECK_SPELLING)


def require_file(path: Path, kind: Literal["picture", "video"]) -> None:
    """Raises MediaError for all that is no file with something in it; `kind` is what it should be."""
    require_path(path)
    if path.is_dir():
        raise MediaError(f"{path} is a folder, not a {kind}", hint="give one of the files in it")
    if not path.is_file():
        raise MediaError(f"{path} is a device or pipe, not a {kind}", hint=f"save the {kind} to a file first")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}", hint="check its owner and mode") from error
    if empty:
        raise MediaError(f"{path}: the file is empty (0 bytes)", hint="copy or download it again")
