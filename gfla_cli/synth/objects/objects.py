"""Rigid objects photographed from all around: centred, at one scale from every side, before a plain background.

An object faces +z and has its left at +x. Azimuth 0 looks at its front, 90 at its left side; elevation is the height of
the camera above the horizon. The frame shows ten length units at the object's middle, whatever the object's size was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array, Float64Array
from gfla_cli.errors import DataError
from gfla_cli.synth.objects.finishes import Finish, any_finish
from gfla_cli.synth.objects.glb import GlbPart, read_glb
from gfla_cli.synth.objects.shapes import Shape, joined
from gfla_cli.synth.renderer.camera import Camera, rotation_matrix, view_rotation
from gfla_cli.synth.renderer.materials import MipChain, build_mesh, mip_chain
from gfla_cli.synth.renderer.rasterizer import Mesh
from gfla_cli.synth.renderer.render import Light, Scene, render

FRAME = 10.0  # units that the frame's side shows at the object's middle
_SURFACE_OFFSET = 0.25  # units above the surface at which a point of it is told from the other side of a thin board
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


def build_object(parts: Sequence[tuple[Shape, Finish]], *, fill: float = 0.86, distance: float = 30.0) -> SolidObject:
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
    rotation = view_rotation(azimuth_deg, elevation_deg)
    focal = size / FRAME * item.distance
    return Camera(rotation, np.zeros(3), item.distance, focal, (size / 2, size / 2), size)


def photograph_object(
    item: SolidObject, azimuth_deg: float, elevation_deg: float, light: ObjectLight, size: int = 256
) -> ObjectView:
    """The picture from one side, on white."""
    eye = camera(item, azimuth_deg, elevation_deg, size)
    shine = Light(eye.rotation @ light.direction, np.full(3, light.key), np.full(3, light.ambient), light.floor)
    paper = np.full((size, size, 3), 255, np.uint8)
    skin = item.vertices + np.float32(_SURFACE_OFFSET) * item.normals
    picture = render(item.mesh, item.vertices, item.normals, skin, eye, Scene(paper, shine), perspective=True)
    return ObjectView(picture.image, picture.mask, picture.surface)


# A folder of GLB files as a source of objects: each time with other proportions and other materials.
#
# Files face +z. An optional `facing.json`, {"file name without .glb": degrees}, turns those that do not: 90 brings what
# faced +x (its left) to the front.


_RESIZE_STD = 0.1  # standard deviation of the logarithm of each side's factor
_LARGEST_FACING = 1 << 20  # bytes
_PLAUSIBLE_DM = 9.0  # the longest side of a seat; GLB files come in any unit, textures in decimetres


class ObjectFolder:
    """The GLB files of a folder."""

    def __init__(self, folder: Path) -> None:
        """Reads all files. Raises DataError when there are none, or for the first one that cannot be drawn."""
        self.paths = sorted(folder.glob("*.glb"))
        if not self.paths:
            raise DataError(f"{folder}: no .glb files in it", hint="--data-root is for extra objects; leave it out")
        self.facing = _read_facing(folder / "facing.json")
        self._objects = [_normalized(read_glb(path), self.facing.get(path.stem, 0.0)) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, rng: np.random.Generator) -> SolidObject:
        """A random file, stretched a little, in its own colours or in others."""
        parts = self._objects[rng.integers(len(self._objects))]
        stretch = np.exp(rng.normal(0, _RESIZE_STD, 3))
        parts = [replace(part, shape=part.shape.deformed(lambda points: points * stretch)) for part in parts]
        painted = parts if rng.random() < 0.25 else _repainted(rng, parts)
        distance = float(np.exp(rng.uniform(np.log(18), np.log(40))))
        made = [(part.shape, part.finish) for part in painted]
        return build_object(made, fill=rng.uniform(0.8, 0.92), distance=distance)


def _read_facing(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _LARGEST_FACING:
            raise ValueError("too large")
        angles = json.loads(path.read_text(encoding="utf-8")).items()
        facing = {str(name): float(angle) for name, angle in angles}
        if not all(map(math.isfinite, facing.values())):
            raise ValueError("an angle that is no number")
        return facing
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: not a table of angles ({error})", hint='as in {"gaming-chair": 180}') from error


def _normalized(parts: Sequence[GlbPart], facing_deg: float) -> list[GlbPart]:
    """The parts turned to the front, in decimetres of a plausible size."""
    turn = rotation_matrix([0, -np.radians(facing_deg), 0])
    points = joined([part.shape for part in parts]).vertices
    size = float((points.max(axis=0) - points.min(axis=0)).max())
    scale = _PLAUSIBLE_DM / max(size, 1e-9)
    placed = []
    for part in parts:
        shape = part.shape.rotated(turn)
        placed.append(replace(part, shape=replace(shape, vertices=shape.vertices * scale)))
    return placed


def _repainted(rng: np.random.Generator, parts: Sequence[GlbPart]) -> list[GlbPart]:
    """Every flat colour becomes a random finish, every texture keeps its drawing and changes its hue."""
    chosen: dict[int, Finish] = {}
    hue = int(rng.integers(180))
    painted = []
    for part in parts:
        key = id(part.finish)
        if key not in chosen and part.textured:
            material = part.finish.material
            chosen[key] = replace(part.finish, material=replace(material, texture=_shift_hue(material.texture, hue)))
        elif key not in chosen:
            kinds = {"wood": 0.25, "cloth": 0.25, "leather": 0.15, "plastic": 0.2, "paint": 0.1, "metal": 0.05}
            chosen[key] = any_finish(rng, kinds)  # type: ignore[arg-type]
        shape = part.shape if part.textured else _projected(part.shape)
        painted.append(replace(part, shape=shape, finish=chosen[key]))
    return painted


def _shift_hue(texture: MipChain, hue: int) -> MipChain:
    finest = texture.texels[: texture.side**2 * 4].reshape(texture.side, texture.side, 4)
    colours = cv2.cvtColor(np.ascontiguousarray(finest[..., :3]), cv2.COLOR_RGB2HSV)
    colours[..., 0] = (colours[..., 0].astype(int) + hue) % 180
    other = finest.copy()
    other[..., :3] = cv2.cvtColor(colours, cv2.COLOR_HSV2RGB)
    return mip_chain(other)


def _projected(shape: Shape) -> Shape:
    """The shape with uv in decimetres, each face seen along the axis that it faces most."""
    corners = shape.vertices[shape.faces]
    facing: Float64Array = np.abs(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    axes = np.array([[2, 1], [0, 2], [0, 1]])[facing.argmax(axis=1)]  # (F,2)
    uv: Float32Array = np.take_along_axis(corners, axes[:, None, :].repeat(3, axis=1), axis=2).astype(np.float32)
    return replace(shape, uv=uv)
