"""A pinhole camera, and conversions between rotation vectors and rotation matrices."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from gfla_cli.arrays import Float64Array, FloatArray

_MIN_DEPTH = 0.3  # points nearer than this are projected as if they were at this depth


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A square image of the world, seen from a distance. Lengths are units of the world (decimetres for people)."""

    rotation: Float64Array  # (3,3) world -> camera axes: x to the right, y up, z towards the camera
    target: Float64Array  # (3,) the point that is looked at
    distance: float  # from the eye to the target
    focal_px: float
    centre_px: tuple[float, float]  # x, y of the target in the image; (0, 0) is the image's upper left corner
    size: int  # side of the image, pixels

    @property
    def eye(self) -> Float64Array:
        """Position of the camera in the world, (3,)."""
        eye: Float64Array = self.target + self.rotation.T @ np.array([0, 0, self.distance])
        return eye

    @property
    def scale_px(self) -> float:
        """Pixels per unit of length at the target."""
        return self.focal_px / self.distance

    def project(self, points: FloatArray) -> Float64Array:
        """Projects world points (n,3) to (n,3): x and y in pixels (y down), and depth in units of the world."""
        seen = (points - self.target) @ self.rotation.T
        depth = self.distance - seen[:, 2]
        clear = np.maximum(depth, _MIN_DEPTH)
        x = self.centre_px[0] + self.focal_px * seen[:, 0] / clear
        y = self.centre_px[1] - self.focal_px * seen[:, 1] / clear
        return np.stack([x, y, depth], 1)


def view_rotation(yaw_deg: float, pitch_deg: float) -> Float64Array:
    """World -> camera axes (3,3). Yaw 0 looks at the front (+z), 90 at the left side (+x); pitch > 0 from above."""
    return rotation_matrix([np.radians(pitch_deg), 0, 0]) @ rotation_matrix([0, -np.radians(yaw_deg), 0])


def rotation_matrix(axis_angle: ArrayLike) -> Float64Array:
    """Rotation matrices (...,3,3) of axis-angle vectors (...,3) in radians, by Rodrigues' formula."""
    vector = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(vector / np.maximum(angle, 1e-9), -1, 0)
    cross = np.zeros((*vector.shape[:-1], 3, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -z, y, -x
    cross[..., 1, 0], cross[..., 2, 0], cross[..., 2, 1] = z, -y, x
    sine, cosine = np.sin(angle)[..., None], np.cos(angle)[..., None]
    matrix: Float64Array = np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
    return matrix


def rotation_vector(matrix: Float64Array) -> Float64Array:
    """The axis-angle vector (3,), in radians, of a rotation matrix (3,3)."""
    vector: Float64Array = cv2.Rodrigues(matrix)[0].ravel()
    return vector
