"""Rotations as axis times angle (radians) and as matrices."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from gfla_cli.arrays import Float64Array


def to_matrix(axis_angle: ArrayLike) -> Float64Array:
    """Rotation matrices (...,3,3) of axis-angle vectors (...,3), by Rodrigues' formula."""
    vector = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(vector / np.maximum(angle, 1e-9), -1, 0)
    cross = np.zeros((*vector.shape[:-1], 3, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -z, y, -x
    cross[..., 1, 0], cross[..., 2, 0], cross[..., 2, 1] = z, -y, x
    sine, cosine = np.sin(angle)[..., None], np.cos(angle)[..., None]
    matrix: Float64Array = np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
    return matrix


def to_axis_angle(matrix: Float64Array) -> Float64Array:
    """The axis-angle vector (3,) of a rotation matrix (3,3)."""
    vector: Float64Array = cv2.Rodrigues(matrix)[0].ravel()
    return vector
