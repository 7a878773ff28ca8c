"""The pose library of the pack: motion capture of the CMU database on MakeHuman's skeleton, and still poses.

A file of motion capture has one array per clip: (frames, 117), 30 frames per second. A row is the position of the hips,
and the rotations of 38 joints relative to their parents as exponential maps (radians).

Users of the database must cite it: "The data used in this project was obtained from mocap.cs.cmu.edu. The database
was created with funding from NSF EIA-0196217."
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float64Array, Int64Array, read_npz
from gfla_cli.errors import DataError
from gfla_cli.synth.makehuman.figure import Figure
from gfla_cli.synth.makehuman.files import STATIC_POSES, MakeHumanFiles, bvh
from gfla_cli.synth.makehuman.poses import (
    CATALOGUE_POSES,
    PoseSolver,
    catalogue_pose,
    orthonormal_frame,
    posed_bones,
    read_bvh,
    reduced_pose,
    unit,
)
from gfla_cli.synth.people.body import CATALOGUE_POSE, MOCAP_CLIP, STATIC_POSE
from gfla_cli.synth.renderer.camera import rotation_matrix

_FPS = 15
_COLUMNS = 117
_HINT = "--mocap FILE is an .npz with one array (frames, 117) per clip: CMU exponential maps at 30 frames per second"
_STEP = 2  # every second frame of 30 per second is kept
_MIN_FRAMES, _MAX_FRAMES = 16, 400  # of a clip
_WALKING, _KEPT_OF_WALKING = "walking_extra", 3  # most clips are walks: every third one is kept
_MIN_DIFFERENCE = 0.36  # distance of the limbs' directions between two different poses
_COMPARED = 40  # last distinct poses that a new one is compared with

_PARENT = (  # of the 38 joints; -1 = the hips
    *(-1, 0, 1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11),
    *(0, 13, 14, 15, 16, 17, 18, 15, 20, 21, 22, 23, 24, 25, 23, 27, 15, 29, 30, 31, 32, 33, 34, 32, 36),
)
_BONE = {  # joint -> offset from its parent, in units of the captured skeleton; all other offsets are zero
    2: (1.65674, -1.80282, 0.62477), 3: (2.5972, -7.13576, 0), 4: (2.49236, -6.8477, 0),
    5: (0.19704, -0.54136, 2.14581), 6: (0, 0, 1.11249), 8: (-1.6107, -1.80282, 0.62476), 9: (-2.59502, -7.12977, 0),
    10: (-2.4678, -6.78024, 0), 11: (-0.23024, -0.63258, 2.13368), 12: (0, 0, 1.11569),
    14: (0.01961, 2.0545, -0.14112), 15: (0.01021, 2.06436, -0.05921), 17: (0.00713, 1.56711, 0.14968),
    18: (0.03429, 1.56041, -0.10006), 19: (0.01305, 1.6256, -0.05265), 21: (3.54205, 0.90436, -0.17364),
    22: (4.86513, 0, 0), 23: (3.35554, 0, 0), 25: (0.66117, 0, 0), 26: (0.53306, 0, 0), 28: (0.5412, 0, 0.5412),
    30: (-3.49802, 0.75994, -0.32616), 31: (-5.02649, 0, 0), 32: (-3.36431, 0, 0), 34: (-0.73041, 0, 0),
    35: (-0.58887, 0, 0), 37: (-0.59786, 0, 0.59786),
}  # fmt: skip
_JOINTS = {  # of either side: hip, knee, ankle, toes, shoulder, elbow, wrist
    ".L": (2, 3, 4, 5, 21, 22, 23),
    ".R": (8, 9, 10, 11, 30, 31, 32),
}
_LIMBS = {"upperleg01": 0, "lowerleg01": 1, "foot": 2, "upperarm01": 4, "lowerarm01": 5}  # bone -> its place in _JOINTS
_HIPS, _SPINE, _CHEST, _NECK, _HEAD = 0, 14, 15, 16, 18
_HEAD_SHARE = 0.6  # of the neck's direction; the rest is the chest's, as captured heads nod too much


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """A clip of F frames on MakeHuman's skeleton, 15 frames per second."""

    name: str
    pose: Float64Array  # (F,P,3) local axis-angle, radians, without the heading
    heading: Float64Array  # (F,) radians
    direction: Float64Array  # (F,30) unit directions of ten limbs, to compare poses


def read_mocap(path: Path) -> dict[str, Float64Array]:
    """The clips of a file by name, (F,117) each. Raises DataError for other files."""
    try:
        clips = {name: np.asarray(clip, np.float64) for name, clip in read_npz(path).items()}
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"{path}: no motion capture ({error})", hint=_HINT) from error
    for name, clip in clips.items():
        if clip.ndim != 2 or clip.shape[1] != _COLUMNS or not np.isfinite(clip).all():
            raise DataError(f"{path}: {name} of shape {clip.shape} is no clip of exponential maps", hint=_HINT)
    return clips


def motions(clips: dict[str, Float64Array], figure: Figure, solver: PoseSolver) -> Iterator[Motion]:
    """The clips that are long enough, on MakeHuman's skeleton."""
    joint = figure.joint
    hips = orthonormal_frame(joint("upperleg01.L") - joint("upperleg01.R"), joint("spine01") - joint("root"))
    chest = orthonormal_frame(joint("upperarm01.L") - joint("upperarm01.R"), joint("neck01") - joint("spine03"))
    walks = 0
    for name, clip in clips.items():
        walks += _WALKING in name
        if _WALKING in name and walks % _KEPT_OF_WALKING:
            continue
        frames = clip[::_STEP][:_MAX_FRAMES]
        if len(frames) >= _MIN_FRAMES:
            posed = (_retargeted(at, solver, hips, chest) for at in joint_positions(frames))
            pose, heading, direction = zip(*posed, strict=True)
            yield Motion(name.rsplit("__", 1)[-1], np.stack(pose), np.array(heading), np.stack(direction))


def joint_positions(clip: Float64Array) -> Float64Array:
    """Exponential maps (F,117) -> joints (F,38,3) around the hips, y up."""
    local = rotation_matrix(clip[:, 3:].reshape(len(clip), -1, 3))  # (F,38,3,3), for rows: x @ R
    world, position = np.empty_like(local), np.zeros((len(clip), len(_PARENT), 3))
    for joint, parent in enumerate(_PARENT):
        if parent < 0:
            world[:, joint] = local[:, joint]
        else:
            bone = np.array(_BONE.get(joint, (0, 0, 0)))
            position[:, joint] = bone @ world[:, parent] + position[:, parent]
            world[:, joint] = local[:, joint] @ world[:, parent]
    return position


def _retargeted(
    at: Float64Array, solver: PoseSolver, rest_hips: Float64Array, rest_chest: Float64Array
) -> tuple[Float64Array, float, Float64Array]:
    """Joints (38,3) -> pose (P,3), heading, and the directions of the limbs in one vector (30,).

    The directions of the limbs are kept. rest_hips, rest_chest: frames (3,3) of the other skeleton at rest.
    """
    left, right = _JOINTS[".L"], _JOINTS[".R"]
    root = orthonormal_frame(at[left[0]] - at[right[0]], at[_CHEST] - at[_HIPS]) @ rest_hips.T
    chest = orthonormal_frame(at[left[4]] - at[right[4]], at[_NECK] - at[_SPINE]) @ rest_chest.T
    heading = float(np.arctan2(root[0, 2], root[2, 2]))
    ahead = rotation_matrix([0, -heading, 0])
    root, chest = ahead @ root, ahead @ chest
    limbs: dict[str, Float64Array] = {}
    for side, joints in _JOINTS.items():
        for bone, first in _LIMBS.items():
            limbs[bone + side] = ahead @ (at[joints[first + 1]] - at[joints[first]])
    neck = _HEAD_SHARE * unit(ahead @ (at[_HEAD] - at[_NECK])) + (1 - _HEAD_SHARE) * unit(chest[:, 1])
    pose = solver.solve(limbs, root=root, chest=chest, neck=neck)
    return pose, heading, np.concatenate([unit(limb) for limb in limbs.values()])


def distinct(direction: Float64Array) -> Int64Array:
    """The frames whose poses differ from the last distinct ones. direction: (N,30)."""
    taken: list[int] = []
    for frame, limbs in enumerate(direction):
        if np.all(np.linalg.norm(direction[taken[-_COMPARED:]] - limbs, axis=1) > _MIN_DIFFERENCE):
            taken.append(frame)
    return np.array(taken, np.int64)


def pose_arrays(files: MakeHumanFiles, figure: Figure, mocap: Path | None) -> dict[str, NDArray[Any]]:
    """The arrays of poses.npz. mocap: a file of motion capture; None = still poses only."""
    solver, bones = PoseSolver.of(figure), posed_bones(figure)
    clips = list(motions(read_mocap(mocap), figure, solver)) if mocap else []
    still = {f"mh_{name}": reduced_pose(read_bvh(files.path(bvh(name))), figure.rig, bones) for name in STATIC_POSES}
    still |= {name: catalogue_pose(made, solver) for name, made in CATALOGUE_POSES.items()}

    moving = sum(len(clip.pose) for clip in clips)
    moving_rows = distinct(np.concatenate([clip.direction for clip in clips])) if clips else np.zeros(0, np.int64)
    length = np.array([len(clip.pose) for clip in clips] + [1] * len(still), np.int32)
    group = [MOCAP_CLIP] * len(clips) + [STATIC_POSE] * len(STATIC_POSES) + [CATALOGUE_POSE] * len(CATALOGUE_POSES)
    return {
        "bone_name": np.array(bones),
        "pose": np.concatenate([*(clip.pose for clip in clips), np.stack(list(still.values()))]).astype(np.float16),
        "root_yaw": np.concatenate([*(clip.heading for clip in clips), np.zeros(len(still))]).astype(np.float32),
        "clip_start": (np.cumsum(length) - length).astype(np.int32),
        "clip_length": length,
        "clip_name": np.array([clip.name for clip in clips] + list(still)),
        "clip_group": np.array(group, np.int8),
        "fps": np.array(_FPS, np.float32),
        "unique": np.concatenate([moving_rows, moving + np.arange(len(still))]).astype(np.int32),
    }
