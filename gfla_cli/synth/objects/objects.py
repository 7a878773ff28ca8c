"""Rigid objects on a white background, seen from any side, centred and at one scale.

An object faces +z; its left is +x. Azimuth 0 looks at its front, 90 at its left side; elevation is the angle of the
camera above the horizon, in degrees. At the object's middle, the image shows ten units of length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.arrays import Float32Array
from gfla_cli.errors import DataError
from gfla_cli.synth.objects.finishes import Finish, any_finish
from gfla_cli.synth.objects.glb import GlbPart, read_glb
from gfla_cli.synth.objects.shapes import Shape, face_normals, joined
from gfla_cli.synth.renderer.camera import Camera, rotation_matrix, view_rotation
from gfla_cli.synth.renderer.rasterizer import Mesh, build_mesh, mip_chain
from gfla_cli.synth.renderer.render import Light, RenderedImage, Scene, direction_to, render

FRAME = 10.0  # units of length that the image shows at the object's middle
_SURFACE_OFFSET = 0.25  # units along the normal; so that the two sides of a thin board have different points
_RESIZE_STD = 0.1  # standard deviation of the logarithm of the factor on each axis
_MAX_FACING_BYTES = 1 << 20
_SIZE_DM = 9.0  # largest extent of an object from a file: textures need decimetres, and GLB files have any unit


@dataclass(frozen=True, slots=True, eq=False)
class SolidObject:
    """An object of n vertices, centred at the origin."""

    mesh: Mesh
    vertices: Float32Array  # (n,3)
    normals: Float32Array  # (n,3)
    distance: float  # from the camera to the middle


def sample_object_light(rng: np.random.Generator) -> Light:
    """A random white light from above, from any side; the ambient light is strong, so that no side is dark.

    Its direction is in the axes of the object.
    """
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(35, 75))
    ambient = rng.uniform(0.6, 0.85)
    key = np.full(3, rng.uniform(0.25, 0.5))
    return Light(direction_to(azimuth, elevation), key, np.full(3, ambient), floor=False)


def build_object(parts: Sequence[tuple[Shape, Finish]], *, fill: float = 0.86, distance: float = 30.0) -> SolidObject:
    """Joins parts into an object, scaled so that it fills the share `fill` of the image from its widest side.

    distance: of the camera, in units of length (`FRAME`).
    """
    whole = joined([shape for shape, _ in parts])
    faces = np.split(whole.faces, np.cumsum([len(shape.faces) for shape, _ in parts[:-1]]))
    uv = [(shape.uv / finish.tile).astype(np.float32) for shape, finish in parts]
    mesh = build_mesh(faces, uv, [finish.material for _, finish in parts])
    drawn = whole.vertices[mesh.drawn]
    vertices = whole.vertices - (drawn.min(axis=0) + drawn.max(axis=0)) / 2
    unit = SolidObject(mesh, vertices.astype(np.float32), whole.normals.astype(np.float32), distance)
    # In perspective the extent is not proportional to the scale, so the scale is corrected once more.
    for _ in range(2):
        unit = replace(unit, vertices=unit.vertices * np.float32(fill / _largest_extent(unit)))
    return unit


def _largest_extent(item: SolidObject) -> float:
    """The largest distance of the object from the image's centre, over views from all around; 1 = at the border."""
    drawn = item.vertices[item.mesh.drawn][:: max(1, len(item.mesh.drawn) // 4000)]
    longest = 0.0
    for elevation in (0.0, 20.0):
        for azimuth in range(0, 360, 20):
            seen = object_camera(item, azimuth, elevation, 1).project(drawn)[:, :2]
            longest = max(longest, float(2 * np.abs(seen - 0.5).max()))
    return longest


def object_camera(item: SolidObject, azimuth_deg: float, elevation_deg: float, size: int) -> Camera:
    """A camera that looks at the middle of an object; size: side of the image, pixels."""
    rotation = view_rotation(azimuth_deg, elevation_deg)
    focal = size / FRAME * item.distance
    return Camera(rotation, np.zeros(3), item.distance, focal, (size / 2, size / 2), size)


def photograph_object(
    item: SolidObject, azimuth_deg: float, elevation_deg: float, light: Light, size: int = 256
) -> RenderedImage:
    """The view from one side, on white; size: side of the image, pixels. light: its direction is in the object's axes.

    In its surface map, points are moved outwards by a quarter of a unit, so that the two sides of a thin board differ.
    """
    view = object_camera(item, azimuth_deg, elevation_deg, size)
    turned = replace(light, direction=view.rotation @ light.direction)
    scene = Scene(background=np.full((size, size, 3), 255, np.uint8), light=turned)
    surface = item.vertices + np.float32(_SURFACE_OFFSET) * item.normals
    return render(item.mesh, item.vertices, item.normals, surface, view, scene, perspective=True)


class ObjectFolder:
    """The GLB files of a folder; each sample has random proportions and materials.

    Files face +z. An optional `facing.json`, {"file name without .glb": degrees}, rotates those that do not: 90 brings
    the side at +x to the front.
    """

    def __init__(self, folder: Path) -> None:
        """Reads all files. Raises DataError if there are none, and for the first one that cannot be drawn."""
        self.paths = sorted(folder.glob("*.glb"))
        if not self.paths:
            raise DataError(f"{folder}: no .glb files in it", hint="--data-root is for extra objects; leave it out")
        self.facing = _read_facing(folder / "facing.json")
        self._objects = [_normalized(read_glb(path), self.facing.get(path.stem, 0.0)) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, rng: np.random.Generator) -> SolidObject:
        """A random file, slightly resized along each axis, with its own materials or with random ones."""
        parts = self._objects[rng.integers(len(self._objects))]
        scale = np.exp(rng.normal(0, _RESIZE_STD, 3))
        parts = [replace(part, shape=part.shape.deformed(lambda points: points * scale)) for part in parts]
        painted = parts if rng.random() < 0.25 else _repainted(rng, parts)
        distance = float(np.exp(rng.uniform(np.log(18), np.log(40))))
        made = [(part.shape, part.finish) for part in painted]
        return build_object(made, fill=rng.uniform(0.8, 0.92), distance=distance)


def _read_facing(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MAX_FACING_BYTES:
            raise ValueError("too large")
        angles = json.loads(path.read_text(encoding="utf-8")).items()
        facing = {str(name): float(angle) for name, angle in angles}
        if not all(map(math.isfinite, facing.values())):
            raise ValueError("an angle is not a number")
        return facing
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: not a table of angles ({error})", hint='as in {"gaming-chair": 180}') from error


def _normalized(parts: Sequence[GlbPart], facing_deg: float) -> list[GlbPart]:
    """The parts rotated to the front, and scaled to a fixed size in decimetres."""
    turn = rotation_matrix([0, -np.radians(facing_deg), 0])
    points = joined([part.shape for part in parts]).vertices
    size = float((points.max(axis=0) - points.min(axis=0)).max())
    scale = _SIZE_DM / max(size, 1e-9)
    placed = []
    for part in parts:
        shape = part.shape.rotated(turn)
        placed.append(replace(part, shape=replace(shape, vertices=shape.vertices * scale)))
    return placed


def _repainted(rng: np.random.Generator, parts: Sequence[GlbPart]) -> list[GlbPart]:
    """Random materials: a flat colour becomes a random finish, a texture gets another hue."""
    chosen: dict[int, Finish] = {}
    hue = int(rng.integers(180))
    painted = []
    for part in parts:
        key = id(part.finish)
        if key not in chosen and part.textured:
            material, side = part.finish.material, part.finish.material.texture.side
            finest = material.texture.texels[: side**2 * 4].reshape(side, side, 4).copy()
            colours = cv2.cvtColor(np.ascontiguousarray(finest[..., :3]), cv2.COLOR_RGB2HSV)
            colours[..., 0] = (colours[..., 0].astype(int) + hue) % 180
            finest[..., :3] = cv2.cvtColor(colours, cv2.COLOR_HSV2RGB)
            chosen[key] = replace(part.finish, material=replace(material, texture=mip_chain(finest)))
        elif key not in chosen:
            kinds = {"wood": 0.25, "cloth": 0.25, "leather": 0.15, "plastic": 0.2, "paint": 0.1, "metal": 0.05}
            chosen[key] = any_finish(rng, kinds)  # type: ignore[arg-type]
        shape = part.shape if part.textured else _projected(part.shape)
        painted.append(replace(part, shape=shape, finish=chosen[key]))
    return painted


def _projected(shape: Shape) -> Shape:
    """The shape with box-mapped uv in decimetres: each face is projected along the axis that it faces most."""
    facing = np.abs(face_normals(shape.vertices, shape.faces)).argmax(axis=1)
    axes = np.array([[2, 1], [0, 2], [0, 1]])[facing]  # (F,2)
    corners = shape.vertices[shape.faces]
    uv: Float32Array = np.take_along_axis(corners, axes[:, None, :].repeat(3, axis=1), axis=2).astype(np.float32)
    return replace(shape, uv=uv)
