"""`gfla evaluate`: figures of one or several models on the test pairs of a data set."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gfla_cli.commands._options import AsJson, Device, DeviceChoice, Overwrite, Precision, PrecisionChoice, say

if TYPE_CHECKING:
    from gfla_cli.pipelines.evaluate import Score


class LayoutChoice(StrEnum):
    """Values of --layout."""

    square = "square"
    fashion = "fashion"
    market = "market"


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Bundles: names or folders.")],
    data_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the pairs, the keypoints and the pictures. Of view models, ShapeNet's; without it, "
            "rendered chairs."
        ),
    ] = None,
    layout: Annotated[
        LayoutChoice, typer.Option(help="File names and keypoint frame of the set; square: as rendered people.")
    ] = LayoutChoice.square,
    vgg: Annotated[
        Path | None, typer.Option(help="VGG19 weights for the VGG distance, which is left out else.")
    ] = None,
    pck: Annotated[
        bool, typer.Option("--pck", help="Find the pose in every result: share of joints in place.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate that many pairs, spread over the set.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Picture of a dozen examples to write.")] = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    device: Device = DeviceChoice.auto,
    precision: Precision = PrecisionChoice.auto,
) -> None:
    """Measure pose or view models: SSIM, l1, VGG distance, beside copying the source; by pose change or by angle.

    Example: gfla evaluate pose-people --data-root people-mini/ --vgg vgg19.npz --pck
    """
    from gfla_cli.commands._view_scores import print_view_scores
    from gfla_cli.data import deepfashion
    from gfla_cli.errors import UsageError
    from gfla_cli.losses.vgg import load_vgg19
    from gfla_cli.media.atomic import refuse_output
    from gfla_cli.media.image import write_image
    from gfla_cli.metrics.pictures import VGG_LAYERS
    from gfla_cli.pipelines.evaluate import evaluate_bundles
    from gfla_cli.pipelines.evaluate_views import all_for_views, evaluate_views
    from gfla_cli.runtime.device import choose_device
    from gfla_cli.show.sheet import contact_sheet

    if sheet is not None:
        refuse_output(sheet, overwrite=overwrite)
    layouts = {"square": deepfashion.SQUARE, "fashion": deepfashion.DEEPFASHION, "market": deepfashion.MARKET}
    of_views = all_for_views(models)
    if data_root is None and not of_views:
        raise UsageError("pose models are measured on a data set", hint="--data-root names its folder")
    placement = choose_device(device.value, precision.value)
    features = load_vgg19(vgg).to(placement.device) if vgg else None
    wanted = 12 if sheet is not None else 0
    with _bar() as progress:
        if of_views:
            views, pictures = evaluate_views(
                models, data_root, vgg=features, placement=placement, limit=limit, examples=wanted, progress=progress
            )
        else:
            assert data_root is not None
            scores, examples = evaluate_bundles(
                models,
                data_root,
                layouts[layout.value],
                vgg=features,
                placement=placement,
                limit=limit,
                pck=pck,
                examples=wanted,
                progress=progress,
            )
            pictures = [example.pictures for example in examples]
    pairs = len((views if of_views else scores)[0].pairs)
    say(f"{pairs} pairs on {placement}; vgg: {vgg}, {' + '.join(VGG_LAYERS)}")
    if of_views:
        print_view_scores(views, as_json=as_json)
    else:
        _print(scores, as_json=as_json)
    if sheet is not None:
        write_image(sheet, contact_sheet(pictures), overwrite=overwrite)
        typer.echo(sheet)


def _bar() -> Any:
    """A context that shows progress on stderr and gives a function (done, total) to report it."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import Progress

    @contextmanager
    def running() -> Any:
        with Progress(console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task("evaluating", total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)

    return running()


def _print(scores: list[Score], *, as_json: bool) -> None:
    import json

    from rich.console import Console
    from rich.table import Table

    from gfla_cli.pipelines.evaluate import CHANGES

    if as_json:
        rows = [
            {"name": s.name, "pairs": len(s.pairs), **s.means(), "by_change": {c: s.means(c) for c in CHANGES}}
            for s in scores
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("pairs", "model", *scores[0].means())
    for change in (None, *CHANGES):
        for score in scores:
            figures = score.means(change)
            if figures:
                table.add_row(change or "all", score.name, *(f"{value:.4f}" for value in figures.values()))
        table.add_section()
    Console().print(table)
