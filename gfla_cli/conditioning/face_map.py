"""The condition map of face animation (the paper's "structure"): curves through 68 landmarks, distances, and parts.

    channel 0        edges: 1 on a curve, and on the edges of the background where those are given
    channels 1..14   the distance from each curve, one channel per curve
    channel 15       the part of the face: 0 none, 1 face, 2 eyebrows, 3 nose, 4 eyes, 5 lips, 6 inside the lips; these
                     numbers are not scaled to [0, 1]
    channel 16       of our models only, not in the paper: a soft disc on each iris, if the irises are known

The released models were trained on exactly these maps of 256 x 256 pixels, so roundings are part of the definition.

- A curve runs through landmarks (0-based, iBUG order, listed in `CURVES`). It is drawn in pieces of three landmarks
  that share their ends.
- A piece is the parabola through its three points: y(x) when its longest step is sideways, else x(y). The last piece
  of a curve with an even number of points is a line.
- A piece sets one pixel per step, |x2 - x0| in all, which leaves gaps where some pieces meet.
- A piece with a second-order coefficient above 1 (a hairpin) is left out.
- The forehead has no landmarks. Points 1..15 of the face's contour close it: mirrored about the height of the
  contour's ends 0 and 16, and flattened to two thirds.

One rule is not of the released models: a parabola that strays more than 4 pixels from its points, as at the corner of
a wide open mouth, becomes two lines.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import BoolArray, Float32Array, Float64Array, FloatArray, Image
from gfla_cli.config import ModelConfig
from gfla_cli.person.face import EYES, POINTS, eye_openings, known_irises

IntArray = NDArray[np.intp]

CHANNELS = 16
LABELS, IRISES = 15, 16  # channels
_FOREHEAD = 68  # rows 68..82 of the points: contour points 1..15, mirrored upwards
_CONTOUR = tuple(range(17))

# One or two strokes per curve. The pieces of a stroke are counted from its first point.
CURVES: tuple[tuple[tuple[int, ...], ...], ...] = (
    (_CONTOUR, (0, *range(_FOREHEAD, _FOREHEAD + 15), 16)),
    (tuple(range(17, 22)),),  # eyebrows; "right" is the person's own right
    (tuple(range(22, 27)),),
    ((28, 31),),  # nose: right side, lower edge, left side
    (tuple(range(31, 36)),),
    ((35, 28),),
    ((36, 37, 38, 39),),  # right eye: upper lid, lower lid
    ((39, 40, 41, 36),),
    ((42, 43, 44, 45),),  # left eye
    ((45, 46, 47, 42),),
    (tuple(range(48, 55)),),  # lips outside: upper, lower edge
    ((*range(54, 60), 48),),
    (tuple(range(60, 65)),),  # lips inside
    ((*range(64, 68), 60),),
)
EYE, INSIDE_LIPS = 4, 6  # labels
# Label and outline of every part; later ones are painted over earlier ones.
_PARTS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (1, (*_CONTOUR, *reversed(range(_FOREHEAD, _FOREHEAD + 15)))),
    (2, tuple(range(17, 22))),
    (2, tuple(range(22, 27))),
    (3, (28, *range(31, 36))),
    (EYE, tuple(range(36, 42))),
    (EYE, tuple(range(42, 48))),
    (5, tuple(range(48, 60))),
    (INSIDE_LIPS, tuple(range(60, 68))),
)
_SIDE = 256  # pixels of the frame that the released models see; lengths are measured in its pixels
_STEP = 3.0  # pixels of distance per grey level of 255
_STRAY = 4.0  # pixels
_TOUCH = 1e-6  # pixels: keeps a parabola through a whole pixel from being rounded to the one before
_SUBPIXEL = 4  # bits; cv2 fills outlines at fractions of a pixel when coordinates are shifted
_IRIS_RADIUS = 0.2  # of a disc, in widths of the wider eye
_SHARP = 0.5  # share of the radius at which a disc begins to fade
# Openings of an eye (distance of the lids / width) at which its disc appears, and is complete. A disc is not cut off by
# lids: its middle is always that of the iris.
_SHUT, _OPEN = 0.08, 0.16
_BLUR, _WEAK_EDGE, _STRONG_EDGE = 1.0, 25.5, 51.0  # of Canny: in pixels; a tenth and a fifth of full contrast


class _Pieces(NamedTuple):
    """All pieces of all curves: (N, 3) landmarks (a line repeats its last one), (N,) whether a line, (N,) curve."""

    points: IntArray
    is_line: BoolArray
    curve: IntArray


def sees_irises(config: ModelConfig) -> bool:
    """Whether a model is one of faces that sees where the irises are."""
    return config.task == "face" and config.structure_channels > IRISES


def _cut_into_pieces() -> _Pieces:
    points, is_line, curve = [], [], []
    for number, strokes in enumerate(CURVES):
        for stroke in strokes:
            for start in range(0, len(stroke) - 1, 2):
                piece = stroke[start : start + 3]
                points.append((*piece, piece[-1])[:3])
                is_line.append(len(piece) == 2)
                curve.append(number)
    return _Pieces(np.array(points), np.array(is_line), np.array(curve))


_PIECES = _cut_into_pieces()


def face_structure(
    landmarks: FloatArray,
    size: tuple[int, int] = (_SIDE, _SIDE),
    background: BoolArray | None = None,
    channels: int = CHANNELS,
) -> Float32Array:
    """(channels, H, W) float32 from (68 or 70, 2) landmarks x, y in pixels of the H x W frame `size`.

    Channels 0..14 are in [0, 1], channel 15 holds 0..6. Distances are in 3/256ths of the frame's longer side, so a face
    gives the same values at every size. Landmarks outside the frame are drawn at its border. `background` is (H, W)
    edges for channel 0 (see `background_edges`); those inside this face are left out. `channels` is 16, or 17 for a
    model that sees irises; channel 16 is in [0, 1], and 0 everywhere without them. Raises ValueError for other shapes
    and NaN, except NaN irises.
    """
    points = np.floor(_with_forehead(np.floor(_checked(landmarks, size))))  # (83, 2), cut to whole pixels
    height, width = size
    columns, rows, curve = _pixels(points, _SIDE / max(size))
    columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    structure = np.zeros((channels, height, width), np.float32)
    structure[LABELS] = part_labels(landmarks, size)
    # One source's edges serve all frames. Where the face is in this frame, they are not what is behind it.
    structure[0] = 0 if background is None else background & (structure[LABELS] == 0)
    structure[0, rows, columns] = 1
    elsewhere = np.ones((len(CURVES), height, width), np.uint8)
    elsewhere[curve, rows, columns] = 0
    for number in range(len(CURVES)):
        cv2.distanceTransform(elsewhere[number], cv2.DIST_L1, 3, dst=structure[1 + number])
    distances = structure[1 : 1 + len(CURVES)]
    distances *= np.float32(_SIDE / max(size) / _STEP)
    np.floor(distances, out=distances)  # the released models were trained on 8-bit distances
    distances *= np.float32(1 / 255)
    np.minimum(distances, 1, out=distances)
    if channels > CHANNELS:
        _draw_irises(structure[IRISES], np.asarray(landmarks, np.float64))
    return structure


def _draw_irises(canvas: Float32Array, face: Float64Array) -> None:
    """A disc on each iris of a face (68 or 70, 2), in place; none on a shut eye, and none if an iris is unknown."""
    irises = known_irises(face)
    if irises is None:
        return
    radius = _IRIS_RADIUS * max(float(np.linalg.norm(face[eye[0]] - face[eye[3]])) for eye in EYES)
    for (x, y), opening in zip(irises, eye_openings(face), strict=True):
        strength = min(max((opening - _SHUT) / (_OPEN - _SHUT), 0.0), 1.0)
        left, top = (max(0, int(np.floor(place - radius))) for place in (x, y))
        window = canvas[top : max(top, int(y + radius) + 2), left : max(left, int(x + radius) + 2)]
        rows, columns = np.ogrid[: window.shape[0], : window.shape[1]]
        away = np.hypot(columns + (left - x), rows + (top - y)) / max(radius, 1e-6)
        disc = ((1 - away) / (1 - _SHARP)).clip(0, 1) * strength
        np.maximum(window, disc, out=window)


def part_labels(landmarks: FloatArray, size: tuple[int, int]) -> Image:
    """(H, W) uint8 labels 0..6 of the parts of the face from (68 or 70, 2) landmarks, in pixels of an H x W frame."""
    points = _with_forehead(_checked(landmarks, size))
    labels = np.zeros(size, np.uint8)
    for label, outline in _PARTS:
        corners = np.rint(points[list(outline)] * (1 << _SUBPIXEL)).astype(np.int32)
        cv2.fillPoly(labels, [corners], label, cv2.LINE_8, _SUBPIXEL)
    return labels


def background_edges(image: Image, landmarks: FloatArray) -> BoolArray:
    """(H, W) bool: Canny edges of (H, W, 3) uint8 RGB outside the face that landmarks (68 or 70, 2) outline."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), _BLUR)
    edges = cv2.Canny(grey, _WEAK_EDGE, _STRONG_EDGE, L2gradient=True)
    labels = part_labels(landmarks, (image.shape[0], image.shape[1]))
    return np.asarray((edges > 0) & (labels == 0))


def _checked(landmarks: FloatArray, size: tuple[int, int]) -> Float64Array:
    points = np.asarray(landmarks, np.float64)
    shape = points.shape
    points = points[:POINTS]
    if shape not in ((POINTS, 2), (POINTS + 2, 2)) or not np.isfinite(points).all():
        raise ValueError(f"landmarks are 68 finite x, y, and those of the irises if known, got an array of {shape}")
    height, width = size
    # Coordinates far outside of the frame would overflow in cv2; nothing is drawn there.
    return points.clip((-2 * width, -2 * height), (3 * width, 3 * height))


def _with_forehead(points: Float64Array) -> Float64Array:
    """(83, 2): the landmarks and the mirrored contour."""
    level = (points[0, 1] + points[16, 1]) / 2
    mirrored = points[1:16].copy()
    mirrored[:, 1] = level + (level - mirrored[:, 1]) * 2 / 3
    return np.concatenate([points, mirrored])


def _pixels(points: Float64Array, per_pixel: float) -> tuple[IntArray, IntArray, IntArray]:
    """x, y and number of the curve of every pixel to set; `per_pixel` is the length of a pixel in 256ths."""
    ends = points[_PIECES.points]  # (N, 3, 2)
    strokes, strays = _strokes(ends, _PIECES.is_line, per_pixel)
    pieces = [(_PIECES.curve, strokes)]
    if strays.any():
        for line in ((0, 1, 1), (1, 2, 2)):
            straight = ends[strays][:, line]
            pieces.append((_PIECES.curve[strays], _strokes(straight, np.ones(len(straight), np.bool_), per_pixel)[0]))
    x, y = (np.concatenate([getattr(drawn, axis) for _, drawn in pieces]) for axis in "xy")
    curve = np.concatenate([curves[drawn.piece] for curves, drawn in pieces])
    return _with_points_of_empty_curves(points, x, y, curve)


class _Strokes(NamedTuple):
    """Pixels of pieces: x, y, and the piece that each belongs to, all (P,)."""

    x: IntArray
    y: IntArray
    piece: IntArray


def _strokes(ends: Float64Array, is_line: BoolArray, per_pixel: float) -> tuple[_Strokes, BoolArray]:
    """The pixels of pieces (N, 3, 2), and (N,) which of them are not drawn because their parabola strays."""
    steps = np.abs(np.diff(ends, axis=1)).max(axis=1)  # (N, 2) longest step in x and in y
    upright = steps[:, 0] < steps[:, 1]
    along = np.where(upright[:, None], ends[..., 1], ends[..., 0])  # (N, 3)
    across = np.where(upright[:, None], ends[..., 0], ends[..., 1])
    bend, slope = _parabolas(along, across, is_line)
    drawn = np.abs(bend) <= per_pixel
    strays = drawn & (_overshoot(along, across, bend, slope) > _STRAY / per_pixel)
    start, stop = np.minimum(along[:, 0], along[:, 2]), np.maximum(along[:, 0], along[:, 2])
    count = np.where(drawn & ~strays, stop - start, 0).astype(np.intp)

    piece = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(piece)) - np.repeat(np.cumsum(count) - count, count)  # 0, 1, ... in every piece
    u = start[piece] + place * ((stop - start) / np.maximum(count - 1, 1))[piece]
    v = across[piece, 0] + (u - along[piece, 0]) * (slope[piece] + bend[piece] * (u - along[piece, 1]))
    u, v = np.floor(u + _TOUCH).astype(np.intp), np.floor(v + _TOUCH).astype(np.intp)
    return _Strokes(np.where(upright[piece], v, u), np.where(upright[piece], u, v), piece), strays


def _parabolas(along: Float64Array, across: Float64Array, is_line: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Newton's form of the parabolas through (N, 3) points: bend, infinite where there is none, and slope, (N,)."""
    first, last, whole = along[:, 1] - along[:, 0], along[:, 2] - along[:, 1], along[:, 2] - along[:, 0]
    # Two points, or two of three in one column: the straight line between the ends.
    straight = is_line | (first == 0) | (last == 0)
    run = np.where(straight, whole, first)
    rise = np.where(straight, across[:, 2], across[:, 1]) - across[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(run == 0, 0, rise / run)
        bend = np.where(straight, 0, ((across[:, 2] - across[:, 1]) / last - slope) / whole)
    return np.where(np.isfinite(bend), bend, np.inf), slope


def _overshoot(along: Float64Array, across: Float64Array, bend: Float64Array, slope: Float64Array) -> Float64Array:
    """(N,) pixels by which the parabolas' turning points lie beyond their three points."""
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = (along[:, 0] + along[:, 1] - slope / bend) / 2
        value = across[:, 0] + (turn - along[:, 0]) * (slope + bend * (turn - along[:, 1]))
    between = (turn - along[:, 0]) * (turn - along[:, 2]) < 0
    beyond = np.maximum(value - across.max(axis=1), across.min(axis=1) - value)
    return np.where(between & np.isfinite(value), beyond, 0)


def _with_points_of_empty_curves(
    points: Float64Array, x: IntArray, y: IntArray, curve: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """A curve without any drawn piece keeps its landmarks; otherwise its distances would jump to the largest value."""
    empty = np.bincount(curve, minlength=len(CURVES)) == 0
    if not empty.any():
        return x, y, curve
    lost = empty[_PIECES.curve]
    spots = points[_PIECES.points[lost]].reshape(-1, 2).astype(np.intp)
    number = np.repeat(_PIECES.curve[lost], 3)
    return np.append(x, spots[:, 0]), np.append(y, spots[:, 1]), np.append(curve, number)
