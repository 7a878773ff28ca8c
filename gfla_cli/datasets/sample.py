"""What a data set yields, whatever it is made of: two pictures, their joints or views, and what else is known.

Everything stays in bytes and points until it is on the training device (`datasets/batch.py`): a pair of heat-map
stacks is fifty times larger than the points it comes from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Correspondence(NamedTuple):
    """Where each point of the target is in the source, on a coarse g x g grid; as far as it is known."""

    offset: NDArray[np.float32]  # (2, g, g) x, y from target to source, as a fraction of the frame
    weight: NDArray[np.float32]  # (1, g, g) how much the offset counts; 0 = unknown
    visible: NDArray[np.float32]  # (1, g, g) 1 seen in the source, 0 hidden there, -1 not known


class PosePair(NamedTuple):
    """Source and target of one training step. A tuple of arrays, which torch collates unaided."""

    source_image: NDArray[np.uint8]  # (H, W, 3) RGB
    target_image: NDArray[np.uint8]  # (H, W, 3)
    # (18, 3 or 4) x, y, confidence (, depth from anywhere, NaN = not known) in pixels of the frame; missing = -1, -1, 0
    source_points: NDArray[np.float32]
    target_points: NDArray[np.float32]
    # (2, 18, 4) where the joints of source and target truly are, in the same columns; confidence 0 = not known
    true_points: NDArray[np.float32]
    target_mask: NDArray[np.uint8]  # (H, W) 255 on the person, 0 around; all 255 where no mask is known
    correspondence: Correspondence


class ViewPair(NamedTuple):
    """Two views of one object. A tuple of arrays, which torch collates unaided."""

    source_image: NDArray[np.uint8]  # (H, W, 3) RGB on white
    target_image: NDArray[np.uint8]  # (H, W, 3)
    source_code: NDArray[np.float32]  # (21,) see conditioning/view_code.py
    target_code: NDArray[np.float32]  # (21,)
    target_mask: NDArray[np.uint8]  # (H, W) 255 on the object, 0 around; all 255 where no mask is known
    correspondence: Correspondence


class ClipSample(NamedTuple):
    """A reference picture of somebody and consecutive frames of the same. A tuple of arrays, which torch collates.

    F frames; row 0 of the pictures is the reference. J = 68 landmarks of a face or 18 joints of a body.
    """

    images: NDArray[np.uint8]  # (1 + F, H, W, 3) RGB
    points: NDArray[np.float32]  # (1 + F, J, 2 or 3) x, y (, confidence) in pixels of the frame; missing = -1, -1, 0
    masks: NDArray[np.uint8]  # (1 + F, H, W) 255 on the person; all 255 where no mask is known
    edges: NDArray[np.bool_]  # (1 + F, H, W) background edges of faces; (1 + F, 0, 0) where none are drawn
    to_previous: Correspondence  # (F, ...) of every frame with the one before it; of the first with the reference
    to_reference: Correspondence  # (F, ...) of every frame with the reference


def unknown_correspondence(grid: int = 1) -> Correspondence:
    """For pictures that come without any: nothing counts, nothing is known."""
    zero = np.zeros((1, grid, grid), np.float32)
    return Correspondence(np.zeros((2, grid, grid), np.float32), zero, zero - 1)


def unknown_correspondences(frames: int) -> tuple[Correspondence, Correspondence]:
    """(to previous, to reference) for a clip of `frames` frames of which nothing is known."""
    nothing = Correspondence(*(np.stack([part] * frames) for part in unknown_correspondence()))
    return nothing, nothing


def unknown_joints() -> NDArray[np.float32]:
    """(2, 18, 4) true joints of a pair whose joints only a detector knows."""
    return np.zeros((2, 18, 4), np.float32)
