"""Reads poses from files in every known keypoint format, and writes gfla-pose JSON.

    {"format": "gfla-pose", "version": 1, "size": [height, width], "points": [[x, y, confidence], ... 18 of them],
     "depths": [... 18 of them]}

Several people: "people": [{"points": ..., "depths": ...}, ...] in place of both. Joints are in OpenPose's order, in
pixels, missing = [-1, -1, 0]. "depths" is optional: the distance from the camera in pixels, with any zero.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Float64Array
from gfla_cli.errors import LandmarkError, MediaError, UsageError
from gfla_cli.io.files import CHECK_SPELLING, files_of, status_of, write_text
from gfla_cli.person.body import torso_length
from gfla_cli.person.keypoint_formats import OWN_FORMAT, OWN_VERSION, FoundPose, NobodyError, parse
from gfla_cli.person.pose import LEAST_CONFIDENCE, LIMBS, MISSING, Pose, WhichPerson, choose_person, shortest_decimals

_TABLE_FRAMES = ((128, 64), (256, 176), (256, 256))  # height, width: Market-1501, DeepFashion, square crops
_SLACK = 0.1  # of a side: annotators and detectors place joints a little outside
_TOO_LARGE = 1.5  # times the frame: no longer a joint outside, but another scale
_TINY = 0.05  # of the frame's diagonal
_LARGEST = 30_000  # pixels
_LONGEST_LIMB, _FLAT = 2.0, 0.02  # torsos: depth from one end of a limb to the other, and of a whole body
_SIDEWAYS = ((0, 1), (8, 9), (11, 12), (9, 10), (12, 13))  # limbs that are upright in most people
_SUFFIXES = (".json", ".csv")
_FILE_AND_ROW = re.compile(r"(.*?\.(?:json|csv))#(.*)", re.IGNORECASE | re.DOTALL)
_LARGEST_FILE = 50_000_000  # bytes


def is_pose_file(path: Path | str) -> bool:
    """Whether the name is that of a keypoint file, `poses.csv#photo.jpg` included. Reads no file."""
    return Path(split_row(path)[0]).suffix.lower() in _SUFFIXES


def read_poses(path: Path | str, *, frame: tuple[int, int] | None = None, notes: list[str] | None = None) -> list[Pose]:
    """All poses of a file, or those of one image in it: `poses.csv#photo.jpg`.

    `frame` is the height and width of the image, for formats without them. Doubtful values are added to `notes`.
    Raises LandmarkError, with the file's name.
    """
    file, wanted = split_row(path)
    with _about(path, notes) as said:
        return [validate_and_scale(one, frame, said) for one in _with_joints(parse(_text(file), wanted), said)]


def read_pose(
    path: Path | str,
    *,
    person: WhichPerson = "largest",
    frame: tuple[int, int] | None = None,
    notes: list[str] | None = None,
) -> Pose:
    """One pose of a file: of the only image in it or of `path#image`, and there of `person`.

    `person` is "largest", "left", "right" or N, as in `choose_person`, which raises DetectionError when there is no
    N-th; else as `read_poses`.
    """
    file, wanted = split_row(path)
    with _about(path, notes) as said:
        found = parse(_text(file), wanted)
        names = list(dict.fromkeys(pose.name for pose in found))
        if len(names) > 1:
            raise LandmarkError(f"holds poses of {len(names)} images", hint=f"choose one: {file}#{names[0]}")
        poses = [validate_and_scale(pose, frame, said) for pose in _with_joints(found, said)]
    return choose_person(poses, person, where=str(path), notes=notes)


def poses_of_folder(folder: Path) -> list[str]:
    """Every keypoint file of a folder, by name; of one with several named images `file#image` for each of them.

    JSON files without keypoints are listed, too: reading them says what is wrong. Raises MediaError.
    """
    found: list[str] = []
    for path in _list_files(folder):
        try:
            names = list(dict.fromkeys(one.name for one in parse(_text(path), None)))
        except LandmarkError:
            if path.suffix.lower() == ".json":  # a CSV file may hold anything
                found.append(str(path))
            continue
        found += [f"{path}#{name}" for name in names] if len(names) > 1 else [str(path)]
    return found


def _list_files(folder: Path) -> list[Path]:
    """The .json and .csv files of a folder by name, frame_2 before frame_10. Raises MediaError."""
    return sorted(files_of(folder, _SUFFIXES), key=lambda path: _by_number(path.name))


def _by_number(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """A key that sorts digits in a name as numbers."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(part[0].isdecimal(), int(part) if part[0].isdecimal() else 0, part) for part in parts], name


def read_frames_of_folder(folder: Path, *, notes: list[str]) -> tuple[list[list[Pose]], tuple[int, int]]:
    """The people in each file of a folder that holds one JSON file per frame, and the size of the frames.

    A frame may be without people. Raises LandmarkError and MediaError.
    """
    files = [path for path in _list_files(folder) if path.suffix.lower() == ".json"]
    if not files:
        raise MediaError(f"{folder}: no JSON files in this folder", hint="one keypoint file per frame, or a video")
    found: list[list[FoundPose]] = []
    for path in files:
        with _about(path, None):
            try:
                listed = parse(_text(path))
            except NobodyError:
                listed = []
        found.append([one for one in listed if (one.points[:, 2] >= LEAST_CONFIDENCE).any()])
    people = [one for frame in found for one in frame]
    if not people:
        raise LandmarkError(f"{folder}: no person in any of {len(files)} files", hint="is this the right folder?")
    size = next((one.size for one in people if one.size is not None), None)
    if size is None:  # of the whole video, or the person would jump from frame to frame
        joints = np.concatenate([one.points[one.points[:, 2] >= LEAST_CONFIDENCE] for one in people])
        if np.abs(joints[:, :2]).max() > _TOO_LARGE:
            size = _guessed_frame(joints, table=False)
            notes.append(f"{folder}: no size of the video is given, took {size[1]}x{size[0]}")
    said: list[str] = []
    frames = []
    for path, frame in zip(files, found, strict=True):
        with _about(path, None):
            frames.append([validate_and_scale(one, size, said) for one in frame])
    notes += [f"{folder}: {note}" for note in dict.fromkeys(said) if "confidence" not in note]
    return frames, frames[next(number for number, frame in enumerate(frames) if frame)][0].size


def write_pose(path: Path | str, pose: Pose, *, overwrite: bool = False) -> None:
    """Writes gfla-pose JSON, from which `read_pose` reads exactly this pose. Raises UsageError, MediaError."""
    write_poses(path, [pose], overwrite=overwrite)


def write_poses(path: Path | str, poses: Sequence[Pose], *, overwrite: bool = False) -> None:
    """The same for several people of one image."""
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise UsageError(f"{path}: poses are written as .json", hint=f"choose {path.with_suffix('.json').name}")
    if not poses or len({pose.size for pose in poses}) != 1:
        raise ValueError("one file holds the people of one image")
    write_text(path, json.dumps(pose_json(*poses)) + "\n", overwrite=overwrite)


def pose_json(*poses: Pose) -> dict[str, Any]:
    """The content of a file of our own format, for the people of one image."""
    people = []
    for pose in poses:
        depths = {} if pose.depths is None else {"depths": shortest_decimals(pose.depths)}
        people.append({"points": shortest_decimals(pose.points), **depths})
    content = {"format": OWN_FORMAT, "version": OWN_VERSION, "size": list(poses[0].size)}
    return content | (people[0] if len(people) == 1 else {"people": people})


def split_row(path: Path | str) -> tuple[Path, str | None]:
    """File and image of `poses.csv#photo.jpg`. Existing paths, and paths without a keypoint file, have no image.

    Folders, files and images may have a # in their names, so the path is split after `.json` or `.csv` only.
    """
    with suppress(OSError):  # a name too long; reading it will say so
        if Path(path).exists():
            return Path(path), None
    divided = _FILE_AND_ROW.fullmatch(str(path))
    return (Path(divided[1]), divided[2]) if divided else (Path(path), None)


@contextmanager
def _about(path: Path | str, notes: list[str] | None) -> Iterator[list[str]]:
    """Adds the file's name to errors of the block, and to the notes that it collects."""
    said: list[str] = []
    try:
        yield said
    except LandmarkError as error:
        raise type(error)(f"{path}: {error}", hint=error.hint) from error
    finally:
        if notes is not None:
            notes.extend(f"{path}: {note}" for note in dict.fromkeys(said))


def _text(file: Path) -> str:
    """The file as text, without a byte order mark, in the encodings of spreadsheet programs."""
    try:
        status = status_of(file)
        if status is None or not stat.S_ISREG(status.st_mode):
            what = "is a folder" if file.is_dir() else "no such file"
            raise LandmarkError(what, hint=CHECK_SPELLING)
        size = status.st_size
        if size > _LARGEST_FILE:
            hint = f"{_LARGEST_FILE // 1_000_000} MB are the most: take out the images that you need"
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


def _with_joints(people: Sequence[FoundPose], notes: list[str]) -> list[FoundPose]:
    """The people who have joints. Programs also write empty people, and people they are not sure of."""
    found = [one for one in people if (one.points[:, 2] >= LEAST_CONFIDENCE).any()]
    if not found:
        hint = f"a confidence below {LEAST_CONFIDENCE} means that a joint was not found"
        raise LandmarkError("no joint is marked as found", hint=hint)
    if len(found) < len(people):
        notes.append(f"{len(people) - len(found)} of {len(people)} people have no joints and were left out")
    return found


# Validation: exchanged axes, wrong scales, joints of another image.


def validate_and_scale(found: FoundPose, frame: tuple[int, int] | None, notes: list[str]) -> Pose:
    """The pose in pixels of its image. Adds doubtful values to `notes`; raises LandmarkError for impossible ones.

    `frame` is the height and width of the image, used when the file does not contain them.
    """
    points = found.points.copy()
    there = points[:, 2] >= LEAST_CONFIDENCE
    doubtful = int(((points[:, 2] > 0) & ~there).sum())
    if doubtful:
        points[~there] = MISSING
        notes.append(f"{doubtful} joints have a confidence below {LEAST_CONFIDENCE} and are taken as missing")
    size = found.size or frame
    if np.abs(points[there, :2]).max() <= _TOO_LARGE and there.sum() > 1:
        size = _scaled_up(points, there, size, notes)
    if size is None:
        size = _guessed_frame(points[there], table=found.table)
        notes.append(f"no size of the image is given, took {size[1]}x{size[0]}")
    else:
        _check_frame(points[there, :2], size, notes)
    if lies_on_its_side(points):
        notes.append("the body lies on its side; if it should not, x and y are exchanged")
    pose = Pose(points.astype(np.float32), size)
    return replace(pose, depths=_checked_depths(pose, found.depths, notes)) if found.depths is not None else pose


def _checked_depths(pose: Pose, depths: Float64Array | None, notes: list[str]) -> Float32Array | None:
    """The depths of a pose, or None if they are impossible: no depths are better than wrong ones."""
    torso = torso_length(pose)
    if depths is None or not torso:
        return None
    there = pose.present
    if np.isnan(depths[there]).any():
        notes.append(f"depths of {int(there.sum() - np.isnan(depths[there]).sum())} joints only; they are not used")
        return None
    longest = max((abs(depths[a] - depths[b]) for a, b in LIMBS if there[a] and there[b]), default=0.0)
    if longest > _LONGEST_LIMB * torso:
        notes.append(
            f"depths that differ by {longest / torso:.0f} torsos within one limb are not used; are they pixels?"
        )
        return None
    if np.ptp(depths[there]) < _FLAT * torso:
        notes.append("depths that are all alike are not used; are they pixels?")
        return None
    return np.nan_to_num(depths, nan=float(np.median(depths[there]))).astype(np.float32)


def _scaled_up(
    points: Float64Array, there: BoolArray, size: tuple[int, int] | None, notes: list[str]
) -> tuple[int, int]:
    """Turns coordinates in 0..1 into pixels, in place."""
    if points[there, :2].min() < -0.1:
        hint = "write pixels (OpenPose: --keypoint_scale 0)"
        raise LandmarkError("coordinates between -1 and 1, not in pixels", hint=hint)
    if size is None:
        hint = "write pixels (OpenPose: --keypoint_scale 0), or a format that holds the size of the image"
        raise LandmarkError("coordinates between 0 and 1, and no size of the image to multiply them with", hint=hint)
    points[there, :2] *= (size[1], size[0])
    notes.append(f"coordinates between 0 and 1 were multiplied with the size of the image, {size[1]}x{size[0]}")
    return size


def _check_frame(places: Float64Array, size: tuple[int, int], notes: list[str]) -> None:
    """Checks whether the present joints (n, 2) fit into an image of this size."""
    sides = np.array([size[1], size[0]], np.float64)
    outside = _outside(places, sides)
    frame = f"{size[1]}x{size[0]}"
    if outside.sum() >= 2 and not _outside(places[:, ::-1], sides).any():
        what = f"{outside.sum()} of {len(places)} joints lie outside the {frame} image, none if x and y change places"
        raise LandmarkError(what, hint="x comes first in JSON, y comes first in the paper's table")
    ratio = float((places.max(axis=0) / sides).max())
    if ratio > _TOO_LARGE:
        reach = f"x = {places[:, 0].max():.0f}, y = {places[:, 1].max():.0f}"
        what = f"the joints reach {reach} in an image of {frame}: {ratio:.1f} times too large"
        raise LandmarkError(what, hint="are they from the same image, before it was made smaller?")
    if outside.all():
        raise LandmarkError(f"all joints lie outside the {frame} image", hint="are they from another image?")
    if outside.any():
        notes.append(f"{outside.sum()} of {len(places)} joints lie outside the {frame} image")
    spread = float(np.hypot(*np.ptp(places, axis=0)))
    if len(places) > 4 and spread < _TINY * math.hypot(*size):
        notes.append(f"the whole body measures {spread:.0f} px in an image of {frame}; is that the right size?")


def _outside(places: Float64Array, sides: Float64Array) -> BoolArray:
    return np.asarray(((places < -_SLACK * sides) | (places > (1 + _SLACK) * sides)).any(axis=1))


def _guessed_frame(present: Float64Array, *, table: bool) -> tuple[int, int]:
    """(height, width) of an image that could hold the joints, the body in its middle."""
    right, bottom = present[:, 0].max(), present[:, 1].max()
    if max(right, bottom) > _LARGEST:
        raise LandmarkError(f"the joints reach x = {right:.0f}, y = {bottom:.0f}", hint="no image is that large")
    if table:
        for height, width in _TABLE_FRAMES:
            if right < width and bottom < height:
                return height, width
    left, top = present[:, :2].clip(0, None).min(axis=0)
    return max(1, math.ceil(bottom + top)), max(1, math.ceil(right + left))


def lies_on_its_side(points: Float64Array) -> bool:
    """Whether the head, and every limb that is there, points to the left or right rather than up."""
    limbs = [points[a, :2] - points[b, :2] for a, b in _SIDEWAYS if points[a, 2] > 0 and points[b, 2] > 0]
    hips = [points[joint, :2] for joint in (8, 11) if points[joint, 2] > 0]
    if hips and points[1, 2] > 0:
        limbs.append(np.mean(hips, axis=0) - points[1, :2])
    return len(limbs) >= 3 and all(abs(across) > 1.5 * abs(down) for across, down in limbs)
