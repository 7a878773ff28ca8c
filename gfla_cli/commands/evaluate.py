"""`gfla evaluate`: figures of one or several models on the test pairs of a data set."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gfla_cli.commands._options import AsJson, Device, DeviceChoice, Precision, PrecisionChoice, say


class LayoutChoice(StrEnum):
    """Values of --layout."""

    square = "square"
    fashion = "fashion"
    market = "market"


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Bundles: names or folders.")],
    data_root: Annotated[Path, typer.Option(help="Folder with the pairs, the keypoints and the pictures.")],
    layout: Annotated[
        LayoutChoice, typer.Option(help="File names and keypoint frame of the set; square: as rendered people.")
    ] = LayoutChoice.square,
    vgg: Annotated[
        Path | None, typer.Option(help="VGG19 weights for the VGG distance; without them it is left out.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate that many pairs, spread over the set.")] = None,
    as_json: AsJson = False,
    device: Device = DeviceChoice.auto,
    precision: Precision = PrecisionChoice.auto,
) -> None:
    """Measure pose models: SSIM, l1 and VGG distance to the real target, beside copying the source.

    Example: gfla evaluate pose-people --data-root people-mini/ --vgg vgg19.npz
    """
    import json

    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from gfla_cli.data import deepfashion
    from gfla_cli.losses.vgg import load_vgg19
    from gfla_cli.metrics.pictures import VGG_LAYERS
    from gfla_cli.pipelines.evaluate import evaluate_bundles
    from gfla_cli.runtime.device import choose_device

    del track
    layouts = {"square": deepfashion.SQUARE, "fashion": deepfashion.DEEPFASHION, "market": deepfashion.MARKET}
    placement = choose_device(device.value, precision.value)
    scores = evaluate_bundles(
        models,
        data_root,
        layouts[layout.value],
        vgg=load_vgg19(vgg) if vgg else None,
        placement=placement,
        limit=limit,
    )
    say(f"{scores[0].pairs} pairs on {placement}; vgg: {vgg}, {' + '.join(VGG_LAYERS)}")
    if as_json:
        typer.echo(json.dumps([{"name": s.name, "pairs": s.pairs, **s.figures} for s in scores], indent=2))
        return
    table = Table("model", *scores[0].figures)
    for score in scores:
        table.add_row(score.name, *(f"{value:.4f}" for value in score.figures.values()))
    Console().print(table)
