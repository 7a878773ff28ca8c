"""MakeHuman's neutral person: the base mesh, its rig, and what garments need to know about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gfla_cli.arrays import BoolArray, Float64Array
from gfla_cli.errors import DataError
from gfla_cli.rendering.building.catalogue import BASE_MESH, SKELETON, WEIGHTS
from gfla_cli.rendering.building.files import MakeHumanFiles
from gfla_cli.rendering.building.rig import Rig, read_rig
from gfla_cli.rendering.building.wavefront import Wavefront, read_wavefront

_VERTICES = 19158  # of the mesh `hm08`, which all assets are made for
SIDES = ((".L", 1), (".R", -1))  # ending of a bone's name, sign of x
_ALWAYS_DRESSED = ((-0.5, 0.7, np.inf), (3.0, 4.35, 1.55))  # dm: between two heights, this near the middle


@dataclass(frozen=True, eq=False)
class Figure:
    """The neutral person at rest; V base vertices, with helper surfaces that clothes are fitted to."""

    mesh: Wavefront
    rig: Rig

    @classmethod
    def read(cls, files: MakeHumanFiles) -> Figure:
        """Reads the base mesh and the rig."""
        path = files.path(BASE_MESH)
        mesh = read_wavefront(path)
        if len(mesh.vertices) != _VERTICES:
            what = f"{path}: the base mesh has {_VERTICES} vertices, this one {len(mesh.vertices)}"
            raise DataError(what, hint="take 3dobjs/base.obj of makehumancommunity/makehuman as it is")
        return cls(mesh, read_rig(files.path(SKELETON), files.path(WEIGHTS), _VERTICES))

    def joint(self, bone: str) -> Float64Array:
        """Where a bone starts, (3,) dm."""
        return self.rig.joint(bone, self.mesh.vertices)

    @cached_property
    def arm_weight(self) -> Float64Array:
        """How much of each vertex moves with the arm, (V,)."""
        return self.rig.total_weight("upperarm", "lowerarm", "wrist", "finger")

    @cached_property
    def leg_weight(self) -> Float64Array:
        """How much of each vertex moves with the leg, (V,)."""
        return self.rig.total_weight("upperleg", "lowerleg", "foot")

    @cached_property
    def arm_distance(self) -> Float64Array:
        """How far each vertex is from the shoulder joint along the arm, (V,) dm; -1 on the torso. Sleeves end by it."""
        vertices = self.mesh.vertices
        distance = np.full(len(vertices), -1.0)
        for side, sign in SIDES:
            shoulder, elbow, wrist = (self.joint(bone + side) for bone in ("upperarm01", "lowerarm01", "wrist"))
            upper, lower = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
            along_upper = (vertices - shoulder) @ (elbow - shoulder) / upper
            along_lower = (vertices - elbow) @ (wrist - elbow) / lower
            along = np.where(along_lower > 0, upper + along_lower, np.minimum(along_upper, upper))
            is_arm = np.clip((self.arm_weight - 0.1) / 0.5, 0, 1)  # fades into the torso
            near = (self.arm_weight > 0.02) & (vertices[:, 0] * sign > 0)
            distance[near] = (-1 + is_arm * (along + 1))[near]
        return distance

    @cached_property
    def skin(self) -> BoolArray:
        """The faces (F,) of the body that some outfit shows."""
        x, y, _ = self.mesh.vertices.T
        on_torso = (self.arm_distance < -0.5) & (self.arm_weight < 0.05)
        dressed = np.zeros(len(y), bool)
        for lowest, highest, widest in _ALWAYS_DRESSED:
            dressed |= on_torso & (y > lowest) & (y < highest) & (np.abs(x) < widest)
        is_skin: BoolArray = (self.mesh.group == "body") & ~dressed[self.mesh.faces].all(1)
        return is_skin
