"""Small changes that make rendered pictures as varied as photographs, and keypoints as shaky as a detector's.

Points are (18, 3) x, y, confidence in pixels from the corner of the frame; missing = -1, -1, 0. A fourth column, if
there is one, is their depth.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.landmarks.pose import FACE, MIRRORED

Points = NDArray[np.float32]

# What mediapipe's depths differ by from the renderer's, measured on 584 pictures: standard deviations in trunks, seen
# from the neck; of knees, ankles, elbows and wrists what they add to the error of the joint before them.
_NECK, _HIPS = 1, (8, 11)
_CHAINS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13))
_DEPTH_ERRORS = np.array(
    [0.04, 0, 0.06, 0.17, 0.2, 0.06, 0.17, 0.2, 0.04, 0.18, 0.2, 0.04, 0.18, 0.2, 0.04, 0.04, 0.04, 0.04]
)
_HEAD_ERROR, _HIPS_ERROR = 0.07, 0.13  # of all of their joints together
_FLATTENED, _MOST_WRONG = (0.7, 1.05), 1.2


def mirror_points(points: Points, width: int) -> Points:
    """The joints of the picture flipped left to right."""
    flipped = points[list(MIRRORED)]
    present = flipped[:, 0] >= 0
    flipped[present, 0] = width - 1 - flipped[present, 0]
    return flipped


def shake_points(points: Points, rng: np.random.Generator, sigma: float) -> Points:
    """Joints as a detector gives them: `sigma` pixels off on average, now and then one missing."""
    shaken = points.copy()
    present = shaken[:, 0] >= 0
    shaken[:, :2] += rng.normal(0, sigma, (len(points), 2)) * present[:, None]
    lost = present & (rng.random(len(points)) < 0.01)
    shaken[lost, :3] = -1, -1, 0
    shaken[present & ~lost, :2] = shaken[present & ~lost, :2].clip(0)
    return shaken


def shake_depths(depths: Points, rng: np.random.Generator, trunk: float) -> Points:
    """Depths (18,) as mediapipe tells them of somebody whose trunk is so many pixels long.

    It errs along the limbs: a wrist is as wrong as its elbow and more. And it makes people flatter than they are.
    """
    error = rng.normal(0, 1, len(depths)) * _DEPTH_ERRORS
    error[list(FACE)] += rng.normal(0, _HEAD_ERROR)
    error[list(_HIPS)] += rng.normal(0, _HIPS_ERROR)
    for nearer, farther in _CHAINS:
        error[farther] += error[nearer]
    flat = rng.uniform(*_FLATTENED)
    flattened = depths[_NECK] + flat * (depths - depths[_NECK])
    return np.asarray(flattened + rng.uniform(0, _MOST_WRONG) * trunk * error, np.float32)


def light_curve(rng: np.random.Generator) -> Image:
    """A random exposure, contrast and white balance, as a table (1, 256, 3) for cv2.LUT."""
    gain = np.exp(rng.normal(0, 0.10) + rng.normal(0, 0.04, 3))
    gamma = np.exp(rng.normal(0, 0.12))
    levels = np.linspace(0, 1, 256)[:, None]
    curve = np.clip(levels**gamma * gain, 0, 1) * 255
    return np.asarray(np.rint(curve), np.uint8).reshape(1, 256, 3)


def relight(images: list[Image], rng: np.random.Generator) -> list[Image]:
    """One random exposure, contrast and white balance for all pictures of a scene."""
    table = light_curve(rng)
    return [cv2.LUT(image, table) for image in images]


def degrade(image: Image, rng: np.random.Generator) -> Image:
    """What cameras and web sites do to a picture: a little blur, noise or JPEG, each now and then."""
    if rng.random() < 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9)), np.uint8)
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(1, 5), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = int(rng.integers(50, 95))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image
