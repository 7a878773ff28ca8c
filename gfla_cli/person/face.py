"""The points of a face: 68 in iBUG's order and the irises; their place in MediaPipe's mesh, measures, and the crop.

A face is an array (68, 2) of x, y in pixels of an image, or (68, 3) with z: depth in the same pixels, smaller is
nearer to the camera, 0 at the middle of the head. Left and right are the person's own: right is left in the image.

A face of 70 points also has the middles of the right and the left iris, rows 68 and 69, as OpenPose's faces do. NaN
there means unknown. Measures and crops use the 68 points alone.
"""

from __future__ import annotations

import numpy as np

from gfla_cli.arrays import Float32Array, FloatArray, median
from gfla_cli.geometry.crop import Crop, Size

# MediaPipe's mesh of 478 points -> 68. Chosen by eye on photographs and paintings, then by the distance to the
# landmarks of the rendered people (300 views; mean distance 2.2 % of the face's width from the front).
MESH_POINTS: tuple[int, ...] = (
    127, 234, 93, 58, 172, 136, 149, 148,           # 0-7 jaw, from the right ear down
    152,                                            # 8 chin
    377, 378, 365, 397, 288, 323, 454, 356,         # 9-16 up to the left ear
    70, 63, 105, 66, 107,                           # 17-21 right eyebrow, upper edge, from outside
    336, 296, 334, 293, 300,                        # 22-26 left eyebrow, from inside
    168, 197, 5, 4,                                 # 27-30 bridge of the nose down to its tip
    98, 97, 2, 326, 327,                            # 31-35 under the nose, right to left
    33, 160, 158, 133, 153, 144,                    # 36-41 right eye: corner, upper lid, corner, lower lid
    362, 385, 387, 263, 373, 380,                   # 42-47 left eye
    61, 40, 37, 0, 267, 270, 291,                   # 48-54 lips: right corner, upper edge, left corner
    321, 314, 17, 84, 91,                           # 55-59 lower edge, left to right
    78, 81, 13, 311, 308,                           # 60-64 inside: right corner, upper lip, left corner
    402, 14, 178,                                   # 65-67 lower lip
)  # fmt: skip

# The mirrored face: point i of it is point MIRRORED[i] of this one.
MIRRORED: tuple[int, ...] = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
)  # fmt: skip

RIGID = (*range(27, 36), 36, 39, 42, 45)  # nose and corners of the eyes: they hardly move when the face talks
EYES = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))  # each: corner, two above, corner, two below
LIPS = ((61, 67), (62, 66), (63, 65))  # inner edges: points of the upper lip and the lower ones that they meet

POINTS = 68  # without the irises
RIGHT_IRIS, LEFT_IRIS = 68, 69
_MESH_IRISES = (range(468, 473), range(473, 478))  # right, left: the middle, and four points around it

_WIDTH = 2.60  # of a face from the front, ear to ear, as a multiple of its root mean square radius


def from_mesh(mesh: Float32Array) -> Float32Array:
    """(70, n) from MediaPipe's mesh (478, n), or (68, n) from (468, n), which has no irises."""
    points = mesh[list(MESH_POINTS)]
    if len(mesh) <= _MESH_IRISES[0].start:
        return points
    return np.stack([*points, *(mesh[list(iris)].mean(axis=0) for iris in _MESH_IRISES)])


def with_irises(points: Float32Array) -> Float32Array:
    """(..., 70, n) from (..., 70, n), or from (..., 68, n) with unknown irises."""
    if points.shape[-2] == LEFT_IRIS + 1:
        return points
    unknown = np.full((*points.shape[:-2], 2, points.shape[-1]), np.nan, points.dtype)
    return np.concatenate([points, unknown], axis=-2)


def known_irises(points: FloatArray) -> FloatArray | None:
    """(2, n) right and left iris of a face (68 or 70, n); None unless both are known."""
    irises = points[POINTS:]
    return irises if len(irises) == 2 and np.isfinite(irises).all() else None


def mirrored(points: int) -> tuple[int, ...]:
    """The order of the points of a mirrored face of 68 or 70 points."""
    return MIRRORED if points == POINTS else (*MIRRORED, LEFT_IRIS, RIGHT_IRIS)


def face_size(points: FloatArray) -> float:
    """About the width of the face in pixels, from its 68 points: steady when it talks or turns a little."""
    place = points[:POINTS, :2].astype(np.float64)
    return max(1e-6, _WIDTH * float(np.sqrt(((place - place.mean(axis=0)) ** 2).sum(axis=1).mean())))


def eye_openings(points: FloatArray) -> tuple[float, float]:
    """How far the right and left eye are open: distance of the lids / width of the eye. About 0.3; closed 0.1."""
    openings = []
    for outer, first, second, inner, below_second, below_first in EYES:
        lids = points[[first, second]] - points[[below_first, below_second]]
        width = float(np.linalg.norm(points[outer] - points[inner]))
        openings.append(float(np.linalg.norm(lids, axis=1).mean()) / max(width, 1e-6))
    return openings[0], openings[1]


def mouth_opening(points: FloatArray) -> float:
    """How far the mouth is open: distance of the lips' inner edges, in face sizes."""
    gaps = [float(np.linalg.norm(points[above] - points[below])) for above, below in LIPS]
    return float(np.mean(gaps)) / face_size(points)


_SIDE = 1.9  # face sizes; ear to ear is then half of the frame, and there is room for hair and chin
_ABOVE = 0.12  # face sizes: the landmarks end at the eyebrows, so the middle of the head lies above theirs
_ROOM = 1.12  # times the extent of all faces of a clip: none of them touches the border


def face_crop(faces: FloatArray, size: Size = (256, 256), *, inside: Size | None = None) -> Crop:
    """One square crop, at `size` (height, width), for a face (68 or 70, n) or for all faces of a clip (N, 68 or 70, n).

    The crop of a clip holds every one of its faces: it grows for a head that travels far, and does not move. With
    `inside`, the height and width of the image, it is moved, and reduced where needed, so that it stays in the image.
    """
    clip = np.asarray(faces, np.float64)[..., :POINTS, :2].reshape(-1, POINTS, 2)
    side = _SIDE * float(median(np.array([face_size(face) for face in clip])))
    up = _ABOVE * side / _SIDE
    low, high = clip.min(axis=(0, 1)), clip.max(axis=(0, 1))
    side = max(side, _ROOM * float((high - low).max() + 2 * up))
    # Half way between the faces' extremes: a median would leave some outside.
    x, y = (low + high) / 2 - (0, up)
    if inside is not None:
        side = min(side, *inside)
    return square_crop((x, y), max(2, round(side)), size, inside=inside)


def square_crop(middle: tuple[float, float], side: int, size: Size, *, inside: Size | None = None) -> Crop:
    """A square of `side` whole pixels around a point, at `size` (height, width).

    With `inside`, the height and width of an image no smaller than `side`, it is moved so that it stays in the image.
    Whole pixels: at the scale 1 nothing is interpolated.
    """
    left, top = (round(place + 0.5 - side / 2) for place in middle)
    if inside is not None:
        top, left = (min(max(place, 0), end - side) for place, end in zip((top, left), inside, strict=True))
    return Crop((float(left), float(top), float(left + side), float(top + side)), size)


def cropped_face(points: FloatArray, crop: Crop) -> Float32Array:
    """(68 or 70, n) points of an image as points of a crop. z, if there is one, is scaled like x and y."""
    moved = crop.points(points)
    moved[:, 2:] *= crop.scale
    return moved
