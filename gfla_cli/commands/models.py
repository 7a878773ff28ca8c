"""`gfla models`: the bundles at hand, those of the hub, and the authors' checkpoints made into bundles and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands.options import Overwrite, printable, say
from gfla_cli.config import Task

app = typer.Typer(
    help="Models at hand and on the hub, and the authors' checkpoints made into models.", no_args_is_help=True
)


@app.command("list")
def list_models(
    task: Annotated[Task | None, typer.Option(help="Only models for this task.")] = None,
) -> None:
    """Name every model at hand, with its task, frame size and size on disk: on the shelves, and pulled from the hub.

    Example: gfla models list --task pose
    """
    from rich.markup import escape
    from rich.table import Table

    from gfla_cli.bundles.shelf import shelf_entries
    from gfla_cli.commands.console import print_table

    table = Table("name", "task", "frame", "sampler", "MB", "licence", "folder")
    for entry in shelf_entries():
        if task in (None, entry.config.task):
            height, width = entry.config.image_size
            size = f"{entry.bytes / 1e6:.1f}"
            table.add_row(
                escape(entry.name),
                entry.config.task,
                f"{width}x{height}",
                entry.config.sampler,
                size,
                escape(printable(entry.licence)),
                escape(str(entry.folder)),
            )
    print_table(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A model's name or folder, or hf:owner/name.")]) -> None:
    """Print a model's card: its licence, what it was trained on, what it scores, what it cannot do.

    Example: gfla models show pose-people
    """
    from gfla_cli.bundles.files import read_card, read_config
    from gfla_cli.bundles.hub import hub_bundle, is_hub_name
    from gfla_cli.bundles.shelf import bundle_name, find_bundle

    folder = hub_bundle(name, weights=False) if is_hub_name(name) else find_bundle(name)
    config, about = read_config(folder)
    height, width = config.image_size
    licence = about.get("license") or "none is stated, ask its maker"
    typer.echo(printable(f"{bundle_name(folder)}: {config.task}, {width}x{height}; licence: {licence}\n"))
    typer.echo(printable(read_card(folder) or "it has no card"))


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="hf:owner/name or hf:owner/name@revision.", show_default=False)],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New folder for a copy of one's own.")] = None,
) -> None:
    """Fetch a model from the Hugging Face hub into its cache, or what is new of it; every file is checked.

    Example: gfla models pull hf:owner/name
    """
    import shutil

    from gfla_cli.bundles.files import CARD, CONFIG, WEIGHTS, read_config
    from gfla_cli.bundles.hub import hub_bundle
    from gfla_cli.io.files import atomic_folder

    folder = hub_bundle(model, newest=True)
    _, about = read_config(folder)
    if output is not None:
        with atomic_folder(output) as copy:
            for file in (WEIGHTS, CARD, CONFIG):
                if (folder / file).is_file():
                    shutil.copyfile(folder / file, copy / file)
    say(f"licence: {about.get('license') or 'none is stated, ask its maker'}")
    typer.echo(output or folder)


@app.command()
def push(
    model: Annotated[str, typer.Argument(help="Name or folder of a model.", show_default=False)],
    to: Annotated[str, typer.Argument(help="hf:owner/name or hf:owner/name@branch.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="For nobody else, if it is new.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sending.")] = False,
) -> None:
    """Send a model to the Hugging Face hub, after showing what will be sent.

    Example: gfla models push my-model/ hf:owner/name
    """
    from gfla_cli.bundles.hub import parse_hub_name
    from gfla_cli.bundles.publish import prepare_shipment, require_token, ship

    name = parse_hub_name(to)
    require_token()
    shipment = prepare_shipment(model)
    say(f"{shipment.folder} goes to {name}, licence: {shipment.licence or 'none is stated, so nobody may use it'}")
    for file, size in shipment.bytes.items():
        say(f"  {file}  {size / 1e6:.2f} MB")
    if not yes:
        typer.confirm("Send these files?", abort=True, err=True)
    typer.echo(ship(shipment, name, private=private))


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
    from gfla_cli.bundles.convert import AUTHORS_LICENCE, import_checkpoint

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
    from gfla_cli.bundles.convert import export_checkpoint
    from gfla_cli.bundles.files import read_config
    from gfla_cli.bundles.shelf import find_bundle

    export_checkpoint(model, output, flow_only=flow_only, overwrite=overwrite)
    say(f"these weights are licensed {read_config(find_bundle(model))[1].get('license') or 'as their maker says'}")
    typer.echo(output)
