"""Bending a character into a pose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array
from gfla_cli.rendering import rotations
from gfla_cli.rendering.character import Character
from gfla_cli.rendering.expressions import Expression
from gfla_cli.rendering.meshes import blend_skin, vertex_normals
from gfla_cli.rendering.pack import Pack

RELAXED = (0.5, 0.5)  # curl of the left and right fingers, 0 = stretched, 1 = fist


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A character in a pose; n vertices, the first V of which are those of the base mesh. Lengths in dm."""

    vertices: Float32Array  # (n,3)
    normals: Float32Array  # (n,3)
    joints: Float64Array  # (B,3)
    head: Float64Array  # (3,3) rotation of the head from its rest position


def bend(
    pack: Pack,
    character: Character,
    pose: Float64Array | None = None,
    expression: Expression | None = None,
    curl: tuple[float, float] = RELAXED,
) -> Posed:
    """The character in a pose (P,3) of the pack's library, None = as at rest, with an expression and curled fingers."""
    expression = expression or Expression()
    base = _with_expression(pack, character, expression)
    binding, skeleton = character.binding, pack.skeleton

    turn = np.zeros((len(skeleton.parent), 3))
    if pose is not None:
        turn[pack.poses.bones] = pose
    turn[skeleton.index["jaw"], 0] = expression.jaw
    for side, amount in zip("LR", curl, strict=True):
        yaw, pitch = expression.gaze
        turn[skeleton.index[f"eye.{side}"], :2] = -pitch, yaw
        _curl_fingers(turn, character.joints, skeleton.index, side, amount)

    rotation, joints = skeleton.bend(rotations.to_matrix(turn), character.joints)
    shift = joints - np.einsum("ijk,ik->ij", rotation, character.joints)
    vertices = blend_skin(binding.on(base), binding.bone, binding.weight, rotation, shift)
    normals = vertex_normals(vertices, character.mesh.triangles)
    return Posed(vertices, normals, joints, rotation[skeleton.index["head"]])


def _with_expression(pack: Pack, character: Character, expression: Expression) -> Float32Array:
    """The base mesh at rest (V,3), with the face moved."""
    weights = expression.weights(pack.shapes.expression_units)
    if not weights.any():
        return character.body.vertices
    base = character.body.vertices.copy()
    base[pack.shapes.expression_vertices] += (weights @ character.expression_basis).reshape(-1, 3)
    return base


def _curl_fingers(turn: Float64Array, joints: Float64Array, bone: Mapping[str, int], side: str, amount: float) -> None:
    """Turns the joints of four fingers around the line of the knuckles."""

    def joint(finger: int, link: int) -> Float64Array:
        at: Float64Array = joints[bone[f"finger{finger}-{link}.{side}"]]
        return at

    knuckles = joint(5, 1) - joint(2, 1)
    knuckles /= np.linalg.norm(knuckles)
    if np.cross(knuckles, joint(3, 2) - joint(3, 1))[1] > 0:  # turned so that a positive angle closes the hand
        knuckles = -knuckles
    for finger in range(2, 6):
        for link in (1, 2, 3):
            angle = amount * (0.22 + 0.05 * finger + (0.22 if link > 1 else 0))
            turn[bone[f"finger{finger}-{link}.{side}"]] = knuckles * angle
