"""Clips of real faces in the layout of FaceForensics: folders of frames, and 68 landmarks in a text file for each.

ROOT/CLIP/00000.jpg  ROOT/CLIP/00000.txt                              as `gfla data faces` writes them
ROOT/train_img/CLIP/00000.jpg  ROOT/train_keypoints/CLIP/00000.txt    images and landmarks apart

A text file holds 68 rows "x,y" in pixels of its image, counted from the centre of the first pixel. Two more rows are
the middles of the right and the left iris, if they are known.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import Dataset

from gfla_cli.arrays import FloatArray, Points
from gfla_cli.conditioning.face_map import background_edges
from gfla_cli.datasets.augment import light_curve, random_face_crop
from gfla_cli.datasets.sample import ClipSample, unknown_correspondences
from gfla_cli.errors import DataError
from gfla_cli.io.image import read_image
from gfla_cli.person.face import POINTS, mirrored, with_irises

SHORTEST = 4  # frames of a clip
_IMAGES = (".jpg", ".jpeg", ".png")
_LARGEST_FILE = 100_000  # bytes of a frame's landmarks; 1 000 are usual
_LARGEST_VALUE = 1e6  # pixels
_ZOOM = (0.9, 1.25)  # times the side of the usual face crop
_LAYOUT = "expected ROOT/CLIP/00000.jpg with 00000.txt beside it, or ROOT/train_img/ and ROOT/train_keypoints/"


Frame = tuple[Path, Path]  # image, landmarks


class FaceFolders(Dataset[ClipSample]):
    """Clip number i: consecutive frames of a random folder, and a random frame of it as the reference."""

    def __init__(self, root: Path, size: int, frames: int, seed: int = 0) -> None:
        """Raises DataError when there is no clip, or when the first frame of one cannot be used."""
        self.clips = find_clips(root)
        self.image_count = sum(len(clip) for clip in self.clips)
        self.size, self.frames, self.seed = size, frames, seed
        for clip in self.clips:  # reports a fault before the training starts
            read_landmarks(clip[0][1])

    def __getitem__(self, index: int) -> ClipSample:
        cv2.setNumThreads(1)  # workers are processes; threads inside them only compete
        rng = np.random.default_rng([self.seed, index])
        clip = self.clips[int(rng.integers(len(self.clips)))]
        # Consecutive frames from a random one on, in a random direction, turning at the ends.
        turn = [*clip, *clip[-2:0:-1]]
        start, step = int(rng.integers(len(turn))), 1 if rng.random() < 0.5 else -1
        following = [turn[(start + step * k) % len(turn)] for k in range(self.frames)]
        chosen = [clip[int(rng.integers(len(clip)))], *following]
        frames = [read_image(image) for image, _ in chosen]
        faces = np.stack([with_irises(read_landmarks(landmarks)) for _, landmarks in chosen])
        crop = random_face_crop(faces, frames[0].shape[:2], self.size, rng, zoom=_ZOOM)
        table = light_curve(rng)
        if rng.random() < 0.5:
            crop, faces = replace(crop, flip=True), faces[:, list(mirrored(faces.shape[1]))]
        images = np.stack([np.asarray(cv2.LUT(crop.image(frame), table), np.uint8) for frame in frames])
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


def find_clips(root: Path) -> list[list[Frame]]:
    """The frames of every clip that is long enough, in order. Raises DataError when there is none."""
    apart = root / "train_img", root / "train_keypoints"
    images, landmarks = apart if all(folder.is_dir() for folder in apart) else (root, root)
    clips = []
    for folder in sorted(path for path in images.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES)
        frames = [(path, landmarks / folder.name / f"{path.stem}.txt") for path in found]
        frames = [frame for frame in frames if frame[1].is_file()]
        if len(frames) >= SHORTEST:
            clips.append(frames)
    if not clips:
        raise DataError(f"{root}: no clip of {SHORTEST} or more frames with landmarks in it", hint=_LAYOUT)
    return clips


def read_landmarks(path: Path) -> Points:
    """(68, 2), or (70, 2) with the irises, from a text file; raises DataError that names what is wrong with it."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError("too large")
        lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
        rows = [line.split() for line in lines if line.strip()]
        points = np.array([[float(value) for value in row] for row in rows], np.float32)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as landmarks ({error})", hint='68 rows "x,y"') from error
    if (
        points.shape not in ((POINTS, 2), (POINTS + 2, 2)) or not (np.abs(points) < _LARGEST_VALUE).all()
    ):  # false for NaN
        raise DataError(
            f"{path}: {len(rows)} rows where 68 of x,y are expected", hint='68 rows "x,y", 70 with the irises'
        )
    return points


def write_landmarks(path: Path, points: FloatArray) -> None:
    """Writes (68 or 70, 2) so that `read_landmarks` gives them back to a hundredth of a pixel."""
    if not np.isfinite(points).all():  # irises that are unknown
        points = points[:POINTS]
    path.write_text("".join(f"{x:.2f},{y:.2f}\n" for x, y in points[:, :2]), encoding="utf-8")
