"""What `gfla evaluate` measures: bundles of each task on its test material, or folders of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfla_cli.errors import BundleError, UsageError

if TYPE_CHECKING:
    from gfla_cli.evaluation.measures import Measures, Wanted
    from gfla_cli.evaluation.outcome import Evaluation
    from gfla_cli.evaluation.protocols import Protocol, Size
    from gfla_cli.inference.device import Placement


Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Folders:
    """Pictures to compare, whatever made them."""

    real: Path
    generated: list[Path]
    pairs: Path | None
    keypoints: Path | None  # of the real ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for, ready for the pipelines."""

    models: list[str]
    data_root: Path | None
    folders: Folders | None  # instead of models
    layout: str | None
    wanted: Wanted
    protocol: Protocol | None
    size: Size | None
    fid_reference: Path | None
    placement: Placement
    limit: int | None
    refine_head: bool
    examples: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found, in the forms that it is shown in."""

    count: str  # how much was looked at
    rows: list[dict[str, Any]]  # of the JSON report
    show: Callable[[], None]  # prints the tables
    conditions: dict[str, Any]
    skipped: dict[str, str] = field(default_factory=dict)
    sheet: Sequence[dict[str, Any]] = ()  # rows of pictures
    evaluation: Evaluation | None = None  # where single pairs can be shown


def run(request: Request, progress: Progress) -> Outcome:
    """Measures; raises BundleError when models cannot be compared, UsageError for what does not go together."""
    if request.folders is not None:
        return _folders(request, request.folders, progress)
    return _of_task(request.models)(request, progress)


def _of_task(models: Sequence[str]) -> Callable[[Request, Progress], Outcome]:
    from gfla_cli.inference.session import model_config

    tasks = {model_config(model).task for model in models}
    if len(tasks) != 1:
        raise BundleError(
            f"models for {' and '.join(sorted(tasks))} have no table in common", hint="evaluate one task at a time"
        )
    return {"pose": _poses, "view": _views, "face": _clips, "body": _clips}[tasks.pop()]


def _poses(request: Request, progress: Progress) -> Outcome:
    from gfla_cli.datasets.deepfashion import LAYOUTS
    from gfla_cli.evaluation.measures import gather
    from gfla_cli.evaluation.poses import ComparedPoses, measure
    from gfla_cli.evaluation.protocols import OWN
    from gfla_cli.evaluation.tables import print_pose_scores
    from gfla_cli.io.files import cache_folder

    root = _required(request.data_root, "pose models are measured on a data set")
    layout = LAYOUTS[request.layout or "square"]
    test = ComparedPoses(
        request.models,
        root,
        layout,
        request.placement,
        protocol=request.protocol or OWN,
        size=request.size,
        refine_head=request.refine_head,
    )
    found = measure(
        test,
        gather(request.wanted, request.placement.device),
        limit=request.limit,
        fid_reference=request.fid_reference,
        cache=cache_folder() / "fid",
        progress=progress,
    )
    return Outcome(
        f"{len(found.scores[0].pairs)} pairs",
        found.to_json(),
        lambda: print_pose_scores(found.scores),
        found.conditions,
        found.skipped,
        [example.pictures for example in test.examples(request.limit, request.examples)],
        found,
    )


def _folders(request: Request, folders: Folders, progress: Progress) -> Outcome:
    from gfla_cli.datasets.deepfashion import read_poses
    from gfla_cli.evaluation.folders import ComparedFolders, evaluate_folders
    from gfla_cli.evaluation.measures import gather
    from gfla_cli.evaluation.protocols import OWN_FILES
    from gfla_cli.evaluation.scores import spread
    from gfla_cli.evaluation.tables import print_pose_scores
    from gfla_cli.io.files import cache_folder

    layout = request.layout or ("fashion" if request.protocol else "square")
    test = ComparedFolders(
        real=folders.real,
        generated=folders.generated,
        pairs=folders.pairs,
        protocol=request.protocol or OWN_FILES,
        layout=layout,
        size=request.size,
        poses=read_poses(folders.keypoints, layout) if folders.keypoints else {},
        fid_reference=request.fid_reference,
        cache=cache_folder() / "fid",
        limit=request.limit,
    )
    measures = gather(request.wanted, request.placement.device)
    if request.examples and not measures.paired:
        raise UsageError("FID alone pairs no pictures for --sheet", hint="leave --sheet out, or name more figures")
    found = evaluate_folders(test, measures, progress=progress)
    score = found.scores[0]
    shown = [found.pictures(score.name, pair.pair) for pair in spread(score.pairs, request.examples)]
    return Outcome(
        f"{len(score.pairs)} pairs" if score.pairs else f"{score.unpaired} unpaired pictures",
        found.to_json(),
        lambda: print_pose_scores(found.scores),
        found.conditions,
        found.skipped,
        [{name: pictures[name] for name in ("result", "real")} for pictures in shown],
        found,
    )


def _views(request: Request, progress: Progress) -> Outcome:
    from gfla_cli.evaluation.tables import print_view_scores
    from gfla_cli.evaluation.views import evaluate_views

    measures = _without_sets(request, bodies=False)
    scores, pictures = evaluate_views(
        request.models,
        request.data_root,
        vgg=None,
        placement=request.placement,
        limit=request.limit,
        examples=request.examples,
        measures=measures,
        progress=progress,
    )
    rows, count = [score.to_json() for score in scores], f"{len(scores[0].pairs)} pairs"
    what = "rendered chairs that no training sees"
    return _of_rendered(request, measures, what, count, rows, lambda: print_view_scores(scores), pictures)


def _clips(request: Request, progress: Progress) -> Outcome:
    from gfla_cli.evaluation.clips import evaluate_clips
    from gfla_cli.evaluation.tables import print_clip_scores
    from gfla_cli.inference.session import model_config

    if request.examples:
        raise UsageError("there is no sheet of clips", hint="leave --sheet out; gfla animate --concat shows a clip")
    pack = _required(request.data_root, "faces and bodies are measured on rendered clips")
    measures = _without_sets(request, bodies=model_config(request.models[0]).task == "body")
    scores = evaluate_clips(
        request.models,
        pack,
        vgg=None,
        placement=request.placement,
        clips=request.limit,
        measures=measures,
        progress=progress,
    )
    rows, count = [score.to_json() for score in scores], f"{len(scores[0].frames)} frames"
    what = "rendered clips of unseen people"
    return _of_rendered(request, measures, what, count, rows, lambda: print_clip_scores(scores))


def _without_sets(request: Request, *, bodies: bool) -> Measures:
    """For tasks whose test material is rendered while it is used: no protocol, no masks, no FID, PCK of bodies only.

    Raises UsageError for what was asked for of these.
    """
    from gfla_cli.evaluation.measures import gather

    if request.protocol is not None or request.size is not None:
        raise UsageError("protocols and sizes are those of person images", hint="leave --protocol and --size out")
    measures = gather(request.wanted, request.placement.device)
    for metric in ("fid", "mask-ssim", "mask-lpips"):
        measures.without(metric, "taken of pose models and of folders only")
    if not bodies:
        measures.without("pck", "taken of models that draw whole people, and of folders, only")
    return measures


def _of_rendered(
    request: Request,
    measures: Measures,
    what: str,
    count: str,
    rows: list[dict[str, Any]],
    show: Callable[[], None],
    sheet: Sequence[dict[str, Any]] = (),
) -> Outcome:
    from gfla_cli.evaluation.outcome import conditions
    from gfla_cli.evaluation.protocols import OWN
    from gfla_cli.inference.session import model_config

    data = {"name": request.data_root.resolve().name if request.data_root else what, "what": what}
    said = conditions(OWN, "square", model_config(request.models[0]).image_size, measures, data=data)
    return Outcome(count, [row | {"protocol": said} for row in rows], show, said, measures.skipped, sheet)


def _required(folder: Path | None, why: str) -> Path:
    if folder is None:
        raise UsageError(why, hint="--data-root names its folder")
    return folder
