"""MakeHuman's .mhclo files: how a mesh hangs on the base mesh, whatever body that has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float64Array, Int64Array
from gfla_cli.synth.makehuman.figure import Figure
from gfla_cli.synth.makehuman.files import Wavefront, explained, lines, read_wavefront
from gfla_cli.synth.makehuman.rig import strongest


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


# Clothes, shoes, eyes ... as the pack stores them; outfits are taken apart into tops and bottoms.


_ROLES = {"t": "top", "b": "bottom", "f": "full"}
_ROWS_AT_ONCE = 512  # of a table of distances, to save memory


@dataclass(frozen=True, slots=True, eq=False)
class PackItem:
    """n vertices that hang on the base mesh, and F triangles over them; see `Clothing` for the meaning."""

    reference: Int64Array  # (n,3)
    barycentric: Float64Array  # (n,3)
    offset: Float64Array  # (n,3) dm
    scale_vertices: Int64Array  # (3,2)
    scale_length: Float64Array  # (3,) dm
    faces: Int64Array  # (F,3)
    uv: Float64Array  # (F,3,2) per corner
    covered: Int64Array  # (k,)
    fine_uv: bool = False  # hair has textures so fine that float16 is not enough

    def arrays(self, name: str, figure: Figure, renumbered: Int64Array) -> dict[str, NDArray[Any]]:
        """What humans.npz holds of an item. renumbered: (V,) row of each base vertex in the pack, -1 = left out."""
        weight = (np.abs(self.barycentric)[..., None] * figure.rig.weight[self.reference]).sum(1)
        bone, share = strongest(weight)
        covered = renumbered[self.covered]
        arrays: Mapping[str, NDArray[Any]] = {
            "ref": renumbered[self.reference].astype(np.uint16),
            "bary": self.barycentric.astype(np.float16),
            "offset": self.offset.astype(np.float16),
            "scale_index": renumbered[self.scale_vertices].astype(np.uint16),
            "scale_div": self.scale_length.astype(np.float32),
            "faces": self.faces.astype(np.uint16),
            "uv": self.uv.astype(np.float32 if self.fine_uv else np.float16),
            "weight_index": bone,
            "weight": share,
            "hide": covered[covered >= 0].astype(np.uint16),
        }
        return {f"{name}/{key}": array for key, array in arrays.items()}

    def base_vertices(self) -> Int64Array:
        """The base vertices that the item needs."""
        return np.concatenate([self.reference.ravel(), self.scale_vertices.ravel()])


def garment(clothing: Clothing) -> PackItem:
    """A piece of clothing as a whole; skin under it need not be drawn."""
    return _compact(clothing, clothing.mesh.faces, clothing.mesh.corner_uv, clothing.covered)


def feature(clothing: Clothing) -> PackItem:
    """Something that hides no skin, such as eyes."""
    return replace(garment(clothing), covered=np.zeros(0, np.int64))


def hairstyle(clothing: Clothing, uv: Float64Array | None = None) -> PackItem:
    """Hair, if need be with other texture coordinates (F,3,2)."""
    whole = feature(clothing)
    return replace(whole, uv=whole.uv if uv is None else uv, fine_uv=True)


def outfit_items(name: str, clothing: Clothing, roles: str, base: Float64Array) -> dict[str, PackItem]:
    """`top:NAME`, `bottom:NAME` or `full:NAME` out of one outfit. roles: as in OUTFITS; base: (V,3)."""
    part, sizes = connected_parts(clothing.mesh.faces, len(clothing.reference))
    role = np.array(list(roles))[np.minimum(np.arange(len(sizes)), len(roles) - 1)][part]  # (n,)
    hides = role[_nearest(base[clothing.covered], clothing.fit(base))]
    items = {}
    for letter in dict.fromkeys(sorted(roles, reverse=True)):  # the top first
        kept = (role == letter)[clothing.mesh.faces].all(1)
        covered = clothing.covered[hides == letter]
        items[f"{_ROLES[letter]}:{name}"] = _compact(
            clothing, clothing.mesh.faces[kept], clothing.mesh.corner_uv[kept], covered
        )
    return items


def _compact(clothing: Clothing, faces: Int64Array, uv: Float64Array, covered: Int64Array) -> PackItem:
    """Some faces of a piece of clothing, with only the vertices that they have."""
    used, new_faces = np.unique(faces, return_inverse=True)
    return PackItem(
        reference=clothing.reference[used],
        barycentric=clothing.barycentric[used],
        offset=clothing.offset[used],
        scale_vertices=clothing.scale_vertices,
        scale_length=clothing.scale_length,
        faces=new_faces.reshape(-1, 3),
        uv=uv,
        covered=covered,
    )


def connected_parts(faces: Int64Array, vertices: int) -> tuple[Int64Array, Int64Array]:
    """Which part of a mesh each vertex belongs to (n,), the largest part being 0, and how large the parts are."""
    lowest = np.arange(vertices)  # grows into: the lowest vertex of the same part
    while True:
        before = lowest.copy()
        np.minimum.at(lowest, faces, lowest[faces].min(1, keepdims=True))
        lowest = lowest[lowest]
        if (lowest == before).all():
            break
    first, part, size = np.unique(lowest, return_inverse=True, return_counts=True)
    order = np.argsort(-size, kind="stable")
    rank = np.empty(len(first), np.int64)
    rank[order] = np.arange(len(first))
    return rank[part], size[order]


def _nearest(points: Float64Array, others: Float64Array) -> Int64Array:
    """For each of the points (m,3) the nearest of the others (n,3)."""
    chunks = [points[first : first + _ROWS_AT_ONCE] for first in range(0, len(points), _ROWS_AT_ONCE)]
    square = (others**2).sum(1)
    nearest = [np.argmin(square - 2 * chunk @ others.T, axis=1) for chunk in chunks]
    return np.concatenate([np.zeros(0, np.int64), *nearest])
