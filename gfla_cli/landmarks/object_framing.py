"""Where the network looks at an object: in the middle, at the size that objects had in its training pictures."""

from __future__ import annotations

import numpy as np

from gfla_cli.arrays import Image
from gfla_cli.errors import DetectionError, MediaError
from gfla_cli.landmarks.framing import Frame
from gfla_cli.media.cutout import Cutout

_SHARE = 0.755  # of the frame that the longer side of an object fills in the rendered views (median of 1 600)
_SEEN = 128  # cover, 0..255, from which on a pixel counts as the object
_SMALLEST_PICTURE, _SMALLEST_OBJECT, _COARSE = 64, 32, 120  # pixels of the longer side
_NARROWEST = 10  # longer side / shorter side of a picture
_FILLED = 0.9  # share of the picture, of what is no object but all there is
_LEAST_AREA = 0.001  # share of the picture below which there is nothing to see

Box = tuple[int, int, int, int]


def check_size(image: Image, name: str) -> None:
    """Raises MediaError for a picture too small or too narrow to show an object."""
    height, width = image.shape[:2]
    if max(height, width) < _SMALLEST_PICTURE:
        raise MediaError(
            f"{name}: {width}x{height} is too small to show an object", hint="at least 64 px, better 256 and more"
        )
    if max(height, width) > _NARROWEST * min(height, width):
        raise MediaError(f"{name}: {width}x{height} is too narrow to show an object", hint="leave room around it")


def frame_object(cutout: Cutout, size: tuple[int, int], name: str, notes: list[str]) -> Image:
    """The object on white, (height, width, 3), framed as the network knows objects.

    Raises DetectionError when there is none, or when it goes on beyond all borders; adds to `notes` what the user
    should know.
    """
    left, top, right, bottom = _box(cutout, name)
    sides = _touched((left, top, right, bottom), cutout.cover.shape)
    if len(sides) == 4:
        raise DetectionError(
            f"{name}: the object touches all four borders of the picture", hint="leave some room around it"
        )
    if sides:
        notes.append(f"the object is cut off at the {' and the '.join(sides)}; so is the result")
    if cutout.guessed:
        notes.append("the background is busy, so the cut-out is a guess; a PNG with transparency does better")
    longer = max(right - left, bottom - top)
    if longer < _SMALLEST_OBJECT:
        raise DetectionError(f"{name}: the object is only {longer} px large", hint="crop the picture around it")
    if longer < _COARSE:
        notes.append(f"the object is only {longer} px large; expect a coarse picture")
    half = longer / _SHARE / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return _crop_on_white(cutout.on_white, Frame((x - half, y - half, x + half, y + half), size))


def _box(cutout: Cutout, name: str) -> Box:
    """The bounding box of the object, exclusive at right and bottom."""
    seen = cutout.cover >= _SEEN
    share = seen.mean()
    if share < _LEAST_AREA:
        raise DetectionError(
            f"{name}: no object found, nothing stands out from the background",
            hint="a plain background of another colour helps, or a PNG with transparency",
        )
    if share > _FILLED:
        raise DetectionError(f"{name}: no object found, all of the picture looks alike", hint="leave room around it")
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _touched(box: Box, shape: tuple[int, ...]) -> list[str]:
    left, top, right, bottom = box
    touched = {"left": left <= 1, "top": top <= 1, "right": right >= shape[1] - 1, "bottom": bottom >= shape[0] - 1}
    return [side for side, there in touched.items() if there]


def _crop_on_white(image: Image, frame: Frame) -> Image:
    """The frame's part of a picture; beyond the picture there is white, not its border repeated."""
    left, top, right, bottom = frame.box
    height, width = image.shape[:2]
    margin = int(max(-left, -top, right - width, bottom - height, 0)) + 2
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)
    box = (left + margin, top + margin, right + margin, bottom + margin)
    return Frame(box, frame.size).crop(padded)
