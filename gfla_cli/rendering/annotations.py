"""Where joints and face landmarks are in a picture."""

from __future__ import annotations

import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array
from gfla_cli.rendering.camera import Camera
from gfla_cli.rendering.pack import Pack
from gfla_cli.rendering.posing import Posed

_KEYPOINT_DEPTH = {  # OpenPose's COCO order, R = the person's own right; how deep under the surface it lies, dm
    "nose": 0.3,
    "neck": 1.5,
    "Rsho": 1.3,
    "Relb": 1.1,
    "Rwri": 0.8,
    "Lsho": 1.3,
    "Lelb": 1.1,
    "Lwri": 0.8,
    "Rhip": 2.0,
    "Rkne": 1.4,
    "Rank": 1.3,
    "Lhip": 2.0,
    "Lkne": 1.4,
    "Lank": 1.3,
    "Reye": 0.4,
    "Leye": 0.4,
    "Rear": 0.8,
    "Lear": 0.8,
}
KEYPOINTS = tuple(_KEYPOINT_DEPTH)
_HIPS = [KEYPOINTS.index("Rhip"), KEYPOINTS.index("Lhip")]
_LIMBS = (("upperarm01", "lowerarm01", "wrist"), ("upperleg01", "lowerleg01", "foot"))


def body_keypoints(pack: Pack, posed: Posed, camera: Camera, inverse_depth: Float32Array) -> Float32Array:
    """The 18 KEYPOINTS (18,3): x and y in pixels, and 1 = seen, 0 = hidden behind something.

    Body points are joint centres, the neck is the middle of the shoulders. Outside the picture x = y = -1.
    inverse_depth: (s,s) of the same picture.
    """
    points = _projected(pack, posed, camera)
    keypoints = np.tile(np.array([-1, -1, 0], np.float32), (len(points), 1))
    for row, ((x, y, depth), inside) in enumerate(zip(points, _KEYPOINT_DEPTH.values(), strict=True)):
        if 0 <= x < camera.size and 0 <= y < camera.size:
            seen = inverse_depth[int(y), int(x)]
            keypoints[row] = x, y, seen == 0 or 1 / seen > depth - inside
    return keypoints


def keypoint_depths(pack: Pack, posed: Posed, camera: Camera) -> Float32Array:
    """How far the 18 KEYPOINTS (18,) are behind the middle of the hips, in pixels at its distance; before it: < 0."""
    depth = _projected(pack, posed, camera)[:, 2]
    middle = depth[_HIPS].mean()
    return np.asarray((depth - middle) * camera.focal_px / middle, np.float32)


def _projected(pack: Pack, posed: Posed, camera: Camera) -> Float64Array:
    """The 18 KEYPOINTS (18,3): x, y in pixels, and depth in dm."""
    bone = pack.skeleton.index
    nose, *eyes_and_ears = (posed.vertices[vertices].mean(0) for vertices in pack.base.keypoint)
    limbs = [posed.joints[bone[f"{name}.{side}"]] for limb in _LIMBS for side in "RL" for name in limb]
    neck = (limbs[0] + limbs[3]) / 2
    return camera.project(np.array([nose, neck, *limbs, *eyes_and_ears]))


def face_landmarks(pack: Pack, posed: Posed, camera: Camera) -> Float32Array:
    """The 68 landmarks (68,2) in iBUG order, pixels; fixed points of the face, also where it hides them itself."""
    return camera.project(posed.vertices[pack.base.landmark])[:, :2].astype(np.float32)
