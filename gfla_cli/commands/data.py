"""`gfla data`: makes and checks data sets on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from gfla_cli.commands.options import AsJson, Layout, Quiet, counted, finish, print_json, progress_bar, say

_MOST_NAMED = 5

app = typer.Typer(help="Data sets to train on and to measure with, made on this machine.", no_args_is_help=True)


@app.command()
def build(
    photos: Annotated[Path, typer.Argument(help="Folder of photos, searched to its depth.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the data set.")],
    identity: Annotated[
        str,
        typer.Option(
            help="How to tell people apart: folder, name (anna_01.jpg shows anna), or a regular expression whose first "
            "group is the person. auto: folder, if there are any."
        ),
    ] = "auto",
    test_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the people in the test part.")] = 0.1,
    most_pairs: Annotated[int, typer.Option(min=1, help="Most pairs of one person.")] = 200,
    height: Annotated[int, typer.Option(min=64, max=4096, help="Height of the written images, in pixels.")] = 512,
    layout: Annotated[
        Literal["fashion", "square"],
        typer.Option(help="Frame: square for --dataset photos, 256x176 for --dataset fashion."),
    ] = "square",
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another split.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a data set of one's own photos: find and crop people, pair them, and split them into training and test.

    Pairs should share person and clothes: one folder for each. Repeat the command to go on after an interruption.

    Example: gfla data build photos/ -o mine/
    """
    from dataclasses import asdict

    from gfla_cli.datasets.build import LEFT_OUT, BuildOptions, build_set
    from gfla_cli.datasets.tables import LAYOUTS

    options = BuildOptions(
        layout=LAYOUTS[layout],
        height=height,
        identity=identity,
        test_share=test_share,
        most_pairs=most_pairs,
        seed=seed,
    )
    with progress_bar("photos", quiet=quiet or as_json) as progress:
        report = build_set(photos, output, options, progress=progress)
    if as_json:
        print_json(asdict(report))
        return
    for split in report.pairs:
        counts = [
            counted(report.people[split], "person", "people"),
            counted(report.pictures[split], "image"),
            counted(report.pairs[split], "pair"),
        ]
        say(f"{split}: {', '.join(counts)}", quiet=quiet)
    if report.left_out:
        reasons = ", ".join(f"{count} {kind}" for kind, count in report.reasons.items())
        say(f"{len(report.left_out)} of {report.photos} photos left out: {reasons}", quiet=quiet)
        say(f"{output / LEFT_OUT} names them all", quiet=quiet)
    typer.echo(output)


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="Folder of the data set.", show_default=False)],
    layout: Annotated[
        Layout | None,
        typer.Option(help="Names of the files and frame of the points. \\[default: as it was built, else fashion]"),
    ] = None,
    decode: Annotated[bool, typer.Option("--decode", help="Read every image to its last byte.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name every broken row of a pose set, as FILE:LINE: WHAT; exit code 1 when there is one.

    Example: gfla data check mine/
    """
    from dataclasses import asdict

    from gfla_cli.datasets.check import check_set
    from gfla_cli.datasets.tables import DEEPFASHION, LAYOUTS, built_layout

    chosen = LAYOUTS[layout] if layout else built_layout(root) or DEEPFASHION
    with progress_bar("images", quiet=as_json) as progress:
        findings = check_set(root, chosen, decode=decode, progress=progress)
    broken = sum(finding.broken for finding in findings)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{finding}{'' if finding.broken else ' (harmless)'}")
        say(f"{broken} broken, {len(findings) - broken} harmless" if findings else "nothing wrong with it")
    if broken:
        raise typer.Exit(1)


@app.command()
def fashion(
    pictures: Annotated[
        Path, typer.Argument(metavar="IMG_HIGHRES", help="DeepFashion's folder img_highres.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the data set.")],
    lists: Annotated[
        Path | None, typer.Option(help="Folder of train.lst, test.lst and the fasion-*.csv. \\[default: --output]")
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Hard links instead of copies, where the disk can.")] = False,
    quiet: Quiet = False,
) -> None:
    """Sort DeepFashion's img_highres into train/ and test/ by the published lists; what is there already stays.

    Example: gfla data fashion img_highres/ --lists lists/ -o fashion/
    """
    from gfla_cli.datasets.img_highres import sort_img_highres

    with progress_bar("images", quiet=quiet) as progress:
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
    from gfla_cli.datasets.people_sets import write_people_hard, write_people_mini
    from gfla_cli.io.files import atomic_folder
    from gfla_cli.synth.pack import check_pack

    check_pack(pack)
    write = write_people_hard if hard else write_people_mini
    with atomic_folder(output) as folder:
        say("rendering; the same pack gives the same images")
        write(pack, folder)
    typer.echo(output)


@app.command()
def faces(
    films: Annotated[Path, typer.Argument(help="Video of a face, or a folder of videos.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that the clips are added to.")],
    person: Annotated[
        str, typer.Option(help="Of several faces: largest, left, right, or a number counted from the left.")
    ] = "largest",
    trim: Annotated[str | None, typer.Option(help="Time range of every video, START:END in seconds.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frames per second. \\[default: the video's own]")] = None,
    quiet: Quiet = False,
) -> None:
    """Turn videos into clips for gfla train --dataset faces: frames around the face, and 68 landmarks for each.

    Clips that are there already are left alone.

    Example: gfla data faces films/ -o faces/
    """
    from gfla_cli.io.video import parse_rate, parse_trim
    from gfla_cli.pipelines.face_clips import plan_clips, run_clips

    chosen, rate = parse_trim(trim), parse_rate(fps)
    jobs = plan_clips(films)
    with progress_bar("frames" if len(jobs) == 1 else "videos", quiet=quiet) as progress:
        report = run_clips(
            jobs, output, person=person, trim=chosen, fps=rate, say=partial(say, quiet=quiet), progress=progress
        )
    finish(report, as_json=False)


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
    from gfla_cli.synth.makehuman.build import build_pack
    from gfla_cli.synth.makehuman.files import MakeHumanFiles

    files = MakeHumanFiles(makehuman)
    files.check()
    with atomic_folder(output) as folder:
        say("building; this takes about half a minute")
        build_pack(files, folder, mocap=mocap)
    typer.echo(output)


@app.command()
def render(
    pack: Annotated[
        Path | None, typer.Argument(help="Folder of the pack of people, or of .glb objects.", show_default=False)
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the render cache: --cache of the training.")
    ] = Path("albums"),
    dataset: Annotated[
        Literal["people", "chairs", "objects", "people-faces", "bodies"],
        typer.Option(help="What a training would render."),
    ] = "people",
    recipe: Annotated[
        Path | None, typer.Option(help="--recipe of the training: with halves it takes larger images.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes that render.")] = 1,
    most: Annotated[
        int | None, typer.Option(min=1, help="People, objects or clips of each kind at most. \\[default: all]")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="End after so long.")] = None,
    detect: Annotated[
        bool,
        typer.Option("--detect", help="Also detect the joints in every image, for the training to use; people only."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Render the images of a training, before it or while it runs. Those that are there already stay.

    Example: gfla data render PACK -o albums/ --processes 8
    then: gfla train --dataset people --data-root PACK --cache albums/ --no-render
    """
    from gfla_cli.training.data import check_data
    from gfla_cli.training.recipe import read_recipe
    from gfla_cli.training.recipe import recipe as recipe_of

    plan = recipe_of(dataset) if recipe is None else read_recipe(recipe, dataset)
    check_data(plan, pack, output)
    from gfla_cli.pipelines.render_data import render_data

    seconds = None if minutes is None else 60 * minutes
    with progress_bar("samples", quiet=quiet) as progress:
        report = render_data(
            plan,
            pack,
            output,
            processes=processes,
            most=most,
            seconds=seconds,
            detect=detect,
            progress=progress,
        )
    say(f"{counted(report.samples, 'sample')} rendered", quiet=quiet)
    if detect:
        say(f"joints detected in {counted(report.detections, 'sample')}", quiet=quiet)
    typer.echo(output)
