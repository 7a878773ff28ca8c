"""`gfla app`: a web page on this machine, and the same jobs over HTTP for scripts.

Here is what all web servers of gfla share: they serve this machine only. It needs no package of an extra.
"""

from __future__ import annotations

from http import HTTPStatus
from importlib.resources import files

from gfla_cli.errors import UsageError

HOST = "127.0.0.1"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def is_own_name(host: str) -> bool:
    """Whether a Host header names this machine. Another name may have been pointed here (DNS rebinding)."""
    return host.rsplit(":", 1)[0] in ("localhost", HOST)


def refused_length(length: str, most: int) -> HTTPStatus | None:
    """Why a body with this Content-Length is not read; None if it is."""
    if not (length.isascii() and length.isdecimal()):
        return HTTPStatus.LENGTH_REQUIRED
    if len(length) > 12 or int(length) > most:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return None


def port_taken(port: int, error: OSError) -> UsageError:
    """What to raise when a port cannot be listened at."""
    return UsageError(f"port {port} cannot be used: {error.strerror}", hint="--port 0 takes a free one")


def base_style() -> str:
    """The colours, and the rules that every page begins with, as CSS."""
    return files(__name__).joinpath("page", "base.css").read_text(encoding="utf-8")
