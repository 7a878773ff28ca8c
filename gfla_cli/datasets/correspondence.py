"""Exact correspondences between two rendered views of one character or object.

The renderer says for every pixel which point of the body or the clothes it shows, in the character's rest pose.
Two pixels of two views correspond when they show the same rest point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfla_cli.datasets.sample import Correspondence
from gfla_cli.errors import MissingExtraError

try:
    from scipy.spatial import cKDTree
except ImportError as error:
    raise MissingExtraError("correspondences of rendered pictures need scipy", "render") from error

_SAME_DM = 0.3  # rest points this close (3 cm) are the same point of the surface
_MIRRORED_DM = 0.5  # clothes and bodies are symmetric: the other side's colour, at this disadvantage
_GUESS_WEIGHT = 0.3  # a hidden point takes the nearest seen one; a good guess, not a fact
_BACKGROUND_WEIGHT = 0.2  # most of a picture is background, and most of that is plain

Float = NDArray[np.float32]


def correspond(source: Float, target: Float, grid: int, same: float = _SAME_DM, depth: float = 1.0) -> Correspondence:
    """Offsets from target to source on a grid x grid raster.

    `source` and `target` are square maps (n, n, 3) of rest positions in decimetres, NaN on the background; n is a
    multiple of `grid`. The background of both views is one picture, so it corresponds to itself wherever the
    source shows it. Rest points up to `same` apart count as one. For hidden points the nearest seen one is taken, with
    distances from front to back counting `depth` times: below 1, a back comes from the chest, not from the outline.
    """
    n = len(target)
    source_xy = _pixel_centres(n)
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


def _pixel_centres(n: int) -> Float:
    """(n, n, 2): x, y of every pixel's centre as a fraction of the frame."""
    centre = (np.arange(n, dtype=np.float32) + 0.5) / n
    return np.stack(np.meshgrid(centre, centre), axis=-1)


def _nearest(points: Float, places: Float, wanted: Float, same: float, depth: float) -> tuple[Float, NDArray[np.bool_]]:
    """For every wanted rest point: the place in the source that shows it, or shows what is nearest to it."""
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
