"""What requests bring: their fields, and files in a private folder that is deleted with the process."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import IO, Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from gfla_cli.errors import UsageError
from gfla_cli.io.background import Closeable
from gfla_cli.io.image import read_image
from gfla_cli.pipelines.framing import Background

_MOST_KEPT = 32
_LONGEST_NAME = 100
_LARGEST_FIELD = 1 << 20  # bytes


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


class Form:
    """The fields of a request. Files are stored while the request lasts."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._fields: dict[str, str | Path] = {}
        self.files: list[Path] = []  # to be deleted

    async def read(self, request: Request) -> None:
        """Reads the body of a multipart request."""
        async with request.form(max_files=4, max_fields=32, max_part_size=_LARGEST_FIELD) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    path = await run_in_threadpool(self._uploads.store, value.filename or "file", value.file)
                    self.files.append(path)
                    self._fields[name] = path
                else:
                    self._fields[name] = value

    def delete(self) -> None:
        for path in self.files:
            self._uploads.delete(path)

    def has(self, name: str) -> bool:
        return name in self._fields

    def file(self, name: str) -> Path:
        """A file that came with the request, or the one of an id. Raises UsageError when there is none."""
        value = self._fields.get(name)
        if value is None:
            raise UsageError(f"the request has no field {name}", hint="GET /openapi.json lists the fields")
        return self._uploads.find(value) if isinstance(value, str) else value

    def json_file(self, name: str) -> Path:
        """The same, or a JSON text as a file."""
        value = self._fields.get(name)
        if not isinstance(value, str) or not value.lstrip().startswith("{"):
            return self.file(name)
        path = self._uploads.store(f"{name}.json", BytesIO(value.encode()))
        self.files.append(path)
        return path

    def text(self, name: str, default: str) -> str:
        value = self._fields.get(name, default)
        return value if isinstance(value, str) else default

    def background(self) -> Background:
        """What stands behind a result: a word, or an image."""
        value = self._fields.get("background", "keep")
        if value in ("keep", "white", "transparent"):
            return cast(Background, value)
        return read_image(self.file("background"))

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A field that says 1 or true for yes."""
        return self.text(name, str(default)).lower() in ("1", "true", "yes", "on")

    def number(self, name: str) -> float | None:
        """A number, None without the field. Raises UsageError."""
        text = self.text(name, "")
        try:
            return float(text) if text else None
        except ValueError as error:
            raise UsageError(f"{name} is {text!r:.30}, not a number", hint=f"{name}=60") from error

    def json(self, name: str) -> Any:
        """A JSON field. Raises UsageError."""
        try:
            return json.loads(self.text(name, ""))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{name} is not JSON", hint="GET /openapi.json shows an example") from error
