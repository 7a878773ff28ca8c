"""Serves a study to several raters on this machine (127.0.0.1), and saves their results as files in one folder."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from gfla_cli.errors import DataError, GflaError, MediaError
from gfla_cli.io.files import make_folder, write_text
from gfla_cli.study.results import FORMAT, LARGEST_FILE, VERSION, Result, parse_result, read_result
from gfla_cli.webapp import HEADERS, HOST, is_own_name, port_taken, refused_length

_MOST_FILES = 20_000  # result files; a study of the paper's size has 400 sittings
_PIECE = 1 << 20  # bytes written at a time; the timeout applies to a piece, not to a page of 100 MB
_SETTINGS = re.compile(rb'<script type="application/json" id="study">(.*?)</script>', re.DOTALL)
_SETTINGS_WITHIN = 1 << 17


class ServedStudy:
    """A page and the folder of its results. Thread-safe."""

    def __init__(self, page: Path, results: Path) -> None:
        """Raises DataError if `page` was not made by gfla, MediaError if `results` cannot be a folder."""
        try:
            self.page = page.read_bytes()
        except OSError as error:
            hint = "gfla study make writes the page"
            raise DataError(f"{page} cannot be read: {error.strerror}", hint=hint) from error
        self.study, self.sittings = _settings_of(page, self.page)
        self.results = results
        make_folder(results, hint="choose another --results")
        self._lock = threading.Lock()
        self._taken = Counter(result.sitting for result in self._saved())

    def next_sitting(self) -> int:
        """The number of the sitting that was given out least often; the lowest such number."""
        with self._lock:
            sitting = min(range(1, self.sittings + 1), key=lambda number: self._taken[number])
            self._taken[sitting] += 1
            return sitting

    def save(self, body: bytes) -> tuple[Path, Result]:
        """Saves a result as one file per session. A result with fewer answers than the saved one changes nothing.

        Raises DataError if it is not a result of this study, MediaError if the folder is full.
        """
        result = parse_result(body)
        if result.study != self.study:
            raise DataError("these are answers to another study")
        if not 1 <= result.sitting <= self.sittings:
            raise DataError(f"this study has {self.sittings} sittings")
        path = self.results / f"{result.rater}-{result.session}.json"  # both are hexadecimal digits only
        with self._lock:
            if not path.exists() and sum(1 for _ in self.results.glob("*.json")) >= _MOST_FILES:
                raise MediaError("the results folder is full")
            known = -1  # no answers, or a damaged file
            with suppress(DataError):
                known = len(read_result(path).answers)
            if known < len(result.answers):
                text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(result)}, indent=1)
                write_text(path, text + "\n")
        return path, result

    def count(self) -> int:
        return len(self._saved())

    def _saved(self) -> list[Result]:
        found = []
        for path in self.results.glob("*.json"):
            try:
                result = read_result(path)
            except GflaError:
                continue  # `gfla study tally` reports it
            if result.study == self.study:
                found.append(result)
        return found


class StudyServer(ThreadingHTTPServer):
    """Listens on 127.0.0.1 only, at `server_port`."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows it would let two servers share the port

    def __init__(self, study: ServedStudy, port: int, saved: Callable[[Path, Result], None]) -> None:
        """Port 0 takes a free one. `saved` is called with every result. Raises UsageError if the port is taken."""
        self.study, self.saved = study, saved
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise port_taken(port, error) from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores closed connections."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """Four addresses: / the page, /study its id, /sitting the next sitting, /results takes answers.

    The path of a request is compared with these and used for nothing else.
    """

    server_version, sys_version = "gfla", ""
    timeout = 30  # seconds without data

    @property
    def _server(self) -> StudyServer:
        return cast(StudyServer, self.server)

    def do_GET(self) -> None:
        study = self._server.study
        try:
            self._check_host()
            if self.path == "/":
                self._answer(HTTPStatus.OK, "text/html; charset=utf-8", study.page)
            elif self.path == "/study":
                self._answer_json(HTTPStatus.OK, {"study": study.study})
            elif self.path == "/sitting":
                self._answer_json(HTTPStatus.OK, {"study": study.study, "sitting": study.next_sitting()})
            else:
                raise _RefusedError(HTTPStatus.NOT_FOUND, "there is only the page")
        except _RefusedError as refused:
            self._answer_json(refused.status, {"error": str(refused)})

    def do_POST(self) -> None:
        try:
            body = self._body()
            self._check_host()
            if self.path != "/results":
                raise _RefusedError(HTTPStatus.NOT_FOUND, "answers go to /results")
            # CORS: a page of another site needs a preflight request for this type, and gets no answer to it.
            if self.headers.get_content_type() != "application/json":
                raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "answers are JSON")
            path, result = self._saved(body)
        except _RefusedError as refused:
            self._answer_json(refused.status, {"error": str(refused)})
        else:
            self._server.saved(path, result)
            self._answer_json(HTTPStatus.CREATED, {"saved": len(result.answers)})

    def _body(self) -> bytes:
        """The body of the request. Too long ones are not read. Others are, so that the client can read a refusal."""
        length = self.headers.get("Content-Length", "")
        if status := refused_length(length, LARGEST_FILE):
            raise _RefusedError(status, f"the length is missing, or more than {LARGEST_FILE} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "cut off")
        return body

    def _saved(self, body: bytes) -> tuple[Path, Result]:
        try:
            return self._server.study.save(body)
        except DataError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
        except (GflaError, OSError) as error:
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "the answers could not be written") from error

    def _check_host(self) -> None:
        if not is_own_name(self.headers.get("Host", "")):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "this study is served under localhost only")

    def _answer_json(self, status: HTTPStatus, data: object) -> None:
        self._answer(status, "application/json", json.dumps(data).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS, "Connection": "close"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(body), _PIECE):
            self.wfile.write(body[start : start + _PIECE])

    def log_message(self, format: str, *args: object) -> None:
        """Silent: `saved` reports results."""


def _settings_of(path: Path, page: bytes) -> tuple[str, int]:
    """Id of the study, and number of its sittings."""
    match = _SETTINGS.search(page[:_SETTINGS_WITHIN])
    try:
        settings = json.loads(match[1]) if match else {}
        return str(settings["id"]), int(settings["sittings"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a study page", hint="gfla study make writes one") from error
