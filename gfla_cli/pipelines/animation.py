"""How somebody in a picture is moved. Imports nothing heavy: commands read it before any work is done."""

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
from gfla_cli.errors import DetectionError
from gfla_cli.geometry.crop import Crop
from gfla_cli.inference.session import DeviceName, Precision, Runtime, Session, open_session, start_clip
from gfla_cli.io.background import Closeable, overlapped
from gfla_cli.io.image import ImageSource, from_planes, image_name, load_image, to_planes
from gfla_cli.io.video import Sound, Trim
from gfla_cli.person.body import torso_length
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import FaceDetector, no_face
from gfla_cli.person.face import cropped_face, face_crop, face_size
from gfla_cli.person.framing import body_crop
from gfla_cli.person.pose import Pose, choose_person
from gfla_cli.person.retarget import BodyMotion, FaceMotion, SteadyBody, best_reference
from gfla_cli.person.smoothing import OneEuro
from gfla_cli.person.track_files import Kind, Track
from gfla_cli.pipelines.driver import DrivenFrame, Driver, OnMissing, Stopwatch, nobody_in, open_driver
from gfla_cli.pipelines.head_refinement import HeadCrop, SourceHead


@dataclass(frozen=True, kw_only=True, slots=True)
class Staging:
    """Choices about the person of the source."""

    person: str | int = "largest"  # who it is, see `choose_person`
    crop: bool = True  # animate the part around the person; else the whole picture, stretched
    absolute: bool = False  # take over the driver's own shape and place
    refine_head: bool = True  # of a body, if the model has learnt to: draw a small head once more from near
    smooth: bool = True  # calm the driver's landmarks over time


# Who is animated: somebody in a picture, their frame, and the structure maps and pictures of each moment.


_SMALL_FACE = 60.0  # pixels across; below it there is little to animate
_FEW_JOINTS = 8  # of 18; below this a pose says too little about a body


class Moment(NamedTuple):
    """What the network is to draw of one frame."""

    structure: NDArray[np.float32]  # (1, S, H, W)
    head: HeadCrop | None = None  # to be refined


class Actor(Protocol):
    """Somebody in a picture, ready to be moved. `start` comes first, then `moment` and `picture` frame by frame."""

    kind: Kind
    crop: Crop  # which part of the image the network draws
    source_image: Image  # (H, W, 3) that part, as the network sees it

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction) -> None:
        """Gets to know the driver: landmarks of the first seconds, in pictures of `size` (height, width)."""

    def moment(self, points: Points, missing: int) -> Moment:
        """What the driver's next landmarks ask for; `missing`: frames left out before it."""

    def picture(self, moment: Moment) -> Image:
        """The next frame, (H, W, 3)."""


class FaceActor:
    """A face, moved by the landmarks of another."""

    kind: Kind = "face"

    def __init__(self, session: Session, picture: Image, where: str, staging: Staging, notes: list[str]) -> None:
        """Raises DetectionError when the picture has no face."""
        with FaceDetector() as detector:
            faces = detector.detect(picture)
        if not faces:
            raise no_face(where)
        self.points = choose_person(faces, staging.person, where=where, notes=notes).points
        if face_size(self.points) < _SMALL_FACE:
            notes.append(f"{where}: the face is {face_size(self.points):.0f} px wide; expect a blurred one")
        self._session, self._picture, self._staging = session, picture, staging

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction) -> None:
        """See Actor. The frame holds the face in all of these moments."""
        reference = driving[best_reference(self.points, driving)]
        self._motion = FaceMotion(self.points, reference, absolute=self._staging.absolute)
        self._steady = OneEuro(fps) if self._staging.smooth else None
        self.crop = self._crop([self._motion(points) for points in driving])
        self.source_image = self.crop.image(self._picture)
        points = cropped_face(self.points[:, :2], self.crop)
        self._edges = background_edges(self.source_image, points)
        self._clip = start_clip(self._session, to_planes(self.source_image), self._maps(points))

    def _crop(self, moments: Sequence[Points]) -> Crop:
        size = self._session.config.image_size
        height, width = self._picture.shape[:2]
        if not self._staging.crop:
            return Crop.whole((height, width), size)
        return face_crop(np.stack([self.points[:, :2], *moments]), size, inside=(height, width))

    def _maps(self, points: Points) -> NDArray[np.float32]:
        return face_structure(points, self.crop.size, self._edges)[None]

    def moment(self, points: Points, missing: int) -> Moment:
        """See Actor."""
        calmed = points if self._steady is None else self._steady(points, face_size(points), missing)
        return Moment(self._maps(cropped_face(self._motion(calmed), self.crop)))

    def picture(self, moment: Moment) -> Image:
        """See Actor."""
        return from_planes(self._clip.next(moment.structure))


class BodyActor:
    """A person, moved by the joints of another: by a sequence model, or frame by frame by a pose model."""

    kind: Kind = "body"

    def __init__(self, session: Session, picture: Image, where: str, staging: Staging, notes: list[str]) -> None:
        """Raises DetectionError when the picture shows nobody, or too little of them."""
        with PersonDetector() as detector:
            people = detector.detect(picture)
        self.pose = choose_person([one.pose for one in people], staging.person, where=where, notes=notes)
        joints = int(self.pose.present.sum())
        if joints < _FEW_JOINTS:
            what = f"{where}: only {joints} of 18 joints of the person are visible"
            raise DetectionError(what, hint="use a picture with the whole body, or --task face")
        self._session, self._picture, self._staging = session, picture, staging

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction) -> None:
        """See Actor. The frame holds the body in all of these moments."""
        poses = [Pose.of(points, size) for points in driving]
        self._motion = BodyMotion(self.pose, poses, absolute=self._staging.absolute)
        self._steady = SteadyBody(fps, smooth=self._staging.smooth)
        self._driver_size = size
        config = self._session.config
        if self._staging.crop:
            self.crop = body_crop([self.pose, *map(self._motion, poses)], config.image_size, config.frame_aspect)
        else:
            self.crop = Crop.whole(self._picture.shape, config.image_size)
        self.source_image = self.crop.image(self._picture)
        self._clip = start_clip(self._session, to_planes(self.source_image), self._maps(self.pose))
        self._head = None
        if self._staging.refine_head and config.refines_heads:
            self._head = SourceHead.of(self._picture, self.pose, config.image_size)
        if self._head is not None:  # of one size in all frames, whatever way its body is seen
            self._torso = float(np.median([torso_length(self._motion(pose)) for pose in poses]))
            self._head_clip = start_clip(self._session, to_planes(self._head.image), self._drawn(self._head.points))

    def _maps(self, pose: Pose) -> NDArray[np.float32]:
        return self._drawn(pose.cropped(self.crop).within_frame().deep_points)

    def _drawn(self, points: Points) -> NDArray[np.float32]:
        config = self._session.config
        draw = body_structure if config.task == "body" else joint_maps if config.has_depth else heatmaps
        return draw(points, self.crop.size, config.heatmap_sigma)[None]

    def moment(self, points: Points, missing: int) -> Moment:
        """See Actor."""
        pose = self._motion(self._steady(Pose.of(points, self._driver_size), missing))
        head = self._head.at(pose, self.crop, self._torso) if self._head else None
        return Moment(self._maps(pose), head)

    def picture(self, moment: Moment) -> Image:
        """See Actor."""
        image, head = from_planes(self._clip.next(moment.structure)), moment.head
        if head is None:
            return image
        return head.paste(image, from_planes(self._head_clip.next(self._drawn(head.target_points))))


# Animation: one picture and a driver in, frames out, one after the other (faces and bodies).


MODELS: dict[Kind, str] = {"face": "face-people", "body": "pose-people"}  # the default of each task
_LARGEST_SIDE = 1920  # pixels of a source, and with it of a clip
_WAITING = 4  # moments that wait for the network


@dataclass(frozen=True, slots=True)
class AnimatedFrame:
    """One frame of the result."""

    number: int  # of the driver's frame
    image: Image  # (H, W, 3) the network's frame
    driving: Image | None  # (H, W, 3) the driver's frame, if it was asked for and there is one
    points: Points | None  # the driver's landmarks in its own pixels
    held: bool  # nobody was found, and the frame before is shown again


class Animator:
    """A loaded model that moves whom a picture shows; keep it for many clips."""

    def __init__(
        self,
        model: str | Path = MODELS["face"],
        *,
        device: DeviceName = "auto",
        precision: Precision = "auto",
        runtime: Runtime = "auto",
        threads: int | None = None,
    ) -> None:
        """`model`: a face or body model, or a pose model, which animates bodies frame by frame. Raises BundleError."""
        self.session = open_session(
            model, "face", "body", "pose", device=device, precision=precision, runtime=runtime, threads=threads
        )
        self.kind: Kind = "face" if self.session.config.task == "face" else "body"

    def animate(
        self,
        source: ImageSource,
        driving: str | Path,
        *,
        staging: Staging | None = None,
        trim: Trim | None = None,
        fps: Fraction | float | str | None = None,
        driving_person: str | int = "largest",
        on_missing: OnMissing = "hold",
        pictures: bool = False,
        stopwatch: Stopwatch | None = None,
    ) -> Animation:
        """The person of `source` moving as the one of `driving` does: an iterator over the frames, made one by one.

        `source` is a picture file or (H, W, 3) uint8 RGB; `driving` a film, a picture or a landmarks file. `trim`
        (seconds, from and to) and `fps` choose its frames, `driving_person` who in it is followed, see `choose_person`.
        `on_missing`: what a frame without anybody becomes; "fail" raises DetectionError there. `pictures`: hand on the
        driver's frames, too. Raises GflaError children for whatever is wrong with the input.
        """
        notes: list[str] = []
        watch = stopwatch or Stopwatch()
        driver = open_driver(
            driving, self.kind, trim=trim, fps=fps, person=driving_person, pictures=pictures, stopwatch=watch
        )
        picture = read_source(source)
        staging = staging or Staging()
        act = FaceActor if self.kind == "face" else BodyActor
        actor: Actor = act(self.session, picture, image_name(source), staging, notes)
        actor.start(driver.preview(), driver.size, driver.fps)
        return Animation(picture, actor, driver, on_missing, str(driving), notes, watch)


class Animation(Iterator[AnimatedFrame], Closeable):
    """The frames of a clip, made one by one. A context manager; leaving it ends reading the driver."""

    def __init__(
        self,
        picture: Image,
        actor: Actor,
        driver: Driver,
        on_missing: OnMissing,
        where: str,
        notes: list[str],
        stopwatch: Stopwatch,
    ) -> None:
        self.picture = picture  # (H, W, 3) the whole source
        self.source_image = actor.source_image  # (H, W, 3) what the network sees of it
        self.crop = actor.crop  # where that is
        self.fps, self.expected = driver.fps, driver.expected
        self.track = Track(driver.kind, driver.fps, driver.size)  # grows with the frames
        self.missing = 0  # frames without anybody so far
        self.stopwatch = stopwatch
        self._actor, self._driver, self._on_missing, self._where = actor, driver, on_missing, where
        self._notes = notes
        self._first_missing = 0
        self._frames = self._made()

    def __next__(self) -> AnimatedFrame:
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
        if self.missing:
            became = "held" if self._on_missing == "hold" else "left out"
            first = float(self._first_missing / self.fps)
            total = len(self.track.frames)
            whom = self._driver.kind.replace("body", "person")
            notes.append(
                f"{self._where}: no {whom} in {self.missing} of {total} frames ({became}; first at {first:.2f} s)"
            )
        return notes

    def _moments(self) -> Generator[tuple[DrivenFrame, Moment | None]]:
        """The driver's frames with what the network is to draw of them; None where nobody is."""
        gap = 0
        with closing(self._driver.frames()) as frames:
            for driven in frames:
                moment = None
                if driven.points is not None:
                    with self.stopwatch.measure("structure"):
                        moment = self._actor.moment(driven.points, gap)
                    gap = 0
                else:
                    gap += 1
                yield driven, moment

    def _made(self) -> Generator[AnimatedFrame]:
        image = self.source_image
        # Reading, landmarks and structures run ahead in threads of their own, the network in that of the caller.
        with closing(overlapped(self._moments(), _WAITING)) as ready:
            for driven, moment in ready:
                self.track.frames.append(driven.points)
                if moment is None:
                    self._count_missing(driven.number)
                    if self._on_missing == "skip":
                        continue
                else:
                    with self.stopwatch.measure("network"):
                        image = self._actor.picture(moment)
                yield AnimatedFrame(driven.number, image, driven.image, driven.points, moment is None)

    def _count_missing(self, number: int) -> None:
        if self._on_missing == "fail":
            error = nobody_in(f"{self._where}, frame {number} ({float(number / self.fps):.2f} s)", self._driver.kind)
            raise DetectionError(str(error), hint="--on-missing hold or skip goes on there")
        self._first_missing = self._first_missing if self.missing else number
        self.missing += 1


def read_source(source: ImageSource) -> Image:
    """The picture to animate, (H, W, 3), reduced to what a clip can be. Raises MediaError."""
    return load_image(source, _LARGEST_SIDE)
