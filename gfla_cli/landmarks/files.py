"""Poses from and to files: every known keypoint format is read, our own JSON is written.

    {"format": "gfla-pose", "version": 1, "size": [height, width], "points": [[x, y, confidence], ... 18 of them],
     "depths": [... 18 of them]}

Several people: "people": [{"points": ..., "depths": ...}, ...] in place of both. Joints in OpenPose's order, x and y in
pixels, missing = [-1, -1, 0]. Depths are in pixels, too: how much farther from the camera one joint is than another.
They may be left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gfla_cli.errors import LandmarkError, UsageError
from gfla_cli.landmarks.doubts import settled
from gfla_cli.landmarks.formats import OWN_FORMAT, OWN_VERSION, parse
from gfla_cli.landmarks.pose import Pose, choose_person
from gfla_cli.media.atomic import atomic_path
from gfla_cli.media.given import CHECK_SPELLING

_SUFFIXES = (".json", ".csv")
_FILE_AND_ROW = re.compile(r"(.*?\.(?:json|csv))#(.*)", re.IGNORECASE | re.DOTALL)
_LARGEST_FILE = 50_000_000  # bytes


def is_pose_file(path: Path | str) -> bool:
    """Whether the name is that of a keypoint file, `poses.csv#photo.jpg` included; looks at no file."""
    return Path(split_row(path)[0]).suffix.lower() in _SUFFIXES


def read_poses(path: Path | str, *, frame: tuple[int, int] | None = None, notes: list[str] | None = None) -> list[Pose]:
    """All poses of a file, or those of one picture in it: `poses.csv#photo.jpg`.

    `frame` is the height and width of the picture, for formats that do not say. Doubts are added to `notes`.
    Raises LandmarkError for everything that is wrong with the file, with its name.
    """
    file, wanted = split_row(path)
    with _about(path, notes) as said:
        return [settled(found, frame, said) for found in parse(_text(file), wanted)]


def read_pose(
    path: Path | str,
    *,
    person: str | int = "largest",
    frame: tuple[int, int] | None = None,
    notes: list[str] | None = None,
) -> Pose:
    """One pose of a file: of the only picture in it or of `path#picture`, and there of `person`.

    `person` is "largest", "left", "right" or N, as in `choose_person`, which raises DetectionError when there is no
    N-th; else as `read_poses`.
    """
    file, wanted = split_row(path)
    with _about(path, notes) as said:
        found = parse(_text(file), wanted)
        names = list(dict.fromkeys(pose.name for pose in found))
        if len(names) > 1:
            raise LandmarkError(f"holds poses of {len(names)} pictures", hint=f"choose one: {file}#{names[0]}")
        poses = [settled(pose, frame, said) for pose in found]
    return choose_person(poses, person, where=str(path), notes=notes)


def write_pose(path: Path | str, pose: Pose, *, overwrite: bool = False) -> None:
    """Writes our own JSON, from which `read_pose` gives back exactly this pose. Raises UsageError, MediaError."""
    write_poses(path, [pose], overwrite=overwrite)


def write_poses(path: Path | str, poses: Sequence[Pose], *, overwrite: bool = False) -> None:
    """The same for several people of one picture."""
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise UsageError(f"{path}: poses are written as .json", hint=f"choose {path.with_suffix('.json').name}")
    if not poses or len({pose.size for pose in poses}) != 1:
        raise ValueError("one file holds the people of one picture")
    people = [_person(pose) for pose in poses]
    content = {"format": OWN_FORMAT, "version": OWN_VERSION, "size": list(poses[0].size)}
    content |= people[0] if len(people) == 1 else {"people": people}
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _person(pose: Pose) -> dict[str, Any]:
    """One person as JSON, in the shortest decimals that read back as the same float32."""
    person: dict[str, Any] = {"points": [[float(str(value)) for value in point] for point in pose.points]}
    if pose.depths is not None:
        person["depths"] = [float(str(value)) for value in pose.depths]
    return person


def split_row(path: Path | str) -> tuple[Path, str | None]:
    """File and picture of `poses.csv#photo.jpg`; a path that is there, and one without a keypoint file, has no picture.

    Any folder, file or picture may have a # in its own name: it divides where a keypoint file ends.
    """
    with suppress(OSError):  # a name too long; reading it will say so
        if Path(path).exists():
            return Path(path), None
    divided = _FILE_AND_ROW.fullmatch(str(path))
    return (Path(divided[1]), divided[2]) if divided else (Path(path), None)


@contextmanager
def _about(path: Path | str, notes: list[str] | None) -> Iterator[list[str]]:
    """Puts the file's name before errors, and before the notes that the block collects in the list it gets."""
    said: list[str] = []
    try:
        yield said
    except LandmarkError as error:
        raise LandmarkError(f"{path}: {error}", hint=error.hint) from error
    finally:
        if notes is not None:
            notes.extend(f"{path}: {note}" for note in dict.fromkeys(said))


def _text(file: Path) -> str:
    """The file as text, without a byte order mark, in the encodings that spreadsheet programs write."""
    try:
        if not file.is_file():
            what = "is a folder" if file.is_dir() else "no such file"
            raise LandmarkError(what, hint=CHECK_SPELLING)
        size = file.stat().st_size
        if size > _LARGEST_FILE:
            hint = f"{_LARGEST_FILE // 1_000_000} MB are the most: take out the pictures that you need"
            raise LandmarkError(f"{size / 1e6:.0f} MB are too much for a keypoint file", hint=hint)
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LandmarkError(f"cannot be read: {reason}", hint="check the path and its permissions") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise LandmarkError("not a text file", hint="keypoints are read from .json and .csv files") from error
