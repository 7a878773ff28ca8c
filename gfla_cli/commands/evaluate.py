"""`gfla evaluate`: figures of models on the test set of their task, or of folders of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gfla_cli.commands import options
from gfla_cli.commands.options import OutputOption, print_json, print_table, progress_bar, refuse_unused, say, was_given

if TYPE_CHECKING:
    from gfla_cli.evaluation.report import ReportFiles
    from gfla_cli.evaluation.run import Request
    from gfla_cli.inference.device import Placement


# Options that only one kind of metric uses, and its name.
_OF_METRIC = {
    "vgg": "vgg",
    "lpips_net": "lpips",
    "lpips_backbone": "lpips",
    "inception": "fid",
    "fid_reference": "fid",
    "masks": "mask",
}
_folders = partial(typer.Option, rich_help_panel="Two folders")
_how = partial(typer.Option, rich_help_panel="How it is measured")

# What is measured.
Models = Annotated[
    list[str] | None, typer.Argument(help="Names, folders or .onnx files; with --table, reports.", show_default=False)
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        help="Pose: folder with the pairs, the keypoints and the images. View: ShapeNet's, or a folder of .glb "
        "objects; without it, rendered chairs. Face and body: the pack that people are rendered from."
    ),
]
LayoutOption = Annotated[
    options.Layout | None,
    typer.Option(help="File names and keypoint frame of the set. By default square, as of rendered people."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Evaluate that many pairs, spread over the set.")]
Depth = Annotated[
    bool,
    typer.Option(
        "--depth",
        help="A second row for pose models that use depth: with the depth of joints that mediapipe finds in the set's "
        "images. In their first row joints have none.",
    ),
]
Real = Annotated[Path | None, _folders(help="Folder of real images, instead of models.")]
Generated = Annotated[list[Path] | None, _folders(help="Folder of generated images; may be repeated.")]
Pairs = Annotated[
    Path | None,
    _folders(
        help="CSV with from,to or generated,real. By default pairs are found by name: equal names, FROM--TO, "
        "FROM_2_TO_vis and the like."
    ),
]
Keypoints = Annotated[
    Path | None, _folders(help="Joints of the real images (name:keypoints_y:keypoints_x), for masks and PCK.")
]

# How it is measured.
MetricNames = Annotated[
    str | None,
    _how(
        "--metrics",
        help="ssim, psnr, l1, vgg, lpips, mask-ssim, mask-lpips, pck, fid, separated by commas. Named metrics must be "
        "possible. By default all that are possible.",
    ),
]
ProtocolOption = Annotated[
    Literal["gfla", "patn", "pidm", "cfld"] | None,
    _how("--protocol", help="Sizes, filters, formats and FID reference of a paper."),
]
SizeOption = Annotated[str | None, _how("--size", help="Compare at HEIGHTxWIDTH, such as 512x352.")]
Vgg = Annotated[Path | None, _how(help="VGG19 weights; without them the VGG distance is left out.")]
LpipsNet = Annotated[Literal["alex", "vgg"], _how(help="Network of LPIPS.")]
LpipsBackbone = Annotated[
    Path | None, _how(help="Weights of that network. By default those in torch's cache, downloaded when needed.")
]
Inception = Annotated[
    Path | None, _how(help="Inception weights of FID. By default those in torch's cache, downloaded when needed.")
]
FidReference = Annotated[
    Path | None, _how(help="Images that FID is measured against, or .npz statistics. By default those of the protocol.")
]
Masks = Annotated[Path | None, _how(help="Folder of masks for masked metrics, instead of masks from the pose.")]
Pck = Annotated[bool, _how("--pck", help="Find the pose in every result: share of joints in place.")]

# What is written.
Sheet = Annotated[Path | None, OutputOption(help="Image of a dozen examples to write.")]
Csv = Annotated[Path | None, OutputOption(help="The table as CSV.")]
JsonFile = Annotated[Path | None, OutputOption(help="The report as JSON, beside the table.")]
Html = Annotated[Path | None, OutputOption(help="A page with figures and the worst, median and best examples.")]
RankBy = Annotated[str | None, OutputOption(help="Metric that examples of the page are chosen by.")]
PaperTable = Annotated[bool, OutputOption("--table", help="The paper's table 2 with the given reports beside it.")]


def evaluate(
    context: typer.Context,
    models: Models = None,
    data_root: DataRoot = None,
    layout: LayoutOption = None,
    limit: Limit = None,
    depth: Depth = False,
    real: Real = None,
    generated: Generated = None,
    pairs: Pairs = None,
    keypoints: Keypoints = None,
    metrics: MetricNames = None,
    protocol: ProtocolOption = None,
    size: SizeOption = None,
    vgg: Vgg = None,
    lpips_net: LpipsNet = "alex",
    lpips_backbone: LpipsBackbone = None,
    inception: Inception = None,
    fid_reference: FidReference = None,
    masks: Masks = None,
    pck: Pck = False,
    refine_head: options.RefineHead = True,
    sheet: Sheet = None,
    csv: Csv = None,
    json_file: JsonFile = None,
    html: Html = None,
    rank_by: RankBy = None,
    table: PaperTable = False,
    as_json: options.AsJson = False,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
) -> None:
    """Measure models against copying the source, or folders of images from any code.

    Gives SSIM, PSNR, l1, LPIPS, FID, VGG distance, masked metrics and PCK, with the conditions they depend on.

    Example: gfla evaluate pose-people --data-root people-mini/ --vgg vgg19.npz --pck

    Example: gfla evaluate --real test/ --generated results/ --protocol gfla --html report.html
    """
    from gfla_cli.evaluation.report import ReportFiles
    from gfla_cli.io.files import InputFiles

    files = ReportFiles(csv=csv, json=json_file, html=html, sheet=sheet, rank_by=rank_by)
    _check_options(context, models=models, real=real, generated=generated, metrics=metrics, table=table)
    if table:
        _print_paper_table([Path(model) for model in models or ()], as_json=as_json)
        return
    read = [*map(Path, models or ()), data_root, real, *(generated or ()), pairs, keypoints, masks]
    read += [vgg, lpips_backbone, inception, fid_reference]
    inputs = InputFiles(file for path in read if path is not None for file in _files_read(path))
    for path in files.paths():
        inputs.refuse(path)
    files.check(overwrite=overwrite)
    from gfla_cli.evaluation.protocols import PROTOCOLS, parse_size
    from gfla_cli.evaluation.run import Request, check_inputs

    request = Request(
        metrics=tuple(name.strip() for name in metrics.split(",") if name.strip()) if metrics is not None else None,
        vgg=vgg,
        lpips_net=lpips_net,
        lpips_backbone=lpips_backbone,
        inception=inception,
        pck=pck,
        masks=bool(masks or keypoints) or layout == "market",
        mask_folder=masks,
        rank_by=rank_by,
        models=models or [],
        data_root=data_root,
        real=real,
        generated=generated or [],
        pairs=pairs,
        keypoints=keypoints,
        layout=layout,
        protocol=PROTOCOLS[protocol] if protocol else None,
        size=parse_size(size) if size else None,
        fid_reference=fid_reference,
        limit=limit,
        refine_head=refine_head,
        depth=depth,
        sheet=sheet is not None,
    )
    check_inputs(request)
    from gfla_cli.inference.device import choose_device

    placement = choose_device(device, precision)
    _report(request, placement, files, as_json=as_json, overwrite=overwrite)


def _check_options(context: typer.Context, **given: Any) -> None:
    """Raises UsageError unless exactly one of models, folders and reports is named, with the options that belong to it.

    Options that name weights without use only get a message: scripts may name all weights, whatever they measure.
    """
    from gfla_cli.errors import UsageError

    if given["table"]:
        if not given["models"]:
            raise UsageError("--table needs reports", hint="gfla evaluate MODEL... --json-file FILE writes them")
        names = [parameter.name for parameter in context.command.params if parameter.name is not None]
        others = [name for name in names if name not in ("models", "table", "as_json")]
        hint = "gfla evaluate --table a.json b.json"
        refuse_unused(context, "--table measures nothing", *others, hint=hint)
        return
    if bool(given["real"]) != bool(given["generated"]):
        raise UsageError("--real and --generated belong together", hint="each names a folder of images")
    hint = "name models, or --real and --generated"
    if given["real"]:
        refuse_unused(context, "not together with folders", "models", "data_root", hint=hint)
        refuse_unused(context, "folders hold finished images", "refine_head", "depth")
    else:
        refuse_unused(context, "not together with models", "pairs", "keypoints", hint=hint)
        if not given["models"]:
            raise UsageError("nothing to evaluate", hint=hint)
    if given["metrics"] is not None:
        named = given["metrics"].split(",")
        for option, metric in _OF_METRIC.items():
            if was_given(context, option) and not any(metric in name for name in named):
                say(f"--{option.replace('_', '-')} is not used: --metrics names no {metric}")


def _files_read(path: Path) -> list[Path]:
    """A file, or what is read of a folder: images, the tables of a data set, the files of a model."""
    from gfla_cli.io.image import READABLE

    if not path.is_dir():
        return [path]
    tables = [*path.glob("*-train.csv"), *path.glob("*-test.csv"), *path.glob("*.lst")]
    return [*tables, path / "config.json", *(entry for entry in path.iterdir() if entry.suffix.lower() in READABLE)]


def _print_paper_table(reports: list[Path], *, as_json: bool) -> None:
    """The paper's table 2 beside the figures of reports, or the same as JSON."""
    from rich.console import Console

    from gfla_cli.evaluation.report import ablation_table, read_ablations

    report = read_ablations(reports)
    if as_json:
        print_json(report)
        return
    table, lines = ablation_table(report)
    print_table(table)
    for line in lines:
        Console().print(line, highlight=False)


def _report(request: Request, placement: Placement, files: ReportFiles, *, as_json: bool, overwrite: bool) -> None:
    """Measures, shows and writes. With `as_json` stdout holds JSON and nothing else."""
    from gfla_cli.evaluation.report import condition_lines, score_tables
    from gfla_cli.evaluation.run import run

    with progress_bar("evaluating") as progress:
        evaluation = run(request, placement, progress, say)
    say(f"{evaluation.count} on {placement if request.models else placement.device}")
    for metric, why in evaluation.skipped.items():
        say(f"{metric} left out: {why}")
    rows = evaluation.to_json()
    if as_json:
        print_json(rows)
    else:
        for table in score_tables(rows):
            print_table(table)
        for name, text in condition_lines(evaluation.conditions):
            typer.echo(f"{name}: {text}")
    files.write(evaluation, overwrite=overwrite)
    for path in files.paths():
        if as_json:
            say(f"written: {path}")
        else:
            typer.echo(path)
