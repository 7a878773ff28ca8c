"""`gfla evaluate`: figures of one or several models on the test material of their task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gfla_cli.commands._options import AsJson, Device, DeviceChoice, Overwrite, Precision, PrecisionChoice, say
from gfla_cli.commands._progress import progress_bar

if TYPE_CHECKING:
    from gfla_cli.losses.vgg import Vgg19
    from gfla_cli.runtime.device import Placement
    from gfla_cli.runtime.session import DeviceName
    from gfla_cli.runtime.session import Precision as PrecisionName


class LayoutChoice(StrEnum):
    """Values of --layout."""

    square = "square"
    fashion = "fashion"
    market = "market"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What was asked for, ready for the pipelines."""

    models: list[str]
    data_root: Path | None
    layout: str
    vgg: Vgg19 | None
    placement: Placement
    device: DeviceName
    precision: PrecisionName
    limit: int | None
    pck: bool
    examples: int
    as_json: bool
    progress: Callable[[int, int], None]


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Bundles: names or folders.")],
    data_root: Annotated[
        Path | None,
        typer.Option(
            help="Pose: folder with the pairs, the keypoints and the pictures. View: ShapeNet's; without it, rendered "
            "chairs. Face and body: the pack that people are rendered from."
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
    """Measure models: SSIM, l1, VGG distance, and whether pose or face arrived, beside copying the source.

    Example: gfla evaluate pose-people --data-root people-mini/ --vgg vgg19.npz --pck
    """
    from gfla_cli.losses.vgg import load_vgg19
    from gfla_cli.media.atomic import refuse_output
    from gfla_cli.media.image import write_image
    from gfla_cli.metrics.pictures import VGG_LAYERS
    from gfla_cli.runtime.device import choose_device
    from gfla_cli.show.sheet import contact_sheet

    measure = _measure_of(models)
    if sheet is not None:
        refuse_output(sheet, overwrite=overwrite)
    placement = choose_device(device.value, precision.value)
    with progress_bar("evaluating") as progress:
        request = _Request(
            models=models,
            data_root=data_root,
            layout=layout.value,
            vgg=load_vgg19(vgg).to(placement.device) if vgg else None,
            placement=placement,
            device=device.value,
            precision=precision.value,
            limit=limit,
            pck=pck,
            examples=12 if sheet is not None else 0,
            as_json=as_json,
            progress=progress,
        )
        count, show, pictures = measure(request)
    say(f"{count} on {placement}; vgg: {vgg}, {' + '.join(VGG_LAYERS)}")
    show()
    if sheet is not None:
        write_image(sheet, contact_sheet(pictures), overwrite=overwrite)
        if as_json:
            say(f"examples: {sheet}")  # stdout holds JSON and nothing else
        else:
            typer.echo(sheet)


# How much was looked at, what prints the scores, and rows of pictures for a sheet.
_Outcome = tuple[str, Callable[[], None], list[Any]]


def _measure_of(models: Sequence[str]) -> Callable[[_Request], _Outcome]:
    """What measures these models; raises BundleError when their tasks differ."""
    from gfla_cli.bundles.files import read_config
    from gfla_cli.bundles.shelves import find_bundle
    from gfla_cli.errors import BundleError

    tasks = {read_config(find_bundle(model))[0].task for model in models}
    if len(tasks) != 1:
        raise BundleError(
            f"models for {' and '.join(sorted(tasks))} have no table in common", hint="evaluate one task at a time"
        )
    return {"pose": _poses, "view": _views, "face": _clips, "body": _clips}[tasks.pop()]


def _poses(request: _Request) -> _Outcome:
    from gfla_cli.commands._pose_scores import print_pose_scores
    from gfla_cli.data import deepfashion
    from gfla_cli.pipelines.evaluate import evaluate_bundles

    layouts = {"square": deepfashion.SQUARE, "fashion": deepfashion.DEEPFASHION, "market": deepfashion.MARKET}
    scores, examples = evaluate_bundles(
        request.models,
        _required(request.data_root, "pose models are measured on a data set"),
        layouts[request.layout],
        vgg=request.vgg,
        placement=request.placement,
        limit=request.limit,
        pck=request.pck,
        examples=request.examples,
        progress=request.progress,
    )
    pictures = [example.pictures for example in examples]
    return f"{len(scores[0].pairs)} pairs", lambda: print_pose_scores(scores, as_json=request.as_json), pictures


def _views(request: _Request) -> _Outcome:
    from gfla_cli.commands._view_scores import print_view_scores
    from gfla_cli.pipelines.evaluate_views import evaluate_views

    scores, pictures = evaluate_views(
        request.models,
        request.data_root,
        vgg=request.vgg,
        placement=request.placement,
        limit=request.limit,
        examples=request.examples,
        progress=request.progress,
    )
    return f"{len(scores[0].pairs)} pairs", lambda: print_view_scores(scores, as_json=request.as_json), pictures


def _clips(request: _Request) -> _Outcome:
    from gfla_cli.commands._clip_scores import print_clip_scores
    from gfla_cli.errors import UsageError
    from gfla_cli.pipelines.evaluate_clips import evaluate_clips

    if request.examples:
        raise UsageError("there is no sheet of clips", hint="leave --sheet out; gfla animate --concat shows a clip")
    scores = evaluate_clips(
        request.models,
        _required(request.data_root, "faces and bodies are measured on rendered clips"),
        vgg=request.vgg,
        device=request.device,
        precision=request.precision,
        clips=request.limit,
        progress=request.progress,
    )
    return f"{len(scores[0].frames)} frames", lambda: print_clip_scores(scores, as_json=request.as_json), []


def _required(folder: Path | None, why: str) -> Path:
    from gfla_cli.errors import UsageError

    if folder is None:
        raise UsageError(why, hint="--data-root names its folder")
    return folder
