"""What a pose data set yields, whatever it is made of: two pictures of a person, their joints, and what else is known.

Everything stays in bytes and points until it is on the training device (`training/batch.py`): a pair of heat-map
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
    source_points: NDArray[np.float32]  # (18, 3) x, y, confidence in pixels of the frame; missing = -1, -1, 0
    target_points: NDArray[np.float32]  # (18, 3)
    target_mask: NDArray[np.uint8]  # (H, W) 255 on the person, 0 around; all 255 where no mask is known
    correspondence: Correspondence


def unknown_correspondence(grid: int = 1) -> Correspondence:
    """For pictures that come without any: nothing counts, nothing is known."""
    zero = np.zeros((1, grid, grid), np.float32)
    return Correspondence(np.zeros((2, grid, grid), np.float32), zero, zero - 1)
