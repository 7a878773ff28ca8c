"""A pinhole camera: from world points to pixels and depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gfla_cli.arrays import Float64Array, FloatArray

_CLOSEST = 0.3  # depth below which a point is projected as if it were here


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """Looks at a point of the world from a distance; lengths are those of the world (decimetres for people)."""

    rotation: Float64Array  # (3,3) world -> camera axes: x to the right, y up, z towards the camera
    target: Float64Array  # (3,) the point that is looked at
    distance: float  # from the eye to the target
    focal_px: float
    centre_px: tuple[float, float]  # x, y of the target in the picture
    size: int  # side of the square picture, pixels

    @property
    def eye(self) -> Float64Array:
        """Where the camera stands, (3,)."""
        eye: Float64Array = self.target + self.rotation.T @ np.array([0, 0, self.distance])
        return eye

    @property
    def scale_px(self) -> float:
        """Pixels per unit of length at the target."""
        return self.focal_px / self.distance

    def project(self, points: FloatArray) -> Float64Array:
        """World points (n,3) -> (n,3): x and y in pixels, y down, and depth (length)."""
        seen = (points - self.target) @ self.rotation.T
        depth = self.distance - seen[:, 2]
        clear = np.maximum(depth, _CLOSEST)
        x = self.centre_px[0] + self.focal_px * seen[:, 0] / clear
        y = self.centre_px[1] - self.focal_px * seen[:, 1] / clear
        return np.stack([x, y, depth], 1)
