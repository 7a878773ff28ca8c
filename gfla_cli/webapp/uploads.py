"""Files that requests bring, in a private folder that is deleted with the process."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import IO

from gfla_cli.errors import UsageError
from gfla_cli.io.background import Closeable

_MOST_KEPT = 32
_LONGEST_NAME = 100


class Uploads(Closeable):
    """Each file lies in a folder of its own, whose name is the file's id. Safe for threads."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="gfla-app-", ignore_cleanup_errors=True)
        self._kept: OrderedDict[str, Path] = OrderedDict()  # the one used last comes last
        self._lock = Lock()

    def close(self) -> None:
        """Deletes everything."""
        self._folder.cleanup()

    def new_path(self, name: str) -> Path:
        """Where a file of this name can be written. Of the name only its last part is used."""
        plain = "".join(c for c in name.replace("\\", "/").rpartition("/")[2] if c.isprintable()).strip(". ")
        suffix = Path(plain).suffix[:10]
        folder = Path(self._folder.name) / secrets.token_hex(8)
        folder.mkdir()
        return folder / (Path(plain).stem[: _LONGEST_NAME - len(suffix)] + suffix or "file")

    def store(self, name: str, content: IO[bytes]) -> Path:
        """Writes a file under the user's own name, so that messages can quote it."""
        path = self.new_path(name)
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)
        return path

    def keep(self, path: Path) -> str:
        """The id under which later requests find the file. The least used of many files are deleted."""
        with self._lock:
            self._kept[path.parent.name] = path
            while len(self._kept) > _MOST_KEPT:
                self.delete(self._kept.popitem(last=False)[1])
        return path.parent.name

    def find(self, identity: str) -> Path:
        """The file of an id. Raises UsageError when it is not kept any more."""
        with self._lock:
            if identity not in self._kept:
                raise UsageError("that upload is not kept any more", hint="send the file again")
            self._kept.move_to_end(identity)
            return self._kept[identity]

    def delete(self, path: Path) -> None:
        """Deletes a file and what was made next to it."""
        shutil.rmtree(path.parent, ignore_errors=True)

    def without_folder(self, text: str) -> str:
        """A message in which files have the names that the user gave them."""
        return re.sub(re.escape(self._folder.name + os.sep) + r"[0-9a-f]{16}" + re.escape(os.sep), "", text)
