"""The pose map (the paper's "structure") that a model takes: heat maps of joints, nearness maps, a drawn skeleton.

`structure_of` gives the map of any model; that of faces is in `face_map.py`. Loads torch for batches only.

Pose transfer takes a heat map (a Gaussian) per joint and, for models with depth, a nearness map per joint: the heat map
times how near the joint is to the camera. Nearness is positive where the depth is known, because the networks' first
activation keeps only a tenth of negative values. It is 0 where it is not known.

Both have two forms of one definition: numpy for a single image, and torch for batches on the training device.

Body animation takes 20 channels:

    channels 0..16    a heat map of every joint
    channels 17..19   red, green and blue, in [0, 1], of the skeleton's limbs on black

The 17 joints are OpenPose's 18 without the neck, in their order, which are the joints of COCO. The neck is only the
middle of the shoulders. The drawing still has the limbs that end at the neck, if it or both shoulders are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Image, Points
from gfla_cli.conditioning.face_map import face_structure
from gfla_cli.config import ModelConfig
from gfla_cli.person.drawing import LIMB_COLOURS, SUBPIXEL, fixed_points
from gfla_cli.person.pose import LIMBS

if TYPE_CHECKING:
    from torch import Tensor

JOINTS, _NECK = 18, 1
MIDDLE = 0.5  # nearness of the neck; 0 and 1 are half a frame's height behind it and in front of it
_FARTHEST = 1 / 16  # 0 is unknown
CHANNELS = 20  # of the pose map of body animation
JOINTS_OF_MAPS = (0, *range(2, 18))
_SHOULDERS = (2, 5)
_THICKNESS = 1 / 64  # of the frame's height
_LEAST = 1e-9  # smaller values are 0: products of them would be denormal numbers, which are a hundred times slower


def structure_of(
    config: ModelConfig,
    points: Points,
    size: tuple[int, int],
    edges: BoolArray | None = None,
    *,
    out: Float32Array | None = None,
) -> Float32Array:
    """(S, H, W) the map of the landmarks or joints `points` in pixels of the H x W frame `size`.

    `edges` (H, W): of the background, for a face. `out`: zeros to draw into, for a pose model. The dots of joints grow
    with the frame.
    """
    if config.task == "face":
        return face_structure(points[:, :2], size, edges, config.structure_channels)
    sigma = config.heatmap_sigma * size[0] / config.image_size[0]
    if config.task == "body":
        return body_structure(points, size, sigma)
    return (joint_maps if config.has_depth else heatmaps)(points, size, sigma, out=out)


def heatmaps(
    points: Points, size: tuple[int, int], sigma: float = 6.0, *, out: Float32Array | None = None
) -> Float32Array:
    """(J, H, W) float32 in [0, 1] from (J, >=2) points x, y in pixels of the H x W frame; missing = negative.

    `sigma` is in pixels. Centres are truncated to whole pixels, as in the released models' training data. `out`: zeros
    of the result's shape, to draw into.
    """
    maps = np.zeros((len(points), *size), np.float32) if out is None else out
    for joint, (rows, columns, values) in enumerate(_spots(np.trunc(points[:, :2]), points, size, sigma)):
        maps[joint, rows, columns] = values
    return maps


def _spots(
    centre: Points, points: Points, size: tuple[int, int], sigma: float
) -> Iterator[tuple[slice, slice, Float32Array]]:
    """The part of each heat map that is not zero: its rows, its columns and its values."""
    height, width = size
    present = (points[:, 0] >= 0) & (points[:, 1] >= 0)
    x = np.exp(-((np.arange(width) - centre[:, :1]) ** 2) / (2 * sigma**2))  # (J, W)
    y = np.exp(-((np.arange(height) - centre[:, 1:2]) ** 2) / (2 * sigma**2))  # (J, H)
    x, y = (np.where((values >= _LEAST) & present[:, None], values, 0).astype(np.float32) for values in (x, y))
    for across, down in zip(x, y, strict=True):
        columns, rows = (_extent(values) for values in (across, down))
        yield rows, columns, down[rows, None] * across[None, columns]


def _extent(values: Float32Array) -> slice:
    """From the first to the last value that is not zero."""
    found = np.flatnonzero(values)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0)


def heatmap_batch(points: Tensor, size: tuple[int, int], sigma: float = 6.0, *, whole_pixels: bool = True) -> Tensor:
    """(B, J, H, W) float32 in [0, 1] from (B, J, >=2) points, on their device; otherwise as `heatmaps`.

    Without `whole_pixels` centres are not truncated.
    """
    import torch
    import torch.nn.functional as F

    height, width = size
    x, y = points[..., 0, None].float(), points[..., 1, None].float()  # (B, J, 1)
    present = ((x >= 0) & (y >= 0)).float()
    if whole_pixels:
        x, y = x.trunc(), y.trunc()
    across = torch.exp(-((torch.arange(width, device=points.device) - x) ** 2) / (2 * sigma**2))
    down = torch.exp(-((torch.arange(height, device=points.device) - y) ** 2) / (2 * sigma**2))
    across, down = (F.threshold(values, _LEAST, 0) for values in (across, down))
    return (down * present)[..., :, None] * across[..., None, :]


def joint_maps(points: Points, size: tuple[int, int], sigma: float, *, out: Float32Array | None = None) -> Float32Array:
    """(36, H, W) float32 in [0, 1]: 18 heat maps, then 18 nearness maps.

    `points` are (18, 4) x, y, confidence, depth in pixels of the H x W frame, or (18, 3) without depths. Depths grow
    away from the camera, from any origin; NaN = unknown. Centres are not truncated, as flow priors are computed from
    them. `out`: as for `heatmaps`.
    """
    depth = points[:, 3] if points.shape[1] > 3 else np.full(len(points), np.nan, np.float32)
    near = np.nan_to_num(np.clip(MIDDLE - (depth - depth[_NECK]) / size[0], _FARTHEST, 1)).astype(np.float32)
    maps = np.zeros((2 * len(points), *size), np.float32) if out is None else out
    for joint, (rows, columns, values) in enumerate(_spots(points[:, :2], points, size, sigma)):
        maps[joint, rows, columns] = values
        maps[len(points) + joint, rows, columns] = values * near[joint]
    return maps


def joint_map_batch(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """(B, 36, H, W) from (B, 18, 3 or 4) points, on their device; otherwise as `joint_maps`."""
    import torch

    maps = heatmap_batch(points, size, sigma, whole_pixels=False)
    if points.shape[-1] == 3:
        return torch.cat([maps, torch.zeros_like(maps)], dim=1)
    depth = points[..., 3].float()
    near = (MIDDLE - (depth - depth[:, _NECK, None]) / size[0]).clamp(_FARTHEST, 1).nan_to_num()
    return torch.cat([maps, maps * near[..., None, None]], dim=1)


def body_structure(points: Points, size: tuple[int, int], sigma: float = 6.0) -> Float32Array:
    """(20, H, W) float32 in [0, 1] from (18, >=2) points in pixels of the H x W frame; missing = negative."""
    structure = np.empty((CHANNELS, *size), np.float32)
    structure[:17] = heatmaps(points[list(JOINTS_OF_MAPS)], size, sigma)
    structure[17:] = skeleton(points, size).transpose(2, 0, 1) / np.float32(255)
    return structure


def skeleton(points: Points, size: tuple[int, int]) -> Image:
    """(H, W, 3) uint8: the limbs whose ends (18, >=2) are present, each in a colour of its own, on black."""
    places = points[:, :2].astype(np.float64)
    present = np.asarray((places >= 0).all(axis=1), np.bool_)
    if not present[_NECK] and present[list(_SHOULDERS)].all():
        places[_NECK], present[_NECK] = places[list(_SHOULDERS)].mean(axis=0), True
    canvas: Image = np.zeros((*size, 3), np.uint8)
    thickness = max(1, round(_THICKNESS * size[0]))
    fixed = fixed_points(places).tolist()
    for (start, end), colour in zip(LIMBS, LIMB_COLOURS, strict=True):
        if present[start] and present[end]:
            cv2.line(canvas, fixed[start], fixed[end], colour, thickness, cv2.LINE_AA, SUBPIXEL)
    return canvas
