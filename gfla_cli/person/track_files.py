"""The landmarks of a whole video in one file. `--save-landmarks` writes it, and `gfla animate` reads it as a driver.

    {"format": "gfla-track", "version": 1, "kind": "face", "fps": "30000/1001", "size": [height, width],
     "frames": [[[x, y, z], ... 68 or 70 of them], null, ...]}

A face is 68 points x, y, z, or 70 with the middles of the right and the left iris. A body ("kind": "body") is 18 joints
x, y, confidence and, where it is known, depth in pixels. null: no person was found in that frame. The points are those
of the detector, before any smoothing, so the same options give the same video again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from gfla_cli.arrays import Float32Array
from gfla_cli.errors import LandmarkError, MediaError, UsageError
from gfla_cli.geometry.crop import middle_of
from gfla_cli.io.ffmpeg import exact_rate
from gfla_cli.io.files import CHECK_SPELLING, atomic_path
from gfla_cli.person.face import POINTS
from gfla_cli.person.keypoint_files import read_frames_of_folder
from gfla_cli.person.pose import LARGEST_IMAGE_SIDE, Pose, WhichPerson, choose_person, shortest_decimals

Kind = Literal["face", "body"]
FORMAT, VERSION = "gfla-track", 1
_POINTS = {"face": (68, 70), "body": (18,)}  # known numbers of points
_FOLDER_FPS = Fraction(25)
_LARGEST_FILE = 500_000_000  # bytes; two hours of a face, and ten times as much once it is parsed
_LARGEST_VALUE = 1e7  # pixels; larger values are mistakes
_MADE_BY = "made by gfla extract or gfla animate --save-landmarks"


@dataclass(eq=False)
class Track:
    """One person's landmarks in every frame of a video."""

    kind: Kind
    fps: Fraction
    size: tuple[int, int]  # height, width of the video
    # (68, 3), (70, 3), (18, 3) or (18, 4) each; None = no person found
    frames: list[Float32Array | None] = field(default_factory=list)


def is_track_file(path: Path | str) -> bool:
    """Whether this is a landmarks file, by its name, or a folder with a keypoint file for every frame."""
    return Path(path).suffix.lower() == ".json" or Path(path).is_dir()


def refuse_track_name(path: Path | str) -> None:
    """Raises UsageError when a track cannot be written under this name."""
    if Path(path).suffix.lower() != ".json":
        raise UsageError(f"{path}: landmarks are written as .json", hint=f"choose {Path(path).stem}.json")


def write_track(path: Path | str, track: Track, *, overwrite: bool = False) -> None:
    """Writes a file from which `read_track` reads exactly this track. Raises UsageError, MediaError."""
    refuse_track_name(path)
    height, width = track.size
    head = {"format": FORMAT, "version": VERSION, "kind": track.kind, "fps": str(track.fps), "size": [height, width]}
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "frames": [\n')
        for number, points in enumerate(track.frames):
            if points is not None and not np.isfinite(points).all():  # irises that are unknown
                points = points[:POINTS]
            file.write((",\n" if number else "") + json.dumps(None if points is None else shortest_decimals(points)))
        file.write("\n]}\n")


def read_track(
    path: Path | str, *, fps: Fraction | None = None, person: WhichPerson = "largest", notes: list[str] | None = None
) -> Track:
    """The track in a file, or in a folder with a keypoint file for every frame.

    For a folder, `fps` is its frame rate (25 by default), and `person` the one in its frames that is meant, see
    `choose_person`. Raises MediaError when there is no file, LandmarkError when it is not a track.
    """
    path = Path(path)
    if path.is_dir():
        return _track_of_folder(path, fps, person, [] if notes is None else notes)
    try:
        if not path.is_file():
            raise MediaError(f"{path}: no such file", hint=CHECK_SPELLING)
        if path.stat().st_size > _LARGEST_FILE:
            raise LandmarkError("too large for landmarks", hint=_MADE_BY)
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise LandmarkError(f"{path}: not readable as JSON ({error})"[:200], hint="the file may be cut off") from error
    try:
        return _parsed(content)
    except LandmarkError as error:
        raise LandmarkError(f"{path}: {error}", hint=error.hint) from error


def _track_of_folder(folder: Path, fps: Fraction | None, which: WhichPerson, notes: list[str]) -> Track:
    """One person of all frames: the chosen one of the first frame with people, then the nearest to the last place."""
    frames, size = read_frames_of_folder(folder, notes=notes)
    if fps is None:
        notes.append(f"{folder}: took {_FOLDER_FPS} frames per second; --fps says another rate")
    track = Track("body", fps or _FOLDER_FPS, size)
    place: tuple[float, float] | None = None
    for people in frames:
        if not people:
            track.frames.append(None)
            continue
        if place is None:
            chosen = choose_person(people, which, where=str(folder), notes=notes)
        else:
            chosen = people[int(np.argmin([math.dist(middle_of(one.box), place) for one in people]))]
        place = middle_of(chosen.box)
        track.frames.append(chosen.known_points)
    return track


def _parsed(content: Any) -> Track:
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, Mapping) else None
        hint = "one pose, not a video: gfla pose-transfer takes it" if found == "gfla-pose" else _MADE_BY
        raise LandmarkError(f'not the landmarks of a video: "format" should be "{FORMAT}"', hint=hint)
    if content.get("version") != VERSION:
        what = f"version {content.get('version')!r:.30} of {FORMAT}, known is {VERSION}"
        raise LandmarkError(what, hint="made by a newer gfla? update this one")
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in _POINTS:
        raise LandmarkError(f"landmarks of a {kind!r:.30}, known are {' and '.join(_POINTS)}", hint=_MADE_BY)
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise LandmarkError("no frames in it", hint=_MADE_BY)
    points = [None if one is None else _points(one, _POINTS[kind], number) for number, one in enumerate(frames)]
    return Track(cast(Kind, kind), _rate(content.get("fps")), _size(content.get("size")), points)


def _rate(value: Any) -> Fraction:
    try:
        return exact_rate(value if isinstance(value, str | int | float) else "none")
    except UsageError as error:
        raise LandmarkError(f"{value!r:.40} is not a frame rate", hint='"fps": "25" or "30000/1001"') from error


def _size(value: Any) -> tuple[int, int]:
    sides = [side for side in value if type(side) is int] if isinstance(value, list) else []  # True is an int, too
    if len(sides) != 2 or not all(1 <= side <= LARGEST_IMAGE_SIDE for side in sides):
        raise LandmarkError(f"{value!r:.60} is not an image size", hint='"size": [height, width] in pixels')
    return sides[0], sides[1]


def _points(value: Any, counts: tuple[int, ...], number: int) -> Float32Array:
    try:
        points = np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise LandmarkError(f"frame {number} holds a value that is not a number", hint="a point has three") from error
    is_body = counts == _POINTS["body"]
    numbers = (3, 4) if is_body else (3,)
    shaped = points.shape in [(count, columns) for count in counts for columns in numbers]
    if not shaped or not (np.abs(points) < _LARGEST_VALUE).all():  # NaN: not smaller
        raise LandmarkError(
            f"frame {number} is not {' or '.join(map(str, counts))} points of {' or '.join(map(str, numbers))} numbers",
            hint="null stands for a frame without a person",
        )
    exact = points.astype(np.float32)
    return Pose.of(exact, (1, 1)).known_points if is_body else exact  # checks confidences, too
