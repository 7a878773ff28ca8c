"""Animation: the person of one image moves as the person of a driving video. Faces and bodies, frame by frame.

`Animator` holds a loaded model. `Animation` is one video in the making: driver -> landmarks -> `Subject.condition`
-> `Subject.render`. The module imports no torch, so commands can check their input first.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image, Points
from gfla_cli.conditioning.face_map import background_edges, face_structure
from gfla_cli.conditioning.heatmap import heatmaps, joint_maps
from gfla_cli.conditioning.skeleton import body_structure
from gfla_cli.errors import DetectionError, MediaError
from gfla_cli.geometry.crop import Crop
from gfla_cli.inference.session import DeviceName, Precision, Runtime, Session, open_session, start_clip
from gfla_cli.io.background import Closeable, ProcessLock, overlapped
from gfla_cli.io.image import (
    ImageSource,
    check_image_file,
    from_planes,
    image_name,
    is_animated,
    load_image,
    reduced,
    to_planes,
)
from gfla_cli.io.video import Sound, Trim, probe, read_frames
from gfla_cli.person.body import body_crop, has_feet, torso_length
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import FaceDetector, no_face
from gfla_cli.person.face import cropped_face, face_crop, face_size
from gfla_cli.person.pose import Pose, choose_person
from gfla_cli.person.retarget import BodyMotion, FaceMotion, best_reference
from gfla_cli.person.smoothing import BodyFilter, OneEuro
from gfla_cli.person.track_files import Kind, Track
from gfla_cli.pipelines.driver import DrivenFrame, Driver, OnMissing, Stopwatch, not_found, open_driver, shots
from gfla_cli.pipelines.head_refinement import HeadCrop, SourceHead


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimationSettings:
    """Choices about the person of the source image."""

    person: str | int = "largest"  # which one, see `choose_person`
    crop: bool = True  # animate the part around the person; else the whole image, resized to the network's input
    absolute: bool = False  # use the driver's own shape and place
    refine_head: bool = True  # body models that support it: draw a small head again at a larger scale
    smooth: bool = True  # smooth the driver's landmarks over time


MODELS: dict[Kind, str] = {"face": "face-people", "body": "pose-people"}  # the default of each task
_LARGEST_SIDE = 1920  # pixels of a source, and with it of a video
_WAITING = 4  # conditions that wait for the network
_SMALL_FACE = 60.0  # pixels across; results of smaller faces are blurred
_LISTED = 5  # times of cuts that a note names
_FEW_JOINTS = 8  # of 18; with fewer a body cannot be animated


class FrameCondition(NamedTuple):
    """What the network is to draw in one frame."""

    structure: NDArray[np.float32]  # (1, S, H, W) the pose map
    head: HeadCrop | None = None  # to be refined


class Subject(Protocol):
    """The person of the source image. `start` comes first, then `condition` and `render` for each frame."""

    kind: Kind
    crop: Crop  # the part of the image that the network draws
    source_image: Image  # (H, W, 3) that part, as the network sees it
    cut_below: bool  # the driver's image cuts the body, and the crop ends there, above the source's feet

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction) -> None:
        """Fits the driver to the source: landmarks of its first seconds, in images of `size` (height, width)."""

    def restart(self, driving: Sequence[Points]) -> None:
        """Fits the driver to the source anew after a cut: landmarks of the first frames of the new shot."""

    def condition(self, points: Points, missing: int) -> FrameCondition:
        """The network's condition for the driver's next landmarks. `missing`: frames without a person before it."""

    def render(self, condition: FrameCondition) -> Image:
        """The next frame, (H, W, 3)."""


class FaceSubject:
    """A face that is moved by the landmarks of another face."""

    kind: Kind = "face"
    cut_below = False

    def __init__(
        self, session: Session, image: Image, where: str, settings: AnimationSettings, notes: list[str]
    ) -> None:
        """Raises DetectionError when the image has no face."""
        with FaceDetector() as detector:
            faces = detector.detect(image)
        if not faces:
            raise no_face(where)
        self.points = choose_person(faces, settings.person, where=where, notes=notes).points
        if face_size(self.points) < _SMALL_FACE:
            notes.append(f"{where}: the face is {face_size(self.points):.0f} px wide; expect a blurred result")
        self._session, self._image, self._settings = session, image, settings

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction) -> None:
        """See Subject. The crop holds the face in all of these frames."""
        self._fps = fps
        self.restart(driving)
        if self._settings.crop:
            moving = np.stack([self.points[:, :2], *(self._motion(points) for points in driving)])
            height, width = self._image.shape[:2]
            self.crop = face_crop(moving, self._session.config.image_size, inside=(height, width))
        else:
            self.crop = Crop.whole(self._image.shape, self._session.config.image_size)
        self.source_image = self.crop.image(self._image)
        points = cropped_face(self.points[:, :2], self.crop)
        self._edges = background_edges(self.source_image, points)
        self._clip = start_clip(self._session, to_planes(self.source_image), self._maps(points))

    def restart(self, driving: Sequence[Points]) -> None:
        """See Subject."""
        reference = driving[best_reference(self.points, driving)]
        self._motion = FaceMotion(self.points, reference, absolute=self._settings.absolute)
        self._filter = OneEuro(self._fps) if self._settings.smooth else None

    def _maps(self, points: Points) -> NDArray[np.float32]:
        return face_structure(points, self.crop.size, self._edges)[None]

    def condition(self, points: Points, missing: int) -> FrameCondition:
        """See Subject."""
        smooth = points if self._filter is None else self._filter(points, face_size(points), missing)
        return FrameCondition(self._maps(cropped_face(self._motion(smooth), self.crop)))

    def render(self, condition: FrameCondition) -> Image:
        """See Subject."""
        return from_planes(self._clip.next(condition.structure))


class BodySubject:
    """A person who is moved by the joints of another: by a sequence model, or frame by frame by a pose model."""

    kind: Kind = "body"

    def __init__(
        self, session: Session, image: Image, where: str, settings: AnimationSettings, notes: list[str]
    ) -> None:
        """Raises DetectionError when the image shows no person, or too little of one."""
        with PersonDetector() as detector:
            people = detector.detect(image)
        self.pose = choose_person([one.pose for one in people], settings.person, where=where, notes=notes)
        joints = int(self.pose.present.sum())
        if joints < _FEW_JOINTS:
            what = f"{where}: only {joints} of 18 joints of the person are visible"
            raise DetectionError(what, hint="use an image with the whole body, or --task face")
        self._session, self._image, self._settings = session, image, settings
        self._where, self._notes = where, notes

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction) -> None:
        """See Subject. The crop holds the body in all of these frames."""
        self._driver_size, self._fps = size, fps
        self.restart(driving)
        poses = [Pose.of(points, size) for points in driving]
        config = self._session.config
        if self._settings.crop:
            self.crop = body_crop([self.pose, *map(self._motion, poses)], config.image_size, config.frame_aspect)
        else:
            self.crop = Crop.whole(self._image.shape, config.image_size)
        without_feet = not all(map(has_feet, poses))
        self.cut_below = self._settings.crop and has_feet(self.pose) and without_feet
        if self.cut_below:
            self._notes.append(f"{self._where}: the driver shows no feet; below its lower border the source stays")
        self.source_image = self.crop.image(self._image)
        self._clip = start_clip(self._session, to_planes(self.source_image), self._maps(self.pose))
        self._head = None
        if self._settings.refine_head and config.refines_heads:
            self._head = SourceHead.of(self._image, self.pose, config.image_size)
        if self._head is not None:  # the same size in all frames, from whatever side the body is seen
            self._torso = float(np.median([torso_length(self._motion(pose)) for pose in poses]))
            self._head_clip = start_clip(self._session, to_planes(self._head.image), self._drawn(self._head.points))

    def restart(self, driving: Sequence[Points]) -> None:
        """See Subject."""
        poses = [Pose.of(points, self._driver_size) for points in driving]
        self._motion = BodyMotion(self.pose, poses, absolute=self._settings.absolute)
        self._filter = BodyFilter(self._fps, smooth=self._settings.smooth)

    def _maps(self, pose: Pose) -> NDArray[np.float32]:
        return self._drawn(pose.cropped(self.crop).within_frame().deep_points)

    def _drawn(self, points: Points) -> NDArray[np.float32]:
        config = self._session.config
        draw = body_structure if config.task == "body" else joint_maps if config.has_depth else heatmaps
        return draw(points, self.crop.size, config.heatmap_sigma)[None]

    def condition(self, points: Points, missing: int) -> FrameCondition:
        """See Subject."""
        pose = self._motion(self._filter(Pose.of(points, self._driver_size), missing))
        head = self._head.at(pose, self.crop, self._torso) if self._head else None
        return FrameCondition(self._maps(pose), head)

    def render(self, condition: FrameCondition) -> Image:
        """See Subject."""
        image, head = from_planes(self._clip.next(condition.structure)), condition.head
        if head is None:
            return image
        return head.paste(image, from_planes(self._head_clip.next(self._drawn(head.target_points))))


@dataclass(frozen=True, slots=True)
class AnimatedFrame:
    """One frame of the result."""

    number: int  # of the driver's frame
    image: Image  # (H, W, 3) the network's frame
    driving: Image | None  # (H, W, 3) the driver's frame, if it was asked for and there is one
    points: Points | None  # the driver's landmarks in its own pixels
    held: bool  # no person was found, and the previous frame is shown again


class Animator:
    """A loaded model that animates the person of an image. Keep it for many videos.

    Threads may share it: every animation has detectors of its own, and the network runs for one thread at a time. For
    forks see `PoseTransfer`.
    """

    def __init__(
        self,
        model: str | Path = MODELS["face"],
        *,
        device: DeviceName = "auto",
        precision: Precision = "auto",
        runtime: Runtime = "auto",
        threads: int | None = None,
        images: int = 1,
    ) -> None:
        """`model`: for faces, for bodies, or for poses, which animates bodies frame by frame. Raises BundleError.

        `images`: how many frames will be made, as far as is known; for many, another runtime is faster.
        """
        self.session = open_session(
            model,
            *("face", "body", "pose"),
            device=device,
            precision=precision,
            runtime=runtime,
            threads=threads,
            images=images,
        )
        self.kind: Kind = "face" if self.session.config.task == "face" else "body"

    def animate(
        self,
        source: ImageSource,
        driving: str | Path,
        *,
        settings: AnimationSettings | None = None,
        trim: Trim | None = None,
        fps: Fraction | float | str | None = None,
        driving_person: str | int = "largest",
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
        image = read_source(source, notes)
        kind = FaceSubject if self.kind == "face" else BodySubject
        subject: Subject = kind(self.session, image, image_name(source), settings or AnimationSettings(), notes)
        subject.start(driver.preview(), driver.size, driver.fps)
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
        """Ends the work; there are no more frames afterwards."""
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

    def _made(self) -> Generator[AnimatedFrame]:
        image = self.source_image
        # Reading, landmarks and conditions run ahead in threads of their own, the network in that of the caller.
        with closing(overlapped(self._conditions(), _WAITING)) as ready:
            for driven, condition in ready:
                self.track.frames.append(driven.points)
                if condition is None:
                    self._count_missing(driven.number)
                    if self._on_missing == "skip":
                        continue
                else:
                    with self.stopwatch.measure("network"):
                        image = self._subject.render(condition)
                yield AnimatedFrame(driven.number, image, driven.image, driven.points, condition is None)

    def _count_missing(self, number: int) -> None:
        if self._on_missing == "fail":
            error = not_found(f"{self._where}, frame {number} ({float(number / self.fps):.2f} s)", self._driver.kind)
            raise DetectionError(str(error), hint="--on-missing hold or skip goes on there")
        self._first_missing = self._first_missing if self.missing else number
        self.missing += 1


def read_source(source: ImageSource, notes: list[str] | None = None) -> Image:
    """The image to animate, (H, W, 3), reduced to the largest size of a video. Raises MediaError.

    Of a video or animation it is the first frame; `notes` gets a line about that.
    """
    notes = [] if notes is None else notes
    if not isinstance(source, str | Path):
        return load_image(source, _LARGEST_SIDE)
    try:
        image = load_image(source, _LARGEST_SIDE)
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
        return reduced(next(frames), _LARGEST_SIDE)
