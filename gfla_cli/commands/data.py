"""`gfla data build`, `check` and `fashion`: pose sets of one's own photos, and the published one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gfla_cli.commands.options import AsJson, Layout, Quiet, say

_MOST_NAMED = 5


def build(
    photos: Annotated[Path, typer.Argument(help="Folder of photos, searched to its depth.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the data set.")],
    identity: Annotated[
        str,
        typer.Option(
            help="Who is who: folder, name (anna_01.jpg is anna's), or an expression whose group is the person. "
            "auto: folder, where there are any."
        ),
    ] = "auto",
    test_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the people that are tested on.")] = 0.1,
    most_pairs: Annotated[int, typer.Option(min=1, help="Pairs of one person at most.")] = 200,
    height: Annotated[int, typer.Option(min=64, max=4096, help="Of the written pictures, in pixels.")] = 512,
    layout: Annotated[
        Literal["fashion", "square"],
        typer.Option(help="Frame: square for --dataset photos, 256x176 for --dataset fashion."),
    ] = "square",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another split.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a data set of one's own photos: people found and framed, paired, and split so that nobody is in both parts.

    Pairs should share person and clothes: one folder for each. Repeat the command to go on after an interruption.

    Example: gfla data build photos/ -o mine/
    """
    import json
    from dataclasses import asdict

    from gfla_cli.commands.console import progress_bar
    from gfla_cli.datasets import deepfashion
    from gfla_cli.datasets.photos import LEFT_OUT, BuildOptions, build_set

    options = BuildOptions(
        layout=deepfashion.LAYOUTS[layout],
        height=height,
        identity=identity,
        test_share=test_share,
        most_pairs=most_pairs,
        seed=seed,
    )
    with progress_bar("photos", quiet=quiet or as_json) as progress:
        report = build_set(photos, output, options, progress=progress)
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2, ensure_ascii=False))
        return
    for split in report.pairs:
        counts = f"{report.people[split]} people, {report.pictures[split]} pictures, {report.pairs[split]} pairs"
        say(f"{split}: {counts}", quiet=quiet)
    if report.left_out:
        reasons = ", ".join(f"{count} {kind}" for kind, count in report.reasons.items())
        say(f"{len(report.left_out)} of {report.photos} photos left out: {reasons}", quiet=quiet)
        say(f"{output / LEFT_OUT} names them all", quiet=quiet)
    typer.echo(output)


def check(
    root: Annotated[Path, typer.Argument(help="Folder of the data set.", show_default=False)],
    layout: Annotated[
        Layout | None,
        typer.Option(help="Names of the files and frame of the points. [default: as it was built, else fashion]"),
    ] = None,
    decode: Annotated[bool, typer.Option("--decode", help="Read every picture to its last byte.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name every broken row of a pose set, as FILE:LINE: WHAT; exit code 1 when there is one.

    Example: gfla data check mine/
    """
    import json
    from dataclasses import asdict

    from gfla_cli.commands.console import progress_bar
    from gfla_cli.datasets import deepfashion
    from gfla_cli.datasets.check import check_set

    chosen = deepfashion.LAYOUTS[layout] if layout else deepfashion.built_layout(root) or deepfashion.DEEPFASHION
    with progress_bar("pictures", quiet=as_json) as progress:
        findings = check_set(root, chosen, decode=decode, progress=progress)
    broken = sum(finding.broken for finding in findings)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(f"{finding}{'' if finding.broken else ' (harmless)'}")
        say(f"{broken} broken, {len(findings) - broken} harmless" if findings else "nothing wrong with it")
    if broken:
        raise typer.Exit(1)


def fashion(
    pictures: Annotated[
        Path, typer.Argument(metavar="IMG_HIGHRES", help="DeepFashion's folder img_highres.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the data set.")],
    lists: Annotated[
        Path | None, typer.Option(help="Folder of train.lst, test.lst and the fasion-*.csv. [default: --output]")
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Hard links instead of copies, where the disk can.")] = False,
    quiet: Quiet = False,
) -> None:
    """Sort DeepFashion's img_highres into train/ and test/ by the published lists; what is there already stays.

    Example: gfla data fashion img_highres/ --lists lists/ -o fashion/
    """
    from gfla_cli.commands.console import progress_bar
    from gfla_cli.datasets.img_highres import sort_img_highres

    with progress_bar("pictures", quiet=quiet) as progress:
        report = sort_img_highres(pictures, lists or output, output, link=link, progress=progress)
    say(f"{report.written} sorted, {report.existed} were there, {len(report.missing)} missing", quiet=quiet)
    if report.tables:
        say(f"still to come: {', '.join(report.tables)}", quiet=quiet)
    for name in report.missing[:_MOST_NAMED]:
        say(f"missing: {name}", quiet=quiet)
    if len(report.missing) > _MOST_NAMED:
        say(f"and {len(report.missing) - _MOST_NAMED} more; gfla data check {output} names them all", quiet=quiet)
    typer.echo(output)
    if report.missing:
        raise typer.Exit(1)


# `gfla data`: data sets made on this machine.


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
    from gfla_cli.io.files import atomic_folder
    from gfla_cli.synth import write_people_hard, write_people_mini

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
    from gfla_cli.commands.console import progress_bar
    from gfla_cli.pipelines.animation_files import parse_rate, parse_trim
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
    from gfla_cli.io.files import atomic_folder
    from gfla_cli.synth.makehuman import MakeHumanFiles, build_pack

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
    from gfla_cli.commands.console import progress_bar
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
