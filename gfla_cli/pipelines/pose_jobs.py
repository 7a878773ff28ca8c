"""Pose transfer on files: one pair, every source of a folder with every pose of another, or the pairs of a CSV file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from gfla_cli.arrays import Image
from gfla_cli.datasets.tables import read_pairs
from gfla_cli.distributed.launch import ProcessGroup
from gfla_cli.errors import DataError, GflaError, MediaError, UsageError
from gfla_cli.inference.runtime import is_out_of_memory, keep_freed_memory
from gfla_cli.inference.session import Execution, check_model, exported_file
from gfla_cli.io.background import Progress, Say, said_when_slow, silent
from gfla_cli.io.files import (
    InputFiles,
    distinct_names,
    is_too_long,
    path_inside,
    refuse_output,
    require_path,
    sole_writer,
    write_csv,
)
from gfla_cli.io.image import WRITABLE, check_image_file, find_images, write_image
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.keypoint_files import is_pose_file, poses_of_folder, read_poses, split_row
from gfla_cli.pipelines.framing import Background, Size
from gfla_cli.pipelines.jobs import JobReport, JobRunner, without_results

if TYPE_CHECKING:
    from gfla_cli.pipelines.pose_transfer import PoseTransfer, PreparedTransfer, TransferResult

FAILURES = "failures.csv"


@dataclass(frozen=True, slots=True)
class TransferJob:
    """One image to make."""

    source: Path
    pose: str  # a path, or FILE.csv#name
    output: Path
    shows: tuple[str, ...] = ()  # of VISUALIZATIONS: images about the result, written next to it
    pair: tuple[str, str] = ("", "")  # source and pose as the CSV file names them
    reads: tuple[Path | str, ...] = ()  # files that all jobs of the call read

    @property
    def name(self) -> str:
        return f"{self.source}, {self.pose}"

    @property
    def extras(self) -> dict[str, Path]:
        """Where the images about the result go."""
        return {show: self.output.with_name(f"{self.output.stem}--{show}.png") for show in self.shows}

    @property
    def inputs(self) -> list[Path | str]:
        return [self.source, split_row(self.pose)[0], *self.reads]

    @property
    def outputs(self) -> list[Path]:
        return [self.output, *self.extras.values()]


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferOptions:
    """Everything that holds for all jobs of a call."""

    execution: Execution
    model: str = "pose-people"
    crop: bool | None = None
    align: bool = True
    size: Size | None = None
    background: Background = "keep"
    refine_head: bool = True
    refine_body: bool = True
    person: str = "largest"
    target_person: str = "largest"
    side_by_side: bool = False
    batch: int = 1  # images in one pass of the network
    overwrite: bool = False


def plan_transfers(
    source: Path,
    pose: str,
    output: Path | None,
    *,
    shows: tuple[str, ...] = (),
    reads: tuple[Path | str, ...] = (),
    overwrite: bool = False,
    say: Say = silent,
) -> list[TransferJob]:
    """A job for every source with every pose. Raises UsageError and MediaError before any work is done.

    `source` and `pose` are files or folders. `output` is a file for one job, else a folder. Without it, results go to
    the current folder as SOURCE--POSE.png, with the suffixes of both where two results would share that name.
    Results of earlier calls are left out, see `without_results`.
    `reads`: further files that the call reads, such as a background. No result may replace one of them.
    """

    def images_of(folder: Path) -> list[Path]:
        return without_results(find_images(folder), folder, output or Path(), say)

    sources = images_of(source) if source.is_dir() else [source]
    poses = _poses_in(Path(pose), images_of) if Path(pose).is_dir() else [pose]
    single = not source.is_dir() and not Path(pose).is_dir()
    if output is not None and single and not output.is_dir():
        if output.suffix.lower() not in WRITABLE:
            raise UsageError(f"{output}: unknown image format", hint=f"known: {' '.join(WRITABLE)}")
        jobs = [TransferJob(source, pose, output, shows, reads=reads)]
    else:
        folder = output or Path()
        if output is not None and output.exists() and not output.is_dir():
            raise UsageError(f"{output} is a file, but there are several images to write", hint="give a folder")
        names = _output_names(sources, poses)
        jobs = [
            TransferJob(one, other, folder / f"{name}.png", shows, reads=reads) for (one, other), name in names.items()
        ]
    if single:
        for path in jobs[0].outputs:
            refuse_output(path, overwrite=overwrite, inputs=jobs[0].inputs)
        check_image_file(source)
        require_path(split_row(pose)[0])
        if is_pose_file(pose):
            read_poses(pose)
        else:
            check_image_file(pose)
    return jobs


def _output_names(sources: Sequence[Path], poses: Sequence[str]) -> dict[tuple[Path, str], str]:
    """A file name for every source in every pose."""
    wanted = {(one, other): f"{one.stem}--{_stem(other)}" for one, other in product(sources, poses)}
    return distinct_names(wanted, {(one, other): f"{one.name}--{_whole_name(other)}" for one, other in wanted})


def _poses_in(folder: Path, images_of: Callable[[Path], list[Path]]) -> list[str]:
    """Every pose of a folder: its images, and what its keypoint files hold. Raises MediaError if there are none."""
    found = poses_of_folder(folder)
    try:
        return [*(str(path) for path in images_of(folder)), *found]
    except MediaError as error:
        if found:
            return found
        raise MediaError(f"{folder}: no images and no keypoint files in this folder", hint=error.hint) from error


def _whole_name(pose: str) -> str:
    path, row = split_row(pose)
    return path.name if row is None else f"{path.name}_{_as_file_name(row)}"


def _as_file_name(name: str) -> str:
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", name)


def _stem(pose: str) -> str:
    path, row = split_row(pose)
    return Path(row or path).stem


def run_transfers(
    jobs: Sequence[TransferJob],
    options: TransferOptions,
    *,
    alone: bool | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> JobReport:
    """Runs all jobs with one loaded model. `alone`: see `JobRunner`."""
    report = JobReport()
    runner = JobRunner(jobs, report, overwrite=options.overwrite, alone=alone, say=say, progress=progress)
    if not runner.todo:
        return report
    model = _open_model(options, runner.todo, say)
    of_one: Say = say if len(runner.todo) == 1 else silent  # several have a bar
    announced = False

    def prepare(job: TransferJob) -> PreparedTransfer:
        with said_when_slow(of_one, "finding the person and the pose"):
            prepared = model.prepare(
                job.source,
                job.pose,
                crop=options.crop,
                align=options.align,
                person=options.person,
                target_person=options.target_person,
                refine_head=options.refine_head,
                refine_body=options.refine_body,
                size=options.size,
                background=options.background,
            )
            if not runner.alone and prepared.pending is not None:
                prepared.pending.result()  # what goes wrong there concerns this job alone
            return prepared

    def generate(batch: list[PreparedTransfer]) -> list[TransferResult]:
        nonlocal announced
        if not announced:  # an exported model starts while the first people are found
            say(f"{model.session.name} on {model.session.place}")
            announced = True
        with said_when_slow(of_one, "generating the image"):
            results = _generated(model, batch, inside=bool(jobs[0].shows))
        for result in results:
            for note in result.notes:
                say(note)
        return results

    def write(job: TransferJob, result: TransferResult) -> None:
        image = side_by_side(result) if options.side_by_side else result.image
        write_image(job.output, image, overwrite=options.overwrite, result=True)
        if not job.shows:
            return
        from gfla_cli.inference.visualize import VISUALIZATIONS

        for show, path in job.extras.items():
            frame = result.frame
            assert frame.inside is not None
            shown = VISUALIZATIONS[show](frame.source_image, frame.image, frame.inside, frame.target_pose)
            write_image(path, shown, overwrite=options.overwrite, result=True)

    runner.run_batches(prepare, generate, write, size=options.batch)
    return report


def _open_model(options: TransferOptions, todo: Sequence[TransferJob], say: Say) -> PoseTransfer:
    check_model(options.model, "pose")
    execution: Execution = {**options.execution, "images": len(todo)}
    if todo[0].shows and execution.get("runtime", "auto") == "auto" and exported_file(options.model) is None:
        execution["runtime"] = "torch"  # graphs show no flows
    with said_when_slow(say, f"loading {options.model}"):
        keep_freed_memory()  # MediaPipe's networks copy their weights several times while they start
        detector = PersonDetector()
        detector.start_in_background()  # MediaPipe takes a tenth of a second, meanwhile the network is opened
        from gfla_cli.pipelines.pose_transfer import PoseTransfer

        return PoseTransfer(options.model, **execution, detector=detector)


def _generated(model: PoseTransfer, batch: list[PreparedTransfer], *, inside: bool) -> list[TransferResult]:
    """The results of a batch. Raises GflaError with the right option when the memory is too small for it."""
    try:
        return model.generate(batch, inside=inside)
    except Exception as error:  # ONNX Runtime has errors of its own
        if not is_out_of_memory(error):
            raise
        what = f"a batch of {len(batch)} is too large for the memory"
        if len(batch) == 1:
            raise GflaError(
                what, hint="--precision bf16 halves what the network needs, a smaller --size what the result needs"
            ) from error
        raise GflaError(what, hint=f"--batch {len(batch) // 2} takes half of it; what is written stays") from error


def parse_shows(text: str | None) -> tuple[str, ...]:
    """Names of VISUALIZATIONS from a comma-separated list. Raises UsageError that lists the known ones."""
    if not text:
        return ()
    from gfla_cli.inference.visualize import VISUALIZATIONS

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in VISUALIZATIONS:
            raise UsageError(f"--show {name}: unknown name", hint=f"known: {', '.join(VISUALIZATIONS)}")
    return names


def side_by_side(result: TransferResult) -> Image:
    """Source, target skeleton and result in one row."""
    from gfla_cli.person.drawing import draw_pose
    from gfla_cli.person.pose import Pose

    height, width = result.image.shape[:2]
    skeleton = draw_pose(np.full((height, width, 3), 255, np.uint8), Pose(result.target_pose, (height, width)))
    images = [result.source_image, skeleton, result.image]
    if result.image.shape[2] == 4:
        images = [
            image if image.shape[2] == 4 else np.dstack([image, np.full((height, width), 255, np.uint8)])
            for image in images
        ]
    return np.hstack(images)


# The pairs of a CSV file, on one or several GPUs. An interrupted call can be repeated.


@dataclass(slots=True)
class PairsReport:
    """The outcome of all pairs, in all processes."""

    pairs: int = 0
    written: int = 0
    skipped: int = 0
    failed: int = 0


_Failure = tuple[str, str, str]  # from, to, what went wrong


@dataclass(frozen=True, slots=True)
class _PairsPlan:
    pairs: int
    todo: list[TransferJob]
    impossible: list[_Failure]  # pairs that cannot have a result of their own


def transfer_pairs(
    pairs_csv: Path,
    images: Path,
    output: Path,
    options: TransferOptions,
    *,
    group: ProcessGroup | None = None,
    progress: Progress = silent,
) -> PairsReport:
    """Runs every `from,to` row of a CSV file; results go to `output` as FROM--TO.png.

    Existing results are skipped, so an interrupted call can be repeated. Failures go to `output`/failures.csv.
    Each process of a `group` takes every N-th of the missing pairs; all return the same report. Raises GflaError for
    what concerns all pairs: the CSV file, the folders, the model, or another call that writes to the folder.
    """
    group = group or ProcessGroup()
    with ExitStack() as held:
        plan = group.run_on_rank0(lambda: _plan_pairs(pairs_csv, images, output, options, held))
        own = plan.todo[group.rank :: group.world_size]

        def tell(done: int, _: int) -> None:  # the other processes are about as far
            progress(min(plan.pairs, plan.pairs - len(plan.todo) + done * group.world_size), plan.pairs)

        tell(0, 0)
        report = group.run_on_all(lambda: run_transfers(own, options, alone=False, progress=tell))
        pairs = {job.name: job.pair for job in own}
        failures = [(*pairs[name], error) for name, error in report.failed.items()]
        failures = [failure for part in group.all_gather(failures) for failure in part]
        written = len(plan.todo) - len(failures)
        failures = sorted(plan.impossible + failures)
        group.run_on_rank0(lambda: _write_failures(output / FAILURES, failures))
    return PairsReport(plan.pairs, written, plan.pairs - len(plan.todo) - len(plan.impossible), len(failures))


def _plan_pairs(pairs_csv: Path, images: Path, output: Path, options: TransferOptions, held: ExitStack) -> _PairsPlan:
    """Reads the CSV file, and locks the folder of the results until `held` ends."""
    named, impossible = _with_names(read_pairs_of(pairs_csv, images))
    count = len(named) + len(impossible)
    InputFiles([pairs_csv]).refuse(output / FAILURES)
    held.enter_context(sole_writer(output))
    inputs = InputFiles(images / split_row(name)[0] for pair in named for name in pair)
    todo: list[TransferJob] = []
    for pair, name in named.items():
        path = output / name
        if path.exists() and not options.overwrite:
            continue
        try:
            source, pose = (path_inside(images, part) for part in pair)
            inputs.refuse(path)
        except GflaError as error:
            impossible.append((*pair, str(error)))
        else:
            todo.append(TransferJob(source, str(pose), path, pair=pair))
    return _PairsPlan(count, todo, impossible)


def read_pairs_of(pairs_csv: Path, images: Path) -> list[tuple[str, str]]:
    """The rows of a CSV file about the images of a folder. Raises DataError for a wrong file or folder."""
    if not pairs_csv.is_file():
        raise DataError(f"{pairs_csv}: no such file", hint="a CSV that begins with the line from,to")
    if not images.is_dir():
        raise DataError(f"{images}: no such folder", hint="--images names the folder that the CSV's names are in")
    return read_pairs(pairs_csv)


def _with_names(pairs: Sequence[tuple[str, str]]) -> tuple[dict[tuple[str, str], str], list[_Failure]]:
    """Each pair with the file name of its result, and the pairs that cannot have one, with the reason."""
    names: dict[tuple[str, str], str] = {}
    owners: dict[str, tuple[str, str]] = {}
    impossible = []
    for pair in dict.fromkeys(pairs):
        name = _result_name(pair)
        owner = owners.setdefault(os.path.normcase(name), pair)
        if owner != pair:
            impossible.append((*pair, f"its result would be that of {' and '.join(owner)}, {name}"))
        elif is_too_long(name):
            impossible.append((*pair, "the names are too long for a file name"))
        else:
            names[pair] = name
    return names, impossible


def _result_name(pair: tuple[str, str]) -> str:
    """FROM--TO.png, where `a/b.jpg` and `a.csv#b.jpg` become `a_b`. _ replaces unportable characters, too."""
    source, target = ("_".join(map(_bare, name.split("#"))) for name in pair)
    return _as_file_name(f"{source}--{target}.png")


def _bare(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("") if path.name else path)


def _write_failures(path: Path, failures: Sequence[_Failure]) -> None:
    if not failures:
        path.unlink(missing_ok=True)
        return
    write_csv(path, [("from", "to", "error"), *failures])
