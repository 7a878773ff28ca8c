"""Output files appear complete or not at all: write under a temporary name, then rename."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gfla_cli.errors import MediaError, UsageError

# errno -> (what happened, what to do); any other OSError is not about the place we write to.
_TROUBLE = {
    errno.ENOSPC: ("the disk is full", "free some space or choose another folder with --output"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another folder with --output"),
    errno.EACCES: ("no permission to write there", "choose another folder with --output"),
    errno.EPERM: ("no permission to write there", "choose another folder with --output"),
    errno.ENOENT: ("that folder takes no files", "choose another folder with --output"),  # /proc, or gone by now
    errno.EROFS: ("the disk is read-only", "choose another folder with --output"),
    errno.ENAMETOOLONG: ("the file name is too long", "choose a shorter one with --output"),
    errno.EFBIG: ("the file grew larger than this disk allows", "choose another folder with --output"),
}


@contextmanager
def atomic_path(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Lends an empty temporary file beside `path` (same suffix) and renames it to `path` when the block ends well.

    Whatever interrupts the block, Ctrl-C included, the temporary file is removed and `path` is as it was.
    Raises UsageError when `path` exists (unless `overwrite`) or its folder does not, MediaError when the disk refuses.
    """
    target = _checked_target(Path(path), overwrite=overwrite)
    # A short name of its own: a long stem plus a marker could pass the 255 bytes that file systems allow.
    temporary = target.with_name(f".gfla-{secrets.token_hex(6)}{target.suffix}")
    try:
        with disk_trouble_explained(path, temporary):
            # O_EXCL never follows a planted link; 0o666 leaves the permissions to the umask, unlike `tempfile`.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Lends a new folder beside `path` and renames it to `path` when the block ends well; else it is removed.

    Raises UsageError when `path` exists (an empty folder may) or its parent does not, MediaError when the disk refuses.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} exists already", hint="choose a new folder with --output")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist", hint=f"mkdir -p {path.parent}")
    temporary = path.absolute().with_name(f".gfla-{secrets.token_hex(6)}")
    try:
        with disk_trouble_explained(path, temporary):
            temporary.mkdir()
            yield temporary
            if path.exists():  # and is empty: only POSIX replaces it
                path.rmdir()
            temporary.replace(path.absolute())
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def make_folder(folder: Path, *, hint: str = "choose another --output") -> None:
    """Makes a folder for results and all above it, unless it is there. Raises MediaError, with the hint."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{folder} cannot be made: {error.strerror}", hint=hint) from error


def refuse_output(path: Path | str, *, overwrite: bool = False) -> None:
    """Raises what `atomic_path` would raise at once; to be called before long work whose result goes to `path`."""
    target = _checked_target(Path(path), overwrite=overwrite)
    if not os.access(target.parent, os.W_OK):
        what, hint = _TROUBLE[errno.EACCES]
        raise MediaError(f"{path} cannot be written: {what}", hint=hint)


def _checked_target(path: Path, *, overwrite: bool) -> Path:
    """`path` behind its symbolic links, after making sure that something may be written there."""
    try:
        target = Path(os.path.realpath(path))
        exists, is_file, is_folder = target.exists(), target.is_file(), target.is_dir()
    except OSError as error:
        what, hint = _TROUBLE.get(error.errno or 0, (error.strerror, "choose another name"))
        raise UsageError(f"{path} cannot be written: {what}", hint=hint) from error
    except ValueError as error:  # a NUL byte
        raise UsageError(f"{str(path)!r} cannot be written: {error}", hint="choose another name") from error
    if is_folder:
        raise UsageError(f"{path} is a folder, not a file", hint=f"add a file name, such as {path / 'result.png'}")
    if not target.parent.is_dir():
        raise UsageError(f"{path}: the folder {target.parent} does not exist", hint=f"mkdir -p {target.parent}")
    if exists and not is_file:
        # Renaming over /dev/null, as root, would replace the device by a file.
        raise UsageError(f"{path} is a device or pipe, not a file", hint="choose a file name with --output")
    if exists and not overwrite:
        raise UsageError(f"{path} exists already", hint="--overwrite replaces it, --output chooses another name")
    return target


@contextmanager
def disk_trouble_explained(path: Path | str, temporary: Path | None = None) -> Iterator[None]:
    """Turns OSErrors about the place we write to, `path` or `temporary`, into MediaError; lets all others through."""
    try:
        yield
    except OSError as error:
        about_another_file = error.filename is not None and Path(error.filename) != (temporary or Path(path))
        if error.errno not in _TROUBLE or about_another_file:
            raise
        what, hint = _TROUBLE[error.errno]
        raise MediaError(f"{path} cannot be written: {what}", hint=hint) from error
