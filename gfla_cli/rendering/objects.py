"""Rigid objects photographed from all around: centred, at one scale from every side, before a plain background.

An object faces +z and has its left at +x. Azimuth 0 looks at its front, 90 at its left side; elevation is the height of
the camera above the horizon. The frame shows ten length units at the object's middle, whatever the object's size was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array, Float64Array
from gfla_cli.rendering import rotations
from gfla_cli.rendering.camera import Camera
from gfla_cli.rendering.finishes import Finish
from gfla_cli.rendering.light import Light, Scene
from gfla_cli.rendering.materials import build_mesh
from gfla_cli.rendering.rasterizer import Mesh
from gfla_cli.rendering.render import render
from gfla_cli.rendering.shapes import Shape

FRAME = 10.0  # units that the frame's side shows at the object's middle
_SKIN = 0.25  # units above the surface at which a point of it is told from the other side of a thin board
_STEP = np.radians(20)


@dataclass(frozen=True, slots=True, eq=False)
class SolidObject:
    """An object in its frame: n vertices about the origin."""

    mesh: Mesh
    vertices: Float32Array  # (n,3)
    normals: Float32Array  # (n,3)
    distance: float  # from the camera to the middle


@dataclass(frozen=True, slots=True, eq=False)
class ObjectView:
    """A picture of side s.

    surface[r, c] is the point of the object seen in the middle of the 2 x 2 pixels from (2r, 2c) on, moved outwards by
    a quarter of a unit along its normal: so the two sides of a thin board differ. NaN = background. Two views of one
    object show the same point of it where their surfaces hold the same value.
    """

    image: ByteArray  # (s,s,3) RGB
    mask: ByteArray  # (s,s) share of the pixel that the object covers, 0..255
    surface: Float32Array  # (s/2,s/2,3)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectLight:
    """A key light that stays where it is while the camera goes around, and light from everywhere."""

    direction: Float64Array  # (3,) towards the key light, in the object's axes
    key: float
    ambient: float
    floor: bool = False  # whether the object throws a shadow on the floor


def sample_object_light(rng: np.random.Generator) -> ObjectLight:
    """From above and any side, never so strong that the far side is dark."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(35, 75))
    across = np.cos(elevation)
    direction = np.array([np.sin(azimuth) * across, np.sin(elevation), np.cos(azimuth) * across])
    ambient = rng.uniform(0.6, 0.85)
    return ObjectLight(direction, key=rng.uniform(0.25, 0.5), ambient=ambient)


def solid(parts: Sequence[tuple[Shape, Finish]], *, fill: float = 0.86, distance: float = 30.0) -> SolidObject:
    """An object of parts, scaled so that from every side it stays within the share `fill` of the frame."""
    vertices = np.concatenate([shape.vertices for shape, _ in parts])
    normals = np.concatenate([shape.normals for shape, _ in parts])
    starts = np.cumsum([0, *(len(shape.vertices) for shape, _ in parts[:-1])])
    faces = [(shape.faces + start).astype(np.int32) for (shape, _), start in zip(parts, starts, strict=True)]
    uv = [(shape.uv / finish.tile).astype(np.float32) for shape, finish in parts]
    mesh = build_mesh(faces, uv, [finish.material for _, finish in parts])
    drawn = vertices[mesh.drawn]
    vertices = vertices - (drawn.min(axis=0) + drawn.max(axis=0)) / 2
    unit = SolidObject(mesh, vertices.astype(np.float32), normals.astype(np.float32), distance)
    # Perspective makes the scale enter twice; two rounds settle it.
    for _ in range(2):
        unit = replace(unit, vertices=unit.vertices * np.float32(fill / _largest_extent(unit)))
    return unit


def _largest_extent(item: SolidObject) -> float:
    """The longest side of the object's bounding box in any trained view, as a share of the frame."""
    drawn = item.vertices[item.mesh.drawn][:: max(1, len(item.mesh.drawn) // 4000)]
    longest = 0.0
    for elevation in (0.0, 20.0):
        for step in range(18):
            seen = camera(item, np.degrees(_STEP) * step, elevation, 1).project(drawn)[:, :2]
            longest = max(longest, float(2 * np.abs(seen - 0.5).max()))
    return longest


def camera(item: SolidObject, azimuth_deg: float, elevation_deg: float, size: int) -> Camera:
    """The camera that looks at the middle of an object."""
    rotation = rotations.to_matrix([np.radians(elevation_deg), 0, 0]) @ rotations.to_matrix(
        [0, -np.radians(azimuth_deg), 0]
    )
    focal = size / FRAME * item.distance
    return Camera(rotation, np.zeros(3), item.distance, focal, (size / 2, size / 2), size)


def photograph_object(
    item: SolidObject, azimuth_deg: float, elevation_deg: float, light: ObjectLight, size: int = 256
) -> ObjectView:
    """The picture from one side, on white."""
    eye = camera(item, azimuth_deg, elevation_deg, size)
    shine = Light(eye.rotation @ light.direction, np.full(3, light.key), np.full(3, light.ambient), light.floor)
    paper = np.full((size, size, 3), 255, np.uint8)
    skin = item.vertices + np.float32(_SKIN) * item.normals
    picture = render(item.mesh, item.vertices, item.normals, skin, eye, Scene(paper, shine), perspective=True)
    return ObjectView(picture.image, picture.mask, picture.surface)
