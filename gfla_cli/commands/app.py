"""`gfla app`: a page on this machine to play with the models, and an HTTP interface for scripts."""

from __future__ import annotations

from typing import Annotated

import typer

from gfla_cli.commands.options import Device, Precision, Quiet, RuntimeOption, Threads, say

_MODEL = "Name, folder, .onnx file or hf:owner/name."


def app(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the address; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    pose_model: Annotated[str, typer.Option(help=f"Model for people. {_MODEL}")] = "pose-people",
    face_model: Annotated[str, typer.Option(help=f"Model for faces. {_MODEL}")] = "face-people",
    view_model: Annotated[str, typer.Option(help=f"Model for objects. {_MODEL}")] = "view-chairs",
    quiet: Quiet = False,
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: RuntimeOption = "auto",
    threads: Threads = None,
) -> None:
    """Open a page on which poses are dragged, faces are moved and objects are turned.

    It works without a network. The page is for this machine only (127.0.0.1), and for those who know the token in its
    address. Scripts send their requests to the same address. Ctrl-C ends it.

    Example: gfla app --port 8765
    """
    from gfla_cli.errors import MissingExtraError
    from gfla_cli.inference.session import Execution

    try:
        from gfla_cli.webapp.server import Models, serve
    except ModuleNotFoundError as error:
        if error.name in ("starlette", "uvicorn", "python_multipart"):
            raise MissingExtraError("the page needs a web server", "app") from error
        raise
    execution = Execution(device=device, precision=precision, runtime=runtime, threads=threads)
    models = Models(pose=pose_model, face=face_model, view=view_model, execution=execution)
    serve(models, port, typer.echo, browser=browser)
    say("ended", quiet=quiet)
