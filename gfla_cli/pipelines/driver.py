"""Where the time goes: seconds a stage. Stages run beside each other, so the sum may exceed the time that passed."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from gfla_cli.arrays import Image, Points
from gfla_cli.errors import DetectionError, UsageError
from gfla_cli.io.background import overlapped
from gfla_cli.io.video import Sound, Trim, exact_rate, read_frames, sound_of
from gfla_cli.person.detect_face import no_face
from gfla_cli.person.pose import Pose
from gfla_cli.person.track import BodyTracker, FaceTracker
from gfla_cli.person.track_files import Kind, Track, is_track_file, read_track

_Item = TypeVar("_Item")


class Stopwatch:
    """Adds up the seconds of named stages, each of which runs in one thread."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Counts what the block takes."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def timed(self, stage: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items; counts what each of them takes to come."""
        source = iter(items)
        while True:
            with self.measure(stage):
                item = next(source, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]


_END = object()


# What drives an animation: a film, a picture or a landmarks file; one person's landmarks, frame after frame.


OnMissing = Literal["hold", "skip", "fail"]

_PREVIEW_S, _PREVIEW_FRAMES = 2.0, 60  # of the driver that are known before the first frame is made, whichever is less
_AHEAD = 2  # decoded frames that wait; those of a film are large


@dataclass(frozen=True, slots=True)
class DrivenFrame:
    """One frame of the driver."""

    number: int  # from 0
    points: Points | None  # (68, 3) or (18, 3) in pixels of the driver's picture; None = nobody was found
    image: Image | None  # (H, W, 3); None for landmarks files, and where nobody asked for pictures


class Driver(Protocol):
    """One person in motion."""

    kind: Kind
    fps: Fraction
    size: tuple[int, int]  # height, width of the driver's pictures
    expected: int  # frames; an estimate for long films
    sound: Sound | None
    notes: list[str]  # what is wrong with it; complete after the last frame
    damaged: bool  # whether frames were missing or wrong; known after the last frame

    def preview(self) -> list[Points]:
        """The landmarks of the first seconds in which somebody is seen. Raises DetectionError when nobody ever is."""

    def frames(self) -> Generator[DrivenFrame]:
        """All frames, once."""


def open_driver(
    path: Path | str,
    kind: Kind,
    *,
    trim: Trim | None = None,
    fps: Fraction | float | str | None = None,
    person: str | int = "largest",
    pictures: bool = False,
    stopwatch: Stopwatch | None = None,
) -> Driver:
    """The driver in a file. `pictures`: whether its frames are handed on. Raises GflaError children for bad files."""
    if is_track_file(path):
        return _Recorded(path, kind, trim, fps)
    return _Filmed(path, kind, trim, fps, person, pictures=pictures, stopwatch=stopwatch or Stopwatch())


def nobody_in(where: str, kind: Kind) -> DetectionError:
    """What to raise when a film shows nobody."""
    if kind == "face":
        return no_face(where)
    return DetectionError(f"{where}: no person found", hint="most of one person has to be visible")


class _Filmed:
    """A film or picture, in which somebody is followed."""

    def __init__(
        self,
        path: Path | str,
        kind: Kind,
        trim: Trim | None,
        fps: Fraction | float | str | None,
        person: str | int,
        *,
        pictures: bool,
        stopwatch: Stopwatch,
    ) -> None:
        with read_frames(path, trim, fps) as frames:  # decodes nothing yet, but names what is wrong
            info, self.fps, self.expected = frames.info, frames.fps, frames.expected
        self.kind, self.path, self.size = kind, path, info.size
        self.sound = sound_of(info, trim)
        self.notes: list[str] = []
        self.damaged = False
        self._trim, self._person, self._pictures, self._stopwatch = trim, person, pictures, stopwatch
        self._known: list[Points | None] = []  # landmarks of the frames that `preview` looked at
        self._tracker: FaceTracker | BodyTracker | None = None

    def preview(self) -> list[Points]:
        wanted = min(_PREVIEW_FRAMES, max(1, round(_PREVIEW_S * self.fps)))
        seen: list[Points] = []
        with read_frames(self.path, self._trim, self.fps) as frames, closing(_ahead(frames)) as images:
            for image in images:
                points = self._track(image)
                self._known.append(points)
                if points is not None:
                    seen.append(points)
                if len(seen) == wanted:
                    break
        if not seen:
            self._close()
            raise nobody_in(str(self.path), self.kind)
        return seen

    def frames(self) -> Generator[DrivenFrame]:
        # The first seconds are decoded again: keeping their pictures would take a hundred times the memory.
        with read_frames(self.path, self._trim, self.fps) as frames:
            try:
                with closing(_ahead(self._stopwatch.timed("decode", frames))) as images:
                    for number, image in enumerate(images):
                        known = number < len(self._known)
                        points = self._known[number] if known else self._track(image)
                        yield DrivenFrame(number, points, image if self._pictures else None)
            finally:
                self._close()
            self.notes += frames.notes
            self.damaged = frames.damaged

    def _track(self, image: Image) -> Points | None:
        if self._tracker is None:
            follow = FaceTracker if self.kind == "face" else BodyTracker
            self._tracker = follow(self._person, where=str(self.path), notes=self.notes)
        with self._stopwatch.measure("landmarks"):
            found = self._tracker.track(image)
            if found is None:
                return None
            return found.known_points if isinstance(found, Pose) else found.points

    def _close(self) -> None:
        if self._tracker is not None:
            self._tracker.close()


def _ahead(frames: Iterator[Image]) -> Generator[Image]:
    return overlapped(frames, _AHEAD)


class _Recorded:
    """The landmarks of a film that was looked at before."""

    def __init__(self, path: Path | str, kind: Kind, trim: Trim | None, fps: Fraction | float | str | None) -> None:
        track = read_track(path)
        if track.kind != kind:
            raise UsageError(f"{path} holds a {track.kind}, a {kind} is needed", hint=f"--task {track.kind}")
        self.kind, self.path, self.size = kind, path, track.size
        self.fps = track.fps if fps is None else exact_rate(fps)
        self._points = _resampled(track, trim, self.fps)
        if not self._points:
            raise UsageError(f"{path}: no frame in that stretch", hint=f"it lasts {len(track.frames) / track.fps} s")
        self.expected = len(self._points)
        self.sound: Sound | None = None
        self.notes: list[str] = []
        self.damaged = False

    def preview(self) -> list[Points]:
        wanted = min(_PREVIEW_FRAMES, max(1, round(_PREVIEW_S * self.fps)))
        seen = [points for points in self._points if points is not None][:wanted]
        if not seen:
            raise nobody_in(str(self.path), self.kind)
        return seen

    def frames(self) -> Generator[DrivenFrame]:
        for number, points in enumerate(self._points):
            yield DrivenFrame(number, points, None)


def _resampled(track: Track, trim: Trim | None, fps: Fraction) -> list[Points | None]:
    """The frames of a stretch at another rate, each the one that is shown at that moment."""
    start, end = trim or (0.0, None)
    if not start >= 0 or (end is not None and not end > start):
        raise UsageError("that is no stretch of time", hint="--trim START:END in seconds, such as 2:5.5")
    stop = Fraction(len(track.frames)) / track.fps
    # 0.2 is a little more than a fifth: one frame too many at 15 a second.
    stop = stop if end is None else min(stop, Fraction(end).limit_denominator(1_000_000))
    chosen: list[Points | None] = []
    moment = Fraction(start).limit_denominator(1_000_000)
    while moment < stop:
        # Seconds given as decimals fall a hair short of the frame they mean.
        chosen.append(track.frames[min(int(moment * track.fps + Fraction(1, 1000)), len(track.frames) - 1)])
        moment += 1 / fps
    return chosen
