"""Clothes, hair, eyes and teeth as the pack stores them: meshes that are bound to the base mesh (.mhclo files)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gfla_cli.arrays import BoolArray, Float64Array, Int64Array
from gfla_cli.synth.makehuman.figure import SIDES, Figure, strongest_bones
from gfla_cli.synth.makehuman.files import as_data_error, read_obj, split_lines
from gfla_cli.synth.people.garments import relative_size
from gfla_cli.synth.people.mesh import clip_mesh

_ROLES = {"t": "top", "b": "bottom", "f": "full"}
_CHUNK = 512  # rows of a table of distances, to save memory
_HEAD_AXIS = 0.3  # z of the vertical axis of the head, dm
_FRINGE_BOX = (7.62, 0.66, 0.55)  # dm: hair is cut below this y, up to this |x|, in front of this z
_TEXTURE_HEIGHT = 9.0  # dm of cloth per height of a texture
_CROTCH = -0.6  # dm; below this height, cloth goes around the legs
_LEG_WIDTH, _SLEEVE_WIDTH = 0.6, 0.3  # share of the texture that goes around a leg or an arm
_SHOULDER_V = 0.55  # v where a sleeve begins

Corners = TypeVar("Corners", Int64Array, Float64Array)


@dataclass(frozen=True, slots=True, eq=False)
class FittedMesh:
    """A mesh of n vertices: each is a weighted sum of three base vertices, plus an offset that scales with the body."""

    faces: Int64Array  # (F,3)
    uv: Float64Array  # (F,3,2) texture coordinates per corner
    reference: Int64Array  # (n,3) base vertices
    barycentric: Float64Array  # (n,3) their weights
    offset: Float64Array  # (n,3) dm, on the body that it was modelled on
    scale_vertices: Int64Array  # (3,2) per axis, two base vertices that measure the body; equal ones = no scaling
    scale_length: Float64Array  # (3,) their distance on the body that it was modelled on, dm
    covered: Int64Array  # (k,) base vertices that it hides
    fine_uv: bool = False  # hair has fine textures, for which float16 is not enough

    def size(self, base: Float64Array) -> Float64Array:
        """The size of a body (V,3) per axis, (3,), relative to the one that the clothing was modelled on."""
        return relative_size(base, self.scale_vertices, self.scale_length)

    def fit(self, base: Float64Array) -> Float64Array:
        """The vertices (n,3) on a body (V,3)."""
        bound: Float64Array = (self.barycentric[..., None] * base[self.reference]).sum(1)
        return bound + self.offset * self.size(base)

    def part(self, kept: BoolArray | None = None) -> FittedMesh:
        """Only the faces of a mask (F,), None = all of them, and only the vertices that they use."""
        faces, uv = (self.faces, self.uv) if kept is None else (self.faces[kept], self.uv[kept])
        used, new_faces = np.unique(faces, return_inverse=True)
        return replace(
            self,
            faces=new_faces.reshape(-1, 3),
            uv=uv,
            reference=self.reference[used],
            barycentric=self.barycentric[used],
            offset=self.offset[used],
        )

    def arrays(self, name: str, figure: Figure, renumbered: Int64Array) -> dict[str, NDArray[Any]]:
        """The arrays of an item in humans.npz. renumbered: (V,) row of each base vertex in the pack, -1 = left out."""
        weight = (np.abs(self.barycentric)[..., None] * figure.rig.weight[self.reference]).sum(1)
        bone, share = strongest_bones(weight)
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


def read_clothing(path: Path, base_vertices: int) -> FittedMesh:
    """Reads a .mhclo file and its mesh, which lies in the same folder. base_vertices: V, the size of the base mesh.

    Raises DataError for a damaged file.
    """
    rows: list[list[float]] = []
    covered: list[int] = []
    scale_vertices, scale_length = np.zeros((3, 2), np.int64), np.ones(3)
    mesh_name = section = ""
    with as_data_error(path, "a piece of clothing for MakeHuman"):
        for words in split_lines(path):
            keyword = words[0]
            if keyword.lstrip("+-").replace(".", "", 1)[:1].isdigit():
                if section == "verts":
                    rows.append([float(word) for word in words])
                elif section == "delete_verts":
                    covered += _ranges(words)
                continue
            section = keyword  # other sections, such as weights, are ignored
            if keyword == "obj_file":
                mesh_name = words[1]
            elif keyword in ("x_scale", "y_scale", "z_scale"):
                axis = "xyz".index(keyword[0])
                scale_vertices[axis], scale_length[axis] = (int(words[1]), int(words[2])), float(words[3])
        reference, barycentric, offset = _bindings(rows)
        hidden = np.unique(np.array(covered, np.int64))
        if not max(reference.max(), scale_vertices.max(), hidden.max(initial=0)) < base_vertices:
            raise ValueError("a vertex beyond the base mesh")
        mesh = read_obj(path.with_name(mesh_name))
        if len(mesh.vertices) != len(reference):
            raise ValueError(f"{mesh_name} has {len(mesh.vertices)} vertices, but {len(reference)} are fitted")
    return FittedMesh(mesh.faces, mesh.corner_uv, reference, barycentric, offset, scale_vertices, scale_length, hidden)


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
    """Rows of one base vertex, or of three vertices, three weights and mostly an offset -> three arrays (n,3)."""
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


def feature(mesh: FittedMesh) -> FittedMesh:
    """An item that covers no skin, such as eyes."""
    return replace(mesh.part(), covered=np.zeros(0, np.int64))


def hairstyle(mesh: FittedMesh) -> FittedMesh:
    """Hair: it covers no skin, and has fine texture coordinates."""
    return replace(feature(mesh), fine_uv=True)


def outfit_items(name: str, outfit: FittedMesh, roles: str, base: Float64Array) -> dict[str, FittedMesh]:
    """Splits an outfit into items `top:NAME`, `bottom:NAME` or `full:NAME`. roles: see OUTFITS; base: (V,3)."""
    part, sizes = connected_parts(outfit.faces, len(outfit.reference))
    role = np.array(list(roles))[np.minimum(np.arange(len(sizes)), len(roles) - 1)][part]  # (n,)
    hides = role[_nearest(base[outfit.covered], outfit.fit(base))]
    items = {}
    for letter in dict.fromkeys(sorted(roles, reverse=True)):  # the top first
        item = outfit.part((role == letter)[outfit.faces].all(1))
        items[f"{_ROLES[letter]}:{name}"] = replace(item, covered=outfit.covered[hides == letter])
    return items


def connected_parts(faces: Int64Array, vertices: int) -> tuple[Int64Array, Int64Array]:
    """The connected parts of a mesh: the part of each vertex (n,), 0 = the largest, and the vertices per part."""
    start, end = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    graph = coo_matrix((np.ones(len(start)), (start, end)), (vertices, vertices))
    _, part = connected_components(graph, directed=False)
    size = np.bincount(part)
    order = np.argsort(-size, kind="stable")
    return np.argsort(order)[part], size[order]


def _nearest(points: Float64Array, others: Float64Array) -> Int64Array:
    """The row (m,) of the nearest of the others (n,3), for each of the points (m,3)."""
    chunks = [points[first : first + _CHUNK] for first in range(0, len(points), _CHUNK)]
    square = (others**2).sum(1)
    nearest = [np.argmin(square - 2 * chunk @ others.T, axis=1) for chunk in chunks]
    return np.concatenate([np.zeros(0, np.int64), *nearest])


def stranded(hair: FittedMesh, base: Float64Array) -> FittedMesh:
    """A hairstyle with texture coordinates for procedural strands that fall from the crown. base: (V,3)."""
    return hairstyle(replace(hair, uv=_strand_uv(hair, hair.fit(base))))


def trimmed(hair: FittedMesh, base: Float64Array) -> FittedMesh:
    """Like `stranded`, with the fringe cut straight above the eyes."""
    fitted = hair.fit(base)
    x, y, z = fitted.T
    brow_height, temple, face = _FRINGE_BOX
    outside_box = np.maximum(y - brow_height, np.maximum(np.abs(x) - temple, face - z))
    uv = _strand_uv(hair, fitted).astype(np.float32)
    low, high, share, faces, cut_uv = clip_mesh(hair.faces.astype(np.int32), uv, outside_box)

    nearest = np.where(share > 0.5, high, low)  # a new vertex gets the binding of the nearer end of its edge
    moved = fitted[low] * (1 - share[:, None]) + fitted[high] * share[:, None] - fitted[nearest]
    cut = replace(
        hair,
        faces=faces,
        uv=cut_uv.astype(np.float64),
        reference=np.concatenate([hair.reference, hair.reference[nearest]]),
        barycentric=np.concatenate([hair.barycentric, hair.barycentric[nearest]]),
        offset=np.concatenate([hair.offset, hair.offset[nearest] + moved / hair.size(base)]),
    )
    return hairstyle(cut)


def _strand_uv(hair: FittedMesh, fitted: Float64Array) -> Float64Array:
    """Texture coordinates (F,3,2): u = twice the turns around the head; v = height, 0..1."""
    x, y, z = fitted.T
    turns = _unwrapped(_turns(x, z - _HEAD_AXIS)[hair.faces])
    height = (y - y.min()) / np.ptp(y)
    return np.stack([turns * 2, height[hair.faces]], -1)


def tights(figure: Figure) -> FittedMesh:
    """A surface close to the skin from neck to wrists and ankles, to cut garments out of."""
    faces = _faces(figure, "helper-tights")
    return _subdivided(faces, _tights_uv(figure, faces))


def skirt(figure: Figure) -> FittedMesh:
    """A long skirt, to cut garments out of."""
    faces = _faces(figure, "helper-skirt")
    x, y, z = np.moveaxis(figure.mesh.vertices[faces], -1, 0)
    return _subdivided(faces, np.stack([_round_the_body(x, z), y / _TEXTURE_HEIGHT], -1))


def teeth(figure: Figure) -> FittedMesh:
    """Both rows of teeth."""
    faces = _faces(figure, "helper-upper-teeth", "helper-lower-teeth")
    x, y, _ = np.moveaxis(figure.mesh.vertices[faces], -1, 0)
    used, new_faces = np.unique(faces, return_inverse=True)
    return _on_base(np.repeat(used[:, None], 3, 1), _corner_weights(len(used)), new_faces, np.stack([x * 2, y], -1))


def _faces(figure: Figure, *groups: str) -> Int64Array:
    return figure.mesh.faces[np.isin(figure.mesh.group, groups)]


def _corner_weights(count: int) -> Float64Array:
    return np.tile([1.0, 0.0, 0.0], (count, 1))


def _on_base(reference: Int64Array, barycentric: Float64Array, faces: Int64Array, uv: Float64Array) -> FittedMesh:
    """An item without offsets from the base mesh, which covers no skin."""
    return FittedMesh(
        reference=reference,
        barycentric=barycentric,
        offset=np.zeros((len(reference), 3)),
        scale_vertices=np.zeros((3, 2), np.int64),
        scale_length=np.ones(3),
        faces=faces.reshape(-1, 3),
        uv=uv,
        covered=np.zeros(0, np.int64),
    )


def _subdivided(faces: Int64Array, uv: Float64Array) -> FittedMesh:
    """An item of base triangles (F,3) with corner uv (F,3,2), each cut into four at the middles of its edges."""
    used, old = np.unique(faces, return_inverse=True)
    old = old.reshape(-1, 3)
    count = len(used)
    edges = np.sort(np.concatenate([old[:, [0, 1]], old[:, [1, 2]], old[:, [2, 0]]]), 1)
    key, edge = np.unique(edges[:, 0] * count + edges[:, 1], return_inverse=True)
    low, high = used[key // count], used[key % count]
    middle = (count + edge).reshape(3, -1).T  # (F,3) of the edges 01, 12, 20
    middle_uv = (uv + np.roll(uv, -1, 1)) / 2
    return _on_base(
        np.concatenate([np.repeat(used[:, None], 3, 1), np.stack([low, high, low], 1)]),
        np.concatenate([_corner_weights(count), np.tile([0.5, 0.5, 0.0], (len(low), 1))]),
        _quarters(old, middle),
        _quarters(uv, middle_uv),
    )


def _quarters(corner: Corners, middle: Corners) -> Corners:
    """Cuts triangles (F,3,...) into four (4F,3,...); middle: (F,3,...) of their edges 01, 12, 20."""
    a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
    ab, bc, ca = middle[:, 0], middle[:, 1], middle[:, 2]
    return np.concatenate([np.stack(three, 1) for three in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])


def _unwrapped(turns: Float64Array) -> Float64Array:
    """Angles (F,3) in turns, shifted by whole turns so that no triangle has a seam inside."""
    unwrapped: Float64Array = turns - np.round(turns - turns[:, :1])
    return unwrapped


def _turns(across: Float64Array, ahead: Float64Array) -> Float64Array:
    turns: Float64Array = np.arctan2(across, ahead) / (2 * np.pi)
    return turns


def _round_the_body(x: Float64Array, z: Float64Array) -> Float64Array:
    """u (F,3) around the body; the middle of the front is the middle of the texture."""
    return _unwrapped(0.5 + _turns(x, z))


def _tights_uv(figure: Figure, faces: Int64Array) -> Float64Array:
    """Texture coordinates (F,3,2) on cylinders around the torso, the legs and the arms."""
    corner = figure.mesh.vertices[faces]  # (F,3,3)
    x, y, z = np.moveaxis(corner, -1, 0)
    uv = np.stack([_round_the_body(x, z - 0.1), y / _TEXTURE_HEIGHT], -1)
    is_arm = figure.arm_weight[faces].mean(1) > 0.45
    for side, sign in SIDES:
        on_side = x.mean(1) * sign > 0
        leg, arm = on_side & (y.mean(1) < _CROTCH), on_side & is_arm
        # u around the straight line from hip to ankle.
        hip, ankle = figure.joint(f"upperleg01{side}"), figure.joint(f"foot{side}")
        down = np.clip((hip[1] - corner[leg, :, 1]) / (hip[1] - ankle[1]), 0, 1)[..., None]
        off_x, _, off_z = np.moveaxis(corner[leg] - (hip + down * (ankle - hip)), -1, 0)
        uv[leg, :, 0] = _unwrapped(_turns(off_x * sign, off_z)) * _LEG_WIDTH + 0.5
        uv[arm, :, 0] = _round_arm(figure, side, corner[arm], figure.arm_distance[faces[arm]])
        uv[arm, :, 1] = _SHOULDER_V - figure.arm_distance[faces[arm]] / _TEXTURE_HEIGHT
    return uv


def _round_arm(figure: Figure, side: str, corner: Float64Array, distance: Float64Array) -> Float64Array:
    """u (f,3) around the bent line from shoulder over elbow to wrist. distance: (f,3) along it, dm."""
    shoulder, elbow, wrist = (figure.joint(f"{bone}{side}") for bone in ("upperarm01", "lowerarm01", "wrist"))
    along = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
    across = np.cross(along, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    upper = np.linalg.norm(elbow - shoulder)
    share = distance[..., None] / upper
    beyond = (distance - upper)[..., None] / np.linalg.norm(wrist - elbow)
    axis = np.where(share < 1, shoulder + share * (elbow - shoulder), elbow + beyond * (wrist - elbow))
    off = corner - axis
    return _unwrapped(_turns(off @ across, off @ np.cross(along, across))) * _SLEEVE_WIDTH + 0.05
