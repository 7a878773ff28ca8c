"""`gfla data`: data sets made on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands._options import say

app = typer.Typer(help="Data sets to train on and to measure with, made on this machine.", no_args_is_help=True)


@app.command()
def people(
    pack: Annotated[Path, typer.Argument(help="Folder of the pack of bodies, clothes and poses.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new data set.")],
    hard: Annotated[
        bool, typer.Option("--hard", help="Busy clothes, backs, crossed arms, seats and half bodies; test pairs only.")
    ] = False,
) -> None:
    """Render the fixed sets of synthetic people that models are measured on, in DeepFashion's layout.

    Example: gfla data people PACK --hard -o people-hard/
    """
    from gfla_cli.media.atomic import atomic_folder
    from gfla_cli.rendering import write_people_hard, write_people_mini

    write = write_people_hard if hard else write_people_mini
    with atomic_folder(output) as folder:
        say("rendering; the same pack gives the same pictures")
        write(pack, folder)
    typer.echo(output)
