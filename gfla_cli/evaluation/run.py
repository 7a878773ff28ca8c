"""What `gfla evaluate` measures: models of one task on its test set, or folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from gfla_cli.bundles.shelf import find_bundle
from gfla_cli.config import Task
from gfla_cli.datasets.tables import LAYOUTS, require_set
from gfla_cli.errors import BundleError, DataError, UsageError
from gfla_cli.evaluation.folder_pairs import read_pairing
from gfla_cli.evaluation.scores import Wanted
from gfla_cli.inference.session import (
    DeviceName,
    Precision,
    Session,
    ViewSession,
    check_model,
    exported_file,
    model_config,
    open_session,
)
from gfla_cli.io.background import Progress, Say, said_when_slow, silent
from gfla_cli.io.files import require_path
from gfla_cli.io.image import find_images

if TYPE_CHECKING:
    from gfla_cli.evaluation.loop import Evaluation, TestSet
    from gfla_cli.evaluation.protocols import Protocol, Size
    from gfla_cli.inference.device import Placement

_CLIPS = "faces and bodies are measured on rendered clips"
# By the text of their torch.dtype: this module imports no torch.
_PRECISIONS: dict[str, Precision] = {"torch.float32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Wanted):
    """What was asked for: metrics, and models or folders of images from any code."""

    models: list[str]
    data_root: Path | None
    real: Path | None  # a folder; None: models are measured
    generated: list[Path]  # folders
    pairs: Path | None  # a table of the pairs in the folders; else by name
    keypoints: Path | None  # a table of the joints in the real images
    layout: str | None
    protocol: Protocol | None
    size: Size | None
    fid_reference: Path | None
    limit: int | None
    refine_head: bool
    depth: bool
    sheet: bool  # whether a contact sheet is wanted


def check_inputs(request: Request) -> None:
    """Raises GflaError children for what is not there, not what it should be, or does not go together.

    Comes before torch and loads no weights.
    """
    root = request.data_root
    weights = ((request.vgg, "vgg"), (request.lpips_backbone, "lpips"), (request.inception, "fid"))
    of_metric = (*weights, (request.fid_reference, "fid"), (request.mask_folder, "mask"))
    asked = [file for file, metric in of_metric if any(metric in name for name in request.asked)]
    for path in (request.keypoints, *asked):
        if path is not None:
            require_path(path)
    if request.real is not None:
        for folder in (request.real, *request.generated):
            find_images(folder)
        if request.pairs is not None:
            read_pairing(request.pairs)
        return
    task = _common_task(request.models)
    if root is None and task != "view":
        what = "pose models are measured on a data set" if task == "pose" else _CLIPS
        raise UsageError(what, hint="--data-root names its folder")
    if task == "pose":
        require_set(_given(root), "test", LAYOUTS[request.layout or "square"])
        return
    if request.protocol is not None or request.size is not None or request.layout is not None:
        what = "protocols, sizes and layouts are those of person images"
        raise UsageError(what, hint="leave --protocol, --size and --layout out")
    if request.depth:
        raise UsageError("--depth is for pose models", hint=f"leave it out: these are {task} models")
    if task == "view":
        if root is not None and not root.exists():
            hint = "without --data-root, rendered chairs are the test set"
            raise DataError(f"{root}: no such file or folder", hint=hint)
        return
    if request.sheet:
        raise UsageError("there is no sheet of clips", hint="leave --sheet out; gfla animate --concat shows a clip")
    from gfla_cli.synth.pack import check_pack

    check_pack(_given(root))


def run(request: Request, placement: Placement, progress: Progress, say: Say = silent) -> Evaluation:
    """Measures what `check_inputs` has seen. `say` gets a line before a download.

    Raises BundleError when models cannot be compared, UsageError for what does not go together.
    """
    from gfla_cli.evaluation.loop import measure
    from gfla_cli.evaluation.metrics import gather
    from gfla_cli.io.files import cache_folder

    with said_when_slow(say, "opening the images and loading the models"):
        test = _test_set(request, placement)
    compares_sets = request.real is not None or model_config(request.models[0]).task == "pose"
    measures = gather(request, placement.device, compares_sets=compares_sets, say=say)
    if request.sheet and request.real and not measures.paired:
        raise UsageError("FID alone pairs no images for --sheet", hint="leave --sheet out, or name more metrics")
    cache = cache_folder() / "fid"
    return measure(test, measures, fid_reference=request.fid_reference, cache=cache, progress=progress)


def _test_set(request: Request, placement: Placement) -> TestSet:
    """The folders to compare, or the test set of the models' task, with the models opened."""
    from gfla_cli.evaluation.protocols import OWN, OWN_FILES

    if request.real is not None:
        from gfla_cli.datasets.tables import read_poses
        from gfla_cli.evaluation.folders import ComparedFolders

        layout = request.layout or ("fashion" if request.protocol else "square")
        return ComparedFolders(
            real=request.real,
            generated=request.generated,
            table=request.pairs,
            protocol=request.protocol or OWN_FILES,
            layout=layout,
            size=request.size,
            poses=read_poses(request.keypoints, layout) if request.keypoints else {},
            limit=request.limit,
        )
    task = model_config(request.models[0]).task
    models = open_compared(request.models, placement, task)
    if task == "pose":
        from gfla_cli.evaluation.poses import PosePairs

        return PosePairs(
            models,
            _given(request.data_root),
            LAYOUTS[request.layout or "square"],
            placement,
            protocol=request.protocol or OWN,
            size=request.size,
            limit=request.limit,
            refine_head=request.refine_head,
            depth=request.depth,
        )
    from gfla_cli.evaluation.rendered import UnseenClips, ViewPairs

    if task == "view":
        views = cast(dict[str, ViewSession], models)
        return ViewPairs(views, request.data_root, placement.device, request.limit)
    return UnseenClips(models, _given(request.data_root), placement.device, clips=request.limit)


def _given(folder: Path | None) -> Path:
    assert folder is not None  # `check_inputs` refuses a missing one
    return folder


def _common_task(models: Sequence[str]) -> Task:
    """The task of all models. Raises BundleError when one is not there, or when they have several tasks."""
    for model in models:
        check_model(model, *get_args(Task))
    tasks = {model_config(model).task for model in models}
    if len(tasks) != 1:
        raise BundleError(
            f"models for {' and '.join(sorted(tasks))} have no table in common", hint="evaluate one task at a time"
        )
    return tasks.pop()


def open_compared(models: Sequence[str | Path], placement: Placement, task: Task) -> dict[str, Session]:
    """Name -> model, of bundles and of exported files; raises BundleError when they cannot be in one table."""
    configs = [model_config(model) for model in models]
    if len({config.image_size for config in configs}) != 1 or any(config.task != task for config in configs):
        what = f"only {task} models of one frame size can be compared in one table"
        raise BundleError(what, hint="evaluate the others by themselves")
    sessions = []
    for model in models:
        device = cast(DeviceName, placement.device.type)
        if exported_file(model) is None:
            precision = _PRECISIONS[str(placement.dtype)]
            sessions.append(open_session(model, task, device=device, precision=precision, runtime="torch"))
        else:  # it has a number format of its own
            sessions.append(open_session(model, task, device="cpu" if device == "cpu" else "auto"))
    return dict(zip(_labels(models, sessions), sessions, strict=True))


def _labels(models: Sequence[str | Path], sessions: Sequence[Session]) -> list[str]:
    """Name, sampler and runtime; the folder above tells two of one name apart, else a number."""
    labels, placed = [], []
    for model, session in zip(models, sessions, strict=True):
        runtime = f", {session.place}" if exported_file(model) is not None else ""
        labels.append(f"{session.name} ({session.config.sampler}{runtime})")
    for model, label in zip(models, labels, strict=True):
        above = (exported_file(model) or find_bundle(model)).resolve().parent.name
        placed.append(f"{above}/{label}" if labels.count(label) > 1 else label)
    numbered = (f"{label} ({placed[: k + 1].count(label)})" for k, label in enumerate(placed))
    return [label if placed.count(label) == 1 else number for label, number in zip(placed, numbered, strict=True)]
