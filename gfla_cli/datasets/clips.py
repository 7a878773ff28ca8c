"""Rendered clips on disk, and how their frames are cut, mirrored and put into correspondence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.datasets.correspondence import correspond
from gfla_cli.datasets.render_cache import AlbumFiles, StoredPicture
from gfla_cli.datasets.sample import Correspondence, unknown_correspondence
from gfla_cli.geometry.crop import Crop
from gfla_cli.person.pose import MISSING


@dataclass(frozen=True, slots=True)
class ClipFrames:
    """N square frames of one person before one camera. J points each."""

    images: NDArray[np.uint8]  # (N, s, s, 3) RGB
    masks: NDArray[np.uint8]  # (N, s, s) 255 on the person
    points: NDArray[np.float32]  # (N, 68, 2) landmarks, or (N, 18, 3) joints with a confidence
    surfaces: NDArray[np.float32]  # (N, m, m, 3) which point of the person is seen, NaN on the background

    def cropped(self, crop: Crop, order: Sequence[int] = ()) -> ClipFrames:
        """The same part of every frame. `order`: which point of this clip each point of a mirrored clip is."""
        views = zip(self.images, self.masks, self.surfaces, strict=True)
        pictures = [StoredPicture(*view).cropped(crop) for view in views]
        points = crop.points(self.points[:, list(order)] if crop.flip else self.points)
        if points.shape[-1] == 3:
            points[points[..., 2] <= 0] = MISSING
        images, masks, surfaces = (np.stack(stack) for stack in zip(*pictures, strict=True))
        return ClipFrames(images=images, masks=masks, points=points, surfaces=surfaces)


def read_clip(
    files: AlbumFiles,
    clip: int,
    views: Sequence[int],
    points: Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]] = lambda row: row["points"],
) -> ClipFrames:
    """The views of one album, in this order; rendered now if it was not before. `points` finds them in its rows."""
    pictures, rows = zip(*(files.read(clip, view) for view in views), strict=True)
    return ClipFrames(
        images=np.stack([picture.image for picture in pictures]),
        masks=np.stack([picture.mask for picture in pictures]),
        points=np.stack([points(row) for row in rows]).astype(np.float32),
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
