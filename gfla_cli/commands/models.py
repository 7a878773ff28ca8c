"""`gfla models`: list, show, pull and push bundles, and convert the authors' checkpoints to bundles and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands.options import Overwrite, print_table, printable, say
from gfla_cli.config import Task
from gfla_cli.errors import UsageError

app = typer.Typer(help="List, show, pull and push models, and convert the authors' checkpoints.", no_args_is_help=True)


@app.command("list")
def list_models(task: Annotated[Task | None, typer.Option(help="Only models for this task.")] = None) -> None:
    """List the installed models and those pulled from the hub, with task, frame size and size on disk.

    Example: gfla models list --task pose
    """
    from rich.markup import escape
    from rich.table import Table

    from gfla_cli.bundles.shelf import installed_bundles

    table = Table("name", "task", "frame", "sampler", "MB", "licence", "folder")
    for entry in installed_bundles():
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
    model: Annotated[
        str,
        typer.Argument(
            help="hf:owner/name or hf:owner/name@revision; or vgg19, alexnet, vgg16, inception: what training and "
            "evaluation download when they need it.",
            show_default=False,
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New folder for a copy.")] = None,
) -> None:
    """Download a model from the Hugging Face hub into its cache, or its newest version; every file is checked.

    Example: gfla models pull hf:owner/name
    """
    import shutil

    from gfla_cli.bundles.files import CARD, CONFIG, GRAPH, WEIGHTS, read_config
    from gfla_cli.bundles.hub import as_hub_name, hub_bundle
    from gfla_cli.bundles.shelf import bundle_names, find_bundle
    from gfla_cli.evaluation.weights import NETWORKS, find_weights
    from gfla_cli.io.files import atomic_folder

    if output is not None and model in ("vgg19", *NETWORKS):
        raise UsageError(f"{model} goes into the cache, not to --output", hint="leave --output out")
    if model == "vgg19":
        from gfla_cli.losses.image import fetch_vgg19

        say("VGG19's weights, from the Hugging Face hub")
        typer.echo(fetch_vgg19())
        return
    if model in NETWORKS:
        typer.echo(find_weights(NETWORKS[model], say=say))
        return
    if model in bundle_names():
        say(f"{model} is installed, there is nothing to download")
        folder = find_bundle(model)
    else:
        folder = hub_bundle(as_hub_name(model), newest=True)
    _, about = read_config(folder)
    if output is not None:
        with atomic_folder(output) as copy:
            for file in (WEIGHTS, CARD, GRAPH, CONFIG):
                if (folder / file).is_file():
                    shutil.copyfile(folder / file, copy / file)
    say(f"licence: {about.get('license') or 'none is stated, ask its maker'}")
    typer.echo(output or folder)


@app.command()
def push(
    model: Annotated[str, typer.Argument(help="Name or folder of a model.", show_default=False)],
    to: Annotated[str, typer.Argument(help="hf:owner/name or hf:owner/name@branch.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sending.")] = False,
) -> None:
    """Send a model to the Hugging Face hub, after showing what will be sent.

    Example: gfla models push my-model/ hf:owner/name
    """
    from gfla_cli.bundles.bundle import read_bundle
    from gfla_cli.bundles.files import CARD, CONFIG, WEIGHTS
    from gfla_cli.bundles.hub import as_hub_name, parse_hub_name, require_token, upload
    from gfla_cli.bundles.shelf import bundle_name

    name = parse_hub_name(as_hub_name(to))
    require_token()
    stored = read_bundle(model)  # raises BundleError when it is damaged
    files = [stored.folder / file for file in (CONFIG, WEIGHTS, CARD) if (stored.folder / file).is_file()]
    licence = stored.about.get("license") or "none is stated, so others may not use it"
    say(f"{stored.folder} goes to {name}, licence: {licence}")
    for file in files:
        say(f"  {file.name}  {file.stat().st_size / 1e6:.2f} MB")
    if not yes:
        typer.confirm("Send these files?", abort=True, err=True)
    typer.echo(upload(files, name, title=f"{bundle_name(stored.folder)}, sent with gfla", private=private))


@app.command()
def graph(folder: Annotated[Path, typer.Argument(help="Folder of a model.", show_default=False)]) -> None:
    """Write graph.onnx into a model's folder: by it ONNX Runtime computes the model, without torch.

    It depends on the network, not on its weights: a model that was trained further keeps its graph.

    Example: gfla models graph my-fashion/
    """
    from gfla_cli.bundles.shelf import find_bundle

    find_bundle(folder)
    from gfla_cli.inference.export import write_graph

    report = write_graph(folder)
    say(f"differs from torch by {report.checks[0].largest_difference:.1g} at most")
    typer.echo(report.path)


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
    from gfla_cli.io.files import require_path

    require_path(checkpoint)
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
    from gfla_cli.bundles.files import read_config
    from gfla_cli.bundles.shelf import find_bundle
    from gfla_cli.io.files import refuse_output

    refuse_output(output, overwrite=overwrite, inputs=find_bundle(model).iterdir())
    from gfla_cli.bundles.convert import export_checkpoint

    export_checkpoint(model, output, flow_only=flow_only, overwrite=overwrite)
    say(f"these weights are licensed {read_config(find_bundle(model))[1].get('license') or 'as their maker says'}")
    typer.echo(output)
