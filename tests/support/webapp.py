"""What the tests of `gfla app` share: little models, a photograph, and a running server."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from socket import create_server

import pytest
from tiny_models import save_tiny, steady, tiny

TOKEN = "secret"


@pytest.fixture(scope="session")
def little_models(tmp_path_factory):
    """Names of untrained models, as the server takes them."""
    from gfla_cli.webapp.server import Models

    folder = tmp_path_factory.mktemp("webapp")
    save_tiny(folder / "pose", steady())
    for task, preset in (("face", "face-people"), ("view", "view-chairs")):
        save_tiny(folder / task, tiny(preset))
    return Models(pose=str(folder / "pose"), face=str(folder / "face"), view=str(folder / "view"))


@contextmanager
def serving(models):
    """The address of a server."""
    import uvicorn

    from gfla_cli.webapp import HOST
    from gfla_cli.webapp.server import Server

    with create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        config = uvicorn.Config(Server(models).app(TOKEN, port), log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://{HOST}:{port}"
        finally:
            server.should_exit = True
            thread.join()
