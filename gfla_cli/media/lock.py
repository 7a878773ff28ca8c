"""One writer per folder: a lock that the system takes back by itself, however its holder ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from gfla_cli.errors import DataError

_NAME = ".gfla-lock"


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Holds `folder` for the block; makes it when it is not there.

    Raises DataError when another process holds it. The lock ends with its process, so a killed run never blocks the
    next one, and the file that stays behind means nothing by itself.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}", hint="choose another --output") from error
    with file:
        if not _try_lock(file):
            file.seek(0)
            holder = file.read().strip()
            who = f" (process {holder})" if holder.isdecimal() else ""
            raise DataError(
                f"{folder}: another run is writing there{who}", hint="wait for it, or choose another --output"
            )
        with suppress(OSError):  # the number is only for the message above
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 20  # beyond the number in the file, which others must be able to read

    def _try_lock(file: IO[str]) -> bool:
        """Whether nobody else holds the lock; then this process does, until the file is closed."""
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[str]) -> bool:
        """Whether nobody else holds the lock; then this process does, until the file is closed."""
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # file systems without locks: better unguarded than unusable
            return True
        return True
