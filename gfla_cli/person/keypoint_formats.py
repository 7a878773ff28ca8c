"""Parses keypoint formats into 18 joints: gfla-pose JSON, OpenPose JSON, COCO JSON, and the paper's table.

`keypoint_files.validate_and_scale` checks afterwards whether the numbers make sense.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.errors import LandmarkError
from gfla_cli.person.pose import JOINTS, LARGEST_IMAGE_SIDE, MISSING

OWN_FORMAT, OWN_VERSION = "gfla-pose", 1

# Our joints in the order of each format; the neck of COCO is the middle of the shoulders.
_FROM_BODY_25 = [*range(8), *range(9, 19)]  # without mid-hip (8) and feet (19-24)
_FROM_COCO_17 = [0, 0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
_FROM_MEDIAPIPE_33 = [0, 0, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7]
_NECK, _SHOULDERS = 1, [2, 5]
_COCO_FIRST = (17, 26, 133, 136)  # COCO, Halpe, COCO-WholeBody, Halpe full body: all begin with COCO's 17
_WHOSE = {
    14: "LSP", 15: "OpenPose MPI", 16: "MPII", 17: "COCO", 18: "OpenPose COCO", 20: "CrowdPose or LSP", 21: "one hand",
    25: "OpenPose BODY_25", 26: "Halpe", 33: "MediaPipe", 68: "a face", 70: "an OpenPose face", 133: "COCO-WholeBody",
    135: "OpenPose BODY_135", 136: "Halpe full body", 468: "a MediaPipe face", 478: "a MediaPipe face",
}  # fmt: skip
_READABLE = "gfla reads 18 or 25 (OpenPose), 17 (COCO), 26, 133 or 136 that begin with COCO's, and 33 (MediaPipe)"
_KNOWN = (
    "known: JSON of gfla, OpenPose, DWPose, COCO, AlphaPose, MMPose, Ultralytics, MediaPipe; "
    "name:keypoints_y:keypoints_x rows"
)


class NobodyError(LandmarkError):
    """A valid keypoint file that lists no person."""


@dataclass(frozen=True, eq=False)
class FoundPose:
    """18 joints as a file has them, before validation."""

    points: Float64Array  # (18, 3) x, y, confidence in 0..1; missing = (-1, -1, 0)
    size: tuple[int, int] | None  # height, width, when the file says
    name: str = ""  # of the image, when the file says
    table: bool = False  # from a row of the paper's table, whose images have one of three sizes
    depths: Float64Array | None = None  # (18,) away from the camera, pixels; NaN where the file has none


def parse(text: str, wanted: str | None = None) -> list[FoundPose]:
    """Every pose of a keypoint file; with `wanted` only those of the image of that name.

    Raises LandmarkError; `keypoint_files` adds the file's name.
    """
    stripped = text.lstrip()
    if not stripped:
        raise LandmarkError("the file is empty", hint="write it again")
    if stripped[0] in "{[":
        return _chosen(_from_json(_json(text)), wanted)
    if _split_row(stripped.splitlines()[0]) or _HEADER.match(stripped.splitlines()[0]):
        return list(_from_table(text, wanted))
    raise LandmarkError("not a keypoint file", hint=_KNOWN)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        what = f"broken JSON in line {error.lineno}, column {error.colno}: {error.msg}"
        raise LandmarkError(what, hint="the file may be cut off") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists nested thousands deep
        raise LandmarkError("unusable JSON", hint=_KNOWN) from error


def _from_json(content: Mapping[str, Any] | list[Any]) -> list[FoundPose]:
    if isinstance(content, Mapping):
        return _from_object(content)
    if _is_landmark_list(content) or (content and all(map(_is_landmark_list, content))):
        return _from_mediapipe(content)
    if content and all(isinstance(item, Mapping) for item in content):
        if all("keypoints" in item for item in content):
            return _from_coco(content, None)
        if len(content) == 1 and "people" in content[0]:  # as the web tools for image generators save it
            return _from_object(content[0])
    if not content:
        raise NobodyError("an empty list, no person in it", hint="did the detector find a person in that image?")
    raise LandmarkError("JSON, but no keypoints: a list", hint=_KNOWN)


def _from_object(content: Mapping[str, Any]) -> list[FoundPose]:
    lists = {key for key, value in content.items() if isinstance(value, list)}
    if content.get("format") == OWN_FORMAT:
        return _from_own(content)
    if "people" in lists:
        return _from_openpose(content)
    if "annotations" in lists:
        return _from_coco(content["annotations"], content.get("images"))
    if "keypoints" in content:
        return _from_coco([content], None)
    if "instance_info" in lists:
        return _from_mmpose(content["instance_info"])
    if "bodies" in content:
        return _from_dwpose(content)
    for key in ("pose_landmarks", "poseLandmarks", "landmarks"):
        if key in lists:
            return _from_mediapipe(content[key])
    keys = ", ".join(f"{key!r:.30}" for key in list(content)[:5])
    raise LandmarkError(f"JSON, but no keypoints: an object with {keys or 'nothing in it'}", hint=_KNOWN)


def _from_own(content: Mapping[str, Any]) -> list[FoundPose]:
    if content.get("version") != OWN_VERSION:
        what = f"version {content.get('version')!r:.30} of the gfla-pose format, known is {OWN_VERSION}"
        raise LandmarkError(what, hint="made by a newer gfla? update this one")
    size = _size(content.get("size"))
    if size is None:
        raise LandmarkError("no size of the image", hint='gfla-pose files hold "size": [height, width]')
    people = content.get("people", [content])
    if not isinstance(people, list) or not all(isinstance(person, Mapping) for person in people):
        raise LandmarkError("people is not a list of objects", hint='"people": [{"points": [[x, y, confidence], ...]}]')
    _require_people(people)
    found = []
    for number, person in enumerate(people, 1):
        points = _points(person.get("points"), f"person {number}")
        if len(points) != len(JOINTS):
            raise _wrong_count(f"person {number}", len(points))
        found.append(FoundPose(_cleaned(points), size, depths=_depths(person.get("depths"), f"person {number}")))
    return found


def _depths(values: Any, where: str) -> Float64Array | None:
    """(18,) from a list of numbers, null where one is not known; None for no list at all."""
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != len(JOINTS):
        raise LandmarkError(f"the depths of {where} are no list of 18", hint="a number for every joint, or no depths")
    bad = next((value for value in values if value is not None and not _is_number(value)), None)
    if bad is not None:
        raise LandmarkError(f"{where} has a depth of {bad!r:.30}", hint="null stands for a depth that is not known")
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _from_openpose(content: Mapping[str, Any]) -> list[FoundPose]:
    _require_people(content["people"])
    # Written by the web tools for image generators, not by OpenPose itself.
    size = _size([content.get("canvas_height"), content.get("canvas_width")])
    found = []
    for number, person in enumerate(content["people"], 1):
        values = None
        if isinstance(person, Mapping):
            values = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        if values is None:
            raise LandmarkError(
                f"person {number} has no pose_keypoints_2d", hint="only the body is read, not 3-D or faces"
            )
        points = _points(values, f"person {number}")
        if len(points) not in (18, 25):
            raise _wrong_count(f"person {number}", len(points))
        found.append(FoundPose(_cleaned(points[_FROM_BODY_25] if len(points) == 25 else points), size))
    return found


def _from_coco(annotations: Sequence[Any], images: Any) -> list[FoundPose]:
    _require_people(annotations)
    listed = [image for image in images if isinstance(image, Mapping)] if isinstance(images, list) else []
    by_id = {str(image.get("id")): image for image in listed}
    found = []
    for number, person in enumerate(annotations, 1):
        if not isinstance(person, Mapping) or "keypoints" not in person:
            continue  # COCO lists objects of other kinds as well
        identity = str(person.get("image_id", ""))
        image = by_id.get(identity, {})
        points = _points(_with_scores(person, f"person {number}"), f"person {number}")
        if len(points) not in _COCO_FIRST:
            raise _wrong_count(f"person {number}", len(points))
        points = points[:17]
        size = _size([image.get("height"), image.get("width")])
        found.append(FoundPose(_cleaned(_with_neck(points)), size, str(image.get("file_name", identity))))
    _require_people(found)
    return found


def _with_scores(person: Mapping[str, Any], where: str) -> Any:
    """A person's keypoints as `_points` takes them. MMPose and Ultralytics list the confidences apart."""
    values, scores = person["keypoints"], person.get("keypoint_scores")
    if isinstance(values, Mapping):  # Ultralytics
        columns = [values.get("x"), values.get("y"), values.get("visible")]
        if columns[2] is None and isinstance(columns[0], list):
            columns[2] = [1.0] * len(columns[0])
        values = _joined(columns, where)
    elif isinstance(scores, list) and isinstance(values, list):  # MMPose; some versions nest the only person
        if len(values) == 1 and isinstance(values[0], list) and len(scores) == 1 and isinstance(scores[0], list):
            values, scores = values[0], scores[0]
        if not all(isinstance(place, list) and len(place) >= 2 for place in values):
            raise LandmarkError(f"{where} has keypoints that are not x, y", hint=_KNOWN)
        values = _joined([[place[0] for place in values], [place[1] for place in values], scores], where)
    return values


def _joined(columns: Sequence[Any], where: str) -> list[Any]:
    """Lists of x, of y and of confidences as one list of [x, y, confidence]."""
    if not all(isinstance(column, list) for column in columns) or len({len(column) for column in columns}) != 1:
        raise LandmarkError(f"{where} has no x, y and confidence for every joint", hint="three lists of one length")
    return [list(joint) for joint in zip(*columns, strict=True)]


def _from_mmpose(frames: Sequence[Any]) -> list[FoundPose]:
    """The frames of a video, each with a list of instances."""
    _require_people(frames)
    people = []
    for frame in frames:
        instances = frame.get("instances") if isinstance(frame, Mapping) else None
        for person in instances if isinstance(instances, list) else []:
            if isinstance(person, Mapping):
                people.append({**person, "image_id": frame.get("frame_id", "")})
    return _from_coco(people, None)


def _from_dwpose(content: Mapping[str, Any]) -> list[FoundPose]:
    """Candidates (n, 2) for each joint and person, as shares of the image, and 18 scores or indices a person."""
    bodies = content["bodies"]
    candidates = bodies.get("candidate") if isinstance(bodies, Mapping) else bodies
    scores = content.get("body_scores")
    if isinstance(bodies, Mapping):
        scores = bodies.get("score", bodies.get("subset"))
    if not isinstance(candidates, list) or not isinstance(scores, list):
        raise LandmarkError("no candidates and scores of bodies", hint=_KNOWN)
    _require_people(scores)
    size = _size(
        [content.get("canvas_height", content.get("height")), content.get("canvas_width", content.get("width"))]
    )
    found = []
    for number, own in enumerate(scores, 1):
        where = f"person {number}"
        places = candidates[(number - 1) * len(JOINTS) : number * len(JOINTS)]
        if isinstance(own, list) and any(_is_number(value) and value > 1 for value in own[: len(JOINTS)]):
            # Indices into the candidates, -1 for a missing joint.
            indices = [
                int(value) if _is_number(value) and value < len(candidates) else -1 for value in own[: len(JOINTS)]
            ]
            places = [candidates[index] if index >= 0 else [-1, -1] for index in indices]
            own = [float(index >= 0) for index in indices]
        if not isinstance(own, list) or len(own) < len(JOINTS) or len(places) != len(JOINTS):
            raise LandmarkError(f"{where} has no 18 joints with scores", hint=_KNOWN)
        if not all(isinstance(place, list) and len(place) >= 2 for place in places):
            raise LandmarkError(f"{where} has places that are not x, y", hint=_KNOWN)
        points = _points(_joined([[p[0] for p in places], [p[1] for p in places], own[: len(JOINTS)]], where), where)
        found.append(FoundPose(_cleaned(points), size))
    return found


def _is_landmark_list(value: Any) -> bool:
    """Whether these are MediaPipe's landmarks of one person: objects with x and y."""
    return (
        isinstance(value, list) and bool(value) and all(isinstance(m, Mapping) and {"x", "y"} <= set(m) for m in value)
    )


def _from_mediapipe(value: list[Any]) -> list[FoundPose]:
    """33 landmarks of one person, or a list of people, as shares of the image."""
    people = [value] if _is_landmark_list(value) else value
    _require_people(people)
    found = []
    for number, marks in enumerate(people, 1):
        if not _is_landmark_list(marks):
            raise LandmarkError(
                f"person {number} is no list of landmarks", hint='[{"x": ..., "y": ..., "visibility": ...}]'
            )
        points = _points([[m["x"], m["y"], m.get("visibility", 1.0)] for m in marks], f"person {number}")
        if len(points) != 33:
            raise _wrong_count(f"person {number}", len(points))
        found.append(FoundPose(_cleaned(_necked(points[_FROM_MEDIAPIPE_33])), None))
    return found


def _necked(ours: Float64Array) -> Float64Array:
    """The 18 joints with the neck in the middle of the shoulders."""
    shoulders = ours[_SHOULDERS]
    ours[_NECK] = [*shoulders[:, :2].mean(axis=0), shoulders[:, 2].min()]
    return ours


def _with_neck(points: Float64Array) -> Float64Array:
    """(17, 3) of COCO -> (18, 3) of OpenPose."""
    points = points.copy()
    flags = np.isin(points[:, 2], (0, 1, 2)).all() and (points[:, 2] == 2).any()
    if flags:  # annotations: 1 = labelled but not visible. The training data has only visible joints of the face.
        points[:5][points[:5, 2] == 1] = MISSING
        points[:, 2] /= 2
    return _necked(points[_FROM_COCO_17])


_HEADER = re.compile(r"^\s*name\s*:\s*keypoints_([xy])\s*:\s*keypoints_([xy])\s*$", re.IGNORECASE)


def _from_table(text: str, wanted: str | None) -> Iterator[FoundPose]:
    """Rows of the paper's table, y before x unless the header says otherwise."""
    rows, x_first = [], False
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            x_first = header[1].lower() == "x"
        elif line.strip():
            row = _split_row(line)
            if row is None:
                what = f"line {number} is not a row of name: [y, ...]: [x, ...]"
                raise LandmarkError(what, hint="the file may be cut off")
            rows.append((f"line {number}", *row))
    _require_people(rows)
    name = None if wanted is None else _closest([row[1] for row in rows], wanted)
    for where, own_name, first, second in rows:
        if name is None or own_name == name:
            one, other = _numbers(first, where), _numbers(second, where)
            if len(one) != len(JOINTS) or len(other) != len(JOINTS):
                what = f"{where} has lists of {len(one)} and {len(other)} numbers"
                raise LandmarkError(what, hint="the paper's table holds 18 joints a row, -1 = missing")
            x, y = (one, other) if x_first else (other, one)
            points = np.stack([x, y, np.ones(len(JOINTS))], axis=1)
            points[(points[:, :2] < 0).any(axis=1)] = MISSING
            yield FoundPose(points, None, own_name, table=True)


def _split_row(line: str) -> tuple[str, str, str] | None:
    """Name and the insides of both lists; names may hold colons, lists do not."""
    name, *lists = (part.strip() for part in line.rsplit(":", 2))
    if len(lists) != 2 or not name or not all(part.startswith("[") and part.endswith("]") for part in lists):
        return None
    return name, lists[0][1:-1], lists[1][1:-1]


def _numbers(text: str, where: str) -> list[float]:
    try:
        values = [float(value) for value in text.split(",")]
    except ValueError as error:
        raise LandmarkError(f"{where} holds a value that is not a number", hint=f"{error}"[:120]) from error
    if not np.isfinite(values).all():
        raise LandmarkError(f"{where} holds NaN or infinite numbers", hint="missing joints are written as -1")
    return values


def _chosen(found: list[FoundPose], wanted: str | None) -> list[FoundPose]:
    if wanted is None:
        return found
    name = _closest([pose.name for pose in found if pose.name], wanted)
    return [pose for pose in found if pose.name == name]


def _closest(names: list[str], wanted: str) -> str:
    """`wanted` itself, or the one name that equals it without folder and suffix; LandmarkError with similar ones."""
    if wanted in names:
        return wanted
    bare = [name for name in dict.fromkeys(names) if name.rsplit("/", 1)[-1].rsplit(".", 1)[0] == wanted]
    if len(bare) == 1:
        return bare[0]
    similar = difflib.get_close_matches(wanted, names[:20_000], n=3) or names[:3]
    hint = f"there are {', '.join(similar)}" if similar else "this file names no images"
    raise LandmarkError(f"no pose named {wanted}", hint=hint)


def _require_people(people: Sequence[Any]) -> None:
    if not people:
        raise NobodyError("no person in it", hint="did the detector find a person in that image?")


def _size(value: Any) -> tuple[int, int] | None:
    """[height, width] if those are two possible sizes; None if they are absent."""
    if value is None or value == [None, None]:
        return None
    sides = [side for side in value if _is_number(side)] if isinstance(value, list) else []
    if len(sides) != 2 or not all(1 <= side <= LARGEST_IMAGE_SIDE for side in sides):
        raise LandmarkError(f"{value!r:.60} is not an image size", hint="size is [height, width] in pixels")
    return round(sides[0]), round(sides[1])


def _points(values: Any, where: str) -> Float64Array:
    """(N, 3) from a flat list x, y, c, x, y, c, ... or from a list of [x, y, c]."""
    if isinstance(values, list) and values and all(isinstance(item, list) for item in values):
        if any(len(item) != 3 for item in values):
            raise LandmarkError(f"{where} has points that are not x, y, confidence", hint="three numbers a point")
        values = [number for item in values for number in item]
    if not isinstance(values, list):
        raise LandmarkError(f"the points of {where} are no list", hint=_KNOWN)
    bad = next((value for value in values if not _is_number(value)), None)
    if bad is not None or None in values:
        raise LandmarkError(
            f"{where} holds {bad!r:.30} where a number should be", hint="x, y, confidence for every joint"
        )
    if len(values) % 3:
        hint = "x, y, confidence for every joint: a multiple of three"
        raise LandmarkError(f"{where} has {len(values)} numbers, not three for every point", hint=hint)
    return np.array(values, np.float64).reshape(-1, 3)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15  # NaN: False


def _wrong_count(where: str, count: int) -> LandmarkError:
    whose = f", as {_WHOSE[count]} has" if count in _WHOSE else ""
    return LandmarkError(f"{where} has {count} points{whose}", hint=_READABLE)


def _cleaned(points: Float64Array) -> Float64Array:
    """Confidences into 0..1 (OpenPose overshoots a little), missing joints to (-1, -1, 0)."""
    points = points.copy()
    points[:, 2] = points[:, 2].clip(0, 1)
    points[points[:, 2] == 0] = MISSING
    return points
