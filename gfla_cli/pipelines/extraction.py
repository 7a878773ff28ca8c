"""Landmarks of images and videos, into files that other commands read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from gfla_cli.arrays import Image, Points
from gfla_cli.errors import DetectionError, MediaError, UsageError
from gfla_cli.io.background import Progress, Say, said_when_slow, silent
from gfla_cli.io.files import files_of, names_of_results, refuse_output, require_path
from gfla_cli.io.image import READABLE, is_animated, read_image, write_image
from gfla_cli.io.video import Trim, VideoWriter, read_frames
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import FaceDetector, kind_of_image, no_face
from gfla_cli.person.drawing import draw_face, draw_pose
from gfla_cli.person.face import POINTS
from gfla_cli.person.keypoint_files import write_poses
from gfla_cli.person.pose import Pose, choose_person
from gfla_cli.person.track_files import Kind, Track, refuse_track_name, write_track
from gfla_cli.pipelines.driver import TaskName, not_found, open_driver
from gfla_cli.pipelines.jobs import JobReport, JobRunner, without_results

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".gif", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
_LOOK_EVERY = 10  # frames between attempts to find out what a video shows
_STILL_FPS = Fraction(25)  # of the single frame that an image is


@dataclass(frozen=True, slots=True)
class ExtractJob:
    """One image or video."""

    source: Path
    output: Path  # .json
    overlay: Path | None  # an image or a video

    @property
    def name(self) -> str:
        return str(self.source)

    @property
    def inputs(self) -> list[Path]:
        return [self.source]

    @property
    def outputs(self) -> list[Path]:
        return [self.output, *([self.overlay] if self.overlay is not None else [])]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractOptions:
    """Everything that holds for all jobs of a call."""

    task: TaskName = "auto"
    person: str | None = None  # None: the largest face, the largest person of a video, all people of an image
    trim: Trim | None = None
    fps: Fraction | None = None
    overwrite: bool = False


@dataclass(slots=True)
class ExtractReport(JobReport):
    """The outcome of all jobs."""

    damaged: list[Path] = field(default_factory=list)  # videos of which not all could be read

    @property
    def exit_code(self) -> int:
        """1 also for damaged videos."""
        return 1 if self.failed or self.damaged else 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**JobReport.to_json(self), "damaged": [str(path) for path in self.damaged]}


def plan_extraction(
    source: Path, output: Path | None, *, overlay: bool, overwrite: bool, say: Say = silent
) -> list[ExtractJob]:
    """A job for a file, or for every image and video of a folder. Raises UsageError and MediaError.

    `output` is a .json file for one source, else a folder. Without it results go to the current folder. Results of a
    folder are named after their sources: walk.json, or walk.jpg.json and walk.mp4.json where two would share a name.
    """
    if source.is_dir():
        folder = output or Path()
        sources = media_files(source, (*READABLE, *VIDEOS), "images or videos")
        sources = without_results(sources, source, folder, say)
        names = names_of_results(sources)
        return [_job(path, folder / f"{names[path]}.json", overlay=overlay) for path in sources]
    require_path(source)
    if output is None or output.is_dir():
        output = (output or Path()) / f"{source.stem}.json"
    refuse_track_name(output)
    job = _job(source, output, overlay=overlay)
    for path in job.outputs:
        refuse_output(path, overwrite=overwrite, inputs=job.inputs)
    return [job]


def media_files(folder: Path, suffixes: Sequence[str], what: str) -> list[Path]:
    """The files of a folder with these suffixes, sorted by name. Raises MediaError if there are none."""
    found = files_of(folder, suffixes)
    if not found:
        raise MediaError(f"{folder}: no {what} in this folder", hint=f"known: {' '.join(suffixes)}")
    return found


def _job(source: Path, output: Path, *, overlay: bool) -> ExtractJob:
    suffix = ".png" if _is_image(source) else ".mp4"
    return ExtractJob(source, output, output.with_name(f"{output.stem}_overlay{suffix}") if overlay else None)


def _is_image(path: Path) -> bool:
    """Decides by the name, and by the content for formats that may be either."""
    if path.suffix.lower() not in READABLE:
        return False
    try:
        return not is_animated(path)
    except MediaError:
        return True  # the job reads it again and reports the error


def run_extraction(
    jobs: Sequence[ExtractJob], options: ExtractOptions, *, say: Say = silent, progress: Progress = silent
) -> ExtractReport:
    """Runs all jobs. Raises the error of a single job; errors of several are reported."""
    report = ExtractReport()
    if len(jobs) == 1 and _is_image(jobs[0].source) and (options.trim or options.fps):
        what = f"{jobs[0].source} is an image, which has no time"
        raise UsageError(what, hint="--trim and --fps are for videos; leave them out")

    def extract(job: ExtractJob, progress: Progress) -> list[Path]:
        if _is_image(job.source):
            with said_when_slow(say if len(jobs) == 1 else silent, "looking for people"):
                _extract_image(job, options, say)
        else:
            _extract_video(job, options, say, progress, report)
        return job.outputs

    JobRunner(jobs, report, overwrite=options.overwrite, say=say, progress=progress).run(extract)
    return report


def _extract_image(job: ExtractJob, options: ExtractOptions, say: Say) -> None:
    """A face becomes a track of one frame, which drives an animation; people become poses for a pose transfer."""
    image = read_image(job.source)
    where = str(job.source)
    kind = kind_of_image(image, where) if options.task == "auto" else options.task
    if kind == "face":
        with FaceDetector() as detector:
            faces = detector.detect(image)
        if not faces:
            raise no_face(where)
        notes: list[str] = []
        points = choose_person(faces, options.person or "largest", where=where, notes=notes).points
        for note in notes:
            say(note)
        track = Track("face", _STILL_FPS, (image.shape[0], image.shape[1]), [points])
        write_track(job.output, track, overwrite=options.overwrite)
        drawn = draw_face(image, points)
    else:
        with PersonDetector() as people_detector:
            poses = [person.pose for person in people_detector.detect(image)]
        if not poses:
            raise not_found(where, "body")
        if options.person is not None:
            poses = [choose_person(poses, options.person, where=where)]
        elif len(poses) > 1:
            say(f"{where}: {len(poses)} people found, all are written; --person left|right|N writes one")
        write_poses(job.output, poses, overwrite=options.overwrite)
        drawn = draw_pose(image, poses)
    if job.overlay is not None:
        write_image(job.overlay, drawn, overwrite=options.overwrite, result=True)


def _extract_video(
    job: ExtractJob, options: ExtractOptions, say: Say, progress: Progress, report: ExtractReport
) -> None:
    """One person of a video becomes a track."""
    kind = _kind_of_video(job.source, options) if options.task == "auto" else options.task
    driver = open_driver(
        job.source,
        kind,
        trim=options.trim,
        fps=options.fps,
        person=options.person or "largest",
        images=job.overlay is not None,
    )
    track = Track(kind, driver.fps, driver.size)
    overlay = (
        VideoWriter(job.overlay, driver.fps, sound=driver.sound, overwrite=options.overwrite) if job.overlay else None
    )
    with overlay or nullcontext():
        for frame in driver.frames():
            track.frames.append(frame.points)
            if overlay is not None and frame.image is not None:
                overlay.write(_drawn(frame.image, frame.points))
            progress(len(track.frames), driver.expected)
        missing = sum(points is None for points in track.frames)
        if missing == len(track.frames):
            raise not_found(str(job.source), kind)
    write_track(job.output, track, overwrite=options.overwrite)
    for note in driver.notes:
        say(note)
    if missing:
        what = "face" if kind == "face" else "person"
        say(f"{job.source}: no {what} in {missing} of {len(track.frames)} frames")
    if driver.damaged:
        report.damaged.append(job.source)


def _kind_of_video(path: Path, options: ExtractOptions) -> Kind:
    """What the first frame with a face or person mostly shows."""
    with read_frames(path, options.trim, options.fps) as frames:
        for number, image in enumerate(frames):
            if number % _LOOK_EVERY == 0:
                try:
                    return kind_of_image(image, str(path))
                except DetectionError:
                    continue
    raise DetectionError(f"{path}: neither a face nor a person found", hint="--task face or --task body looks closer")


def _drawn(image: Image, points: Points | None) -> Image:
    """A copy of the frame (H, W, 3) with its face (68 or 70, 3) or body (18, 3 or 4), if it has one."""
    if points is None:
        return image
    if len(points) >= POINTS:
        return draw_face(image, points)
    return draw_pose(image, Pose.of(points, (image.shape[0], image.shape[1])))
