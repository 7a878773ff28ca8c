"""The samples that data sets yield: images, joints, landmarks or view codes, and what else is known.

Images stay bytes and joints stay points until they are on the training device (`training/batch.py`): a pair of
heat-map stacks is fifty times larger than its points. All samples are tuples of arrays, which torch collates unaided.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Image, Points


class Correspondence(NamedTuple):
    """The ground-truth flow from target to source on a coarse g x g grid, as far as it is known."""

    offset: Float32Array  # (2, g, g) x, y from target to source, as a fraction of the frame
    weight: Float32Array  # (1, g, g) how much the offset counts, in [0, 1]; 0 = unknown
    visible: Float32Array  # (1, g, g) 1 visible in the source, 0 hidden there, -1 not known


class ObjectGeometry(NamedTuple):
    """Where the surface of an object is, in halves of the frame, on a g x g grid; NaN where that is not known."""

    depth: Float32Array  # (2, g, g) of source and target: towards the camera, from the object's middle; -inf = none
    middle: Float32Array  # (2,) x, y of the object's middle in both images, -1 at the left and at the top


class PosePair(NamedTuple):
    """Two images of one person."""

    source_image: Image  # (H, W, 3) RGB
    target_image: Image  # (H, W, 3)
    # (18, 3 or 4) x, y, confidence (, depth from any origin, NaN = unknown) in pixels of the frame; missing = -1, -1, 0
    source_points: Points
    target_points: Points
    # (2, 18, 4) where the joints of source and target truly are, in the same columns; confidence 0 = not known
    true_points: Float32Array
    target_mask: Image  # (H, W) 255 on the person, 0 around; all 255 where no mask is known
    correspondence: Correspondence


class ViewPair(NamedTuple):
    """Two views of one object."""

    source_image: Image  # (H, W, 3) RGB on white
    target_image: Image  # (H, W, 3)
    source_code: Float32Array  # (21,) see conditioning/view_code.py
    target_code: Float32Array  # (21,)
    target_mask: Image  # (H, W) 255 on the object, 0 around; all 255 where no mask is known
    correspondence: Correspondence
    geometry: ObjectGeometry


class ClipSample(NamedTuple):
    """A reference image of a person, row 0, and F consecutive frames of the same person.

    J = 68 landmarks of a face, 70 with the irises (NaN = unknown), or 18 joints of a body.
    """

    images: Image  # (1 + F, H, W, 3) RGB
    points: Float32Array  # (1 + F, J, 2 or 3) x, y (, confidence) in pixels of the frame; missing = -1, -1, 0
    masks: Image  # (1 + F, H, W) 255 on the person; all 255 where no mask is known
    edges: BoolArray  # (1 + F, H, W) background edges of faces; (1 + F, 0, 0) where none are drawn
    to_previous: Correspondence  # (F, ...) of every frame with the one before it; of the first with the reference
    to_reference: Correspondence  # (F, ...) of every frame with the reference


def unknown_correspondence(grid: int = 1) -> Correspondence:
    """For images without ground truth: no offset counts, no visibility is known."""
    zero = np.zeros((1, grid, grid), np.float32)
    return Correspondence(np.zeros((2, grid, grid), np.float32), zero, zero - 1)


def unknown_geometry(grid: int = 1) -> ObjectGeometry:
    """For objects of which only images are known."""
    return ObjectGeometry(np.full((2, grid, grid), np.nan, np.float32), np.full(2, np.nan, np.float32))


def unknown_correspondences(frames: int) -> tuple[Correspondence, Correspondence]:
    """(to previous, to reference) for a clip of `frames` frames of which nothing is known."""
    nothing = Correspondence(*(np.stack([part] * frames) for part in unknown_correspondence()))
    return nothing, nothing


def unknown_joints() -> Float32Array:
    """(2, 18, 4) true joints of a pair of which only a detector's joints are known."""
    return np.zeros((2, 18, 4), np.float32)
