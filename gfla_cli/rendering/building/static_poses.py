"""MakeHuman's static poses: .bvh files of one frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.rendering import rotations
from gfla_cli.rendering.building.files import explained
from gfla_cli.rendering.building.rig import Rig

_UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # in these files z is up, and the person faces -y


def read_bvh(path: Path) -> dict[str, Float64Array]:
    """The local rotations (3,3) of all bones in the first frame, y up."""
    with explained(path, "a BVH pose"):
        hierarchy, motion = path.read_text(encoding="utf-8", errors="replace").split("MOTION")
        values = [float(word) for word in motion.split("Time:")[1].split()[1:]]
        rotation = {}
        name, first = "", 0
        for words in map(str.split, hierarchy.splitlines()):
            if words and words[0] in ("ROOT", "JOINT"):
                name = words[1]
            elif words and words[0] == "CHANNELS":
                channels = words[2:]
                rotation[name] = _rotation(channels, values[first : first + len(channels)])
                first += len(channels)
        if first > len(values):
            raise ValueError(f"{first} channels, {len(values)} values")
    return rotation


def _rotation(channels: list[str], values: list[float]) -> Float64Array:
    """The rotation that channels such as `Xrotation`, in degrees, make one after the other."""
    turned = np.eye(3)
    for channel, value in zip(channels, values, strict=False):
        if channel.endswith("rotation"):
            axis = np.eye(3)["XYZ".index(channel[0])]
            turned = turned @ rotations.to_matrix(np.radians(value) * axis)
    upright: Float64Array = _UPRIGHT @ turned @ _UPRIGHT.T
    return upright


def reduced_pose(rotation: dict[str, Float64Array], rig: Rig, bones: tuple[str, ...]) -> Float64Array:
    """Local axis-angle (P,3) of P bones; they take over what the bones between them do."""
    world: dict[str | None, Float64Array] = {None: np.eye(3)}
    for bone, parent in rig.above.items():
        world[bone] = world[parent] @ rotation.get(bone, np.eye(3))
    return np.stack([rotations.to_axis_angle(world[rig.kept_above(bone)].T @ world[bone]) for bone in bones])
