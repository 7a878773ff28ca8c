"""Meshes that are bound to a body: compiled kernels, and the parts of a character.

Lengths are decimetres (dm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Literal, TypeVar

import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Float64Array, FloatArray, Int16Array, Int32Array, Int64Array
from gfla_cli.synth.renderer.rasterizer import Material, Mesh, build_mesh, kernel

Vertices = TypeVar("Vertices", Float32Array, Float64Array)


@kernel
def add_scaled(vertices: Float32Array, index: Int64Array, delta: Float32Array, weight: np.float32) -> None:
    """Adds weight * delta (k,3) to the rows `index` (k,) of the vertices (n,3): one sparse target, in place."""
    for row in range(index.shape[0]):
        vertex = index[row]
        for axis in range(3):
            vertices[vertex, axis] += weight * delta[row, axis]


@kernel
def linear_blend_skinning(
    rest: Float32Array, bone: Int16Array, weight: Float32Array, rotation: Float64Array, shift: Float64Array
) -> Float32Array:
    """Linear blend skinning of rest (n,3): four bones and weights per vertex (n,4), rotation (B,3,3), shift (B,3)."""
    bent = np.empty(rest.shape, np.float32)
    for i in range(rest.shape[0]):
        x, y, z = rest[i, 0], rest[i, 1], rest[i, 2]
        out_x = out_y = out_z = 0.0
        for k in range(4):
            w = weight[i, k]
            if w > 0:
                b = bone[i, k]
                out_x += w * (rotation[b, 0, 0] * x + rotation[b, 0, 1] * y + rotation[b, 0, 2] * z + shift[b, 0])
                out_y += w * (rotation[b, 1, 0] * x + rotation[b, 1, 1] * y + rotation[b, 1, 2] * z + shift[b, 1])
                out_z += w * (rotation[b, 2, 0] * x + rotation[b, 2, 1] * y + rotation[b, 2, 2] * z + shift[b, 2])
        bent[i, 0] = out_x
        bent[i, 1] = out_y
        bent[i, 2] = out_z
    return bent


@kernel
def vertex_normals(vertices: Vertices, triangles: Int32Array) -> Vertices:
    """Unit normals (n,3): the mean over the triangles of each vertex, weighted by area; zero without triangles."""
    normals = np.zeros_like(vertices)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = vertices[j, 0] - vertices[i, 0], vertices[j, 1] - vertices[i, 1], vertices[j, 2] - vertices[i, 2]
        bx, by, bz = vertices[k, 0] - vertices[i, 0], vertices[k, 1] - vertices[i, 1], vertices[k, 2] - vertices[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for i in range(normals.shape[0]):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2)
        if length > 1e-9:
            normals[i, 0] /= length
            normals[i, 1] /= length
            normals[i, 2] /= length
    return normals


@kernel
def smooth(vertices: Float64Array, triangles: Int32Array, iterations: int, strength: float) -> None:
    """Laplacian smoothing in place: each vertex moves `strength` (0..1) of the way to the mean of its neighbours."""
    count = vertices.shape[0]
    total = np.zeros((count, 3))
    neighbours = np.zeros(count)
    for _ in range(iterations):
        total[:] = 0
        neighbours[:] = 0
        for t in range(triangles.shape[0]):
            for corner in range(3):
                a, b = triangles[t, corner], triangles[t, (corner + 1) % 3]
                neighbours[a] += 1
                neighbours[b] += 1
                for axis in range(3):
                    total[a, axis] += vertices[b, axis]
                    total[b, axis] += vertices[a, axis]
        for i in range(count):
            if neighbours[i] > 0:
                for axis in range(3):
                    vertices[i, axis] += strength * (total[i, axis] / neighbours[i] - vertices[i, axis])


@kernel
def clip_mesh(
    triangles: Int32Array, corner_uv: Float32Array, field: Float64Array
) -> tuple[Int64Array, Int64Array, Float64Array, Int64Array, Float32Array]:
    """The part of a mesh where a field (n,) over its vertices is positive.

    Returns the cut edges (lower vertex, higher vertex, weight of the higher one; (E,) each), and the triangles (F,3)
    and corner uv (F,3,2) of the part. Vertex n + e of a triangle is the point on cut edge e. An edge that two triangles
    share appears twice.
    """
    faces, vertices = triangles.shape[0], field.shape[0]
    edge_low = np.zeros(faces * 2 + 8, np.int64)
    edge_high = np.zeros(faces * 2 + 8, np.int64)
    edge_weight = np.zeros(faces * 2 + 8)
    kept = np.zeros((faces * 2, 3), np.int64)
    kept_uv = np.zeros((faces * 2, 3, 2), np.float32)
    polygon = np.zeros(4, np.int64)
    polygon_uv = np.zeros((4, 2), np.float32)
    edges = count = 0
    for t in range(faces):
        corners = 0
        for corner in range(3):
            a, b = triangles[t, corner], triangles[t, (corner + 1) % 3]
            at_a, at_b = field[a], field[b]
            if at_a > 0:
                polygon[corners] = a
                polygon_uv[corners] = corner_uv[t, corner]
                corners += 1
            if (at_a > 0) != (at_b > 0):
                w = at_a / (at_a - at_b)
                edge_low[edges], edge_high[edges], edge_weight[edges] = (a, b, w) if a < b else (b, a, 1 - w)
                polygon[corners] = vertices + edges
                polygon_uv[corners] = corner_uv[t, corner] * (1 - w) + corner_uv[t, (corner + 1) % 3] * w
                edges += 1
                corners += 1
        for k in range(1, corners - 1):
            kept[count] = polygon[0], polygon[k], polygon[k + 1]
            kept_uv[count, 0], kept_uv[count, 1], kept_uv[count, 2] = polygon_uv[0], polygon_uv[k], polygon_uv[k + 1]
            count += 1
    return edge_low[:edges], edge_high[:edges], edge_weight[:edges], kept[:count], kept_uv[:count]


@kernel
def merge_references(reference: Int32Array, weight: Float32Array) -> tuple[Int32Array, Float32Array]:
    """Six weighted base vertices per point (n,6), some repeated -> three distinct ones and their weights (n,3).

    The weights of a fourth and further vertex go to the third.
    """
    count = reference.shape[0]
    merged = np.zeros((count, 3), np.int32)
    merged_weight = np.zeros((count, 3), np.float32)
    for i in range(count):
        distinct = 0
        for k in range(6):
            if weight[i, k] == 0:
                continue
            j = 0
            while j < distinct and merged[i, j] != reference[i, k]:
                j += 1
            if j == distinct and distinct < 3:
                merged[i, distinct] = reference[i, k]
                distinct += 1
            merged_weight[i, min(j, 2)] += weight[i, k]
        for j in range(distinct, 3):
            merged[i, j] = merged[i, 0]
    return merged, merged_weight


_ON_EDGE = 1e-4  # a point this far outside of a triangle, as a share of it, is still on it

Layer = Literal[
    "body", "eyes", "brows", "lashes", "tongue", "teeth", "bottom", "skirt", "shoes", "top", "full", "hair", "hat"
]
_DEPTH_BIAS: dict[Layer, float] = {  # dm; so that an outer layer is drawn over an inner one that it intersects
    "body": 0.0, "eyes": 0.0, "teeth": 0.0, "tongue": 0.0, "lashes": 0.04, "brows": 0.05, "hair": 0.06, "bottom": 0.07,
    "shoes": 0.09, "full": 0.1, "hat": 0.12, "top": 0.13, "skirt": 0.2,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """How n vertices follow a body: their places on the base mesh, and the bones that move them."""

    reference: Int32Array  # (n,3) base vertices
    barycentric: Float32Array  # (n,3) their weights
    offset: Float32Array  # (n,3) offset from there at rest, dm
    bone: Int16Array  # (n,4)
    weight: Float32Array  # (n,4) skinning weights

    def vertices_on(self, base: Float32Array) -> Float32Array:
        """The vertices (n,3) at rest on a body; base: its base mesh (V,3)."""
        a, b, c = (self.barycentric[:, k, None] * base.take(self.reference[:, k], axis=0) for k in range(3))
        bound: Float32Array = a + b + c + self.offset
        return bound


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A piece of surface: triangles over the n vertices of a binding."""

    binding: Binding
    faces: Int32Array  # (F,3)
    uv: Float32Array  # (F,3,2) per corner
    template: Float32Array  # (n,3) where the vertices are bound to the neutral body, without offset, dm
    arm_distance: Float32Array  # (n,) along the arm, dm; -1 = not on an arm

    def with_faces(self, mask: BoolArray) -> Piece:
        """The same vertices with only the faces where the mask (F,) is true."""
        return replace(self, faces=self.faces[mask], uv=self.uv[mask])

    def with_offset(self, offset: Float32Array) -> Piece:
        """The same faces with other offsets (n,3), dm, from the places where the vertices are bound."""
        return replace(self, binding=replace(self.binding, offset=offset))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A piece with its layer and material."""

    layer: Layer
    piece: Piece
    material: Material


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePoints:
    """Points on triangles of a mesh: K triangles for each of P points, whose weighted sum is the point."""

    corners: Int64Array  # (P,K,3) vertices
    weights: Float64Array  # (P,K,3) their sum is 1 for each of the P points

    def on(self, vertices: Vertices) -> Float64Array:
        """The points (P,3) on a mesh with these vertices (n,3)."""
        points: Float64Array = np.einsum("pkc,pkcx->px", self.weights, vertices[self.corners].astype(np.float64))
        return points


def barycentric(points: FloatArray, triangles: FloatArray) -> FloatArray:
    """Barycentric coordinates (...,F,3) of points (...,2) in the plane, in each triangle (F,3,2).

    All are 0 or more inside of a triangle. They are not finite for a triangle without area.
    """
    start, first, second = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]  # (F,)
    away = points[..., None, :] - start  # (...,F,2)
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (away[..., 0] * second[:, 1] - away[..., 1] * second[:, 0]) / area
        across = (first[:, 0] * away[..., 1] - first[:, 1] * away[..., 0]) / area
    return np.stack([1 - along - across, along, across], -1)


def points_of_texture(piece: Piece, uv: Float64Array) -> SurfacePoints | None:
    """The middles of the points (P,K,2) of a texture on a piece, or None if a point is on none of its triangles."""
    weights = barycentric(uv, piece.uv)  # (P,K,F,3)
    inside = np.nan_to_num(weights.min(-1), nan=-np.inf)
    face = inside.argmax(-1)  # (P,K)
    if (np.take_along_axis(inside, face[..., None], -1) < -_ON_EDGE).any():
        return None
    chosen = np.take_along_axis(weights, face[..., None, None], 2)[:, :, 0] / uv.shape[1]
    return SurfacePoints(piece.faces[face].astype(np.int64), chosen)


def first_vertices(parts: Sequence[Part]) -> list[int]:
    """The number that the first vertex of every part gets in `assemble`."""
    numbers = [0]
    for part, following in pairwise(parts):
        shared = part.piece.binding is following.piece.binding
        numbers.append(numbers[-1] + (0 if shared else len(part.piece.binding.reference)))
    return numbers


def assemble(parts: Sequence[Part]) -> tuple[Binding, Mesh]:
    """Joins parts into one binding and one mesh; consecutive parts with the same binding share its vertices."""
    firsts = first_vertices(parts)
    bindings = {first: part.piece.binding for first, part in zip(firsts, parts, strict=True)}.values()
    arrays = ([getattr(binding, column.name) for binding in bindings] for column in fields(Binding))
    faces = [part.piece.faces + np.int32(first) for part, first in zip(parts, firsts, strict=True)]
    materials = [replace(part.material, depth_bias=_DEPTH_BIAS[part.layer]) for part in parts]
    return Binding(*map(np.concatenate, arrays)), build_mesh(faces, [part.piece.uv for part in parts], materials)
