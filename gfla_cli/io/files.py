"""File names and paths: distinct names, safe paths, atomic writing, a lock, and checks of paths that users give."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal, TypeVar

from gfla_cli.errors import DataError, MediaError, UsageError

LONGEST = 200  # bytes; file systems allow 255, and endings such as _overlay.png are added
CHECK_SPELLING = "check the spelling; a relative path starts at the current folder"
_LOCK = ".gfla-lock"
# errno -> (what happened, what to do), for errors of the place that is written to
_DISK_ERRORS = {
    errno.ENOSPC: ("the disk is full", "free some space or choose another folder with --output"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another folder with --output"),
    errno.EACCES: ("no permission to write there", "choose another folder with --output"),
    errno.EPERM: ("no permission to write there", "choose another folder with --output"),
    errno.ENOENT: ("that folder takes no files", "choose another folder with --output"),  # /proc, or it was removed
    errno.EROFS: ("the disk is read-only", "choose another folder with --output"),
    errno.ENAMETOOLONG: ("the file name is too long", "choose a shorter one with --output"),
    errno.EFBIG: ("the file grew larger than this disk allows", "choose another folder with --output"),
}
_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_Key = TypeVar("_Key")


def names_of_results(sources: Iterable[Path]) -> dict[Path, str]:
    """The name of each file's result: its stem, or its whole name if another stem is equal (walk.jpg, walk.mp4)."""
    paths = list(sources)
    return distinct_names({path: path.stem for path in paths}, {path: path.name for path in paths})


def distinct_names(wanted: Mapping[_Key, str], longer: Mapping[_Key, str]) -> dict[_Key, str]:
    """The wanted names. Where several would be the same file, all of them get their longer name instead."""
    names = dict(wanted)
    while True:
        count = Counter(os.path.normcase(name) for name in names.values())
        shared = [key for key, name in names.items() if count[os.path.normcase(name)] > 1 and name != longer[key]]
        if not shared:
            return {key: with_digest(name, name) if is_too_long(name) else name for key, name in names.items()}
        names |= {key: longer[key] for key in shared}


def is_too_long(name: str) -> bool:
    """Whether a name has more than LONGEST bytes."""
    return len(_bytes(name)) > LONGEST


def with_digest(name: str, whole: str) -> str:
    """The name, cut to the longest allowed, with eight digits of the hash of `whole`."""
    digest = hashlib.sha256(_bytes(whole)).hexdigest()[:8]
    return f"{_bytes(name)[: LONGEST - 9].decode(errors='ignore')}-{digest}"


def _bytes(name: str) -> bytes:
    """The name as UTF-8. File names may hold lone surrogates, which stand for bytes that are no text."""
    return name.encode(errors="surrogatepass")


def leads_out(name: str) -> bool:
    """Whether a name is absolute or holds "..", by the rules of POSIX or Windows. Reads no file."""
    spelled = PurePosixPath(name), PureWindowsPath(name)
    return "\0" in name or any(path.drive or path.root or ".." in path.parts for path in spelled)


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path, with all links resolved, is in a folder or is that folder."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def path_inside(folder: Path, name: str) -> Path:
    """The path of a file in the folder. Raises DataError if its name, or a link, leads out of the folder."""
    path = folder / name if not leads_out(name) else None
    if path is None or not is_inside(folder, path):
        raise DataError(f"{name}: leads out of {folder}", hint="use names of files inside that folder")
    return path


@contextmanager
def atomic_path(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives an empty temporary file beside `path`, with its suffix, and renames it to `path` after the block.

    Missing folders are made. If the block raises, Ctrl-C included, they and the temporary file are removed and `path`
    stays as it was. Raises UsageError when `path` exists (unless `overwrite`), MediaError when the disk cannot be
    written.
    """
    target = _checked_target(Path(path), overwrite=overwrite)
    made = [folder for folder in target.parents if not folder.exists()]  # the innermost first
    # Without the stem: a long one with a marker could exceed the 255 bytes that file systems allow.
    temporary = target.with_name(f".gfla-{secrets.token_hex(6)}{target.suffix}")
    try:
        with disk_errors_explained(path, temporary):
            if made:
                make_folder(target.parent)
            # O_EXCL follows no links. Unlike `tempfile`, 0o666 leaves the permissions to the umask.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        with suppress(OSError):  # another file may have come into a folder
            for folder in made:
                folder.rmdir()
        raise


def write_text(path: Path | str, text: str, *, overwrite: bool = True) -> None:
    """Writes a UTF-8 file that appears complete or not at all, see `atomic_path`."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_csv(path: Path, rows: Iterable[Iterable[object]], *, lineterminator: str = "\r\n") -> None:
    """Replaces a CSV file as a whole. Names that hold bytes that are no text show them as \\udcff."""
    with (
        atomic_path(path, overwrite=True) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        csv.writer(file, lineterminator=lineterminator).writerows(rows)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives a new folder beside `path` and renames it to `path` after the block. If the block raises, it is removed.

    Raises UsageError when `path` exists (unless it is an empty folder) or its parent does not, MediaError when the
    disk cannot be written.
    """
    if status_of(path) is not None and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} exists already", hint="choose a new folder with --output")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist", hint=f"mkdir -p {path.parent}")
    temporary = path.absolute().with_name(f".gfla-{secrets.token_hex(6)}")
    try:
        with disk_errors_explained(path, temporary):
            temporary.mkdir()
            yield temporary
            if path.exists():  # an empty folder: only POSIX replaces it
                path.rmdir()
            temporary.replace(path.absolute())
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def make_folder(folder: Path, *, hint: str = "choose another --output") -> None:
    """Makes a folder and its parents unless they exist. Raises MediaError with the hint."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{folder} cannot be made: {error.strerror}", hint=hint) from error


def cache_folder() -> Path:
    """The folder for files that can be made again: GFLA_CACHE, or the user's cache folder."""
    if own := os.environ.get("GFLA_CACHE"):
        return Path(own)
    from platformdirs import user_cache_path

    return user_cache_path("gfla")


class InputFiles:
    """The files that a command reads. None of them may be replaced by a result, under whatever name or link."""

    def __init__(self, paths: Iterable[Path | str]) -> None:
        """Paths of files. Names of files that do not exist, such as names of models, are ignored."""
        self._known = {_file_id(path) for path in set(paths)} - {None}

    def refuse(self, output: Path | str) -> None:
        """Raises UsageError when `output` is one of the files."""
        if self._known and _file_id(output) in self._known:
            raise UsageError(f"{output} is an input, too", hint="choose another name for the output")


def _file_id(path: Path | str) -> tuple[int, int] | None:
    """What all names and links of a file have in common; None when there is no file of that name."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat, for lists of many files
    except (OSError, ValueError):  # ValueError: a NUL byte
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def refuse_output(path: Path | str, *, overwrite: bool = False, inputs: Iterable[Path | str] = ()) -> None:
    """Raises the errors that `atomic_path` raises at once, and UsageError when `path` is one of the `inputs`.

    Call it before long work whose result goes to `path`.
    """
    InputFiles(inputs).refuse(path)
    target = _checked_target(Path(path), overwrite=overwrite)
    if not os.access(_nearest_folder(target), os.W_OK):
        what, hint = _DISK_ERRORS[errno.EACCES]
        raise MediaError(f"{path} cannot be written: {what}", hint=hint)


def _checked_target(path: Path, *, overwrite: bool) -> Path:
    """`path` with its links resolved. Raises UsageError when no file may be written there."""
    try:
        target = Path(os.path.realpath(path))
        status = status_of(target)
    except OSError as error:
        what, hint = _DISK_ERRORS.get(error.errno or 0, (error.strerror, "choose another name"))
        raise UsageError(f"{path} cannot be written: {what}", hint=hint) from error
    except ValueError as error:  # a NUL byte
        raise UsageError(f"{str(path)!r} cannot be written: {error}", hint="choose another name") from error
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path} is a folder, not a file", hint=f"add a file name, such as {path / 'result.png'}")
    if not (nearest := _nearest_folder(target)).is_dir():
        raise UsageError(f"{path}: {nearest} is a file, not a folder", hint="choose another folder with --output")
    if status is not None and not stat.S_ISREG(status.st_mode):
        # As root, renaming onto /dev/null would replace the device.
        raise UsageError(f"{path} is a device or pipe, not a file", hint="choose a file name with --output")
    if status is not None and not overwrite:
        raise UsageError(f"{path} exists already", hint="--overwrite replaces it, --output chooses another name")
    return target


def _nearest_folder(path: Path) -> Path:
    """The folder of a path, or the first one above it that exists."""
    return next(folder for folder in path.parents if os.path.lexists(folder))


@contextmanager
def disk_errors_explained(path: Path | str, temporary: Path | None = None) -> Iterator[None]:
    """Turns OSErrors about `path`, or the `temporary` file in its place, into MediaError. Other errors pass."""
    try:
        yield
    except OSError as error:
        about_another_file = error.filename is not None and Path(error.filename) != (temporary or Path(path))
        if error.errno not in _DISK_ERRORS or about_another_file:
            raise
        what, hint = _DISK_ERRORS[error.errno]
        raise MediaError(f"{path} cannot be written: {what}", hint=hint) from error


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Holds `folder`, which is made if needed, so that no other run writes into it.

    The system frees the lock when the process ends, however it ends. The lock file stays; it means nothing by itself.
    Raises DataError when another process holds the folder or when it cannot be written.
    """
    from filelock import FileLock, Timeout

    path = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}", hint="choose another --output") from error
    held: AbstractContextManager[object] = nullcontext()
    try:
        held = FileLock(path, timeout=0).acquire()
    except Timeout as error:
        holder = ""
        with suppress(OSError):  # on Windows a locked file cannot be read
            holder = path.read_text(encoding="utf-8").strip()
        who = f" (process {holder})" if holder.isdecimal() else ""
        raise DataError(
            f"{folder}: another run is writing there{who}", hint="wait for it, or choose another --output"
        ) from error
    except OSError:  # a file system without locks: better unguarded than unusable
        pass
    with held:
        with suppress(OSError):  # the number is only for the message above
            path.write_text(str(os.getpid()), encoding="utf-8")
        yield


def files_of(folder: Path, suffixes: Iterable[str], *, recursive: bool = False) -> list[Path]:
    """The files of a folder with one of these suffixes, in small letters; sorted by name, without hidden ones.

    Raises MediaError when there is no such folder, or it cannot be listed.
    """
    if not folder.is_dir():
        raise MediaError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}", hint=CHECK_SPELLING)
    try:
        entries = sorted(folder.rglob("*") if recursive else folder.iterdir())
    except OSError as error:
        raise MediaError(f"{folder} cannot be listed: {error.strerror}", hint="check its permissions") from error
    wanted = set(suffixes)
    # macOS leaves ._photo.jpg files that are no images; a killed writer leaves hidden temporary files.
    return [
        entry
        for entry in entries
        if entry.suffix.lower() in wanted and not entry.name.startswith(".") and entry.is_file()
    ]


def status_of(path: Path) -> os.stat_result | None:
    """What `path.stat` tells, or None when there is nothing of that name.

    Raises OSError when that cannot be known: for a name that is too long, or without access. Since Python 3.14
    `path.exists` says no then, and the user would look for a spelling mistake.
    """
    try:
        return path.stat()
    except OSError as error:
        if error.errno not in _NOTHING_THERE:
            raise
        return None


def require_path(path: Path) -> None:
    """Raises MediaError when the path does not exist."""
    try:
        status = status_of(path)
    except (OSError, ValueError) as error:  # OSError: name too long, no access; ValueError: a NUL byte
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{str(path)!r} cannot be read: {reason}", hint="check the path") from error
    if status is None:
        raise MediaError(f"{path}: no such file", hint=CHECK_SPELLING)


def require_file(path: Path, kind: Literal["image", "video"]) -> None:
    """Raises MediaError unless the path is a readable file that is not empty. `kind` is for the message."""
    require_path(path)
    a_kind = "an image" if kind == "image" else "a video"
    if path.is_dir():
        raise MediaError(f"{path} is a folder, not {a_kind}", hint="give one of the files in it")
    if not path.is_file():
        raise MediaError(f"{path} is a device or pipe, not {a_kind}", hint=f"save the {kind} to a file first")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error
    if empty:
        raise MediaError(f"{path}: the file is empty (0 bytes)", hint="copy or download it again")
