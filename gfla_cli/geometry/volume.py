"""Volumes along the rays of a camera (flow prior "volume"), as arrays: two volumes of one object become one.

Camera axes: x to the right, y up, z towards the camera, in halves of the frame. The object's middle is the origin.
K depths (nearest first), h x w rays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gfla_cli.arrays import Float32Array, FloatArray

NEAREST = 0.95  # z of the front of a volume; its back is at -0.95
USUAL_DISTANCE = 5.4  # of the camera
OUTSIDE = -12.0  # logit of the density beyond a volume
_HIDDEN = 0.01  # weight of a place that a camera does not see; a visible place has 1 more
_RESTORED, _LEAST = 2.0, 1e-3
_ADDED = 0.25  # logit: the mean of two guesses at a surface is too thin


class RayVolume(NamedTuple):
    """An object as densities along the rays of the camera that looks at it."""

    density: Float32Array  # (K, h, w) logits
    clear: Float32Array  # (K, h, w) in [0, 1]: how much of a ray reaches this depth
    camera: Float32Array  # (3,) x and y of the object's middle, and the logarithm of the distance / USUAL_DISTANCE


def fused(own: RayVolume, other: RayVolume, turn: FloatArray) -> RayVolume:
    """Two volumes of one object as one volume, along the rays of the first camera.

    `turn` (3, 3): from the axes of the first camera to those of the other one. Where one camera does not see, the
    other one counts.
    """
    density, clear = _sampled(other, _positions(own, other, turn))
    weight, other_weight = own.clear + _HIDDEN, clear + _HIDDEN
    mean = (weight * own.density + other_weight * density) / (weight + other_weight) + _ADDED
    # The first camera's outline stays: where a ray lost matter, its surface comes back.
    hit, left = _hits(own.density, own.clear), _hits(mean, _clear(mean))
    lost = np.clip(_RESTORED * (hit.sum(axis=0) - left.sum(axis=0)), 0, 1)
    surface = hit / np.maximum(hit.max(axis=0), _LEAST)
    density = np.asarray(mean + lost * surface * np.maximum(own.density - mean, 0), np.float32)
    return RayVolume(density, _clear(density), own.camera)


def _clear(density: FloatArray) -> Float32Array:
    """(K, h, w) how much of a ray reaches each depth."""
    matter = np.logaddexp(0, density)
    return np.asarray(np.exp(matter - matter.cumsum(axis=0)), np.float32)


def _hits(density: FloatArray, clear: Float32Array) -> Float32Array:
    """(K, h, w) share of a ray that ends at each depth."""
    return np.asarray(clear / (1 + np.exp(-density)), np.float32)


def agreement(own: RayVolume, other: RayVolume, turn: FloatArray) -> float:
    """How well two volumes of one object agree, at most 1: the correlation of their densities. See `fused`.

    0 where one of them is the same everywhere.
    """
    own, other = _halved(own), _halved(other)  # fast, and as good for this
    density, _ = _sampled(other, _positions(own, other, turn))
    own_hits, other_hits = (1 / (1 + np.exp(-logits.ravel())) for logits in (own.density, density))
    if np.ptp(own_hits) == 0 or np.ptp(other_hits) == 0:
        return 0.0
    return float(np.corrcoef(own_hits, other_hits)[0, 1])


def _halved(volume: RayVolume) -> RayVolume:
    """The same volume with half as many slices, rows and columns."""

    def mean(values: Float32Array) -> Float32Array:
        depths, height, width = (count // 2 for count in values.shape)
        return np.asarray(values.reshape(depths, 2, height, 2, width, 2).mean(axis=(1, 3, 5)), np.float32)

    return RayVolume(mean(volume.density), mean(volume.clear), volume.camera)


def _positions(own: RayVolume, other: RayVolume, turn: FloatArray) -> list[FloatArray]:
    """Where every sample of `own` lies in `other`: slice, row and column, (K, h, w) each."""
    depths, height, width = own.density.shape
    middle_x, middle_y, distance = own.camera[0], own.camera[1], USUAL_DISTANCE * np.exp(own.camera[2])
    z = NEAREST * (1 - 2 * (np.arange(depths, dtype=np.float32) + 0.5) / depths)[:, None, None]
    away = (distance - z) / distance
    x = ((np.arange(width, dtype=np.float32) + 0.5) * 2 / width - 1 - middle_x) * away
    y = (middle_y + 1 - (np.arange(height, dtype=np.float32)[:, None] + 0.5) * 2 / height) * away
    there_x, there_y, there_z = (row[0] * x + row[1] * y + row[2] * z for row in turn.astype(np.float32))
    distance = USUAL_DISTANCE * np.exp(other.camera[2])
    nearer = distance / (distance - there_z)
    seen = -there_z / NEAREST, other.camera[1] - there_y * nearer, there_x * nearer + other.camera[0]  # in [-1, 1]
    return [(at + 1) * (count / 2) - 0.5 for at, count in zip(seen, other.density.shape, strict=True)]


def _sampled(volume: RayVolume, position: list[FloatArray]) -> tuple[Float32Array, Float32Array]:
    """Density and clearness of a volume at positions, trilinear; nothing is outside of it."""
    padded = np.pad(volume.density, 1, constant_values=OUTSIDE), np.pad(volume.clear, 1)
    limits = zip(position, padded[0].shape, strict=True)
    place = [np.asarray(np.clip(at + 1, 0, count - 1.001), np.float32) for at, count in limits]
    first = [at.astype(np.int32) for at in place]
    density, clear = (np.zeros(place[0].shape, np.float32) for _ in range(2))
    for corner in range(8):
        taps = [low + (corner >> axis & 1) for axis, low in enumerate(first)]
        near = [1 - np.abs(at - tap) for at, tap in zip(place, taps, strict=True)]
        share = near[0] * near[1] * near[2]
        where = taps[0], taps[1], taps[2]
        density += share * padded[0][where]
        clear += share * padded[1][where]
    return density, clear
