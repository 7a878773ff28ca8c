"""Augmentation: rendered images as varied as photographs, and joints and landmarks as a detector finds them.

Joints: a skeleton has them at the centres of rotation, a detector where annotators clicked. `_UP` and `_TOWARDS` were
measured on the 399 front views of the rendered training set: mean of (detected - true) position, in torsos.

Landmarks: the renderer's are fixed points of the skin. A detector's jaw slides along the outline of a turning head,
and its brows begin elsewhere. Their shift is a least-squares fit of (detected - rendered) on the turn of the head, over
880 rendered portraits, with left and right as mirror images. It reduces the mean difference from 2.6 % to 1.8 % of
the face's width. The rest differs from person to person.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import BoolArray, Float32Array, Image, Points
from gfla_cli.geometry.crop import Crop
from gfla_cli.person.face import EYES, POINTS, face_crop, face_size, square_crop
from gfla_cli.person.pose import FACE, MIRRORED, MISSING


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


# Differences of MediaPipe's joints from `as_detected` ones in 1 500 rendered people, (18, 3) right, down, away, in
# hundredths of a torso; and the yaw of their chest in degrees. Of landmarks, (68, 4): the shift across and down the
# face, and how much each grows with the turn of the head, in face sizes.
_ERRORS = "detection_errors.npz"
_SIMILAR = 200  # measured people on each side of a yaw, from which one is drawn

_NECK, _HIPS = 1, (8, 11)
# Joint -> the share of the torso, from the hips to the neck, by which it moves up.
_UP = {1: 0.07, 2: 0.07, 5: 0.07, 0: 0.02, 14: 0.014, 15: 0.014, 16: 0.03, 17: 0.03}
# Joint -> the share of the way by which it moves towards another joint, and that joint.
_TOWARDS = {
    2: (0.026, 5), 5: (0.026, 2),     # shoulders: 0.02 torsos inwards, where they are 0.77 torsos apart
    8: (0.03, 11), 11: (0.03, 8),     # hips: 0.014 torsos inwards, 0.46 apart
    16: (0.13, 17), 17: (0.13, 16),   # ears: 0.04 torsos inwards, 0.3 apart
    10: (0.06, 9), 13: (0.06, 12),    # ankles: 0.055 torsos up the shin
    3: (0.037, 2), 6: (0.037, 5),     # elbows: 0.02 torsos up the arm
}  # fmt: skip
_SHOULDERS_APART = 0.77  # torsos


def as_listed(keypoints: Float32Array) -> Float32Array:
    """The renderer's keypoints (18, 3 or 4) that a detector lists: those of the face where visible, the others always.

    Columns are x, y, 1 = visible, and if known depth; in the result 1 means listed, and missing is -1, -1, 0.
    """
    listed, face = keypoints.copy(), list(FACE)  # a detector guesses the joints that the body itself hides
    listed[face, :3] = np.where(listed[face, 2:3] > 0, listed[face, :3], MISSING)
    listed[:, 2] = listed[:, 0] >= 0
    return listed


def as_detected(points: Points, share: float = 1.0) -> Points:
    """(18, 3 or 4) joints of the skeleton, moved by `share` of the way to MediaPipe's. Missing joints stay missing.

    Columns are x, y, confidence and, if known, depth in pixels, which moves along.
    """
    present = points[:, 2] > 0
    axes = [0, 1] if points.shape[1] == 3 else [0, 1, 3]
    place = points[:, axes]
    up = _hips_to_neck(place, present)
    moved = place.copy()
    for joint, part in _UP.items():
        moved[joint] += share * part * up
    for joint, (part, goal) in _TOWARDS.items():
        if present[goal]:
            moved[joint] += share * part * (place[goal] - place[joint])
    moved[:, :2] = np.where(present[:, None], moved[:, :2].clip(0), -1)
    detected = points.copy()
    detected[:, axes] = moved
    return detected


def _hips_to_neck(place: Points, present: BoolArray) -> Points:
    """The torso as a vector; upright and estimated from the shoulders when the hips are outside of the image."""
    hips = [place[hip] for hip in _HIPS if present[hip]]
    if hips and present[_NECK]:
        return np.asarray(place[_NECK] - np.mean(hips, axis=0), np.float32)
    up = np.zeros(place.shape[1], np.float32)
    if present[2] and present[5]:
        up[1] = -float(np.linalg.norm(place[2] - place[5])) / _SHOULDERS_APART
    return up


def shake_points(points: Points, rng: np.random.Generator, sigma: float) -> Points:
    """Joints (18, 3 or 4) with an error of standard deviation `sigma` pixels; one in a hundred goes missing."""
    shaken = points.copy()
    present = shaken[:, 0] >= 0
    shaken[:, :2] += rng.normal(0, sigma, (len(points), 2)) * present[:, None]
    lost = present & (rng.random(len(points)) < 0.01)
    shaken[lost, :3] = MISSING
    shaken[present & ~lost, :2] = shaken[present & ~lost, :2].clip(0)
    return shaken


def detector_share(rng: np.random.Generator, *, all_below: float, none_below: float) -> float:
    """A random `share` for `as_detected` and `as_detected_face`: mostly 1 or 0, so a network serves both conventions.

    A draw from [0, 1) decides: 1 below `all_below`, else 0 below `none_below`, else anything.
    """
    draw = rng.random()
    return 1.0 if draw < all_below else 0.0 if draw < none_below else float(rng.random())


def misdetected(points: Points, torso: float, share: float, rng: np.random.Generator) -> Points:
    """(18, 4) joints with the errors that MediaPipe made with another person who faced the same way.

    All errors are those of one person, so a wrist is wrong together with its elbow. `torso` is the torso's length in
    pixels; `share` scales the errors.
    """
    errors, yaws = _errors()
    across = points[5, [0, 3]] - points[2, [0, 3]]
    known = bool(points[[2, 5], 2].all())
    yaw = np.degrees(np.arctan2(-across[1], across[0])) if known else rng.uniform(-180, 180)
    drawn = int(np.searchsorted(yaws, yaw) + rng.integers(-_SIMILAR, _SIMILAR)) % len(errors)
    error = errors[drawn] * (share * torso)
    wrong = points.copy()
    present = points[:, 2:3] > 0
    wrong[:, :2] = np.where(present, (points[:, :2] + error[:, :2]).clip(0), points[:, :2])
    wrong[:, 3] += error[:, 2]
    return wrong


@functools.cache
def _measured() -> dict[str, NDArray[Any]]:
    """The arrays of `_ERRORS`."""
    with (files(__package__) / _ERRORS).open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return dict(stored)


@functools.cache
def _errors() -> tuple[Points, Float32Array]:
    """(N, 18, 3) errors in torsos and (N,) yaws in degrees, ascending; each person and its mirror image."""
    errors = np.asarray(_measured()["errors"] / np.float32(100), np.float32)
    yaw = np.asarray(_measured()["yaw"], np.float32)
    mirrored = errors[:, list(MIRRORED)] * np.array([-1, 1, 1], np.float32)
    errors, yaw = np.concatenate([errors, mirrored]), np.concatenate([yaw, -yaw])
    order = np.argsort(yaw, kind="stable")
    return errors[order], yaw[order]


_FURTHEST = 0.35  # turn of the head up to which landmarks were measured


def as_detected_face(landmarks: Points, share: float = 1.0) -> Float32Array:
    """(68 or 70, 2) rendered landmarks in pixels, moved by `share` of the way to MediaPipe's.

    Irises move with their eyes.
    """
    points = np.asarray(landmarks[:, :2], np.float64)
    eyes = points[45] - points[36]
    apart = max(float(np.linalg.norm(eyes)), 1e-6)
    across = eyes / apart
    down = np.array([-across[1], across[0]])
    turn = float(np.clip((points[30] - points[[36, 45]].mean(axis=0)) @ across / apart, -_FURTHEST, _FURTHEST))
    table = _measured()["landmarks"]
    shift = table[:, :2] + turn * table[:, 2:]
    if len(points) > POINTS:
        shift = np.concatenate([shift, [shift[list(eye)].mean(axis=0) for eye in EYES]])
    moved = points + share * face_size(points) * (shift[:, :1] * across + shift[:, 1:] * down)
    return np.asarray(moved, np.float32)
