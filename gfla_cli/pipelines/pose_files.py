"""Pose transfer on files and folders: what to make, what exists already, what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfla_cli.errors import GflaError, UsageError
from gfla_cli.inference.inside import SHOWS, Inside
from gfla_cli.io.files import distinct_names, make_folder, refuse_output, require_file, require_path
from gfla_cli.io.image import WRITABLE, find_images, write_image
from gfla_cli.person.keypoint_files import split_row

if TYPE_CHECKING:
    from gfla_cli.inference.session import Execution
    from gfla_cli.pipelines.pose_transfer import PoseTransfer, Prepared, TransferResult


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to make."""

    source: Path
    pose: str  # a path, or FILE.csv#name
    output: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferOptions:
    """Everything that holds for all jobs of a call."""

    model: str
    crop: bool
    align: bool
    near_head: bool
    person: str
    target_person: str
    side_by_side: bool
    show: tuple[str, ...]  # of show.inside.SHOWS
    overwrite: bool
    execution: Execution


@dataclass(slots=True)
class TransferReport:
    """What became of the jobs."""

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # "source, pose" -> what went wrong

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        paths = {name: [str(path) for path in getattr(self, name)] for name in ("written", "skipped")}
        return {**paths, "failed": self.failed}


def plan_jobs(source: Path, pose: str, output: Path | None, *, overwrite: bool) -> list[Job]:
    """Every source with every pose. Raises before any work is done when a single output exists or cannot be named.

    `source` and `pose` are files or folders; `output` is a file for one job, else a folder; without it results go
    to the current folder as SOURCE--POSE.png, with the suffixes of both where two would have that name.
    """
    sources = find_images(source) if source.is_dir() else [source]
    poses = [str(path) for path in find_images(pose)] if Path(pose).is_dir() else [pose]
    single = len(sources) == len(poses) == 1 and not source.is_dir() and not Path(pose).is_dir()
    as_file = output is not None and single and not output.is_dir()
    if as_file:
        assert output is not None
        if output.suffix.lower() not in WRITABLE:
            raise UsageError(f"{output}: unknown picture format", hint=f"known: {' '.join(WRITABLE)}")
        jobs = [Job(sources[0], poses[0], output)]
    else:
        folder = output or Path()
        if output is not None and output.exists() and not output.is_dir():
            raise UsageError(f"{output} is a file, but there are several pictures to write", hint="give a folder")
        jobs = [Job(one, other, folder / f"{name}.png") for (one, other), name in _names(sources, poses).items()]
    if single:
        _refuse_early(jobs[0], overwrite=overwrite)
    return jobs


def _names(sources: list[Path], poses: list[str]) -> dict[tuple[Path, str], str]:
    """What to call the picture of every source with every pose."""
    stems = {pose: _stem(pose) for pose in poses}
    wanted = {(one, other): f"{one.stem}--{stems[other]}" for one, other in product(sources, poses)}
    return distinct_names(wanted, {(one, other): f"{one.name}--{Path(other).name}" for one, other in wanted})


def _stem(pose: str) -> str:
    path, row = split_row(pose)
    return Path(row or path).stem


def _refuse_early(job: Job, *, overwrite: bool) -> None:
    """What a user should hear before waiting for a model to load."""
    refuse_output(job.output, overwrite=overwrite)
    require_file(job.source, "picture")
    require_path(split_row(job.pose)[0])


def transfer_files(jobs: list[Job], options: TransferOptions, *, say: Callable[[str], None]) -> TransferReport:
    """Runs all jobs with one loaded model; a lone job's failure is raised, among several it is noted."""
    from gfla_cli.pipelines.pose_transfer import PoseTransfer

    report = TransferReport()
    todo = [job for job in jobs if options.overwrite or not job.output.exists()]
    report.skipped = [job.output for job in jobs if job not in todo]
    if report.skipped:
        say(f"{len(report.skipped)} of {len(jobs)} exist already and were skipped; --overwrite redoes them")
    if not todo:
        return report
    make_folder(todo[0].output.parent)
    model = PoseTransfer(options.model, **options.execution)
    if len(jobs) > 1:  # else an exported model starts while people are found
        say(_place(model))
    for job in todo:
        try:
            ready = _prepared(model, job, options)
            if len(jobs) == 1:
                say(_place(model))
            report.written += _finished(model, job, ready, options, say)
        except GflaError as error:
            if len(jobs) == 1:
                raise
            report.failed[f"{job.source}, {job.pose}"] = str(error)
            say(f"failed: {error}")
    if report.failed:
        say(f"{len(report.failed)} of {len(todo)} failed")
    return report


def _place(model: PoseTransfer) -> str:
    return f"{model.session.name} on {model.session.place}"


def _extras(job: Job, options: TransferOptions) -> dict[str, Path]:
    """Which pictures about the result are wanted, and where they go."""
    return {name: beside(job.output, name) for name in options.show}


def _prepared(model: PoseTransfer, job: Job, options: TransferOptions) -> Prepared:
    for path in _extras(job, options).values():
        refuse_output(path, overwrite=options.overwrite)
    return model.prepare(
        job.source,
        job.pose,
        crop=options.crop,
        align=options.align,
        person=options.person,
        target_person=options.target_person,
        near_head=options.near_head,
    )


def _finished(
    model: PoseTransfer, job: Job, ready: Prepared, options: TransferOptions, say: Callable[[str], None]
) -> list[Path]:
    """Writes one job's pictures; returns their files, the result first."""
    result, inside = model.finish_and_show(ready) if options.show else (model.finish(ready), Inside([]))
    for note in result.notes:
        say(note)
    extras = _extras(job, options)
    picture = side_by_side(result) if options.side_by_side else result.image
    write_image(job.output, picture, overwrite=options.overwrite)
    for name, path in extras.items():
        shown = SHOWS[name](result.source_image, result.image, inside, result.target_pose)
        write_image(path, shown, overwrite=options.overwrite)
    return [job.output, *extras.values()]


def beside(output: Path, what: str) -> Path:
    """Where a picture about the result `output` goes."""
    return output.with_name(f"{output.stem}--{what}.png")


def parse_shows(text: str | None) -> tuple[str, ...]:
    """Names of SHOWS from a comma-separated list; raises UsageError that lists the known ones."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text else ()
    for name in names:
        if name not in SHOWS:
            raise UsageError(f"--show {name}: nothing of that name", hint=f"known: {', '.join(SHOWS)}")
    return names


def side_by_side(result: TransferResult) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Source frame, target skeleton and result in one row."""
    from gfla_cli.person.drawing import draw_pose
    from gfla_cli.person.pose import Pose

    height, width = result.image.shape[:2]
    skeleton = draw_pose(np.full_like(result.image, 255), Pose(result.target_pose, (height, width)))
    return np.hstack([result.source_image, skeleton, result.image])
