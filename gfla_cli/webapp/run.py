"""Starting the server, and the browser."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from threading import Timer

import python_multipart  # noqa: F401  # loaded by Starlette when the first form arrives; missing, it is said at the start
import uvicorn

from gfla_cli.webapp.local import HOST, port_taken
from gfla_cli.webapp.server import Models, Server

_BROWSER_AFTER_S = 0.5


def serve(models: Models, port: int, announce: Callable[[str], None], *, browser: bool) -> None:
    """Serves until Ctrl-C. `announce` gets the address with its token. Raises UsageError when the port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise port_taken(port, error) from error
        listening.listen()
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        address = f"http://{HOST}:{port}/?token={token}"
        server = Server(models)
        config = uvicorn.Config(
            server.app(token, port),
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=100,
            timeout_graceful_shutdown=1,
        )
        announce(address)
        if browser:
            opening = Timer(_BROWSER_AFTER_S, webbrowser.open, [address])
            opening.daemon = True
            opening.start()
        with suppress(KeyboardInterrupt):  # raised again by uvicorn after it has ended
            uvicorn.Server(config).run([listening])
