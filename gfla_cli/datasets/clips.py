"""Rendered clips on disk, and how their frames are cut, mirrored and put into correspondence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.datasets.correspondence import correspond
from gfla_cli.datasets.render_cache import AlbumFiles
from gfla_cli.datasets.sample import Correspondence, unknown_correspondence
from gfla_cli.person.framing import Frame

_MIRRORED = np.array([-1, 1, 1], np.float32)  # a rest position on the other side of the body


@dataclass(frozen=True, slots=True)
class ClipFrames:
    """N square frames of one person before one camera. J points each."""

    images: NDArray[np.uint8]  # (N, s, s, 3) RGB
    masks: NDArray[np.uint8]  # (N, s, s) 255 on the person
    points: NDArray[np.float32]  # (N, J, 2 or 3) pixels
    surfaces: NDArray[np.float32]  # (N, m, m, 3) which point of the person is seen, NaN on the background

    def cut(self, frame: Frame, grid: int) -> ClipFrames:
        """The frame's part of every picture, at the frame's size; surfaces on a raster of 2 * grid."""
        side = self.images.shape[1]
        left, top, right, bottom = (round(edge) for edge in frame.box)
        centres = _centres(2 * grid)
        places = [(start + (stop - start) * centres) / side for start, stop in ((left, right), (top, bottom))]
        columns, rows = ((place * self.surfaces.shape[1]).astype(np.intp) for place in places)
        last = self.surfaces.shape[1] - 1
        points = self.points.copy()
        across, down = frame.size[1] / (right - left), frame.size[0] / (bottom - top)
        # Pixel centres are whole numbers here: the centre of the first pixel stays the centre of the first.
        points[..., 0] = (points[..., 0] + 0.5 - left) * across - 0.5
        points[..., 1] = (points[..., 1] + 0.5 - top) * down - 0.5
        return ClipFrames(
            images=np.stack([frame.crop(image) for image in self.images]),
            masks=np.stack([frame.crop(mask) for mask in self.masks]),
            points=points,
            surfaces=self.surfaces[:, rows.clip(0, last)][:, :, columns.clip(0, last)],
        )

    def mirrored(self, order: Sequence[int]) -> ClipFrames:
        """The clip in a mirror; `order` says which point of this clip each point of the mirrored one is."""
        points = self.points[:, list(order)]
        present = points[..., 0] >= 0 if points.shape[-1] == 3 else np.ones(points.shape[:2], np.bool_)
        points[..., 0] = np.where(present, self.images.shape[2] - 1 - points[..., 0], points[..., 0])
        return ClipFrames(
            images=np.ascontiguousarray(self.images[:, :, ::-1]),
            masks=np.ascontiguousarray(self.masks[:, :, ::-1]),
            points=points,
            surfaces=self.surfaces[:, :, ::-1] * _MIRRORED,
        )


def read_clip(files: AlbumFiles, clip: int, views: Sequence[int]) -> ClipFrames:
    """The views of one album, in this order; rendered now if it was not before."""
    pictures, rows = zip(*(files.read(clip, view) for view in views), strict=True)
    return ClipFrames(
        images=np.stack([picture.image for picture in pictures]),
        masks=np.stack([picture.mask for picture in pictures]),
        points=np.stack([row["points"] for row in rows]).astype(np.float32),
        surfaces=np.stack([picture.surface for picture in pictures]),
    )


def moments(filmed: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """`wanted` of a clip's frames at an even pace from anywhere on, forwards or backwards.

    Neighbours at one pace differ too little to learn a large motion from, those at another too much to learn a calm
    one; so the pace is anything from frame after frame to the fastest that the clip is long enough for.
    """
    fastest = max(1, (filmed - 1) // max(1, wanted - 1))
    pace = int(rng.integers(1, fastest + 1))
    first = int(rng.integers(filmed - pace * (wanted - 1)))
    numbers = [first + pace * k for k in range(wanted)]
    return numbers if rng.random() < 0.5 else numbers[::-1]


def resized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square picture at another size."""
    if picture.shape[0] == side:
        return picture
    method = cv2.INTER_AREA if picture.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (side, side), interpolation=method), np.uint8)


def clip_correspondences(
    surfaces: NDArray[np.float32], grid: int, same: float
) -> tuple[Correspondence, Correspondence]:
    """Of frames 1.. with the one before each, and with frame 0, stacked; frame 0 is the reference of the clip.

    The frame before the first one is the reference, as when the clip is generated. `same` is in decimetres.
    """
    to_reference = [correspond(surfaces[0], target, grid, same) for target in surfaces[1:]]
    pairs = pairwise(surfaces[1:])
    to_previous = [to_reference[0], *(correspond(before, target, grid, same) for before, target in pairs)]
    return stacked(to_previous), stacked(to_reference)


def unknown_correspondences(frames: int) -> tuple[Correspondence, Correspondence]:
    """The same for a clip that nobody rendered."""
    nothing = stacked([unknown_correspondence()] * frames)
    return nothing, nothing


def stacked(known: Sequence[Correspondence]) -> Correspondence:
    """Several correspondences as one with a leading axis."""
    offset, weight, visible = (np.stack(parts) for parts in zip(*known, strict=True))
    return Correspondence(offset, weight, visible)


def _centres(count: int) -> NDArray[np.float64]:
    return np.asarray((np.arange(count) + 0.5) / count)
