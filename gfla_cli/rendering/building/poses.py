"""The pose library of the pack: motion capture, MakeHuman's static poses, poses as in a catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.rendering.building.catalogue import STATIC_POSES, pose
from gfla_cli.rendering.building.catalogue_poses import CATALOGUE_POSES, catalogue_pose
from gfla_cli.rendering.building.figure import Figure
from gfla_cli.rendering.building.files import MakeHumanFiles
from gfla_cli.rendering.building.mocap import Motion, distinct, motions, read_mocap
from gfla_cli.rendering.building.solver import PoseSolver, posed_bones
from gfla_cli.rendering.building.static_poses import read_bvh, reduced_pose

_MOCAP, _STATIC, _CATALOGUE = 0, 1, 2  # values of clip_group
_FPS = 15


def pose_arrays(files: MakeHumanFiles, figure: Figure, mocap: Path | None) -> dict[str, NDArray[Any]]:
    """What poses.npz holds. mocap: see the module of that name; None = still poses only."""
    solver, bones = PoseSolver.of(figure), posed_bones(figure)
    clips = list(motions(read_mocap(mocap), figure, solver)) if mocap else []
    still = {f"mh_{name}": reduced_pose(read_bvh(files.path(pose(name))), figure.rig, bones) for name in STATIC_POSES}
    still |= {name: catalogue_pose(made, solver) for name, made in CATALOGUE_POSES.items()}

    moving = sum(len(clip.pose) for clip in clips)
    length = np.array([len(clip.pose) for clip in clips] + [1] * len(still), np.int32)
    group = [_MOCAP] * len(clips) + [_STATIC] * len(STATIC_POSES) + [_CATALOGUE] * len(CATALOGUE_POSES)
    return {
        "bone_name": np.array(bones),
        "pose": np.concatenate([*(clip.pose for clip in clips), np.stack(list(still.values()))]).astype(np.float16),
        "root_yaw": np.concatenate([*(clip.heading for clip in clips), np.zeros(len(still))]).astype(np.float32),
        "clip_start": (np.cumsum(length) - length).astype(np.int32),
        "clip_length": length,
        "clip_name": np.array([clip.name for clip in clips] + list(still)),
        "clip_group": np.array(group, np.int8),
        "fps": np.array(_FPS, np.float32),
        "unique": np.concatenate([_distinct(clips), moving + np.arange(len(still))]).astype(np.int32),
    }


def _distinct(clips: list[Motion]) -> NDArray[np.int64]:
    return distinct(np.concatenate([clip.direction for clip in clips])) if clips else np.zeros(0, np.int64)
