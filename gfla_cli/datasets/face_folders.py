"""Clips of real faces in the layout of FaceForensics: folders of frames, and 68 landmarks in a text file for each.

ROOT/CLIP/00000.jpg  ROOT/CLIP/00000.txt                              as `gfla data faces` writes them
ROOT/train_img/CLIP/00000.jpg  ROOT/train_keypoints/CLIP/00000.txt    pictures and landmarks apart

A text file holds 68 rows "x,y" in pixels of its picture, counted from the centre of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.conditioning.face_map import background_edges
from gfla_cli.datasets.augment import light_curve
from gfla_cli.datasets.sample import ClipSample, unknown_correspondences
from gfla_cli.errors import DataError
from gfla_cli.geometry.crop import Crop
from gfla_cli.io.image import read_image
from gfla_cli.person.face import MIRRORED, face_crop, square_crop

SHORTEST = 4  # frames of a clip that can be learnt from
_PICTURES = (".jpg", ".jpeg", ".png")
_LARGEST_FILE = 100_000  # bytes of a frame's landmarks; written by us they take 1 000
_LARGEST_VALUE = 1e6  # pixels
_ZOOM = (0.9, 1.25)  # times the side of the usual frame
_LAYOUT = "expected ROOT/CLIP/00000.jpg with 00000.txt beside it, or ROOT/train_img/ and ROOT/train_keypoints/"


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame on disk."""

    picture: Path
    landmarks: Path


class FaceFolders(Dataset[ClipSample]):
    """Clip number i: consecutive frames of a random folder and another of its frames as the reference."""

    def __init__(self, root: Path, size: int, frames: int, seed: int = 0) -> None:
        """Raises DataError when there is no clip, or when the first frame of one cannot be used."""
        self.clips = find_clips(root)
        self.pictures = sum(len(clip) for clip in self.clips)
        self.size, self.frames, self.seed = size, frames, seed
        for clip in self.clips:  # what is wrong is said before the training starts
            read_landmarks(clip[0].landmarks)

    def __getitem__(self, index: int) -> ClipSample:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only get in each other's way
        rng = np.random.default_rng([self.seed, index])
        clip = self.clips[int(rng.integers(len(self.clips)))]
        order = _there_and_back(len(clip), self.frames, rng)
        shots = [clip[int(rng.integers(len(clip)))], *(clip[k] for k in order)]
        pictures = [read_image(shot.picture) for shot in shots]
        faces = np.stack([read_landmarks(shot.landmarks) for shot in shots])
        crop = _crop(faces, pictures[0].shape[:2], self.size, rng)
        table = light_curve(rng)
        if rng.random() < 0.5:
            crop, faces = replace(crop, flip=True), faces[:, list(MIRRORED)]
        images = np.stack([np.asarray(cv2.LUT(crop.image(picture), table), np.uint8) for picture in pictures])
        points = crop.points(faces)
        to_previous, to_reference = unknown_correspondences(self.frames)
        return ClipSample(
            images=images,
            points=points,
            masks=np.full(images.shape[:3], 255, np.uint8),
            edges=np.stack([background_edges(image, face) for image, face in zip(images, points, strict=True)]),
            to_previous=to_previous,
            to_reference=to_reference,
        )


def find_clips(root: Path) -> list[list[Shot]]:
    """The frames of every clip that is long enough, in order. Raises DataError when there is none."""
    apart = root / "train_img", root / "train_keypoints"
    pictures, landmarks = apart if all(folder.is_dir() for folder in apart) else (root, root)
    clips = []
    for folder in sorted(path for path in pictures.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
        shots = [Shot(path, landmarks / folder.name / f"{path.stem}.txt") for path in found]
        shots = [shot for shot in shots if shot.landmarks.is_file()]
        if len(shots) >= SHORTEST:
            clips.append(shots)
    if not clips:
        raise DataError(f"{root}: no clip of {SHORTEST} or more frames with landmarks in it", hint=_LAYOUT)
    return clips


def read_landmarks(path: Path) -> NDArray[np.float32]:
    """(68, 2) from a text file; raises DataError that names what is wrong with it."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError("too large")
        lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
        rows = [line.split() for line in lines if line.strip()]
        points = np.array([[float(value) for value in row] for row in rows], np.float32)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as landmarks ({error})", hint='68 rows "x,y"') from error
    if points.shape != (68, 2) or not (np.abs(points) < _LARGEST_VALUE).all():  # NaN: not smaller
        raise DataError(f"{path}: {len(rows)} rows where 68 of x,y are expected", hint='68 rows "x,y"')
    return points


def write_landmarks(path: Path, points: NDArray[np.floating]) -> None:
    """Writes (68, 2) so that `read_landmarks` gives them back to a hundredth of a pixel."""
    path.write_text("".join(f"{x:.2f},{y:.2f}\n" for x, y in points[:, :2]), encoding="utf-8")


def _there_and_back(length: int, frames: int, rng: np.random.Generator) -> list[int]:
    """`frames` consecutive numbers below `length` from a random one on, in a random direction, turning at the ends."""
    turn = [*range(length), *range(length - 2, 0, -1)]
    start, step = int(rng.integers(len(turn))), 1 if rng.random() < 0.5 else -1
    return [turn[(start + step * k) % len(turn)] for k in range(frames)]


def _crop(faces: NDArray[np.float32], picture: tuple[int, ...], size: int, rng: np.random.Generator) -> Crop:
    """The crop that holds the faces of the clip, a little larger or smaller, inside the image."""
    inside = picture[0], picture[1]
    left, top, right, bottom = face_crop(faces, (size, size), inside=inside).box
    length = max(2, min(*inside, round((right - left) * rng.uniform(*_ZOOM))))
    return square_crop(((left + right - 1) / 2, (top + bottom - 1) / 2), length, (size, size), inside=inside)
