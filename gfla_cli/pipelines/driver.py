"""What drives an animation: the landmarks of one person, frame by frame, from a video, an image or a landmarks file."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image, Points
from gfla_cli.errors import DetectionError, UsageError
from gfla_cli.io.background import ProcessLock, overlapped
from gfla_cli.io.video import Frames, Sound, Trim, check_time_range, exact_rate, read_frames, sound_of
from gfla_cli.person.detect_face import no_face
from gfla_cli.person.pose import Pose, WhichPerson
from gfla_cli.person.retarget import jumped
from gfla_cli.person.track import BodyTracker, FaceTracker
from gfla_cli.person.track_files import Kind, Track, is_track_file, read_track

TaskName = Literal["auto", "face", "body"]
OnMissing = Literal["hold", "skip", "fail"]

_Item = TypeVar("_Item")
_PREVIEW_S, _PREVIEW_FRAMES = 2.0, 60  # how much is known before the first frame is made: the shorter of both
_SHOT_FRAMES = 12  # frames after a cut that are read ahead, to fit the driver to the source
_CUT_SIDE = 32  # pixels of the small images in which cuts are found
_CUT_CHANGE, _CUT_RATIO = 12.0, 4.0  # mean difference of 0..255, and relative to the change before
_AHEAD = 2  # decoded frames that wait; frames of a video are large


class Stopwatch:
    """Adds up the seconds of named stages. Stages run in parallel, so the sum may exceed the time that passed.

    `in_turns`: one stage at a time, for times that other stages on the same cores do not stretch.
    """

    def __init__(self, *, in_turns: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._turn: AbstractContextManager[None] = ProcessLock() if in_turns else nullcontext()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Adds the seconds that the block takes. With `in_turns` the block must not wait for another stage."""
        with self._turn:
            started = time.perf_counter()
            try:
                yield
            finally:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def timed(self, stage: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items; adds the seconds that each takes to arrive."""
        source = iter(items)
        while True:
            with self.measure(stage):
                item = next(source, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]


_END = object()


@dataclass(frozen=True, slots=True)
class DrivenFrame:
    """One frame of the driver."""

    number: int  # from 0
    points: Points | None  # (68 or 70, 3) or (18, 3 or 4) in pixels of the driver's image; None = no person found
    image: Image | None  # (H, W, 3); None for landmarks files, and when images were not asked for
    cut: bool = False  # the image differs from the one before as it does at a scene cut


@dataclass(frozen=True, slots=True)
class Shot:
    """A part of a driver between two cuts."""

    first: Sequence[Points]  # landmarks of its first frames, to fit the driver to the source
    points: Sequence[Points]  # of all its frames that show a person


class Driver(ABC):
    """The motion of one person."""

    def __init__(
        self, path: Path | str, kind: Kind, size: tuple[int, int], fps: Fraction, expected: int, sound: Sound | None
    ) -> None:
        self.path, self.kind, self.fps = path, kind, fps
        self.size = size  # height, width of the driver's images
        self.expected = expected  # frames; an estimate for long videos
        self.sound = sound
        self.notes: list[str] = []  # what the user should know about it; complete after the last frame
        self.damaged = False  # whether frames were missing or wrong; known after the last frame
        self._gives_up = False

    def stop_looking(self) -> None:
        """Makes `preview` in another thread end soon, when its result is not needed. Then the driver cannot be used."""
        self._gives_up = True

    def preview(self) -> list[Points]:
        """The landmarks of the first seconds that show a person, up to a cut. Raises DetectionError without any."""
        return _first_shot(self._look(_preview_frames(self.fps)), self.fps)

    def survey(self) -> list[Shot]:
        """All landmarks. Raises DetectionError without any."""
        known = self._look(None)
        found: list[tuple[Sequence[Points], list[Points]]] = [(_first_shot(known, self.fps), [])]
        for driven, shot in shots(known, self.fps):
            if shot is not None:
                found.append((shot, []))
            if driven.points is not None:
                found[-1][1].append(driven.points)
        return [Shot(*shot) for shot in found]

    @abstractmethod
    def _look(self, wanted: int | None) -> Sequence[DrivenFrame]:
        """Frames from the first on, until the person was found in `wanted` of them, or all. Raises DetectionError."""

    @abstractmethod
    def frames(self) -> Generator[DrivenFrame]:
        """All frames, once."""


def open_driver(
    path: Path | str,
    kind: Kind,
    *,
    trim: Trim | None = None,
    fps: Fraction | float | str | None = None,
    person: WhichPerson = "largest",
    images: bool = False,
    stopwatch: Stopwatch | None = None,
) -> Driver:
    """Opens a driver. `images`: also return its frames as images. Raises GflaError children for bad files."""
    if is_track_file(path):
        return _LandmarksDriver(path, kind, trim, fps, person)
    return _VideoDriver(path, kind, trim, fps, person, images=images, stopwatch=stopwatch or Stopwatch())


def not_found(where: str, kind: Kind) -> DetectionError:
    """The error for an image or video without a face or person."""
    if kind == "face":
        return no_face(where)
    return DetectionError(f"{where}: no person found", hint="most of one person has to be visible")


def _preview_frames(fps: Fraction) -> int:
    return min(_PREVIEW_FRAMES, max(1, round(_PREVIEW_S * fps)))


def shots(frames: Iterable[DrivenFrame], fps: Fraction) -> Generator[tuple[DrivenFrame, list[Points] | None]]:
    """The same frames. The first person after a cut comes with the landmarks of the shot's first frames, else None.

    A jump of the person in place or size counts as a cut. A flash, or wrong landmarks in one frame, do not.
    """
    source = iter(frames)
    waiting: deque[DrivenFrame] = deque()
    last: Points | None = None
    elapsed, cut = 0.0, False  # seconds since `last`; whether there was a cut since
    while True:
        if not waiting:
            waiting.extend(islice(source, 1))
        if not waiting:
            return
        driven = waiting.popleft()
        elapsed, cut, shot = elapsed + float(1 / fps), cut or driven.cut, None
        points = driven.points
        if points is not None and last is not None and (cut or jumped(last, points, elapsed)):
            waiting.extend(islice(source, _SHOT_FRAMES - len(waiting)))
            after = waiting[0].points if waiting else None
            if after is not None and not jumped(last, after, elapsed) and (waiting[0].cut or not cut):
                waiting[0] = replace(waiting[0], cut=False)  # back again: no cut
                cut = False
                yield driven, None
                continue
            shot = _until_cut(points, waiting, fps)
        if points is not None:
            last, elapsed, cut = points, 0.0, False
        yield driven, shot


def _until_cut(first: Points, following: Iterable[DrivenFrame], fps: Fraction) -> list[Points]:
    shot = [first]
    for driven in following:
        if driven.cut or (driven.points is not None and jumped(shot[-1], driven.points, float(1 / fps))):
            break
        if driven.points is not None:
            shot.append(driven.points)
    return shot


def _first_shot(frames: Iterable[DrivenFrame], fps: Fraction) -> list[Points]:
    """The landmarks of the first seconds before the first cut."""
    seen: list[Points] = []
    for driven, shot in shots(frames, fps):
        if shot is not None or len(seen) == _preview_frames(fps):
            break
        if driven.points is not None:
            seen.append(driven.points)
    return seen


class _CutFinder:
    """Tells scene cuts by the difference between small versions of successive images."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._change = 0.0

    def __call__(self, image: Image) -> bool:
        small = cv2.resize(image, (_CUT_SIDE, _CUT_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        before, change = self._before, self._change
        self._before = small
        if before is None:
            return False
        self._change = float(np.abs(small - before).mean())
        return self._change > _CUT_CHANGE and self._change > _CUT_RATIO * change


class _VideoDriver(Driver):
    """A video or image in which one person is tracked."""

    def __init__(
        self,
        path: Path | str,
        kind: Kind,
        trim: Trim | None,
        fps: Fraction | float | str | None,
        person: WhichPerson,
        *,
        images: bool,
        stopwatch: Stopwatch,
    ) -> None:
        with read_frames(path, trim, fps) as frames:  # decodes nothing yet, but checks the file
            info, rate, expected = frames.info, frames.fps, frames.expected
        super().__init__(path, kind, info.size, rate, expected, sound_of(info, trim))
        self._trim, self._person, self._images, self._stopwatch = trim, person, images, stopwatch
        self._known: list[DrivenFrame] = []  # frames that `preview` or `survey` has read, without their images
        self._whole: Frames | None = None  # the video, if these are all of its frames
        self._cut_finder = _CutFinder()
        self._tracker: FaceTracker | BodyTracker | None = None

    def _look(self, wanted: int | None) -> Sequence[DrivenFrame]:
        found, self._known, self._whole = 0, [], None
        frames = read_frames(self.path, self._trim, self.fps)
        with frames, closing(_ahead(self._stopwatch.timed("decode", frames))) as images:
            for number, image in enumerate(images):
                driven = self._track(number, image)
                self._known.append(driven)
                found += driven.points is not None
                if found == wanted or self._gives_up:
                    break
            else:
                self._whole = frames
        if not found:
            self._close()
            raise not_found(str(self.path), self.kind)
        return self._known

    def frames(self) -> Generator[DrivenFrame]:
        frames = self._whole
        try:
            if frames is not None and not self._images:
                yield from self._known
            else:
                frames = read_frames(self.path, self._trim, self.fps)
                yield from self._read_again(frames)
        finally:
            self._close()
        self.notes += frames.notes
        self.damaged = frames.damaged

    def _read_again(self, frames: Frames) -> Generator[DrivenFrame]:
        """All frames. Those that are known are decoded again: keeping images would take a hundred times the memory."""
        with frames, closing(_ahead(self._stopwatch.timed("decode", frames))) as images:
            for number, image in enumerate(images):
                driven = self._known[number] if number < len(self._known) else self._track(number, image)
                yield replace(driven, image=image) if self._images else driven

    def _track(self, number: int, image: Image) -> DrivenFrame:
        if self._tracker is None:
            follow = FaceTracker if self.kind == "face" else BodyTracker
            self._tracker = follow(self._person, where=str(self.path), notes=self.notes)
        with self._stopwatch.measure("landmarks"):
            cut = self._cut_finder(image)
            if cut:
                self._tracker.restart()
            found = self._tracker.track(image)
        points = None if found is None else found.known_points if isinstance(found, Pose) else found.points
        return DrivenFrame(number, points, None, cut)

    def _close(self) -> None:
        if self._tracker is not None:
            self._tracker.close()


def _ahead(frames: Iterator[Image]) -> Generator[Image]:
    return overlapped(frames, _AHEAD)


class _LandmarksDriver(Driver):
    """The landmarks of a video, from a file."""

    def __init__(
        self,
        path: Path | str,
        kind: Kind,
        trim: Trim | None,
        fps: Fraction | float | str | None,
        person: WhichPerson,
    ) -> None:
        notes: list[str] = []
        rate = None if fps is None else exact_rate(fps)
        track = read_track(path, fps=rate, person=person, notes=notes)
        if track.kind != kind:
            raise UsageError(f"{path} holds a {track.kind}, a {kind} is needed", hint=f"--task {track.kind}")
        rate = rate or track.fps
        self._points = _resampled(track, trim, rate)
        if not self._points:
            raise UsageError(f"{path}: no frame in that time range", hint=f"it lasts {len(track.frames) / track.fps} s")
        super().__init__(path, kind, track.size, rate, len(self._points), None)
        self.notes = notes

    def _look(self, wanted: int | None) -> Sequence[DrivenFrame]:
        if all(points is None for points in self._points):
            raise not_found(str(self.path), self.kind)
        return list(self.frames())

    def frames(self) -> Generator[DrivenFrame]:
        for number, points in enumerate(self._points):
            yield DrivenFrame(number, points, None)


def _resampled(track: Track, trim: Trim | None, fps: Fraction) -> list[Points | None]:
    """The frames of a time range at another rate: for each moment the frame that is shown then."""
    start, end = trim or (0.0, None)
    check_time_range((start, end))
    stop = Fraction(len(track.frames)) / track.fps
    # The float 0.2 is a little more than a fifth, which would give one frame too many at 15 per second.
    stop = stop if end is None else min(stop, Fraction(end).limit_denominator(1_000_000))
    chosen: list[Points | None] = []
    moment = Fraction(start).limit_denominator(1_000_000)
    while moment < stop:
        # Seconds written as decimals may fall just short of the frame that is meant.
        chosen.append(track.frames[min(int(moment * track.fps + Fraction(1, 1000)), len(track.frames) - 1)])
        moment += 1 / fps
    return chosen
