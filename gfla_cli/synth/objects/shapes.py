"""Shapes that objects are built from: boxes, tubes, lathed bodies and surface patches.

Lengths are decimetres (dm), y is up. The triangles of a shape are counter-clockwise seen from the side of its normals.
Texture coordinates are decimetres on the surface, v along the grain. `Shape.deformed` bends any shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from gfla_cli.arrays import Float32Array, Float64Array, Int32Array

_STEP = 1e-4  # dm; the step of numerical derivatives
_EDGE_COSINE = 0.75  # between neighbouring pieces of a profile; below this, they meet in a sharp edge


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A textured triangle mesh."""

    vertices: Float64Array  # (n,3)
    normals: Float64Array  # (n,3) unit length
    faces: Int32Array  # (F,3)
    uv: Float32Array  # (F,3,2) dm on the surface

    def moved(self, x: float = 0, y: float = 0, z: float = 0) -> Shape:
        """The shape translated by (x, y, z) dm."""
        return replace(self, vertices=self.vertices + np.array([x, y, z]))

    def rotated(self, rotation: Float64Array) -> Shape:
        """The shape rotated about the origin by a matrix (3,3)."""
        return replace(self, vertices=self.vertices @ rotation.T, normals=self.normals @ rotation.T)

    def mirrored(self) -> Shape:
        """The mirror image: x becomes -x."""
        other = np.array([-1, 1, 1])
        swap = [0, 2, 1]
        return Shape(self.vertices * other, self.normals * other, self.faces[:, swap], self.uv[:, swap])

    def deformed(self, bend: Callable[[Float64Array], Float64Array]) -> Shape:
        """Applies a smooth map of points (n,3) -> (n,3) that does not mirror; normals are transformed with it."""
        moved = bend(self.vertices)
        steps = [(bend(self.vertices + _STEP * axis) - moved) / _STEP for axis in np.eye(3)]
        # Normals transform by the cofactor matrix of the map's Jacobian.
        x, y, z = steps
        cofactors = np.stack([np.cross(y, z), np.cross(z, x), np.cross(x, y)], axis=1)  # (n,3 axes,3)
        return replace(self, vertices=moved, normals=unit(np.einsum("na,nac->nc", self.normals, cofactors)))


def joined(shapes: Sequence[Shape]) -> Shape:
    """Concatenates shapes."""
    starts = np.cumsum([0, *(len(shape.vertices) for shape in shapes[:-1])])
    return Shape(
        np.concatenate([shape.vertices for shape in shapes]),
        np.concatenate([shape.normals for shape in shapes]),
        np.concatenate([shape.faces + np.int32(start) for shape, start in zip(shapes, starts, strict=True)]),
        np.concatenate([shape.uv for shape in shapes]),
    )


def face_normals(vertices: Float64Array, faces: Int32Array) -> Float64Array:
    """Normals (F,3) of triangles; their lengths are twice the areas."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    normals: Float64Array = np.cross(b - a, c - a)
    return normals


def arc_length(path: Float64Array) -> Float64Array:
    """The length along a path (k,3) up to each of its points, (k,)."""
    return np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])


def box(width: float, height: float, depth: float, radius: float = 0.03, *, rounds: int = 1, cells: int = 1) -> Shape:
    """A box centred at the origin. radius: of its rounded edges, dm; cells: divisions of each side, for bending."""
    half = np.array([width, height, depth]) / 2
    radius = min(radius, float(half.min()) * 0.98)
    inner = half - radius
    corner = radius * np.tan(np.linspace(0, np.pi / 4, rounds + 1))
    grain = int(np.argmax(half))
    faces = []
    for axis in range(3):
        across, along = (axis + 1) % 3, (axis + 2) % 3
        s, t = (  # grid lines on both axes
            np.concatenate([-x - corner[::-1], np.linspace(-x, x, cells + 1)[1:-1], x + corner])
            for x in (inner[across], inner[along])
        )
        for side in (-1, 1):
            points = np.empty((len(s), len(t), 3))
            points[..., axis] = side * half[axis]
            points[..., across], points[..., along] = s[:, None], t[None]
            normals = points - np.clip(points, -inner, inner)
            rounded = np.clip(points, -inner, inner) + radius * unit(normals)
            uv = points[..., [along, across] if grain == across else [across, along]]
            faces.append(_grid(rounded, unit(normals), uv))
    return joined(faces)


def tube(
    path: ArrayLike, radius: ArrayLike, *, sides: int = 8, square: bool = False, flat: float = 1.0, closed: bool = False
) -> Shape:
    """A bar along a path (k,3), round or square. radius: dm, one or one per point; flat: factor on its thickness.

    closed: joins the last point to the first; otherwise the ends are capped.
    """
    points = np.asarray(path, np.float64)
    if closed:
        points = np.concatenate([points, points[:1]])
    radii = np.broadcast_to(np.asarray(radius, np.float64), (len(points),))
    side, up = _frames(points, closed)
    angle = facing = np.linspace(0, 2 * np.pi, sides + 1)
    if square:  # each corner stands once per side that it belongs to, with the direction that this side faces
        angle = np.pi / 4 + np.pi / 2 * np.array([-1, 0, 0, 1, 1, 2, 2, 3])
        facing = np.repeat(np.pi / 2 * np.arange(4), 2)
    sine, cosine = np.sin(angle), np.cos(angle)
    reach = np.sqrt(2.0) if square else 1.0
    ring = side[:, None] * (cosine * reach)[:, None] + up[:, None] * (sine * reach * flat)[:, None]
    normals = side[:, None] * (np.cos(facing) * flat)[:, None] + up[:, None] * np.sin(facing)[:, None]
    surface = points[:, None] + ring * radii[:, None, None]
    around = radii.max() * np.linspace(0, 8 if square else 2 * np.pi, len(angle))
    uv = np.stack(np.broadcast_arrays(around[None], arc_length(points)[:, None]), axis=-1)
    wall = _grid(surface, unit(np.broadcast_to(normals, surface.shape)), uv)
    if square:  # every second strip of the profile is a corner and has no width
        kept = np.linalg.norm(face_normals(wall.vertices, wall.faces), axis=1) > 1e-9
        wall = replace(wall, faces=wall.faces[kept], uv=wall.uv[kept])
    if closed:
        return wall
    forwards = np.cross(side, up)
    ends = [(surface[0], points[0], -forwards[0]), (surface[-1], points[-1], forwards[-1])]
    return joined([wall, *(_cap(rim, centre, normal) for rim, centre, normal in ends)])


def _frames(points: Float64Array, closed: bool) -> tuple[Float64Array, Float64Array]:
    """Two unit vectors (k,3) across the path at each point, without twist along it."""
    pieces = unit(np.diff(points, axis=0))
    before, after = np.concatenate([pieces[:1], pieces]), np.concatenate([pieces, pieces[-1:]])
    if closed:
        before[0], after[-1] = pieces[-1], pieces[0]
    tangents = unit(before + after + 1e-9 * after)
    start = np.array([1.0, 0, 0]) if abs(tangents[0, 0]) < 0.9 else np.array([0, 0, 1.0])
    sides = []
    for tangent in tangents:
        start = unit(start - tangent * (start @ tangent))
        sides.append(start)
    side = np.array(sides)
    return side, np.cross(tangents, side)


def lathe(profile: ArrayLike, outline: ArrayLike | None = None, *, sides: int = 24) -> Shape:
    """A body of revolution about the y axis. profile: (k,2) radius and height, from the bottom along the outside.

    outline: (m,2) x and z of a closed curve instead of the unit circle, counter-clockwise seen from above. sides: of
    the circle.
    """
    if outline is None:
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        curve = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    else:
        curve = np.asarray(outline, np.float64)
    curve = np.concatenate([curve, curve[:1]])
    radius, height = np.asarray(profile, np.float64).T
    x, z = radius[:, None] * curve[:, 0], radius[:, None] * curve[:, 1]
    points = np.stack(np.broadcast_arrays(x, height[:, None], z), axis=-1)
    tangents = np.roll(curve[:-1], -1, axis=0) - np.roll(curve[:-1], 1, axis=0)
    outwards = unit(np.stack([-tangents[:, 1], tangents[:, 0]], axis=1))
    outwards = np.concatenate([outwards, outwards[:1]])
    step = unit(np.stack([np.diff(radius), np.diff(height)], axis=1))
    edges = [i + 1 for i in range(len(step) - 1) if float(step[i] @ step[i + 1]) < _EDGE_COSINE]
    parts = [slice(first, last + 1) for first, last in pairwise([0, *edges, len(radius) - 1])]
    return joined([_lathe_section(points[part], outwards, radius[part], height[part]) for part in parts])


def _lathe_section(points: Float64Array, outwards: Float64Array, radius: Float64Array, height: Float64Array) -> Shape:
    slope = unit(np.stack([np.gradient(radius), np.gradient(height)], axis=1))
    normals = np.empty_like(points)
    normals[..., 0] = slope[:, 1:] * outwards[:, 0]
    normals[..., 1] = -slope[:, :1]
    normals[..., 2] = slope[:, 1:] * outwards[:, 1]
    flat = abs(slope[:, 1]).max() < 0.5
    along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(radius), np.diff(height)))])
    steps = arc_length(points[-1])
    around = steps if steps[-1] > 0 else np.linspace(0, 1, points.shape[1])
    uv = points[..., [0, 2]] if flat else np.stack(np.broadcast_arrays(around[None], along[:, None]), axis=-1)
    return _grid(points, unit(normals), uv)


def surface_patch(points: Float64Array, thickness: float) -> Shape:
    """A thin curved board. points: grid (m,n,3) of its front; the back is `thickness` dm behind it."""
    across, along = np.gradient(points, axis=0), np.gradient(points, axis=1)
    normals = unit(np.cross(across, along))
    back = points - normals * thickness
    u = np.cumsum(np.linalg.norm(np.diff(points, axis=0, prepend=points[:1]), axis=-1).mean(axis=1))
    v = np.cumsum(np.linalg.norm(np.diff(points, axis=1, prepend=points[:, :1]), axis=-1).mean(axis=0))
    uv = np.stack(np.broadcast_arrays(u[:, None], v[None]), axis=-1)
    parts = [_grid(points, normals, uv), _grid(back, -normals, uv)]
    if thickness > 0:
        parts += [
            _rim(points[0], back[0], -across[0]),
            _rim(points[-1], back[-1], across[-1]),
            _rim(points[:, 0], back[:, 0], -along[:, 0]),
            _rim(points[:, -1], back[:, -1], along[:, -1]),
        ]
    return joined(parts)


def _rim(front: Float64Array, back: Float64Array, outwards: Float64Array) -> Shape:
    points = np.stack([front, back])
    depth = np.linalg.norm(front[0] - back[0])
    uv = np.stack(np.broadcast_arrays(np.array([0, depth])[:, None], arc_length(front)[None]), axis=-1)
    return _grid(points, np.broadcast_to(unit(outwards), points.shape), uv)


def _grid(points: Float64Array, normals: Float64Array, uv: Float64Array) -> Shape:
    """A surface of points (m,n,3); its triangles face the side of the normals."""
    m, n = points.shape[:2]
    a = (np.arange(m - 1)[:, None] * n + np.arange(n - 1)).ravel()
    b, c, d = a + n, a + n + 1, a + 1
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    vertices, directions = points.reshape(-1, 3), np.array(normals, np.float64).reshape(-1, 3)
    if _winding(vertices, directions, faces) < 0:
        faces = faces[:, ::-1]
    flat_uv = uv.reshape(-1, 2).astype(np.float32)
    return Shape(vertices, directions, faces, flat_uv[faces])


def _winding(vertices: Float64Array, normals: Float64Array, faces: Int32Array) -> float:
    """Positive if most of the surface is counter-clockwise, seen from the side of its normals."""
    return float((face_normals(vertices, faces) * normals[faces[:, 0]]).sum())


def _cap(rim: Float64Array, centre: Float64Array, normal: Float64Array) -> Shape:
    points = np.concatenate([centre[None], rim])
    k = np.arange(1, len(rim))
    faces = np.stack([np.zeros_like(k), k, k + 1], 1).astype(np.int32)
    normals = np.broadcast_to(normal, points.shape)
    if _winding(points, normals, faces) < 0:
        faces = faces[:, ::-1]
    flat = (points - centre)[:, np.argsort(np.abs(normal))[:2]].astype(np.float32)
    return Shape(points, normals, faces, flat[faces])


def unit(vectors: Float64Array) -> Float64Array:
    """Vectors (...,3) scaled to length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Float64Array = vectors / np.maximum(length, 1e-12)
    return unit
