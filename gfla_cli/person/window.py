"""Windows of an image, as detectors look at them: cut, padded and reduced, and where the results lie in the image."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gfla_cli.geometry.crop import Box
from gfla_cli.person.mediapipe import ask

_GREY = 128  # beyond the border of the picture


class Window(NamedTuple):
    """A rectangle of picture pixels; it may reach beyond the picture."""

    left: int
    top: int
    width: int
    height: int

    @property
    def longest(self) -> int:
        return max(self.width, self.height)

    def holds(self, box: Box, room: float) -> bool:
        """Whether a box lies inside with more than `room` pixels on every side."""
        left, top, right, bottom = box
        across = self.left < left - room and right + room < self.left + self.width
        return across and self.top < top - room and bottom + room < self.top + self.height

    def cut(self, image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], float]:
        """The pixels under the window, grey beyond the picture, reduced to `longest` px, and the factor used."""
        import cv2

        height, width = image.shape[:2]
        left, top = max(0, self.left), max(0, self.top)
        right, bottom = min(width, self.left + self.width), min(height, self.top + self.height)
        factor = min(1.0, longest / self.longest)
        # Reduced before it is padded: a body window of a face near the border is mostly border.
        piece = image[top:bottom, left:right]
        if factor < 1:
            size = max(1, round((right - left) * factor)), max(1, round((bottom - top) * factor))
            piece = cv2.resize(piece, size, interpolation=cv2.INTER_AREA)
        canvas_size = max(1, round(self.height * factor)), max(1, round(self.width * factor))
        if piece.shape[:2] == canvas_size:
            return np.ascontiguousarray(piece), factor
        canvas = np.full((*canvas_size, 3), _GREY, np.uint8)
        y, x = round((top - self.top) * factor), round((left - self.left) * factor)
        rows, columns = min(piece.shape[0], canvas_size[0] - y), min(piece.shape[1], canvas_size[1] - x)
        canvas[y : y + rows, x : x + columns] = piece[:rows, :columns]
        return canvas, factor


def whole(image: NDArray[np.uint8]) -> Window:
    return Window(0, 0, image.shape[1], image.shape[0])


def around_body_of(face: Box, heads: float) -> Window:
    """A square `heads` times as high as the face, with the face at its top centre, as a standing body has it."""
    side = max(16, round(heads * (face[3] - face[1])))
    return Window(round((face[0] + face[2]) / 2 - side / 2), round(face[1] - 0.12 * side), side, side)


def around(box: Box, margin: float) -> Window:
    """The square around a box with `margin` (of its longer side) on every side."""
    side = max(16, round(max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * margin)))
    return Window(round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2), side, side)


def squares(image: NDArray[np.uint8], side: int) -> list[Window]:
    """Squares of `side` that cover the picture and overlap by half or more."""
    height, width = image.shape[:2]
    return [Window(left, top, side, side) for top in _steps(height, side) for left in _steps(width, side)]


def _steps(length: int, side: int) -> list[int]:
    """Evenly spaced starts, at most half a side apart."""
    count = max(1, -(-2 * (length - side) // side) + 1)
    return [round(start) for start in np.linspace(0, max(0, length - side), count)]


def boxes_in(network: Any, image: NDArray[np.uint8], window: Window, longest: int, most: int) -> list[Box]:
    """Boxes of faces in the window, surest first, in the picture's pixels."""
    pixels, factor = window.cut(image, longest)
    height, width = (side / factor for side in pixels.shape[:2])
    answers = ask(network, pixels).detections or []
    boxes = [answer.location_data.relative_bounding_box for answer in answers[:most]]
    places = [(window.left + box.xmin * width, window.top + box.ymin * height) for box in boxes]
    return [
        (left, top, left + box.width * width, top + box.height * height)
        for (left, top), box in zip(places, boxes, strict=True)
    ]
