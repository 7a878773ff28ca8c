"""Animation on files: the video, a side-by-side video, the driver's landmarks and sound, and a report."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from gfla_cli.arrays import Image
from gfla_cli.errors import MediaError, UsageError
from gfla_cli.inference.session import Execution
from gfla_cli.io.background import Progress, Say, overlapped, said_when_slow, silent
from gfla_cli.io.files import refuse_output
from gfla_cli.io.image import at_size
from gfla_cli.io.video import Sound, Trim, VideoWriter, container_of, probe, read_frames
from gfla_cli.person.detect_face import kind_of_image
from gfla_cli.person.track_files import Kind, is_track_file, read_track, refuse_track_name, write_track
from gfla_cli.pipelines.animation import (
    MODELS,
    AnimatedFrame,
    Animation,
    AnimationSettings,
    Animator,
    check_source,
    read_source,
)
from gfla_cli.pipelines.driver import OnMissing, Stopwatch, TaskName
from gfla_cli.pipelines.jobs import JobReport, JobRunner


@dataclass(frozen=True, slots=True)
class AnimationJob:
    """One video to make."""

    source: Path
    driving: Path
    output: Path
    concat: Path | None = None  # a video of source, driver and result side by side
    landmarks: Path | None = None  # the driver's landmarks
    reads: tuple[Path | str, ...] = ()  # further files: a background, a model

    @property
    def name(self) -> str:
        return f"{self.source}, {self.driving}"

    @property
    def inputs(self) -> list[Path | str]:
        return [self.source, self.driving, *self.reads]

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.output, self.concat, self.landmarks) if path is not None]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimateOptions:
    """How it is made."""

    settings: AnimationSettings
    execution: Execution
    task: TaskName = "auto"
    model: str | None = None  # None: the default of the task
    driving_person: str = "largest"
    trim: Trim | None = None
    fps: Fraction | None = None
    on_missing: OnMissing = "hold"
    overwrite: bool = False
    in_turns: bool = False  # one stage at a time, see `Stopwatch`: slower, but shows what each stage takes by itself


@dataclass(slots=True)
class AnimationReport(JobReport):
    """What was made, how good the driver was, and how long it took."""

    task: str = ""
    frames: int = 0
    width: int = 0  # of a frame, pixels
    height: int = 0
    missing: int = 0  # frames of the driver in which no person was found
    damaged: bool = False  # the driver was cut off or damaged; what could be read was used
    notes: list[str] = field(default_factory=list)
    frames_per_second: float = 0.0  # from opening the driver to the finished file
    cpu_seconds: float = 0.0  # of all cores in that time; on Linux and macOS ffmpeg's are included
    seconds: dict[str, float] = field(default_factory=dict)  # by stage; stages overlap

    @property
    def exit_code(self) -> int:
        """1 also for a damaged driver."""
        return 1 if self.failed or self.damaged else 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        names = ("task", "frames", "width", "height", "missing", "damaged", "notes", "frames_per_second")
        values = {name: getattr(self, name) for name in (*names, "cpu_seconds", "seconds")}
        return {"written": [str(path) for path in self.written], **values}


def plan_animation(
    source: Path,
    driving: Path,
    output: Path | None,
    *,
    concat: bool = False,
    landmarks: Path | None = None,
    reads: tuple[Path | str, ...] = (),
    overwrite: bool = False,
) -> AnimationJob:
    """Checks everything that can be checked before a model is loaded. Raises UsageError and MediaError.

    Without `output` the video goes to the current folder as SOURCE--DRIVING.mp4; a folder gets that name inside.
    `reads`: further files that the call reads, such as a background. No result may replace one of them.
    """
    name = f"{source.stem}--{driving.stem}.mp4"
    path = Path(name) if output is None else output / name if output.is_dir() else output
    side_by_side = path.with_name(f"{path.stem}_concat{path.suffix}") if concat else None
    container_of(path)
    if landmarks is not None:
        refuse_track_name(landmarks)
    job = AnimationJob(source, driving, path, side_by_side, landmarks, reads)
    for one in job.outputs:
        refuse_output(one, overwrite=overwrite, inputs=job.inputs)
    check_source(source)
    if is_track_file(driving):
        read_track(driving)
    else:
        probe(driving)
    return job


def run_animation(
    job: AnimationJob, options: AnimateOptions, *, say: Say = silent, progress: Progress = silent
) -> AnimationReport:
    """Makes the video. A driver that is cut off gives as many frames as it has; the report says so.

    Raises GflaError children; then no file is left behind. `progress` gets the frames done and expected.
    """
    report = AnimationReport()
    runner = JobRunner([job], report, overwrite=options.overwrite, say=say, progress=progress)
    runner.run(lambda job, progress: _animate(job, options, report, say, progress))
    return report


def _animate(
    job: AnimationJob, options: AnimateOptions, report: AnimationReport, say: Say, progress: Progress
) -> list[Path]:
    with said_when_slow(say, "looking at the image and loading the model"):
        animator = _animator(job, options)
    say(f"{animator.session.name} on {animator.session.place}")
    started, spent = time.perf_counter(), _cpu_seconds()
    with said_when_slow(say, "fitting the motion to the image"):
        animation = animator.animate(
            job.source,
            job.driving,
            settings=options.settings,
            trim=options.trim,
            fps=options.fps,
            driving_person=options.driving_person,
            on_missing=options.on_missing,
            images=job.concat is not None,
            stopwatch=Stopwatch(in_turns=options.in_turns),
        )
    with animation:
        report.task = animator.kind
        _write(animation, job, options, report, progress)
    report.missing, report.damaged = animation.missing, animation.damaged
    report.notes = [*animation.notes, *report.notes]
    report.seconds = {stage: round(seconds, 3) for stage, seconds in animation.stopwatch.seconds.items()}
    report.frames_per_second = round(report.frames / (time.perf_counter() - started), 2)
    report.cpu_seconds = round(_cpu_seconds() - spent, 3)
    if job.landmarks is not None:
        write_track(job.landmarks, animation.track, overwrite=options.overwrite)
    for note in report.notes:
        say(note)
    return job.outputs


def _cpu_seconds() -> float:
    """Of this process, and of its children that have ended."""
    return sum(os.times()[:4])


def _animator(job: AnimationJob, options: AnimateOptions) -> Animator:
    """The loaded model. Raises UsageError when it is for another task."""
    kind = _kind(job, options)
    model = options.model or MODELS[kind or "face"]
    execution: Execution = {**options.execution, "images": _frames(job, options)}
    animator = Animator(model, **execution)
    if kind not in (None, animator.kind):
        what = f"the task is {kind}, but the model {model} is for a {animator.kind}"
        raise UsageError(what, hint=f"--task {animator.kind}, or another --model")
    return animator


def _frames(job: AnimationJob, options: AnimateOptions) -> int:
    """How many frames the video will have, as far as is known."""
    if is_track_file(job.driving):
        return len(read_track(job.driving).frames)
    with read_frames(job.driving, options.trim, options.fps) as frames:  # decodes nothing yet
        return frames.expected


def _kind(job: AnimationJob, options: AnimateOptions) -> Kind | None:
    """What to animate. None when the model decides."""
    if options.task != "auto":
        return options.task
    if options.model is not None:
        return None
    if is_track_file(job.driving):
        return read_track(job.driving).kind
    return kind_of_image(read_source(job.source), str(job.source))


def _write(
    animation: Animation, job: AnimationJob, options: AnimateOptions, report: AnimationReport, progress: Progress
) -> None:
    """Writes every frame into the result, and into the side-by-side video."""
    sound = _sound(animation, options, report)
    with ExitStack() as stack:

        def writer(path: Path) -> VideoWriter:
            return stack.enter_context(VideoWriter(path, animation.fps, sound=sound, overwrite=options.overwrite))

        video = writer(job.output)
        concat = writer(job.concat) if job.concat is not None else None
        # The next frames are made in threads of their own while one is written.
        for frame in stack.enter_context(closing(overlapped(animation, 2))):
            with animation.stopwatch.measure("encode"):
                video.write(frame.image)
                if concat is not None:
                    concat.write(_side_by_side(animation.still, frame))
            progress(video.count, animation.expected)
        if video.count == 0:
            raise MediaError(f"{job.driving}: no person found in any frame", hint="--on-missing hold")
    report.frames = video.count
    report.height, report.width = animation.still.shape[:2]
    report.notes += [*video.notes, *(concat.notes if concat is not None else [])]


def _sound(animation: Animation, options: AnimateOptions, report: AnimationReport) -> Sound | None:
    """The driver's sound. None when frames may be left out: sound and video would drift apart."""
    if animation.sound is None or options.on_missing != "skip":
        return animation.sound
    report.notes.append("no sound: with --on-missing skip it would not fit the video")
    return None


def _side_by_side(source: Image, frame: AnimatedFrame) -> Image:
    """Source, driver (where there is an image of it) and result in one row, at the result's height."""
    parts = [source, *([frame.driving] if frame.driving is not None else []), frame.image]
    height = frame.image.shape[0]
    widths = [max(1, round(part.shape[1] * height / part.shape[0])) for part in parts]
    return np.hstack([at_size(part, (height, width)) for part, width in zip(parts, widths, strict=True)])
