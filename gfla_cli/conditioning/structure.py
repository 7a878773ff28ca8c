"""The pose map (the paper's "structure") that a model takes, for one image. Imports no torch."""

from __future__ import annotations

from gfla_cli.arrays import BoolArray, Float32Array, Points
from gfla_cli.conditioning.face_map import face_structure
from gfla_cli.conditioning.heatmap import body_structure, heatmaps, joint_maps
from gfla_cli.config import ModelConfig


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
