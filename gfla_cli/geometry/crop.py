"""Crops of images: resized, rotated or mirrored parts. The only module that knows how pixels are counted.

A point (x, y) lies at pixel centres: the first pixel is (0, 0). A box has edges: the first pixel covers
(0, 0, 1, 1), and a whole image is the box (0, 0, width, height). Sizes are (height, width).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

Box = tuple[float, float, float, float]  # left, top, right, bottom
Size = tuple[int, int]  # height, width
Beyond = Literal["background", "edge"] | int | tuple[int, ...]
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])

_BORDER_SIDE = 255  # pixels to which a border is reduced before its median is taken
_REDUCING_GAP = 3.0  # Pillow: reduces by whole numbers first, until this many times the size is left
_ROOM = 3  # pixels around a region that is turned, for the cubic kernel
_SLACK = 1e-6  # pixels: rounding errors of maps


def middle_of(box: Box) -> tuple[float, float]:
    """x and y of the middle of a box."""
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2


def box_around(middle: tuple[float, float], width: float, height: float) -> Box:
    """The box of a width and a height around its middle; see `middle_of`."""
    x, y = middle
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def shifted(box: Box, x: float, y: float) -> Box:
    """A box that is moved to the right by x, and down by y."""
    left, top, right, bottom = box
    return left + x, top + y, right + x, bottom + y


@dataclass(frozen=True)
class Crop:
    """A rectangle of an image, resized. It may reach beyond the image.

    `turn` rotates the result clockwise by that many degrees, about the middle of the rectangle. `flip` mirrors the
    result, left to right. Raises ValueError for an empty box or size.
    """

    box: Box  # of the rectangle before it is turned
    size: Size
    turn: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box
        if not (np.isfinite([*self.box, self.turn]).all() and right > left and bottom > top and min(self.size) > 0):
            raise ValueError(f"a crop of the box {self.box} at the size {self.size} is empty")

    @classmethod
    def whole(cls, image_size: Sequence[int], size: Size | None = None) -> Crop:
        """The whole image of `image_size` (height, width), resized to `size`."""
        height, width = image_size[:2]
        return cls((0.0, 0.0, float(width), float(height)), size or (height, width))

    @classmethod
    def square(cls, middle: tuple[float, float], side: float, size: Size) -> Crop:
        """A square around a point."""
        return cls(box_around((middle[0] + 0.5, middle[1] + 0.5), side, side), size)

    @property
    def middle(self) -> tuple[float, float]:
        """The point of the image in the middle of the crop."""
        x, y = middle_of(self.box)
        return x - 0.5, y - 0.5

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3) affine map of points of the image to points of the crop, as cv2 takes it."""
        return _of_points(self._edges)

    @property
    def scale(self) -> float:
        """Pixels of the crop per pixel of the image: the geometric mean of both directions."""
        left, top, right, bottom = self.box
        return float(np.sqrt(self.size[0] * self.size[1] / ((right - left) * (bottom - top))))

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        """(2, 3) the map of edges: in it, a whole image begins at (0, 0)."""
        left, top, right, bottom = self.box
        height, width = self.size
        radians = np.deg2rad(self.turn)
        cos, sin = np.round((np.cos(radians), np.sin(radians)), 12)
        linear = np.array([[cos, -sin], [sin, cos]])
        if self.flip:
            linear[0] *= -1
        linear *= np.array([[width / (right - left)], [height / (bottom - top)]])
        shift = np.array([width, height]) / 2 - linear @ middle_of(self.box)
        return np.column_stack([linear, shift])

    def points(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points (..., 2 or more) of the image as points of the crop; other columns than x and y stay as they are."""
        return _moved(self.matrix, points)

    def points_back(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points (..., 2 or more) of the crop as points of the image."""
        return _moved(_inverse(self.matrix), points)

    def bounds(self, box: Box) -> Box:
        """The upright box that holds a box of the image, in the crop."""
        return _bounds(self._edges, box)

    def bounds_back(self, box: Box) -> Box:
        """The upright box that holds a box of the crop, in the image."""
        return _bounds(_inverse(self._edges), box)

    def image(self, image: Pixels, *, beyond: Beyond = "background") -> Pixels:
        """The crop of an image (H, W) or (H, W, C), uint8 or float32, without aliasing.

        `beyond`: how to fill pixels outside of the image: with its "background", its last pixels ("edge"), or a value.
        """
        return _resampled(image, self._edges, self.size, beyond)

    def cells(
        self, cells: NDArray[np.float32], image_size: Sequence[int], size: Size, *, beyond: float = np.nan
    ) -> NDArray[np.float32]:
        """Cells (n, m, ...) that cover an image, resampled to (*size, ...) cells that cover this crop.

        Each cell gets the value at its middle, without interpolation, or `beyond` outside of the image.
        """
        rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
        places = np.stack([columns * self.size[1] / size[1], rows * self.size[0] / size[0]], axis=-1)
        back = _inverse(self._edges)
        count = np.array(cells.shape[1::-1])
        places = (places @ back[:, :2].T + back[:, 2]) * (count / image_size[1::-1])
        inside = np.asarray(((places >= 0) & (places < count)).all(axis=-1))
        column, row = np.moveaxis(np.where(inside[..., None], places, 0).astype(np.intp), -1, 0)
        found = np.asarray(cells[row, column], np.float32)
        found[~inside] = beyond
        return found

    def region(self, image_size: Sequence[int]) -> tuple[slice, slice] | None:
        """Rows and columns of an image of `image_size` (height, width) that hold this crop; None if there are none."""
        height, width = image_size[:2]
        left, top, right, bottom = self.bounds_back((0.0, 0.0, float(self.size[1]), float(self.size[0])))
        rows = slice(max(0, math.floor(top + _SLACK)), min(height, math.ceil(bottom - _SLACK)))
        columns = slice(max(0, math.floor(left + _SLACK)), min(width, math.ceil(right - _SLACK)))
        return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None

    def uncropped(self, part: Pixels, region: tuple[slice, slice], *, beyond: Beyond = "edge") -> Pixels:
        """Resamples `part`, an image of this crop of any size, to the pixels of a `region` of the whole image."""
        rows, columns = region
        to_part = self._edges * np.array([[part.shape[1] / self.size[1]], [part.shape[0] / self.size[0]]])
        back = _inverse(to_part)
        back[:, 2] -= columns.start, rows.start
        return _resampled(part, back, (rows.stop - rows.start, columns.stop - columns.start), beyond)


def _of_points(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same map for pixel centres, which lie half a pixel from the edges."""
    shift = edges[:, :2] @ (0.5, 0.5) + edges[:, 2] - 0.5
    return np.column_stack([edges[:, :2], shift])


def _moved(matrix: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float32]:
    moved = np.array(points, np.float64)
    moved[..., :2] = moved[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    return moved.astype(np.float32)


def _bounds(edges: NDArray[np.float64], box: Box) -> Box:
    left, top, right, bottom = box
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) @ edges[:, :2].T + edges[:, 2]
    return box_of(corners)


def box_of(points: NDArray[np.floating]) -> Box:
    """Left, top, right, bottom of points (N, 2 or more) x, y."""
    (left, top), (right, bottom) = points[:, :2].min(axis=0).tolist(), points[:, :2].max(axis=0).tolist()
    return left, top, right, bottom


def _resampled(image: Pixels, edges: NDArray[np.float64], size: Size, beyond: Beyond) -> Pixels:
    """An image under a map of its edges, at a size. Quarter turns and flips lose nothing."""
    linear, shift = edges[:, :2].copy(), edges[:, 2].copy()
    if abs(linear[0, 0]) + abs(linear[1, 1]) < _SLACK * abs(linear).max():  # a quarter turn
        image, linear = image.swapaxes(0, 1), linear[:, ::-1]
    if abs(linear[0, 1]) + abs(linear[1, 0]) > _SLACK * abs(linear).max():
        return _warped(image, np.column_stack([linear, shift]), size, beyond)
    if linear[0, 0] < 0:
        shift[0] += linear[0, 0] * image.shape[1]
        image = image[:, ::-1]
    if linear[1, 1] < 0:
        shift[1] += linear[1, 1] * image.shape[0]
        image = image[::-1]
    scales = np.abs(linear.diagonal())
    (left, top), (right, bottom) = (-shift / scales).tolist(), ((np.array(size[::-1]) - shift) / scales).tolist()
    return _upright(image, (left, top, right, bottom), size, beyond)


def _upright(image: Pixels, box: Box, size: Size, beyond: Beyond) -> Pixels:
    """The box of an image at a size. Pixels outside of the image are filled from its border."""
    left, top, right, bottom = box
    (first_x, last_x), across = _covered(left, right, image.shape[1], size[1])
    (first_y, last_y), down = _covered(top, bottom, image.shape[0], size[0])
    if last_x <= first_x or last_y <= first_y:
        return _plain(image, size, beyond)
    inside = (across[0], down[0], across[1], down[1])
    part = _resized(image, inside, (last_y - first_y, last_x - first_x))
    around = (first_y, size[0] - last_y, first_x, size[1] - last_x)
    return _surrounded(part, around, beyond) if any(around) else part


def _covered(first: float, last: float, length: int, size: int) -> tuple[tuple[int, int], tuple[float, float]]:
    """Which of `size` pixels from `first` to `last` lie inside an image of `length`, and what they cover of it."""
    scale = size / (last - first)
    start = min(size, max(0, math.ceil(-first * scale - _SLACK)))
    stop = max(start, min(size, math.floor((length - first) * scale + _SLACK)))
    return (start, stop), (max(0.0, first + start / scale), min(float(length), first + stop / scale))


def _resized(image: Pixels, box: Box, size: Size) -> Pixels:
    """A box inside an image at a size. Cubic for uint8; linear for float32, which keeps its range."""
    whole = [round(side) for side in box]
    if (whole[3] - whole[1], whole[2] - whole[0]) == size and np.allclose(whole, box, rtol=0, atol=1e-3):
        return image[whole[1] : whole[3], whole[0] : whole[2]].copy()
    # Pillow copies its input, so it gets only the part that the kernel reaches.
    reach = [3 * math.ceil(max(1.0, span / count)) for span, count in zip(_spans(box), size[::-1], strict=True)]
    left, top = (max(0, math.floor(start) - room) for start, room in zip(box[:2], reach, strict=True))
    part = image[top : math.ceil(box[3]) + reach[1], left : math.ceil(box[2]) + reach[0]]
    place = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    method = PillowImage.Resampling.BICUBIC if image.dtype == np.uint8 else PillowImage.Resampling.BILINEAR

    def resized(plane: Pixels) -> Pixels:
        pillow = PillowImage.fromarray(np.ascontiguousarray(plane))
        return np.array(pillow.resize(size[::-1], method, place, reducing_gap=_REDUCING_GAP), plane.dtype)

    if part.ndim == 2 or (part.dtype == np.uint8 and part.shape[2] == 3):
        return resized(part)
    return np.stack([resized(part[..., channel]) for channel in range(part.shape[2])], axis=2)


def _spans(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (2, 3) affine map back."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def _warped(image: Pixels, edges: NDArray[np.float64], size: Size, beyond: Beyond) -> Pixels:
    """An image under any affine map: reduced first, against aliasing, then rotated."""
    import cv2  # here: it takes a tenth of a second, and commands first check their input

    scale = math.sqrt(abs(float(np.linalg.det(edges[:, :2]))))
    corners = _bounds(_inverse(edges), (0.0, 0.0, float(size[1]), float(size[0])))
    room = _ROOM * max(1.0, 1 / scale)
    left, top = (max(0, math.floor(start - room)) for start in corners[:2])
    right, bottom = (
        min(length, math.ceil(end + room)) for end, length in zip(corners[2:], image.shape[1::-1], strict=True)
    )
    if right <= left or bottom <= top:
        return _plain(image, size, beyond)
    factor = min(1.0, scale)
    reduced = (max(1, round((bottom - top) * factor)), max(1, round((right - left) * factor)))
    part = _resized(image, (left, top, right, bottom), reduced)
    linear = edges[:, :2] * ((right - left) / reduced[1], (bottom - top) / reduced[0])
    shift = edges[:, :2] @ (left, top) + edges[:, 2]
    border = cv2.BORDER_REPLICATE if isinstance(beyond, str) else cv2.BORDER_CONSTANT
    value = np.zeros(4) if isinstance(beyond, str) else np.resize(np.asarray(beyond, np.float64), 4)
    method = cv2.INTER_CUBIC if image.dtype == np.uint8 else cv2.INTER_LINEAR
    matrix = _of_points(np.column_stack([linear, shift]))
    turned = cv2.warpAffine(part, matrix, size[::-1], flags=method, borderMode=border, borderValue=value.tolist())
    return np.asarray(turned, image.dtype)


def _plain(image: Pixels, size: Size, beyond: Beyond) -> Pixels:
    """The result of a crop that lies outside of its image."""
    value = np.median(image, axis=(0, 1)) if isinstance(beyond, str) else beyond
    return np.full((*size, *image.shape[2:]), value, image.dtype)


def _surrounded(part: Pixels, around: tuple[int, int, int, int], beyond: Beyond) -> Pixels:
    """An image padded by so many pixels at its top, bottom, left and right."""
    if not isinstance(beyond, str):
        top, bottom, left, right = around
        height, width = part.shape[:2]
        padded = np.full((top + height + bottom, left + width + right, *part.shape[2:]), beyond, part.dtype)
        padded[top : top + height, left : left + width] = part
        return padded
    padded = np.pad(part, (around[:2], around[2:], *[(0, 0)] * (part.ndim - 2)), mode="edge")
    return _with_background(padded, part, around) if beyond == "background" else padded


def _with_background(padded: Pixels, part: Pixels, around: tuple[int, int, int, int]) -> Pixels:
    """Continues each side in its own colours, without details shorter than a fifth of its length.

    Otherwise hair at the upper border would be continued as a bar.
    """
    top, _, left, _ = around
    height, width = part.shape[:2]
    rows, columns = slice(top, top + height), slice(left, left + width)
    padded[rows, :left] = _background_line(part[:, 0])[:, None]
    padded[rows, left + width :] = _background_line(part[:, -1])[:, None]
    padded[:top, columns] = _background_line(part[0])[None]
    padded[top + height :, columns] = _background_line(part[-1])[None]
    for side, line in ((slice(0, top), part[0]), (slice(top + height, None), part[-1])):
        padded[side, :left], padded[side, left + width :] = _background_line(line)[[0, -1]]
    return padded


def _background_line(line: Pixels) -> Pixels:
    """(n, ...) pixels of a border, each the median of its surroundings."""
    import cv2

    few = cv2.resize(line[None], (min(len(line), _BORDER_SIDE), 1), interpolation=cv2.INTER_AREA)
    smooth = few if few.shape[1] < 5 else cv2.medianBlur(few, 2 * (few.shape[1] // 5) + 1)
    return np.asarray(cv2.resize(smooth, (len(line), 1), interpolation=cv2.INTER_LINEAR)[0], line.dtype)
