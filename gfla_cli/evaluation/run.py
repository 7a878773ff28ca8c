"""What `gfla evaluate` measures: models of one task on its test set, or folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from gfla_cli.bundles.shelf import find_bundle
from gfla_cli.config import DeviceName, Task
from gfla_cli.datasets.tables import LAYOUTS, require_set
from gfla_cli.errors import BundleError, DataError, UsageError
from gfla_cli.evaluation.folder_pairs import read_pairing
from gfla_cli.evaluation.protocols import OWN, OWN_FILES, Protocol, Size
from gfla_cli.evaluation.scores import MASKED, METRICS
from gfla_cli.inference.session import (
    Session,
    ViewSession,
    check_model,
    exported_file,
    model_config,
    open_session,
)
from gfla_cli.io.background import Progress, Say, said_when_slow, silent
from gfla_cli.io.files import cache_folder, distinct_names, require_path
from gfla_cli.io.image import find_images

if TYPE_CHECKING:
    from gfla_cli.evaluation.features import Backbone
    from gfla_cli.evaluation.loop import Evaluation, TestSet
    from gfla_cli.inference.device import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for: metrics, and models or folders of images from any code.

    Raises UsageError for metrics that are unknown or contradict each other.
    """

    metrics: tuple[str, ...] | None = None  # None: whatever is possible
    vgg: Path | None = None
    lpips_net: Backbone = "alex"
    lpips_backbone: Path | None = None
    inception: Path | None = None
    fid_reference: Path | None = None
    pck: bool = False
    masks: bool = False  # whether masked metrics are taken without being named
    mask_folder: Path | None = None  # masks from files instead of from the pose
    rank_by: str | None = None  # metric that examples are chosen by
    models: Sequence[str] = ()
    data_root: Path | None = None
    real: Path | None = None  # a folder; None: models are measured
    generated: Sequence[Path] = ()  # folders
    pairs: Path | None = None  # a table of the pairs in the folders; else by name
    keypoints: Path | None = None  # a table of the joints in the real images
    layout: str | None = None
    protocol: Protocol | None = None
    size: Size | None = None
    limit: int | None = None
    refine_head: bool = True
    depth: bool = False
    sheet: bool = False  # whether a contact sheet is wanted

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.metrics or ()) - set(METRICS)):
            raise UsageError(f"unknown metric: {', '.join(unknown)}", hint=f"known: {', '.join(METRICS)}")
        if self.rank_by is not None and self.rank_by not in self.asked:
            taken = ", ".join(name for name in METRICS if name in self.asked)
            raise UsageError(f"--rank-by {self.rank_by}: not among the figures that are taken", hint=f"taken: {taken}")

    @property
    def asked(self) -> set[str]:
        """The metrics to take, as far as they are possible."""
        pck = {"pck"} if self.pck else set()
        if self.metrics is not None:
            return {*self.metrics, *pck}
        masked = set(MASKED) if self.masks else set()
        return {"ssim", "psnr", "l1", "lpips", "fid"} | masked | ({"vgg"} if self.vgg else set()) | pck

    @property
    def named(self) -> frozenset[str]:
        """The metrics that an option names; they must be possible."""
        ranking = () if self.rank_by is None else (self.rank_by,)
        return frozenset({*(self.metrics or ()), *(("pck",) if self.pck else ()), *ranking})


def check_inputs(request: Request) -> None:
    """Raises GflaError children for what is not there, not what it should be, or does not go together.

    Comes before torch and loads no weights.
    """
    files = (
        (request.vgg, "vgg"),
        (request.lpips_backbone, "lpips"),
        (request.inception, "fid"),
        (request.fid_reference, "fid"),
        (request.mask_folder, "mask"),
    )
    used = [file for file, metric in files if any(metric in name for name in request.asked)]
    for path in (request.keypoints, *used):
        if path is not None:
            require_path(path)
    if request.real is not None:
        for folder in (request.real, *request.generated):
            find_images(folder)
        if request.pairs is not None:
            read_pairing(request.pairs)
        return
    task, root = _common_task(request.models), request.data_root
    if root is None and task != "view":
        pose, clips = "pose models are measured on a data set", "faces and bodies are measured on rendered clips"
        raise UsageError(pose if task == "pose" else clips, hint="--data-root names its folder")
    if task == "pose":
        require_set(cast(Path, root), "test", LAYOUTS[request.layout or "square"])
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

    check_pack(cast(Path, root))


def run(request: Request, placement: Placement, progress: Progress, say: Say = silent) -> Evaluation:
    """Measures what `check_inputs` has seen. `say` gets a line before a download.

    Raises BundleError when models cannot be compared, UsageError for what does not go together.
    """
    from gfla_cli.evaluation.loop import measure
    from gfla_cli.evaluation.metrics import gather

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
    task, root = model_config(request.models[0]).task, request.data_root
    models = open_compared(request.models, placement, task)
    if task == "pose":
        from gfla_cli.evaluation.poses import PosePairs

        return PosePairs(
            models,
            cast(Path, root),
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
        return ViewPairs(cast(dict[str, ViewSession], models), root, placement.device, request.limit)
    return UnseenClips(models, cast(Path, root), clips=request.limit)


def _common_task(models: Sequence[str]) -> Task:
    """The task of all models. Raises BundleError when one is not there, or when they have several tasks."""
    for model in models:
        check_model(model, *get_args(Task))
    tasks = {model_config(model).task for model in models}
    if len(tasks) != 1:
        what = f"models for {' and '.join(sorted(tasks))} have no table in common"
        raise BundleError(what, hint="evaluate one task at a time")
    return tasks.pop()


def open_compared(models: Sequence[str | Path], placement: Placement, task: Task) -> dict[str, Session]:
    """Name -> model, of bundles and of exported files; raises BundleError when they cannot be in one table.

    Names hold the sampler and the runtime. The folder above tells two of one name apart, else a number.
    """
    configs = [model_config(model) for model in models]
    if len({config.image_size for config in configs}) != 1 or any(config.task != task for config in configs):
        what = f"only {task} models of one frame size can be compared in one table"
        raise BundleError(what, hint="evaluate the others by themselves")
    sessions, names, longer = [], {}, {}
    device = cast(DeviceName, placement.device.type)
    for k, model in enumerate(models):
        exported = exported_file(model)
        if exported is None:
            session = open_session(model, task, device=device, precision=placement.precision, runtime="torch")
            names[k] = f"{session.name} ({session.config.sampler})"
        else:  # it has a number format of its own
            session = open_session(model, task, device="cpu" if device == "cpu" else "auto")
            names[k] = f"{session.name} ({session.config.sampler}, {session.place})"
        sessions.append(session)
        longer[k] = f"{(exported or find_bundle(model)).resolve().parent.name}/{names[k]}"
    placed = list(distinct_names(names, longer).values())
    numbered = (f"{name} ({placed[: k + 1].count(name)})" for k, name in enumerate(placed))
    labels = (name if placed.count(name) == 1 else number for name, number in zip(placed, numbered, strict=True))
    return dict(zip(labels, sessions, strict=True))
