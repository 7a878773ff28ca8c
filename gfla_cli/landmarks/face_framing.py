"""The square of a picture or clip that the face network sees: the face fills it, and it does not move with the face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfla_cli.landmarks.face_points import Points, face_size
from gfla_cli.landmarks.framing import Frame

_SIDE = 1.9  # face sizes; ear to ear is then half of the frame, and there is room for hair and chin
_ABOVE = 0.12  # face sizes: the landmarks end at the eyebrows, so the middle of the head lies above theirs
_ROOM = 1.12  # times the extent of all faces of a clip: none of them touches the border


def face_frame(faces: Points, size: tuple[int, int] = (256, 256), *, inside: tuple[int, int] | None = None) -> Frame:
    """One square frame, brought to `size` (height, width), for a face (68, n) or for the faces of a clip (N, 68, n).

    A clip's frame holds every one of its faces; a head that travels far gets a larger frame, not a moving one. With
    `inside`, the height and width of the picture, the frame is moved, and if need be made smaller, so as not to reach
    beyond it. Whole pixels, so that `Frame.crop` cuts exactly what `in_frame` computes with.
    """
    clip = np.asarray(faces, np.float64)[..., :2].reshape(-1, 68, 2)
    side = _SIDE * float(np.median([face_size(face) for face in clip]))
    up = _ABOVE * side / _SIDE
    low, high = clip.min(axis=(0, 1)), clip.max(axis=(0, 1))
    side = max(side, _ROOM * float((high - low).max() + 2 * up))
    # Half way between the faces' extremes: a median would leave some outside.
    centre_x, centre_y = (low + high) / 2 - (0, up)
    if inside is not None:
        side = min(side, *inside)
    return square_frame((centre_x + 0.5, centre_y + 0.5), max(2, round(side)), size, inside=inside)


def square_frame(
    middle: tuple[float, float], side: int, size: tuple[int, int], *, inside: tuple[int, int] | None = None
) -> Frame:
    """A frame of `side` whole pixels around a place x, y, brought to `size` (height, width).

    With `inside`, the height and width of a picture no smaller than `side`, it is moved so as not to reach beyond it.
    """
    left, top = (round(place - side / 2) for place in middle)
    if inside is not None:
        top, left = (min(max(place, 0), end - side) for place, end in zip((top, left), inside, strict=True))
    return Frame((float(left), float(top), float(left + side), float(top + side)), size)


def in_frame(frame: Frame, points: Points) -> NDArray[np.float32]:
    """(68, n) points of the picture in pixels of the frame; z, if there, grows with x. Pixel centres stay centres."""
    left, top, right, bottom = frame.box
    across, down = frame.size[1] / (right - left), frame.size[0] / (bottom - top)
    moved = np.array(points, np.float64)
    moved[:, 0] = (moved[:, 0] + 0.5 - left) * across - 0.5
    moved[:, 1] = (moved[:, 1] + 0.5 - top) * down - 0.5
    moved[:, 2:] *= across
    return moved.astype(np.float32)
