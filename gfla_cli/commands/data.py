"""`gfla data`: data sets made on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gfla_cli.commands._options import Quiet, say
from gfla_cli.commands.data_sets import build, check, fashion

app = typer.Typer(help="Data sets to train on and to measure with, made on this machine.", no_args_is_help=True)
app.command()(build)
app.command()(check)
app.command()(fashion)


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


@app.command()
def faces(
    films: Annotated[Path, typer.Argument(help="Film of a face, or a folder of films.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that the clips are added to.")],
    person: Annotated[
        str, typer.Option(help="Of several faces: largest, left, right, or a number counted from the left.")
    ] = "largest",
    trim: Annotated[str | None, typer.Option(help="Stretch of every film, START:END in seconds.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frames a second. [default: the film's own]")] = None,
    quiet: Quiet = False,
) -> None:
    """Turn films into clips for gfla train --dataset faces: frames around the face, and 68 landmarks for each.

    Clips that are there already are left alone.

    Example: gfla data faces films/ -o faces/
    """
    from gfla_cli.commands._progress import progress_bar
    from gfla_cli.pipelines.animate_files import parse_rate, parse_trim
    from gfla_cli.pipelines.extract_clips import write_all_clips

    stretch, rate = parse_trim(trim), parse_rate(fps)
    with progress_bar("frames", quiet=quiet) as progress:
        written, failed = write_all_clips(films, output, person=person, trim=stretch, fps=rate, progress=progress)
    for what in failed.values():
        say(f"failed: {what}", quiet=quiet)
    for folder in written:
        typer.echo(folder)
    if failed:
        raise typer.Exit(1)


@app.command()
def humans(
    makehuman: Annotated[
        Path,
        typer.Argument(
            help="Folder with checkouts of makehumancommunity/makehuman and makehumancommunity/makehuman-assets.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new pack.")],
    mocap: Annotated[
        Path | None,
        typer.Option(
            help="Motion capture, for clips: .npz of CMU exponential maps, one array (frames, 117) per clip, 30 fps.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Build the pack of bodies, clothes and poses that synthetic people are rendered from.

    MakeHuman's assets are in the public domain (CC0). Nothing is downloaded: clone both repositories into one folder
    first, with Git LFS. Then: gfla train --dataset people --data-root PACK

    Example: gfla data humans makehuman-checkouts/ -o PACK
    """
    from gfla_cli.media.atomic import atomic_folder
    from gfla_cli.rendering.building import MakeHumanFiles, build_pack

    files = MakeHumanFiles(makehuman)
    files.check()
    with atomic_folder(output) as folder:
        say("building; this takes about half a minute")
        build_pack(files, folder, mocap=mocap)
    typer.echo(output)


@app.command()
def render(
    pack: Annotated[
        Path | None,
        typer.Argument(help="Folder of the pack of people, or of extra .glb objects for chairs.", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the pictures: --cache of the training.")
    ] = Path("albums"),
    dataset: Annotated[
        Literal["people", "chairs", "people-faces", "bodies"], typer.Option(help="What a training would render.")
    ] = "people",
    processes: Annotated[int, typer.Option(min=1, help="Processes that render.")] = 1,
    most: Annotated[int | None, typer.Option(min=1, help="Albums of each kind at most. [default: all]")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="End after so long.")] = None,
    detect: Annotated[
        bool, typer.Option("--detect", help="Look for the joints in every picture: people alone; a training uses them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Render the pictures of a training, before it or while it runs; what is there is left alone.

    Example: gfla data render PACK -o albums/ --processes 8
    then: gfla train --dataset people --data-root PACK --cache albums/ --no-render
    """
    from gfla_cli.commands._progress import progress_bar
    from gfla_cli.pipelines.render_data import render_data
    from gfla_cli.training.recipe import recipe

    seconds = None if minutes is None else 60 * minutes
    with progress_bar("albums", quiet=quiet) as progress:
        report = render_data(
            recipe(dataset),
            pack,
            output,
            processes=processes,
            most=most,
            seconds=seconds,
            detect=detect,
            progress=progress,
        )
    say(f"{report.albums} albums rendered", quiet=quiet)
    if detect:
        say(f"joints looked for in {report.detections} albums", quiet=quiet)
    typer.echo(output)
