"""Frames of a face between two that the network draws, mixed from the layers of both.

Not in the paper. The landmarks of such a frame are known. They say where each place of it lies in the frames before and
after. The layers of both are read there, and averaged. A frame that does not follow from its neighbours is left to the
network: a mouth or an eye opens and closes again, or the eyes look elsewhere.
"""

from __future__ import annotations

import functools
from fractions import Fraction

import cv2
import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array, FloatArray
from gfla_cli.person.face import POINTS, RIGID, face_size, known_irises
from gfla_cli.person.retarget import fit_similarity
from gfla_cli.pipelines.frame_layers import Layers

# Frames per second from which on one frame in two, and two in three, may be mixed. At lower rates too much changes.
_RATES = 20, 25
_SUDDEN = 0.02  # face sizes: a landmark that is further from the middle of its places before and after jumps
_FARTHEST = 0.3  # face sizes: a landmark that moves further from the frame before to the frame after is too fast
_CELL = 4  # pixels; motion is computed once per cell
_SOFTNESS = 0.03  # face sizes from a landmark within which its own motion dominates
_HEAD_RADIUS = 1.8  # face sizes from the middle of the face up to which everything moves with the head
_CERTAIN = 0.1  # pixels: places that disagree by less do not tell whether what is there moves or stands still
_BLUR = 5  # pixels over which they are averaged


def most_between(fps: Fraction) -> int:
    """How many frames between two that the network draws may be mixed from them, at so many frames per second."""
    return sum(fps >= rate for rate in _RATES)


def lies_between(before: FloatArray, now: FloatArray, after: FloatArray, way_there: float = 0.5) -> bool:
    """Whether landmarks (68 or 70, 2) are about where they should be between those of two frames.

    `way_there`: how far the frame is on the way from the one before to the one after.
    """
    first, middle, last = _comparable(before, now, after)
    size = face_size(middle)
    jump = np.linalg.norm(middle - first - way_there * (last - first), axis=1).max()
    way = np.linalg.norm(last - first, axis=1).max()
    return bool(jump < _SUDDEN * size and way < _FARTHEST * size)


def between(
    layers: tuple[Layers, Layers], faces: tuple[FloatArray, FloatArray, FloatArray], way_there: float = 0.5
) -> Layers:
    """The layers of a frame, from those of the frames before and after it.

    `faces`: the landmarks (68 or 70, 2) before, in the frame, and after, in pixels of the layers. `way_there`: see
    `lies_between`.
    """
    before, after = layers
    first, now, last = _comparable(*faces)
    motions = _motions(now, (first, last), before.matte.shape)
    moved = [_moved(one, motion) for one, motion in zip(layers, motions, strict=True)]
    # The background does not move with the head: there the offsets of both frames agree at the same place. Where
    # something moves with the head, they agree if they are read where the motion leads.
    apart_still, apart_moved = _apart(before, after), _apart(*moved)
    weight = (apart_still + _CERTAIN**2) / (apart_still + apart_moved + 2 * _CERTAIN**2)
    weight = np.asarray((2 * weight - 0.5).clip(0, 1), np.float32)
    stand = 1 - weight

    def mixed(
        first: Float32Array, last: Float32Array, moved_first: Float32Array, moved_last: Float32Array
    ) -> Float32Array:
        at_rest = cv2.addWeighted(first, 1 - way_there, last, way_there, 0)
        in_motion = cv2.addWeighted(moved_first, 1 - way_there, moved_last, way_there, 0)
        return np.asarray(cv2.blendLinear(at_rest, in_motion, stand, weight), np.float32)

    drawn, share, residual, offset, _ = (mixed(*parts) for parts in zip(before, after, *moved, strict=True))
    return Layers(drawn, share, residual, offset, before.matte)  # rounding would spoil a matte of 1


def _apart(one: Layers, other: Layers) -> Float32Array:
    """(H, W) squared distance of the places in the source that two frames show, in pixels of the frame, blurred."""
    x, y = cv2.split(cv2.subtract(one.offset, other.offset))
    squared = np.square(x) + np.square(y)
    return np.asarray(cv2.blur(squared, (_BLUR, _BLUR)) * np.float32(one.matte.shape[1] ** 2), np.float32)


def _comparable(*faces: FloatArray) -> list[Float64Array]:
    """The landmarks of all faces, (68, 2) each, or (70, 2) where the irises are known in all."""
    count = POINTS if any(known_irises(face) is None for face in faces) else None
    return [np.asarray(face[:count, :2], np.float64) for face in faces]


def _motions(face: Float64Array, others: tuple[Float64Array, ...], size: tuple[int, int]) -> list[Float32Array]:
    """For each of other frames (H, W, 2): how far each place of this frame is moved there, in pixels.

    A place moves with the head, and near a landmark with the landmark.
    """
    unit = face_size(face)
    places = _cells(size)
    grid, points = places / np.float32(unit), np.asarray(face / unit, np.float32)
    # One product for each row of cells: for all cells at once numpy would start threads, which takes longer.
    away = (grid**2).sum(axis=2)[..., None] - 2 * grid @ points.T + (points**2).sum(axis=1)
    weight = 1 / np.square(away.clip(min=0) + np.float32(_SOFTNESS**2))
    weight /= weight.sum(axis=2, keepdims=True)
    out = np.square(grid - points[:POINTS].mean(axis=0)).sum(axis=2) / np.float32(2 * _HEAD_RADIUS**2)
    near = np.exp(-np.square(out))[..., None]
    motions = []
    for other in others:
        head = fit_similarity(face[list(RIGID)], other[list(RIGID)])
        features = np.asarray(other - head(face), np.float32)
        motion = (np.asarray(head(places.astype(np.float64)) - places, np.float32) + weight @ features) * near
        motions.append(np.asarray(cv2.resize(motion, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32))
    return motions


def _moved(layers: Layers, motion: Float32Array) -> Layers:
    """The layers of a neighbour, read where the motion (H, W, 2) leads: they fit the frame whose places are moved."""
    height, width = layers.matte.shape
    x = motion[..., 0] + np.arange(width, dtype=np.float32)
    y = motion[..., 1] + np.arange(height, dtype=np.float32)[:, None]

    def there(part: Float32Array) -> Float32Array:
        return np.asarray(cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)

    drawn, share, residual, offset = (there(part) for part in layers[:-1])
    return Layers(drawn, share, residual, cv2.scaleAdd(motion, 1 / width, offset), layers.matte)


@functools.lru_cache(maxsize=4)
def _cells(size: tuple[int, int]) -> Float32Array:
    """(rows, columns, 2) x, y of the middles of cells that cover a frame of this size."""
    height, width = size
    rows, columns = -(-height // _CELL), -(-width // _CELL)
    y = (np.arange(rows, dtype=np.float32) + 0.5) * (height / rows) - 0.5
    x = (np.arange(columns, dtype=np.float32) + 0.5) * (width / columns) - 0.5
    return np.stack(np.meshgrid(x, y), axis=2).astype(np.float32)
