"""Augmentation: rendered images as varied as photographs, and keypoints as inexact as a detector's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from gfla_cli.arrays import Image, Points
from gfla_cli.geometry.crop import Crop
from gfla_cli.person.face import face_crop, square_crop
from gfla_cli.person.pose import MISSING


def shake_points(points: Points, rng: np.random.Generator, sigma: float) -> Points:
    """Joints (18, 3 or 4) with an error of standard deviation `sigma` pixels; one in a hundred goes missing."""
    shaken = points.copy()
    present = shaken[:, 0] >= 0
    shaken[:, :2] += rng.normal(0, sigma, (len(points), 2)) * present[:, None]
    lost = present & (rng.random(len(points)) < 0.01)
    shaken[lost, :3] = MISSING
    shaken[present & ~lost, :2] = shaken[present & ~lost, :2].clip(0)
    return shaken


def random_face_crop(
    faces: Points,
    image_size: Sequence[int],
    size: int,
    rng: np.random.Generator,
    *,
    zoom: tuple[float, float],
    shift: float = 0.0,
) -> Crop:
    """A crop of the usual one's size times `zoom`, around faces (68, 2) or (N, 68, 2), inside the image.

    `shift` is the standard deviation of its place, as a share of its side. `image_size` is (height, width).
    """
    inside = image_size[0], image_size[1]
    usual = face_crop(faces, (size, size), inside=inside)
    side = (usual.box[2] - usual.box[0]) * rng.uniform(*zoom)
    x, y = usual.middle
    if shift:
        x, y = np.array([x, y]) + rng.normal(0, shift, 2) * side
    return square_crop((x, y), max(2, min(*inside, round(side))), (size, size), inside=inside)


def light_curve(rng: np.random.Generator) -> Image:
    """A random exposure, contrast and white balance, as a table (1, 256, 3) for cv2.LUT."""
    gain = np.exp(rng.normal(0, 0.10) + rng.normal(0, 0.04, 3))
    gamma = np.exp(rng.normal(0, 0.12))
    levels = np.linspace(0, 1, 256)[:, None]
    curve = np.clip(levels**gamma * gain, 0, 1) * 255
    return np.asarray(np.rint(curve), np.uint8).reshape(1, 256, 3)


def relight(images: Iterable[Image], rng: np.random.Generator) -> list[Image]:
    """The same random exposure, contrast and white balance for all images (H, W, 3) of a scene."""
    table = light_curve(rng)
    return [np.asarray(cv2.LUT(image, table), np.uint8) for image in images]


def degrade(image: Image, rng: np.random.Generator) -> Image:
    """A little blur, noise or JPEG compression, each in some of the images, as cameras and web sites cause them."""
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
