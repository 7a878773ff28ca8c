"""Animation: the person of one image moves as the person of a driving video. Faces and bodies, frame by frame.

`Animator` holds a loaded model. `Animation` is one video in the making: driver -> landmarks -> `Subject.condition`
-> `Subject.structure` -> `Subject.draw` -> `Subject.compose`. The module imports no torch, so commands can check their
input first.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from gfla_cli.arrays import Image, Points
from gfla_cli.errors import DetectionError, MediaError
from gfla_cli.inference.session import Execution, open_session
from gfla_cli.io.background import Closeable, ProcessLock, overlapped
from gfla_cli.io.image import (
    ImageSource,
    check_image_file,
    image_name,
    is_animated,
    load_image,
    reduced,
)
from gfla_cli.io.video import Sound, Trim, probe, read_frames
from gfla_cli.person.pose import WhichPerson
from gfla_cli.person.track_files import Kind, Track
from gfla_cli.pipelines.driver import DrivenFrame, Driver, OnMissing, Stopwatch, not_found, open_driver, shots
from gfla_cli.pipelines.inbetween import between, lies_between
from gfla_cli.pipelines.subjects import LARGEST_SIDE, BodySubject, DrawnFrame, FaceSubject, FrameCondition, Subject
from gfla_cli.pipelines.subjects import AnimationSettings as AnimationSettings

MODELS: dict[Kind, str] = {"face": "face-people", "body": "pose-people"}  # the default of each task
_WAITING, _DRAWN = 4, 2  # conditions that wait for the network, and frames that it has drawn
_LISTED = 5  # times of cuts that a note names


class _PlannedFrame(NamedTuple):
    """A frame of the driver, and what is to be shown in it."""

    driven: DrivenFrame
    condition: FrameCondition | None = None  # None: no person
    structure: Any = None  # see `Subject.structure`; None: the network draws nothing, and a face is mixed (`_Between`)


class _Between(NamedTuple):
    """A frame of a face that is mixed from the frames before and after it."""

    before: DrawnFrame
    face: Points
    after: DrawnFrame
    way_there: float  # from the frame before to the one after

    def mixed(self) -> DrawnFrame:
        before, after = self.before, self.after
        assert before.face is not None
        assert after.face is not None
        layers = between((before.layers, after.layers), (before.face, self.face, after.face), self.way_there)
        return DrawnFrame(layers, face=self.face)


@dataclass(frozen=True, slots=True)
class AnimatedFrame:
    """One frame of the result."""

    number: int  # of the driver's frame
    image: Image  # (N, M, 3) the whole source image, or with `paste_back=False` the network's frame of it
    driving: Image | None  # (H, W, 3) the driver's frame, if it was asked for and there is one
    points: Points | None  # the driver's landmarks in its own pixels
    held: bool  # no person was found, and the previous frame is shown again


class Animator:
    """A loaded model that animates the person of an image. Keep it for many videos.

    Threads may share it: every animation has detectors of its own, and the network runs for one thread at a time. For
    forks see `PoseTransfer`.
    """

    def __init__(self, model: str | Path = MODELS["face"], **execution: Unpack[Execution]) -> None:
        """`model`: for faces, for bodies, or for poses, which animates bodies frame by frame. Raises BundleError.

        `execution`: see `open_session`.
        """
        self.session = open_session(model, "face", "body", "pose", **execution)
        self.kind: Kind = "face" if self.session.config.task == "face" else "body"

    def animate(
        self,
        source: ImageSource,
        driving: str | Path,
        *,
        settings: AnimationSettings | None = None,
        trim: Trim | None = None,
        fps: Fraction | float | str | None = None,
        driving_person: WhichPerson = "largest",
        on_missing: OnMissing = "hold",
        images: bool = False,
        stopwatch: Stopwatch | None = None,
    ) -> Animation:
        """The person of `source` moving as the person of `driving`: an iterator that makes the frames one by one.

        `source` is an image file or (H, W, 3) uint8 RGB; of a video the first frame is taken. `driving` is a video, an
        image, a landmarks file or a folder with a keypoint file for every frame. `trim` (start and end in seconds) and
        `fps` choose its frames. `driving_person` is tracked, see `choose_person`. `on_missing`: "hold", "skip" or
        "fail" (raise DetectionError) for a frame without a person. `images`: also return the driver's frames. Raises
        GflaError children for wrong input.
        """
        notes: list[str] = []
        watch = stopwatch or Stopwatch()
        driver = open_driver(
            driving, self.kind, trim=trim, fps=fps, person=driving_person, images=images, stopwatch=watch
        )
        is_body = self.kind == "body"
        with ThreadPoolExecutor(1) as ahead:
            preview = None if is_body else ahead.submit(driver.preview)  # while the person of the source is found
            try:
                image = read_source(source, notes)
                kind = BodySubject if is_body else FaceSubject
                subject: Subject = kind(self.session, image, image_name(source), settings or AnimationSettings(), notes)
                clip = driver.survey() if is_body else []  # the frame of a body is planned for the whole clip
                first = clip[0].first if preview is None else preview.result()
            except BaseException:  # KeyboardInterrupt, too
                driver.stop_looking()
                raise
        subject.start(first, driver.size, driver.fps, clip)
        return Animation(image, subject, driver, on_missing, str(driving), notes, watch)


class Animation(Iterator[AnimatedFrame], Closeable):
    """Iterates over the frames of a video, which are made one by one. A context manager that closes the driver."""

    def __init__(
        self,
        image: Image,
        subject: Subject,
        driver: Driver,
        on_missing: OnMissing,
        where: str,
        notes: list[str],
        stopwatch: Stopwatch,
    ) -> None:
        self.image = image  # (H, W, 3) the whole source
        self.source_image = subject.source_image  # (H, W, 3) what the network sees of it
        self.crop = subject.crop  # where that is
        self.still = subject.canvas.original  # (N, M, 3) what the source shows in the place of a frame
        self.cut_below = subject.cut_below  # whether the crop ends within the body
        self.fps, self.expected = driver.fps, driver.expected
        self.track = Track(driver.kind, driver.fps, driver.size)  # grows with the frames
        self.missing = 0  # frames without a person so far
        self.stopwatch = stopwatch
        self._subject, self._driver, self._on_missing, self._where = subject, driver, on_missing, where
        self._notes = notes
        self._first_missing = 0
        self._cuts: list[float] = []  # seconds
        self._lock = ProcessLock()
        self._frames = self._made()

    def __next__(self) -> AnimatedFrame:
        with self._lock:
            return next(self._frames)

    def close(self) -> None:
        """Ends the work, after the frame that another thread is making; there are no more frames afterwards."""
        with self._lock:
            self._frames.close()

    @property
    def damaged(self) -> bool:
        """Whether the driver's file was cut off or damaged; known after the last frame."""
        return self._driver.damaged

    @property
    def sound(self) -> Sound | None:
        """The driver's sound, which ends with the frames."""
        return self._driver.sound

    @property
    def notes(self) -> list[str]:
        """What the user should know; complete after the last frame."""
        notes = [*self._notes, *self._driver.notes]
        if self._cuts:
            times = ", ".join(f"{time:.2f} s" for time in self._cuts[:_LISTED])
            more = f" and {len(self._cuts) - _LISTED} more" if len(self._cuts) > _LISTED else ""
            notes.append(
                f"{self._where}: a cut or jump at {times}{more}; the motion was fitted to the image anew there"
            )
        if self.missing:
            became = "held" if self._on_missing == "hold" else "left out"
            first = float(self._first_missing / self.fps)
            total = len(self.track.frames)
            what = "face" if self._driver.kind == "face" else "person"
            notes.append(
                f"{self._where}: no {what} in {self.missing} of {total} frames ({became}; first at {first:.2f} s)"
            )
        return notes

    def _conditions(self) -> Generator[tuple[DrivenFrame, FrameCondition | None]]:
        """The driver's frames and the network's conditions; None where there is no person."""
        gap = 0
        with closing(self._driver.frames()) as frames:
            for driven, shot in shots(frames, self.fps):
                condition = None
                if driven.points is not None:
                    with self.stopwatch.measure("structure"):
                        if shot is not None:
                            self._subject.restart(shot)
                            self._cuts.append(float(driven.number / self.fps))
                        condition = self._subject.condition(driven.points, gap)
                    gap = 0
                else:
                    gap += 1
                yield driven, condition

    def _planned(self) -> Generator[_PlannedFrame]:
        """The same, with the structure of each frame that the network draws.

        Frames without a structure lie between two frames with one, and are mixed from these, see `inbetween`.
        """
        before: FrameCondition | None = None  # of the last frame that the network draws, if others may follow from it
        held: list[tuple[DrivenFrame, FrameCondition]] = []  # after `before`; all but the last can be mixed
        with closing(self._conditions()) as conditions:
            for driven, condition in conditions:
                if held and not _lie_between(before, [one for _, one in held], condition):
                    yield from self._with_last_drawable(held)
                    before, held = held[-1][1], []
                elif held and len(held) == self._subject.most_mixed:
                    yield from (_PlannedFrame(*one) for one in held)
                    before, held = None, []
                if self._subject.most_mixed and before is not None and condition is not None:
                    held.append((driven, condition))
                    continue
                yield self._drawable(driven, condition)
                before = condition
            yield from self._with_last_drawable(held)

    def _with_last_drawable(self, held: Sequence[tuple[DrivenFrame, FrameCondition]]) -> Generator[_PlannedFrame]:
        yield from (_PlannedFrame(*one) for one in held[:-1])
        yield from (self._drawable(*one) for one in held[-1:])

    def _drawable(self, driven: DrivenFrame, condition: FrameCondition | None) -> _PlannedFrame:
        if condition is None:
            return _PlannedFrame(driven)
        with self.stopwatch.measure("structure"):
            return _PlannedFrame(driven, condition, self._subject.structure(condition))

    def _drawn(self) -> Generator[tuple[DrivenFrame, DrawnFrame | _Between | None]]:
        last: DrawnFrame | None = None
        waiting: list[tuple[DrivenFrame, Points]] = []  # frames between the last one and the next
        with closing(overlapped(self._planned(), _WAITING)) as ready:
            for driven, condition, structure in ready:
                drawn = None
                if condition is not None and structure is not None:
                    with self.stopwatch.measure("network"):
                        drawn = self._subject.draw(condition, structure)
                elif condition is not None and condition.face is not None:
                    waiting.append((driven, condition.face))
                    continue
                for number, (between_both, face) in enumerate(waiting, 1):
                    assert last is not None
                    assert drawn is not None
                    yield between_both, _Between(last, face, drawn, number / (len(waiting) + 1))
                waiting = []
                yield driven, drawn
                last = drawn

    def _made(self) -> Generator[AnimatedFrame]:
        image = self.still
        # Reading, landmarks and conditions, and the network, run ahead in threads of their own.
        with closing(overlapped(self._drawn(), _DRAWN)) as frames:
            for driven, drawn in frames:
                self.track.frames.append(driven.points)
                if drawn is None:
                    self._count_missing(driven.number)
                    if self._on_missing == "skip":
                        continue
                else:
                    with self.stopwatch.measure("compose"):
                        image = self._subject.compose(drawn.mixed() if isinstance(drawn, _Between) else drawn)
                yield AnimatedFrame(driven.number, image, driven.image, driven.points, drawn is None)

    def _count_missing(self, number: int) -> None:
        if self._on_missing == "fail":
            error = not_found(f"{self._where}, frame {number} ({float(number / self.fps):.2f} s)", self._driver.kind)
            raise DetectionError(str(error), hint="--on-missing hold or skip goes on there")
        self._first_missing = self._first_missing if self.missing else number
        self.missing += 1


def _lie_between(before: FrameCondition | None, held: Sequence[FrameCondition], after: FrameCondition | None) -> bool:
    """Whether the faces of frames follow from those of the frames before and after them."""
    if before is None or before.face is None or after is None or after.face is None:
        return False
    ways = [number / (len(held) + 1) for number in range(1, len(held) + 1)]
    return all(
        one.face is not None and lies_between(before.face, one.face, after.face, way)
        for one, way in zip(held, ways, strict=True)
    )


def read_source(source: ImageSource, notes: list[str] | None = None) -> Image:
    """The image to animate, (H, W, 3), reduced to the largest size of a video. Raises MediaError.

    Of a video or animation it is the first frame; `notes` gets a line about that.
    """
    notes = [] if notes is None else notes
    if not isinstance(source, str | Path):
        return load_image(source, LARGEST_SIDE)
    try:
        image = load_image(source, LARGEST_SIDE)
        moves = is_animated(source)
    except MediaError as error:
        image, moves = _first_frame(source, error), True
    if moves:
        notes.append(f"{source}: a video; its first frame is animated")
    return image


def check_source(path: Path) -> None:
    """Raises MediaError unless the header of the file is that of an image or a video."""
    try:
        check_image_file(path)
    except MediaError as error:
        _first_frame(path, error)


def _first_frame(path: str | Path, as_image: MediaError) -> Image:
    """The first frame of a video. Raises `as_image`, the error of reading it as an image, when it is no video."""
    try:
        info = probe(path)
    except MediaError:
        raise as_image from None
    if info.still:
        raise as_image
    with read_frames(path) as frames:
        return reduced(next(frames), LARGEST_SIDE)
