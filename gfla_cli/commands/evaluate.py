"""`gfla evaluate`: figures of models on the test material of their task, or of folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gfla_cli.commands.console import progress_bar
from gfla_cli.commands.options import (
    AsJson,
    Device,
    Layout,
    Overwrite,
    Precision,
    RefineHead,
    say,
)

if TYPE_CHECKING:
    from gfla_cli.evaluation.report_files import ReportFiles
    from gfla_cli.evaluation.run import Outcome, Request


_FOLDERS, _HOW, _OUTPUT = "Two folders", "How it is measured", "Output"


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names, folders or .onnx files; with --table, reports.", show_default=False),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(
            help="Pose: folder with the pairs, the keypoints and the pictures. View: ShapeNet's; without it, rendered "
            "chairs. Face and body: the pack that people are rendered from."
        ),
    ] = None,
    layout: Annotated[
        Layout | None,
        typer.Option(help="File names and keypoint frame of the set; square, as rendered people, unless named."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate that many pairs, spread over the set.")] = None,
    real: Annotated[
        Path | None, typer.Option(help="Folder of real pictures, instead of models.", rich_help_panel=_FOLDERS)
    ] = None,
    generated: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of generated pictures; may be repeated.", rich_help_panel=_FOLDERS),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="CSV with from,to or generated,real. Else by name: the same, or FROM--TO, FROM_2_TO_vis and the like.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    keypoints: Annotated[
        Path | None,
        typer.Option(
            help="Joints of the real pictures (name:keypoints_y:keypoints_x), for masks and PCK.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="ssim, psnr, l1, vgg, lpips, mask-ssim, mask-lpips, pck, fid; comma between. Named ones must be "
            "possible; without, all that are.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    protocol: Annotated[
        Literal["gfla", "patn", "pidm", "cfld"] | None,
        typer.Option(help="Sizes, filters, formats and FID reference of a paper.", rich_help_panel=_HOW),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Compare at HEIGHTxWIDTH, such as 512x352.", rich_help_panel=_HOW)
    ] = None,
    vgg: Annotated[
        Path | None,
        typer.Option(help="VGG19 weights for the VGG distance, which is left out else.", rich_help_panel=_HOW),
    ] = None,
    lpips_net: Annotated[Literal["alex", "vgg"], typer.Option(help="Network of LPIPS.", rich_help_panel=_HOW)] = "alex",
    lpips_backbone: Annotated[
        Path | None,
        typer.Option(help="Its weights, else those in torch's cache.", rich_help_panel=_HOW),
    ] = None,
    inception: Annotated[
        Path | None,
        typer.Option(help="Inception weights of FID, else those in torch's cache.", rich_help_panel=_HOW),
    ] = None,
    fid_reference: Annotated[
        Path | None,
        typer.Option(
            help="Pictures that FID is measured against, or .npz statistics; else as the protocol says.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks for masked figures, instead of the pose.", rich_help_panel=_HOW),
    ] = None,
    pck: Annotated[
        bool,
        typer.Option("--pck", help="Find the pose in every result: share of joints in place.", rich_help_panel=_HOW),
    ] = False,
    refine_head: RefineHead = True,
    sheet: Annotated[
        Path | None, typer.Option(help="Picture of a dozen examples to write.", rich_help_panel=_OUTPUT)
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="The table as CSV.", rich_help_panel=_OUTPUT)] = None,
    json_file: Annotated[
        Path | None, typer.Option(help="The report as JSON, beside the table.", rich_help_panel=_OUTPUT)
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="A page with figures and the worst, median and best examples.", rich_help_panel=_OUTPUT),
    ] = None,
    rank_by: Annotated[
        str | None, typer.Option(help="Figure that examples of the page are chosen by.", rich_help_panel=_OUTPUT)
    ] = None,
    table: Annotated[
        bool,
        typer.Option("--table", help="The paper's table 2 with the given reports beside it.", rich_help_panel=_OUTPUT),
    ] = False,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure models beside copying the source, or folders of pictures whatever made them.

    SSIM, PSNR, l1, LPIPS, FID, VGG distance, masked figures, PCK, and everything that they depend on.

    Example: gfla evaluate pose-people --data-root people-mini/ --vgg vgg19.npz --pck

    Example: gfla evaluate --real test/ --generated results/ --protocol gfla --html report.html
    """
    from gfla_cli.evaluation.report_files import ReportFiles

    files = ReportFiles(csv=csv, json=json_file, html=html, sheet=sheet, rank_by=rank_by)
    of_folders = {"--generated": generated, "--pairs": pairs, "--keypoints": keypoints}
    _check_mode(real, of_folders, {"models": models, "--data-root": data_root}, files, table=table)
    if table:
        from gfla_cli.evaluation.ablations import print_ablations

        print_ablations([Path(model) for model in models or ()], as_json=as_json)
        return
    files.check(overwrite=overwrite)
    from gfla_cli.evaluation.measures import Wanted
    from gfla_cli.evaluation.protocols import PROTOCOLS, parse_size
    from gfla_cli.evaluation.run import Folders, Request
    from gfla_cli.inference.device import choose_device

    wanted = Wanted(
        metrics=tuple(name.strip() for name in metrics.split(",") if name.strip()) if metrics is not None else None,
        vgg=vgg,
        lpips_net=lpips_net,
        lpips_backbone=lpips_backbone,
        inception=inception,
        pck=pck,
        masks=bool(masks or keypoints) or layout == "market",
        mask_folder=masks,
        rank_by=rank_by,
    )
    request = Request(
        models=models or [],
        data_root=data_root,
        folders=Folders(real, generated or [], pairs, keypoints) if real else None,
        layout=layout if layout else None,
        wanted=wanted,
        protocol=PROTOCOLS[protocol] if protocol else None,
        size=parse_size(size) if size else None,
        fid_reference=fid_reference,
        placement=choose_device(device, precision),
        limit=limit,
        refine_head=refine_head,
        examples=12 if sheet is not None else 0,
    )
    _report(request, files, as_json=as_json, overwrite=overwrite)


def _check_mode(
    real: Path | None, of_folders: dict[str, Any], of_models: dict[str, Any], files: ReportFiles, *, table: bool
) -> None:
    """Raises UsageError unless exactly one of models, folders and reports is to be looked at."""
    from gfla_cli.errors import UsageError

    stray = [name for name, value in (of_models if real else of_folders).items() if value]
    if table and (real or stray or files.paths() or of_models["--data-root"]):
        raise UsageError("--table takes reports and --json, nothing else", hint="gfla evaluate --table a.json b.json")
    if table and not of_models["models"]:
        raise UsageError("--table needs reports", hint="gfla evaluate MODEL... --json-file FILE writes them")
    if (real and not of_folders["--generated"]) or (not real and of_folders["--generated"]):
        raise UsageError("--real and --generated belong together", hint="each names a folder of pictures")
    if stray:
        what = f"not together with {'folders' if real else 'models'}: {', '.join(stray)}"
        raise UsageError(what, hint="name models, or --real and --generated")
    if not real and not of_models["models"]:
        raise UsageError("nothing to evaluate", hint="name models, or --real and --generated")


def _report(request: Request, files: ReportFiles, *, as_json: bool, overwrite: bool) -> None:
    """Measures, shows and writes."""
    from gfla_cli.evaluation.run import run

    with progress_bar("evaluating") as progress:
        outcome = run(request, progress)
    say(f"{outcome.count} on {request.placement if request.models else request.placement.device}")
    _show(outcome, as_json=as_json)
    files.write(outcome, overwrite=overwrite)
    for path in files.paths():
        if as_json:
            say(f"written: {path}")  # stdout holds JSON and nothing else
        else:
            typer.echo(path)


def _show(outcome: Outcome, *, as_json: bool) -> None:
    """Tables, what was left out and why, and the conditions; or JSON alone on stdout."""
    from gfla_cli.evaluation.outcome import lines

    for metric, why in outcome.skipped.items():
        say(f"{metric} left out: {why}")
    if as_json:
        import json

        typer.echo(json.dumps(outcome.rows, indent=2))
        return
    outcome.show()
    for name, text in lines(outcome.conditions):
        typer.echo(f"{name}: {text}")
