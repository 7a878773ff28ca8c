"""`gfla data build`, `check` and `fashion`: pose sets of one's own photos, and the published one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands._options import AsJson, Quiet, say
from gfla_cli.commands.evaluate import LayoutChoice

_MOST_NAMED = 5


class FrameChoice(StrEnum):
    """Values of --layout for sets that are made here."""

    fashion = "fashion"
    square = "square"


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
        FrameChoice, typer.Option(help="Frame: square for --dataset photos, 256x176 for --dataset fashion.")
    ] = FrameChoice.square,
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

    from gfla_cli.commands._progress import progress_bar
    from gfla_cli.data import deepfashion
    from gfla_cli.pipelines.build_data import LEFT_OUT, BuildOptions, build_set

    options = BuildOptions(
        layout=deepfashion.LAYOUTS[layout.value],
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
        LayoutChoice | None,
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

    from gfla_cli.commands._progress import progress_bar
    from gfla_cli.data import deepfashion
    from gfla_cli.data.check import check_set

    chosen = deepfashion.LAYOUTS[layout.value] if layout else deepfashion.built_layout(root) or deepfashion.DEEPFASHION
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
    from gfla_cli.commands._progress import progress_bar
    from gfla_cli.data.img_highres import sort_img_highres

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
