"""Wavefront .obj meshes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float64Array, Int64Array
from gfla_cli.rendering.building.files import explained, lines


@dataclass(frozen=True, slots=True, eq=False)
class Wavefront:
    """A mesh with a texture; polygons are cut into fans of triangles."""

    vertices: Float64Array  # (V,3) dm
    uv: Float64Array  # (T,2) texture coordinates, v up
    faces: Int64Array  # (F,3) vertices
    uv_faces: Int64Array  # (F,3) rows of `uv`
    group: NDArray[np.str_]  # (F,) the name before each face, such as `body` or `helper-skirt`

    @property
    def corner_uv(self) -> Float64Array:
        """Texture coordinates of every corner, (F,3,2)."""
        return self.uv[self.uv_faces]


def read_wavefront(path: Path) -> Wavefront:
    """Reads positions, texture coordinates, faces and groups; normals and materials are left out."""
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    corners: list[tuple[int, int]] = []  # three per triangle
    group, groups = "", []
    with explained(path, "a Wavefront mesh"):
        for keyword, *words in lines(path):
            if keyword == "v":
                vertices.append([float(word) for word in words[:3]])
            elif keyword == "vt":
                uv.append([float(word) for word in words[:2]])
            elif keyword == "g":
                group = words[0] if words else ""
            elif keyword == "f":
                polygon = [_corner(word) for word in words]
                for second, third in pairwise(polygon[1:]):
                    corners += polygon[0], second, third
                    groups.append(group)
        mesh = _mesh(vertices, uv, corners, groups)
    return mesh


def _corner(word: str) -> tuple[int, int]:
    """`vertex/uv/normal`, counted from one, of which all but the first may be missing -> vertex and uv from zero."""
    vertex, _, others = word.partition("/")
    uv = others.partition("/")[0]
    return int(vertex) - 1, int(uv) - 1 if uv else 0


def _mesh(
    vertices: list[list[float]], uv: list[list[float]], corners: list[tuple[int, int]], groups: list[str]
) -> Wavefront:
    triangles = np.array(corners, np.int64).reshape(-1, 3, 2)
    mesh = Wavefront(
        vertices=np.array(vertices, np.float64).reshape(-1, 3),
        uv=np.array(uv or [[0, 0]], np.float64),
        faces=triangles[..., 0],
        uv_faces=triangles[..., 1],
        group=np.array(groups, np.str_),
    )
    for index, count in ((mesh.faces, len(mesh.vertices)), (mesh.uv_faces, len(mesh.uv))):
        if len(index) and not 0 <= index.min() <= index.max() < count:
            raise ValueError("a face has a corner that the file does not")
    return mesh
