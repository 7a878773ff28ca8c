"""What may be wrong with one row of a keypoint table: its two lists of 18 numbers, y first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gfla_cli.data.deepfashion import numbers_in
from gfla_cli.landmarks.doubts import lies_on_its_side

_JOINTS = 18
_ORIGINS = {17: " (COCO has 17: no neck)", 25: " (OpenPose BODY_25)", 33: " (MediaPipe)"}
SIDEWAYS = "the body lies on its side; if it should not, x and y are exchanged (the y list comes first)"
_UPRIGHT = 8  # joints: with fewer nobody can tell which way a body lies


def check_points(y_list: str, x_list: str, frame: tuple[int, int]) -> Iterator[tuple[str, bool]]:
    """What is wrong with a row whose points lie in a frame of (height, width), and whether it breaks training."""
    parsed = [_numbers(column) for column in (y_list, x_list)]
    for axis, values in zip("yx", parsed, strict=True):
        if isinstance(values, str):
            yield f"keypoints_{axis} {values}", True
    y, x = parsed
    if isinstance(y, str) or isinstance(x, str):
        return
    if len(y) != _JOINTS or len(x) != _JOINTS:
        count = str(len(y)) if len(y) == len(x) else f"{len(y)} and {len(x)}"
        yield f"{count} joints instead of {_JOINTS}{_ORIGINS.get(len(y), '')}", True
        return
    if half := np.flatnonzero((x < 0) != (y < 0)).tolist():
        yield f"joint {_listed(half)}: only one of x and y is missing", True
    there = (x >= 0) & (y >= 0)
    if not there.any():
        yield "not one joint is there", True
        return
    yield from _places(x, y, there, frame)


def _places(
    x: NDArray[np.float64], y: NDArray[np.float64], there: NDArray[np.bool_], frame: tuple[int, int]
) -> Iterator[tuple[str, bool]]:
    height, width = frame
    outside = there & ((x > width) | (y > height))
    if outside.any():
        exchanged = there & ((y > width) | (x > height))
        numbers = np.flatnonzero(outside).tolist()
        places = f"joint {_listed(numbers)} outside the frame of {width}x{height}"
        reach = f"x up to {x[there].max():g}, y up to {y[there].max():g}"
        if exchanged.any():
            yield f"{places} ({reach})", True
        else:
            yield f"{places} ({reach}), none if x and y change places: the y list comes first", True
        return
    points = np.stack([x, y, there.astype(np.float64)], axis=1)
    if there.sum() >= _UPRIGHT and lies_on_its_side(points):
        yield SIDEWAYS, False


def _numbers(text: str) -> NDArray[np.float64] | str:
    """The list, or what is wrong with it."""
    try:
        return numbers_in(text)
    except ValueError as error:
        return str(error)


def _listed(numbers: list[int]) -> str:
    """At most four of them, counted from 0 as everywhere."""
    return ", ".join(str(n) for n in numbers[:4]) + (f" and {len(numbers) - 4} more" if len(numbers) > 4 else "")
