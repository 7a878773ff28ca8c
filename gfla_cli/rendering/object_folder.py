"""A folder of GLB files as a source of objects: each time with other proportions and other materials.

Files face +z. An optional `facing.json`, {"file name without .glb": degrees}, turns those that do not: 90 brings what
faced +x (its left) to the front.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array
from gfla_cli.errors import DataError
from gfla_cli.rendering import rotations
from gfla_cli.rendering.finishes import Finish, any_finish
from gfla_cli.rendering.glb import GlbPart, read_glb
from gfla_cli.rendering.objects import SolidObject, solid
from gfla_cli.rendering.shapes import Shape, joined
from gfla_cli.rendering.textures import MipChain, mip_chain

_STRETCH = 0.1  # standard deviation of the logarithm of each side's factor
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
        self._objects = [_upright(read_glb(path), self.facing.get(path.stem, 0.0)) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, rng: np.random.Generator) -> SolidObject:
        """A random file, stretched a little, in its own colours or in others."""
        parts = self._objects[rng.integers(len(self._objects))]
        stretch = np.exp(rng.normal(0, _STRETCH, 3))
        parts = [replace(part, shape=part.shape.deformed(lambda points: points * stretch)) for part in parts]
        painted = parts if rng.random() < 0.25 else _repainted(rng, parts)
        distance = float(np.exp(rng.uniform(np.log(18), np.log(40))))
        made = [(part.shape, part.finish) for part in painted]
        return solid(made, fill=rng.uniform(0.8, 0.92), distance=distance)


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


def _upright(parts: Sequence[GlbPart], facing_deg: float) -> list[GlbPart]:
    """The parts turned to the front, in decimetres of a plausible size."""
    turn = rotations.to_matrix([0, -np.radians(facing_deg), 0])
    points = joined([part.shape for part in parts]).vertices
    size = float((points.max(axis=0) - points.min(axis=0)).max())
    scale = _PLAUSIBLE_DM / max(size, 1e-9)
    placed = []
    for part in parts:
        shape = part.shape.turned(turn)
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
            chosen[key] = replace(part.finish, material=replace(material, texture=_turned_hue(material.texture, hue)))
        elif key not in chosen:
            kinds = {"wood": 0.25, "cloth": 0.25, "leather": 0.15, "plastic": 0.2, "paint": 0.1, "metal": 0.05}
            chosen[key] = any_finish(rng, kinds)  # type: ignore[arg-type]
        shape = part.shape if part.textured else _projected(part.shape)
        painted.append(replace(part, shape=shape, finish=chosen[key]))
    return painted


def _turned_hue(texture: MipChain, hue: int) -> MipChain:
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
