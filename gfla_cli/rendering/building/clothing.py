"""MakeHuman's .mhclo files: how a mesh hangs on the base mesh, whatever body that has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gfla_cli.arrays import Float64Array, Int64Array
from gfla_cli.rendering.building.files import explained, lines
from gfla_cli.rendering.building.wavefront import Wavefront, read_wavefront


@dataclass(frozen=True, slots=True, eq=False)
class Clothing:
    """A mesh of n vertices, each the weighted sum of three base vertices plus an offset that grows with the body."""

    mesh: Wavefront
    reference: Int64Array  # (n,3) base vertices
    barycentric: Float64Array  # (n,3) their weights
    offset: Float64Array  # (n,3) dm, on a body of the size it was made for
    scale_vertices: Int64Array  # (3,2) per axis two base vertices; a pair of the same ones = the size does not matter
    scale_length: Float64Array  # (3,) how far they were apart, dm
    covered: Int64Array  # (k,) base vertices that are not seen under it

    def size(self, base: Float64Array) -> Float64Array:
        """How large a body (V,3) is, (3,), relative to the one it was made for."""
        first, second = self.scale_vertices.T
        axes = np.arange(3)
        size = np.abs(base[first, axes] - base[second, axes]) / self.scale_length
        return np.where(first == second, 1.0, size)

    def fit(self, base: Float64Array) -> Float64Array:
        """The vertices (n,3) on a body (V,3)."""
        hung: Float64Array = (self.barycentric[..., None] * base[self.reference]).sum(1)
        return hung + self.offset * self.size(base)


def read_clothing(path: Path, base_vertices: int) -> Clothing:
    """Reads a .mhclo file, and the mesh that it names from the same folder. base_vertices: V."""
    rows: list[list[float]] = []
    covered: list[int] = []
    scale_vertices, scale_length = np.zeros((3, 2), np.int64), np.ones(3)
    mesh_name = section = ""
    with explained(path, "a piece of clothing for MakeHuman"):
        for words in lines(path):
            keyword = words[0]
            if _is_number(keyword):
                if section == "verts":
                    rows.append([float(word) for word in words])
                elif section == "delete_verts":
                    covered += _ranges(words)
                continue
            section = keyword  # weights and the like come in sections of their own, which nothing is read from
            if keyword == "obj_file":
                mesh_name = words[1]
            elif keyword in ("x_scale", "y_scale", "z_scale"):
                axis = "xyz".index(keyword[0])
                scale_vertices[axis], scale_length[axis] = (int(words[1]), int(words[2])), float(words[3])
        reference, barycentric, offset = _bindings(rows)
        hidden = np.unique(np.array(covered, np.int64))
        if not max(reference.max(), scale_vertices.max(), hidden.max(initial=0)) < base_vertices:
            raise ValueError("a vertex beyond the base mesh")
        mesh = read_wavefront(path.with_name(mesh_name))
        if len(mesh.vertices) != len(reference):
            raise ValueError(f"{mesh_name} has {len(mesh.vertices)} vertices, {len(reference)} are fitted")
    return Clothing(mesh, reference, barycentric, offset, scale_vertices, scale_length, hidden)


def _is_number(word: str) -> bool:
    return word.lstrip("+-").replace(".", "", 1)[:1].isdigit()


def _ranges(words: list[str]) -> list[int]:
    """`1 5 - 8 12` -> 1, 5, 6, 7, 8, 12."""
    numbers: list[int] = []
    for before, word in zip(["", *words], words, strict=False):
        if before == "-":
            numbers += range(numbers[-1] + 1, int(word) + 1)
        elif word != "-":
            numbers.append(int(word))
    return numbers


def _bindings(rows: list[list[float]]) -> tuple[Int64Array, Float64Array, Float64Array]:
    """Rows of one base vertex, or of three with their weights and mostly an offset -> (n,3) each."""
    reference = np.zeros((len(rows), 3), np.int64)
    barycentric, offset = np.zeros((len(rows), 3)), np.zeros((len(rows), 3))
    for k, row in enumerate(rows):
        if len(row) == 1:
            reference[k], barycentric[k] = int(row[0]), (1, 0, 0)
        elif len(row) in (6, 9):
            reference[k], barycentric[k] = [int(vertex) for vertex in row[:3]], row[3:6]
            offset[k] = row[6:] or 0
        else:
            raise ValueError(f"vertex {k} is fitted with {len(row)} numbers")
    return reference, barycentric, offset
