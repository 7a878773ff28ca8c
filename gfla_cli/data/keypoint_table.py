"""The keypoints of a set's pictures by their names, for whoever has pictures but no pairs."""

from __future__ import annotations

from pathlib import Path, PurePath

from gfla_cli.data.deepfashion import LAYOUTS, read_annotations
from gfla_cli.landmarks.pose import Pose


def read_poses(table: Path, layout: str) -> dict[str, Pose]:
    """Name without suffix -> pose, from name:keypoints_y:keypoints_x rows in the frame of that layout.

    Raises DataError that names the line of what is wrong.
    """
    frame = LAYOUTS[layout].frame
    return {PurePath(name).stem: Pose(points, frame) for name, points in read_annotations(table).items()}
