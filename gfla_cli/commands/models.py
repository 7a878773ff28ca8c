"""`gfla models`: the bundles at hand, and the authors' checkpoints made into bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands._options import Overwrite, printable

app = typer.Typer(
    help="Models at hand and on the hub, and the authors' checkpoints made into models.", no_args_is_help=True
)


@app.command("list")
def list_models(
    task: Annotated[str | None, typer.Option(help="Only models for this task: pose, face, body or view.")] = None,
) -> None:
    """Name every model on the shelf, with its task, frame size and size on disk."""
    from rich.console import Console
    from rich.table import Table

    from gfla_cli.bundles.listing import shelf_entries

    table = Table("name", "task", "frame", "sampler", "MB", "licence", "folder")
    for entry in shelf_entries():
        if task in (None, entry.config.task):
            height, width = entry.config.image_size
            size = f"{entry.bytes / 1e6:.1f}"
            table.add_row(
                entry.name,
                entry.config.task,
                f"{width}x{height}",
                entry.config.sampler,
                size,
                entry.licence,
                str(entry.folder),
            )
    Console().print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A model's name or folder.")]) -> None:
    """Print a model's card: what it was trained on, what it scores, what it cannot do."""
    from gfla_cli.bundles.files import read_card, read_config
    from gfla_cli.bundles.shelves import find_bundle

    folder = find_bundle(name)
    config, about = read_config(folder)
    height, width = config.image_size
    typer.echo(f"{folder.name}: {config.task}, {width}x{height}; licence: {about.get('license') or 'none is stated'}\n")
    typer.echo(printable(read_card(folder) or "it has no card"))


@app.command("import")
def import_model(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' latest_net_G.pth.", show_default=False)],
    preset: Annotated[str, typer.Option(help="What it was trained for, such as pose-fashion or pose-market.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    overwrite: Overwrite = False,
) -> None:
    """Turn a checkpoint of the authors into a model that every command takes.

    Example: gfla models import latest_net_G.pth --preset pose-fashion -o my-fashion/
    """
    from gfla_cli.bundles.importing import AUTHORS_LICENCE, import_checkpoint
    from gfla_cli.commands._options import say

    folder = import_checkpoint(checkpoint, preset, output, overwrite=overwrite)
    say(f"the authors' weights are licensed {AUTHORS_LICENCE}: no commercial use")
    typer.echo(folder)


@app.command("export-pth")
def export_pth(
    model: Annotated[str, typer.Argument(help="Name or folder of a model with one of the authors' presets.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, such as latest_net_G.pth.")],
    flow_only: Annotated[bool, typer.Option("--flow-only", help="The flow estimator alone.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a model's weights back in the layout of the authors' checkpoints, for their code.

    Example: gfla models export-pth my-fashion/ -o latest_net_G.pth
    """
    from gfla_cli.bundles.files import read_config
    from gfla_cli.bundles.importing import export_checkpoint
    from gfla_cli.bundles.shelves import find_bundle
    from gfla_cli.commands._options import say

    export_checkpoint(model, output, flow_only=flow_only, overwrite=overwrite)
    say(f"these weights are licensed {read_config(find_bundle(model))[1].get('license') or 'as their maker says'}")
    typer.echo(output)
