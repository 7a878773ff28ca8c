"""Landmarks of pictures and films into files that other commands take in their place; with an overlay to look at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from gfla_cli.arrays import Image, Points
from gfla_cli.errors import DetectionError, GflaError, MediaError
from gfla_cli.io.files import make_folder, names_of_results, refuse_output, require_path
from gfla_cli.io.image import READABLE, is_animated, read_image, write_image
from gfla_cli.io.video import Trim, VideoWriter, read_frames
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import FaceDetector, kind_of_picture, no_face
from gfla_cli.person.drawing import draw_face, draw_pose
from gfla_cli.person.keypoint_files import write_poses
from gfla_cli.person.pose import Pose, choose_person
from gfla_cli.person.track_files import Kind, Track, refuse_track_name, write_track
from gfla_cli.pipelines.driver import nobody_in, open_driver

TaskName = Literal["auto", "face", "body"]

FILMS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".gif", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
_LOOK_EVERY = 10  # frames, until one shows somebody
_STILL_FPS = Fraction(25)  # of the one frame that a picture is


@dataclass(frozen=True, slots=True)
class ExtractJob:
    """One picture or film."""

    source: Path
    output: Path  # .json
    overlay: Path | None  # a picture or a film

    @property
    def outputs(self) -> list[Path]:
        """All files to write."""
        return [self.output, *([self.overlay] if self.overlay is not None else [])]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractOptions:
    """What holds for all jobs of a call."""

    task: TaskName = "auto"
    person: str = "largest"  # whose face, and who of a film
    trim: Trim | None = None
    fps: Fraction | None = None
    overwrite: bool = False


@dataclass(slots=True)
class ExtractReport:
    """What became of the jobs."""

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # source -> what went wrong
    damaged: list[Path] = field(default_factory=list)  # films of which not all could be read

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        paths = {name: [str(path) for path in getattr(self, name)] for name in ("written", "skipped", "damaged")}
        return {**paths, "failed": self.failed}


def plan_extraction(source: Path, output: Path | None, *, overlay: bool, overwrite: bool) -> list[ExtractJob]:
    """A job for a file, or for every picture and film of a folder; raises UsageError and MediaError.

    `output` is a .json file for one source, else a folder; without it results go to the current folder. Results of a
    folder are called after their sources: walk.json, or walk.jpg.json and walk.mp4.json where two would share that.
    """
    if source.is_dir():
        sources = [path for path in sorted(source.iterdir()) if _is_medium(path)]
        if not sources:
            raise MediaError(f"{source}: no pictures and no films in this folder", hint="give a file or another folder")
        folder = output or Path()
        make_folder(folder)
        names = names_of_results(sources)
        return [_job(path, folder / f"{names[path]}.json", overlay=overlay) for path in sources]
    require_path(source)
    if output is None or output.is_dir():
        output = (output or Path()) / f"{source.stem}.json"
    refuse_track_name(output)
    job = _job(source, output, overlay=overlay)
    for path in job.outputs:
        refuse_output(path, overwrite=overwrite)
    return [job]


def _is_medium(path: Path) -> bool:
    return path.suffix.lower() in (*READABLE, *FILMS) and not path.name.startswith(".") and path.is_file()


def _job(source: Path, output: Path, *, overlay: bool) -> ExtractJob:
    suffix = ".png" if _is_picture(source) else ".mp4"
    return ExtractJob(source, output, output.with_name(f"{output.stem}_overlay{suffix}") if overlay else None)


def _is_picture(path: Path) -> bool:
    """By its name, and for formats that may be either by a look inside."""
    if path.suffix.lower() not in READABLE:
        return False
    try:
        return not is_animated(path)
    except MediaError:
        return True  # read again later, and then named


def extract_files(
    jobs: list[ExtractJob],
    options: ExtractOptions,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, expected: None,
) -> ExtractReport:
    """Runs all jobs; what exists is skipped, a lone job's failure is raised, among several it is noted."""
    report = ExtractReport()
    for number, job in enumerate(jobs):
        if not options.overwrite and any(path.exists() for path in job.outputs):
            report.skipped.append(job.output)
            continue
        try:
            if _is_picture(job.source):
                _extract_picture(job, options, say)
            else:
                _extract_film(job, options, say, progress if len(jobs) == 1 else _ignore, report)
            report.written += job.outputs
        except GflaError as error:
            if len(jobs) == 1:
                raise
            report.failed[str(job.source)] = str(error)
            say(f"failed: {error}")
        if len(jobs) > 1:
            progress(number + 1, len(jobs))
    if report.skipped:
        say(f"{len(report.skipped)} of {len(jobs)} exist already and were skipped; --overwrite redoes them")
    return report


def _ignore(done: int, expected: int) -> None:
    """Progress inside one of several films."""


def _extract_picture(job: ExtractJob, options: ExtractOptions, say: Callable[[str], None]) -> None:
    """A face as a clip of one frame, which drives an animation; all people as poses, which drive a pose transfer."""
    picture = read_image(job.source)
    where = str(job.source)
    kind = kind_of_picture(picture, where) if options.task == "auto" else options.task
    size = (picture.shape[0], picture.shape[1])
    if kind == "face":
        with FaceDetector() as detector:
            faces = detector.detect(picture)
        if not faces:
            raise no_face(where)
        notes: list[str] = []
        points = choose_person(faces, options.person, where=where, notes=notes).points
        for note in notes:
            say(note)
        write_track(job.output, Track("face", _STILL_FPS, size, [points]), overwrite=options.overwrite)
        drawn = draw_face(picture, points)
    else:
        with PersonDetector() as people_detector:
            poses = [person.pose for person in people_detector.detect(picture)]
        if not poses:
            raise nobody_in(where, "body")
        write_poses(job.output, poses, overwrite=options.overwrite)
        drawn = draw_pose(picture, poses)
    if job.overlay is not None:
        write_image(job.overlay, drawn, overwrite=options.overwrite)


def _extract_film(
    job: ExtractJob,
    options: ExtractOptions,
    say: Callable[[str], None],
    progress: Callable[[int, int], None],
    report: ExtractReport,
) -> None:
    """One person of a film, frame after frame."""
    kind = _kind_of_film(job.source, options) if options.task == "auto" else options.task
    driver = open_driver(
        job.source,
        kind,
        trim=options.trim,
        fps=options.fps,
        person=options.person,
        pictures=job.overlay is not None,
    )
    track = Track(kind, driver.fps, driver.size)
    shown = (
        VideoWriter(job.overlay, driver.fps, sound=driver.sound, overwrite=options.overwrite) if job.overlay else None
    )
    with shown or nullcontext():
        for frame in driver.frames():
            track.frames.append(frame.points)
            if shown is not None and frame.image is not None:
                shown.write(draw_points(frame.image, frame.points))
            progress(len(track.frames), driver.expected)
        missing = sum(points is None for points in track.frames)
        if missing == len(track.frames):
            raise nobody_in(str(job.source), kind)
    write_track(job.output, track, overwrite=options.overwrite)
    for note in driver.notes:
        say(note)
    if missing:
        say(f"{job.source}: nobody in {missing} of {len(track.frames)} frames")
    if driver.damaged:
        report.damaged.append(job.source)


def _kind_of_film(path: Path, options: ExtractOptions) -> Kind:
    """What the first frame in which anybody is seen mostly shows."""
    with read_frames(path, options.trim, options.fps) as frames:
        for number, image in enumerate(frames):
            if number % _LOOK_EVERY == 0:
                try:
                    return kind_of_picture(image, str(path))
                except DetectionError:
                    continue
    raise DetectionError(f"{path}: neither a face nor a person found", hint="--task face or --task body looks closer")


def draw_points(image: Image, points: Points | None) -> Image:
    """A copy of the frame (H, W, 3) with its face (68, 3) or body (18, 3 or 4) over it; the frame where it has none."""
    if points is None:
        return image
    if len(points) == 68:
        return draw_face(image, points)
    return draw_pose(image, Pose.of(points, (image.shape[0], image.shape[1])))
