"""Clothes, shoes, eyes ... as the pack stores them; outfits are taken apart into tops and bottoms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float64Array, Int64Array
from gfla_cli.rendering.building.clothing import Clothing
from gfla_cli.rendering.building.figure import Figure
from gfla_cli.rendering.building.rig import strongest

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
