"""Surfaces from the helpers of the base mesh: two to cut garments out of, and the teeth."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from gfla_cli.arrays import Float64Array, Int64Array
from gfla_cli.synth.makehuman.clothing import PackItem
from gfla_cli.synth.makehuman.figure import SIDES, Figure

Corners = TypeVar("Corners", Int64Array, Float64Array)

_FABRIC = 9.0  # dm of cloth per height of a texture
_CROTCH = -0.6  # dm; below it, cloth goes round the legs
_LEG_WIDTH, _SLEEVE_WIDTH = 0.6, 0.3  # how much of the texture goes round a leg, an arm
_SHOULDER_HEIGHT = 0.55  # v where a sleeve begins


def tights(figure: Figure) -> PackItem:
    """A second skin from neck to wrists and ankles."""
    faces = _faces(figure, "helper-tights")
    return _subdivided(faces, _tights_uv(figure, faces))


def skirt(figure: Figure) -> PackItem:
    """A long skirt, closed all round."""
    faces = _faces(figure, "helper-skirt")
    x, y, z = np.moveaxis(figure.mesh.vertices[faces], -1, 0)
    return _subdivided(faces, np.stack([_round_the_body(x, z), y / _FABRIC], -1))


def teeth(figure: Figure) -> PackItem:
    """Both rows of teeth."""
    faces = _faces(figure, "helper-upper-teeth", "helper-lower-teeth")
    x, y, _ = np.moveaxis(figure.mesh.vertices[faces], -1, 0)
    used, new_faces = np.unique(faces, return_inverse=True)
    return _on_base(np.repeat(used[:, None], 3, 1), _corner_weights(len(used)), new_faces, np.stack([x * 2, y], -1))


def _faces(figure: Figure, *groups: str) -> Int64Array:
    return figure.mesh.faces[np.isin(figure.mesh.group, groups)]


def _corner_weights(count: int) -> Float64Array:
    return np.tile([1.0, 0.0, 0.0], (count, 1))


def _on_base(reference: Int64Array, barycentric: Float64Array, faces: Int64Array, uv: Float64Array) -> PackItem:
    """An item that lies on the base mesh and covers nothing."""
    return PackItem(
        reference=reference,
        barycentric=barycentric,
        offset=np.zeros((len(reference), 3)),
        scale_vertices=np.zeros((3, 2), np.int64),
        scale_length=np.ones(3),
        faces=faces.reshape(-1, 3),
        uv=uv,
        covered=np.zeros(0, np.int64),
    )


def _subdivided(faces: Int64Array, uv: Float64Array) -> PackItem:
    """Base triangles (F,3) with corner uv (F,3,2), each cut into four at the middles of its edges."""
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
    """Triangles (F,3,...) with the middles of their edges 01, 12, 20 -> four times as many, (4F,3,...)."""
    a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
    ab, bc, ca = middle[:, 0], middle[:, 1], middle[:, 2]
    return np.concatenate([np.stack(three, 1) for three in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])


def _unwrapped(turns: Float64Array) -> Float64Array:
    """Angles (F,3) in turns, without a seam inside a triangle."""
    unwrapped: Float64Array = turns - np.round(turns - turns[:, :1])
    return unwrapped


def _turns(across: Float64Array, ahead: Float64Array) -> Float64Array:
    turns: Float64Array = np.arctan2(across, ahead) / (2 * np.pi)
    return turns


def _round_the_body(x: Float64Array, z: Float64Array) -> Float64Array:
    """u (F,3) round the body; the middle of the front is the middle of the texture."""
    return _unwrapped(0.5 + _turns(x, z))


def _tights_uv(figure: Figure, faces: Int64Array) -> Float64Array:
    """Texture coordinates (F,3,2) on cylinders round the torso, the legs and the arms."""
    corner = figure.mesh.vertices[faces]  # (F,3,3)
    x, y, z = np.moveaxis(corner, -1, 0)
    uv = np.stack([_round_the_body(x, z - 0.1), y / _FABRIC], -1)
    is_arm = figure.arm_weight[faces].mean(1) > 0.45
    for side, sign in SIDES:
        on_side = x.mean(1) * sign > 0
        leg, arm = on_side & (y.mean(1) < _CROTCH), on_side & is_arm
        uv[leg, :, 0] = _round_leg(figure, side, sign, corner[leg])
        uv[arm, :, 0] = _round_arm(figure, side, corner[arm], figure.arm_distance[faces[arm]])
        uv[arm, :, 1] = _SHOULDER_HEIGHT - figure.arm_distance[faces[arm]] / _FABRIC
    return uv


def _round_leg(figure: Figure, side: str, sign: int, corner: Float64Array) -> Float64Array:
    """u (f,3) round a straight line from hip to ankle."""
    hip, ankle = figure.joint(f"upperleg01{side}"), figure.joint(f"foot{side}")
    down = np.clip((hip[1] - corner[..., 1]) / (hip[1] - ankle[1]), 0, 1)[..., None]
    x, _, z = np.moveaxis(corner - (hip + down * (ankle - hip)), -1, 0)
    return _unwrapped(_turns(x * sign, z)) * _LEG_WIDTH + 0.5


def _round_arm(figure: Figure, side: str, corner: Float64Array, distance: Float64Array) -> Float64Array:
    """u (f,3) round the bent line from shoulder by elbow to wrist. distance: (f,3) along it, dm."""
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
