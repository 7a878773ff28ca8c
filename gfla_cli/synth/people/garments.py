"""Clothes, hair, eyes and so on: modelled items fitted to a body, and garments cut out of a surface around it.

Lengths are decimetres (dm).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import BoolArray, Float32Array, Float64Array, FloatArray, Int32Array, Int64Array
from gfla_cli.synth.people.body import BaseMesh
from gfla_cli.synth.people.mesh import Binding, Piece, clip_mesh, merge_references, smooth, vertex_normals

_MAX_HEIGHT = 6.2  # dm on the neutral body; no garment reaches higher
_TORSO = -0.5  # arm distances below this are on torso and legs, where they are -1

Neck = Literal["crew", "v", "scoop"]
Field = Callable[[Float32Array, Float32Array], FloatArray]
"""Positions (n,3) and arm distances (n,) -> signed distance (n,) to the seams of a garment, > 0 inside; all in dm."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A modelled piece that scales with the body, as in MakeHuman's .mhclo files."""

    neutral: Piece  # on the neutral body
    scale_vertices: Int64Array  # (3,2) per axis, two base vertices whose distance measures the body
    scale_neutral: Float64Array  # (3,) that distance on the neutral body, dm
    hidden: Int64Array  # (k,) base vertices that it covers

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str, base: BaseMesh) -> Item:
        """Reads one item from the arrays of humans.npz."""
        binding = Binding(
            reference=arrays[f"{name}/ref"].astype(np.int32),
            barycentric=arrays[f"{name}/bary"].astype(np.float32),
            offset=arrays[f"{name}/offset"].astype(np.float32),
            bone=arrays[f"{name}/weight_index"].astype(np.int16),
            weight=arrays[f"{name}/weight"].astype(np.float32),
        )
        faces, uv = arrays[f"{name}/faces"].astype(np.int32), arrays[f"{name}/uv"].astype(np.float32)
        return cls(
            neutral=_piece(binding, faces, uv, base),
            scale_vertices=arrays[f"{name}/scale_index"].astype(np.int64),
            scale_neutral=arrays[f"{name}/scale_div"].astype(np.float64),
            hidden=arrays[f"{name}/hide"].astype(np.int64),
        )

    def fit(self, body: Float32Array) -> Piece:
        """The item on a body (V,3)."""
        size = relative_size(body, self.scale_vertices, self.scale_neutral)
        return self.neutral.with_offset((self.neutral.binding.offset * size).astype(np.float32))


def relative_size(body: FloatArray, vertices: Int64Array, length: Float64Array) -> Float64Array:
    """The size of a body (V,3) per axis, (3,), relative to the one where two of its vertices (3,2) are `length` apart.

    1 where both vertices are the same.
    """
    first, second = vertices.T
    axis = np.arange(3)
    return np.where(first == second, 1.0, np.abs(body[first, axis] - body[second, axis]) / length)


def _piece(binding: Binding, faces: Int32Array, uv: Float32Array, base: BaseMesh) -> Piece:
    template = _interpolated(binding.barycentric, base.rest[binding.reference])
    return Piece(binding, faces, uv, template, _interpolated(binding.barycentric, base.arm_distance[binding.reference]))


def _interpolated(barycentric: Float32Array, corners: Float32Array) -> Float32Array:
    """Weighted sums over the three corners, (n,3) and (n,3,...) -> (n,...)."""
    values: Float32Array = np.einsum("ik,ik...->i...", barycentric, corners)
    return values


def top_field(sleeve: float, hem: float, neck: Neck, opening: float) -> Field:
    """A top. sleeve: length along the arm; hem: height; opening: radius of the neck opening; all in dm."""

    def field(position: Float32Array, arm_distance: Float32Array) -> FloatArray:
        x, y, z = position.T
        inside: FloatArray = np.minimum(np.minimum(sleeve - arm_distance, y - hem), _MAX_HEIGHT - y)
        inside = np.minimum(inside, np.hypot(np.hypot(x, (y - 6.05) * 0.9), (z - 0.25) * 0.8) - opening)
        if neck == "v":
            inside = np.minimum(inside, np.maximum(np.abs(x) - 0.62 * (y - 4.5), 0.25 - z))
        if neck == "scoop":
            inside = np.minimum(inside, np.hypot(np.hypot(x * 0.8, y - 5.75), (z - 0.9) * 0.8) - 0.98)
        return inside

    return field


def bottom_field(waist: float, hem: float) -> Field:
    """Trousers or a skirt between two heights in dm."""

    def field(position: Float32Array, arm_distance: Float32Array) -> FloatArray:
        height = position[:, 1]
        not_arm = np.where(arm_distance > _TORSO, -1.0, 1.0)
        inside: FloatArray = np.minimum(np.minimum(waist - height, height - hem), not_arm)
        return inside

    return field


@dataclass(frozen=True, slots=True)
class Tailoring:
    """The fit of a garment."""

    offset: float  # distance from the body, dm
    loose: float = 0.0  # 0 = tight; a larger value widens hem and cuffs
    smoothing: int = 3  # iterations


def cut(item: Item, field: Field, body: Float32Array, base: BaseMesh, tailoring: Tailoring) -> Piece:
    """Cuts a garment out of an item, where a field is positive; smooths it and lifts it off the body (V,3)."""
    inside = field(item.neutral.template, item.neutral.arm_distance).astype(np.float64)
    binding, faces, uv = _cut_out(item.neutral, inside)
    cloth = _piece(binding, faces, uv, base)
    on_body = _interpolated(binding.barycentric, body[binding.reference]).astype(np.float64)
    draped = _drape(on_body, faces, cloth.arm_distance, tailoring)
    return cloth.with_offset((draped - on_body).astype(np.float32))


def _cut_out(piece: Piece, field: Float64Array) -> tuple[Binding, Int32Array, Float32Array]:
    """Binding, faces and uv of the part where a field (n,) is positive, with new vertices along the cut."""
    count, whole = len(field), piece.binding
    low, high, share, faces, uv = clip_mesh(piece.faces, piece.uv, field)
    _, first, same = np.unique(low * count + high, return_index=True, return_inverse=True)
    if len(low):  # two triangles that share a cut edge share its new vertex
        faces = np.where(faces >= count, count + first[same[np.maximum(faces - count, 0)]], faces)

    used = np.zeros(count + len(low), bool)
    used[faces] = True
    kept = np.flatnonzero(used)
    new_index = np.zeros(len(used), np.int32)
    new_index[kept] = np.arange(len(kept))

    old, edge = kept[kept < count], kept[kept >= count] - count
    a, b, of_b = low[edge], high[edge], share[edge][:, None].astype(np.float32)
    reference, barycentric = merge_references(
        np.concatenate([whole.reference[a], whole.reference[b]], 1),
        np.concatenate([whole.barycentric[a] * (1 - of_b), whole.barycentric[b] * of_b], 1),
    )
    nearest = np.concatenate([old, np.where(share[edge] > 0.5, b, a)])
    binding = Binding(
        reference=np.concatenate([whole.reference[old], reference]),
        barycentric=np.concatenate([whole.barycentric[old], barycentric]),
        offset=np.zeros((len(kept), 3), np.float32),
        bone=whole.bone[nearest],
        weight=whole.weight[nearest],
    )
    return binding, new_index[faces], uv


def _drape(on_body: Float64Array, faces: Int32Array, arm_distance: Float32Array, how: Tailoring) -> Float64Array:
    """The vertices on_body (n,3), smoothed, lifted off the body and widened."""
    cloth = on_body.copy()
    smooth(cloth, faces, how.smoothing, 0.5)
    # Hems stay sharp: their edges belong to one triangle only.
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1).astype(np.int64)
    key, uses = np.unique(edges[:, 0] * len(cloth) + edges[:, 1], return_counts=True)
    hem = np.concatenate(np.divmod(key[uses == 1], len(cloth)))
    cloth[hem] = on_body[hem]
    normals = vertex_normals(cloth, faces)
    cloth += normals * how.offset
    sunk = 0.6 * how.offset - ((cloth - on_body) * normals).sum(1)
    cloth += normals * np.maximum(sunk, 0)[:, None]  # smoothing shrinks the cloth: it must stay above the body
    if how.loose:
        on_torso = arm_distance < _TORSO
        wider = how.loose * np.clip((4.6 - cloth[:, 1]) / 3, 0, 1) * on_torso
        cloth[:, 2] += (cloth[:, 2] - cloth[on_torso, 2].mean()) * wider * 1.2
        cloth[:, 0] *= 1 + wider
        cloth += normals * (how.loose * 0.55 * np.clip(arm_distance, 0, 2.5) / 2.5)[:, None]
    return cloth


def remove_covered_faces(lower: Piece, upper: Piece) -> Piece:
    """The lower garment without the faces that the upper one covers on all sides."""
    torso = upper.template[upper.arm_distance < _TORSO]
    sector = ((np.arctan2(torso[:, 0], torso[:, 2]) / (2 * np.pi) + 0.5) * 12).astype(int) % 12
    hem = max(torso[sector == k, 1].min() if (sector == k).any() else 9.0 for k in range(12))
    return lower.with_faces((lower.template[lower.faces, 1] < hem + 0.3).any(1))


def tuck_in(top: Piece, skirt: Piece) -> Piece:
    """The top without the faces that the skirt covers."""
    waist = np.percentile(skirt.template[:, 1], 97)
    return top.with_faces((top.template[top.faces, 1] > waist - 0.4).any(1))


def covered_vertices(field: Field, base: BaseMesh) -> BoolArray:
    """A mask (V,) of the base vertices well inside a garment, whose skin is not drawn."""
    return field(base.rest, base.arm_distance) > 0.12
