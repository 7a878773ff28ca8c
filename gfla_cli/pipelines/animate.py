"""Animation: one picture and a driver in, frames out, one after the other (faces and bodies)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from gfla_cli.arrays import Image
from gfla_cli.errors import DetectionError
from gfla_cli.landmarks.tracks import Kind, Track
from gfla_cli.media.closing import Closing
from gfla_cli.media.image import Picture, given_picture, picture_name
from gfla_cli.media.video import Sound, Trim, overlapped
from gfla_cli.pipelines.actors import Actor, BodyActor, FaceActor, Moment
from gfla_cli.pipelines.driver import DrivenFrame, Driver, OnMissing, Points, nobody_in, open_driver
from gfla_cli.pipelines.staging import Staging
from gfla_cli.pipelines.stopwatch import Stopwatch
from gfla_cli.runtime.session import DeviceName, Precision, Runtime, open_session

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
        source: Picture,
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
        actor: Actor = act(self.session, picture, picture_name(source), staging, notes)
        actor.start(driver.preview(), driver.size, driver.fps)
        return Animation(picture, actor, driver, on_missing, str(driving), notes, watch)


class Animation(Iterator[AnimatedFrame], Closing):
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
        self.frame = actor.frame  # where that is
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


def read_source(source: Picture) -> Image:
    """The picture to animate, (H, W, 3), reduced to what a clip can be. Raises MediaError."""
    return given_picture(source, _LARGEST_SIDE)
