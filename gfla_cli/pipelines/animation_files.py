"""Animation on files: what to write, the clip beside its source and driver, the driver's sound, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from gfla_cli.arrays import Image
from gfla_cli.errors import MediaError, UsageError
from gfla_cli.geometry.paste import Paster
from gfla_cli.io.background import overlapped
from gfla_cli.io.files import refuse_output, require_file
from gfla_cli.io.video import Sound, Trim, VideoWriter, container_of, exact_rate, probe
from gfla_cli.person.track_files import Kind, is_track_file, read_track, refuse_track_name, write_track
from gfla_cli.pipelines.animation import Staging

if TYPE_CHECKING:
    from gfla_cli.inference.session import Execution
    from gfla_cli.pipelines.animation import AnimatedFrame, Animation, Animator
    from gfla_cli.pipelines.driver import OnMissing


TaskName = Literal["auto", "face", "body"]


@dataclass(frozen=True, slots=True)
class AnimationPlan:
    """What to read and what to write."""

    source: Path
    driving: Path
    output: Path
    concat: Path | None  # source, driver and result side by side
    landmarks: Path | None  # the driver's
    overwrite: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimateOptions:
    """How it is made."""

    staging: Staging
    execution: Execution
    task: TaskName = "auto"
    model: str | None = None  # None: the default of the task
    driving_person: str = "largest"
    paste_back: bool = True  # blend the result into the whole source picture
    trim: Trim | None = None
    fps: Fraction | None = None
    on_missing: OnMissing = "hold"


@dataclass(slots=True)
class AnimationReport:
    """What was made, of what quality the driver was, and where the time went."""

    written: list[Path] = field(default_factory=list)
    task: str = ""
    frames: int = 0
    missing: int = 0  # frames of the driver without anybody
    damaged: bool = False  # the driver was cut off or damaged; what could be read was used
    notes: list[str] = field(default_factory=list)
    frames_per_second: float = 0.0  # made, from the first look at the driver to the finished file
    seconds: dict[str, float] = field(default_factory=dict)  # by stage; stages overlap

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        names = ("task", "frames", "missing", "damaged", "notes", "frames_per_second", "seconds")
        return {"written": [str(path) for path in self.written], **{name: getattr(self, name) for name in names}}


def plan_animation(
    source: Path,
    driving: Path,
    output: Path | None,
    *,
    concat: bool = False,
    landmarks: Path | None = None,
    overwrite: bool = False,
) -> AnimationPlan:
    """Checks everything that can be checked before a model is loaded; raises UsageError and MediaError.

    Without `output` the clip goes to the current folder as SOURCE--DRIVING.mp4; a folder gets that name inside.
    """
    name = f"{source.stem}--{driving.stem}.mp4"
    path = Path(name) if output is None else output / name if output.is_dir() else output
    beside = path.with_name(f"{path.stem}_concat{path.suffix}") if concat else None
    container_of(path)
    if landmarks is not None:
        refuse_track_name(landmarks)
    for one in (path, beside, landmarks):
        if one is not None:
            refuse_output(one, overwrite=overwrite)
            if one.resolve() in (source.resolve(), driving.resolve()):
                raise UsageError(f"{one} is an input, too", hint="choose another name for what is written")
    require_file(source, "image")
    if is_track_file(driving):
        read_track(driving)
    else:
        probe(driving)
    return AnimationPlan(source, driving, path, beside, landmarks, overwrite)


def parse_trim(text: str | None) -> Trim | None:
    """START:END in seconds; either may be left out. Raises UsageError."""
    if text is None:
        return None
    start, colon, end = text.partition(":")
    try:
        trim = (float(start) if start.strip() else 0.0, float(end) if end.strip() else None)
    except ValueError:
        colon, trim = "", (0.0, None)
    if not colon or not trim[0] >= 0 or not (trim[1] is None or trim[1] > trim[0]):
        raise UsageError(f"{text} is no stretch of time", hint="--trim START:END in seconds, such as 2:5.5")
    return trim


def animate_file(
    plan: AnimationPlan,
    options: AnimateOptions,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, expected: None,
) -> AnimationReport:
    """Makes the clip. A driver that is cut off gives as many frames as it has; the report says so.

    Raises GflaError children; then nothing is left behind. `progress` gets the frames done and expected.
    """
    import time

    animator = _animator(plan, options)
    say(f"{animator.session.name} on {animator.session.place}")
    started = time.perf_counter()
    with animator.animate(
        plan.source,
        plan.driving,
        staging=options.staging,
        trim=options.trim,
        fps=options.fps,
        driving_person=options.driving_person,
        on_missing=options.on_missing,
        pictures=plan.concat is not None,
    ) as clip:
        report = AnimationReport(task=animator.kind)
        _write(clip, plan, options, report, progress)
    report.missing, report.damaged, report.notes = clip.missing, clip.damaged, [*clip.notes, *report.notes]
    report.seconds = {stage: round(seconds, 3) for stage, seconds in clip.stopwatch.seconds.items()}
    report.frames_per_second = round(report.frames / (time.perf_counter() - started), 2)
    if plan.landmarks is not None:
        write_track(plan.landmarks, clip.track, overwrite=plan.overwrite)
        report.written.append(plan.landmarks)
    for note in report.notes:
        say(note)
    return report


def _animator(plan: AnimationPlan, options: AnimateOptions) -> Animator:
    """The model, loaded; raises UsageError when it is not for the task."""
    from gfla_cli.pipelines.animation import MODELS, Animator

    kind = _kind(plan, options)
    model = options.model or MODELS[kind or "face"]
    animator = Animator(model, **options.execution)
    if kind not in (None, animator.kind):
        what = f"the task is {kind}, but the model {model} is for a {animator.kind}"
        raise UsageError(what, hint=f"--task {animator.kind}, or another --model")
    return animator


def _kind(plan: AnimationPlan, options: AnimateOptions) -> Kind | None:
    """What to animate; None when that is for the named model to say."""
    if options.task != "auto":
        return options.task
    if options.model is not None:
        return None
    if is_track_file(plan.driving):
        return read_track(plan.driving).kind
    from gfla_cli.person.detect_face import kind_of_picture
    from gfla_cli.pipelines.animation import read_source

    return kind_of_picture(read_source(plan.source), str(plan.source))


def _write(
    clip: Animation,
    plan: AnimationPlan,
    options: AnimateOptions,
    report: AnimationReport,
    progress: Callable[[int, int], None],
) -> None:
    """Every frame into the result, and into the clip beside it."""
    sound = _sound(clip, options, report)
    show = Paster(clip.picture, clip.crop) if options.paste_back else None
    with ExitStack() as stack:
        video = stack.enter_context(VideoWriter(plan.output, clip.fps, sound=sound, overwrite=plan.overwrite))
        beside = None
        if plan.concat is not None:
            writer = VideoWriter(plan.concat, clip.fps, sound=sound, overwrite=plan.overwrite)
            beside = stack.enter_context(writer)
        still = clip.picture if show is not None else clip.source_image
        # The network goes on in a thread of its own while a frame is pasted and written.
        for frame in stack.enter_context(closing(overlapped(clip, 2))):
            image = frame.image if show is None else show(frame.image)
            with clip.stopwatch.measure("encode"):
                video.write(image)
                if beside is not None:
                    beside.write(_side_by_side(still, frame, image))
            progress(video.count, clip.expected)
        if video.count == 0:
            raise MediaError(f"{plan.driving}: nobody in any of its frames", hint="--on-missing hold")
    report.frames = video.count
    report.written = [plan.output, *([plan.concat] if plan.concat is not None else [])]
    report.notes += [*video.notes, *(beside.notes if beside is not None else [])]


def _sound(clip: Animation, options: AnimateOptions, report: AnimationReport) -> Sound | None:
    """The driver's sound, unless frames may be left out: it would run ahead of the pictures."""
    if clip.sound is None or options.on_missing != "skip":
        return clip.sound
    report.notes.append("no sound: with --on-missing skip it would not fit the pictures")
    return None


def _side_by_side(source: Image, frame: AnimatedFrame, made: Image) -> Image:
    """Source, driver and result at the result's height; the driver's landmarks where there is no picture of it."""
    height = made.shape[0]
    driving = frame.driving
    parts = [source, *([driving] if driving is not None else []), made]
    return np.hstack([_at_height(part, height) for part in parts])


def _at_height(image: Image, height: int) -> Image:
    if image.shape[0] == height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    method = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def parse_rate(text: str | None) -> Fraction | None:
    """25, 29.97 or 30000/1001. Raises UsageError."""
    return None if text is None else exact_rate(text)
