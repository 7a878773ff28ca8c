"""Ground-truth correspondences between two rendered views of one character or object.

For every pixel the renderer gives the point of the body or the clothes that it shows, in the character's rest pose.
Two pixels of two views correspond when they show the same rest point.
"""

from __future__ import annotations

import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array
from gfla_cli.datasets.sample import Correspondence
from gfla_cli.errors import MissingExtraError

try:
    from scipy.spatial import cKDTree
except ImportError as error:
    raise MissingExtraError("correspondences of rendered images need scipy", "render") from error

_SAME_DM = 0.3  # rest points this close (3 cm) are one point of the surface
_MIRRORED_DM = 0.5  # the other side has the same colour, but must be this much nearer
_GUESS_WEIGHT = 0.3  # of a hidden point, whose offset leads to the nearest visible one
_BACKGROUND_WEIGHT = 0.2  # most of an image is background, and most of that is plain


def correspond(
    source: Float32Array, target: Float32Array, grid: int, same: float = _SAME_DM, depth: float = 1.0
) -> Correspondence:
    """Offsets from target to source on a grid x grid raster.

    `source` and `target` are square maps (n, n, 3) of rest positions in decimetres, NaN on the background; n is a
    multiple of `grid`. Both views have the same background, so it corresponds to itself where the source shows it.
    Rest points up to `same` apart count as one. A hidden point takes the nearest visible one. Distances from front to
    back then count `depth` times: below 1, a back takes its colour from the chest and not from the outline.
    """
    n = len(target)
    centre = (np.arange(n, dtype=np.float32) + 0.5) / n
    source_xy: Float32Array = np.stack(np.meshgrid(centre, centre), axis=-1)  # of pixels, as shares of the frame
    wanted = target[n // grid // 2 :: n // grid, n // grid // 2 :: n // grid]
    wanted_xy = source_xy[n // grid // 2 :: n // grid, n // grid // 2 :: n // grid]
    body, source_body = ~np.isnan(wanted[..., 0]), ~np.isnan(source[..., 0])

    offset = np.zeros((grid, grid, 2), np.float32)
    weight = np.zeros((grid, grid), np.float32)
    visible = np.full((grid, grid), -1, np.float32)
    if body.any() and source_body.any():
        place, seen = _nearest(source[source_body], source_xy[source_body], wanted[body], same, depth)
        offset[body] = place - wanted_xy[body]
        weight[body] = np.where(seen, 1, _GUESS_WEIGHT)
        visible[body] = np.where(seen, 1, -1)

    open_background = ~body & ~source_body[n // grid // 2 :: n // grid, n // grid // 2 :: n // grid]
    weight[open_background] = _BACKGROUND_WEIGHT
    visible[~body] = open_background[~body]
    return Correspondence(offset.transpose(2, 0, 1).copy(), weight[None], visible[None])


def _nearest(
    points: Float32Array, places: Float32Array, wanted: Float32Array, same: float, depth: float
) -> tuple[Float32Array, BoolArray]:
    """Of every wanted rest point (N, 3): its place (N, 2) in the source, or its nearest one's, and if it is visible."""
    tree = cKDTree(points)
    distance, index = tree.query(wanted)
    seen = distance < same
    hidden, own, nearest = wanted[~seen], distance[~seen], index[~seen]
    if depth != 1:
        flattened = np.array([1, 1, depth], np.float32)
        tree, hidden = cKDTree(points * flattened), hidden * flattened
        own, nearest = tree.query(hidden)
    mirrored, opposite = tree.query(hidden * np.array([-1, 1, 1], np.float32))
    index[~seen] = np.where(mirrored + _MIRRORED_DM < own, opposite, nearest)
    return places[index], seen
