"""What a character is put together from: pieces of surface that hang on the base mesh, and their materials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Int16Array, Int32Array
from gfla_cli.synth.meshes import hang_on
from gfla_cli.synth.renderer.materials import Material, build_mesh
from gfla_cli.synth.renderer.rasterizer import Mesh

Layer = Literal[
    "body", "eyes", "brows", "lashes", "tongue", "teeth", "bottom", "skirt", "shoes", "top", "full", "hair", "hat"
]
_DEPTH_BIAS: dict[Layer, float] = {  # dm; an outer layer that dips into an inner one is still drawn over it
    "body": 0.0,
    "eyes": 0.0,
    "teeth": 0.0,
    "tongue": 0.0,
    "lashes": 0.04,
    "brows": 0.05,
    "hair": 0.06,
    "bottom": 0.07,
    "shoes": 0.09,
    "full": 0.1,
    "hat": 0.12,
    "top": 0.13,
    "skirt": 0.2,
}


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """How n vertices follow one body: where they sit on the base mesh, and which bones move them."""

    reference: Int32Array  # (n,3) base vertices
    barycentric: Float32Array  # (n,3) their weights
    extra: Float32Array  # (n,3) offset from there, dm, at rest
    bone: Int16Array  # (n,4)
    weight: Float32Array  # (n,4)

    def on(self, base: Float32Array) -> Float32Array:
        """The vertices (n,3) at rest, where the base mesh (V,3) is that body."""
        return hang_on(self.reference, self.barycentric, self.extra, base)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some triangles over the vertices of a binding."""

    binding: Binding
    faces: Int32Array  # (F,3)
    uv: Float32Array  # (F,3,2) per corner
    template: Float32Array  # (n,3) where the vertices hang on the neutral body, dm
    arm_distance: Float32Array  # (n,) along the arm, dm; -1 = not on an arm

    def kept(self, mask: BoolArray) -> Piece:
        """The same vertices with only the faces where the mask (F,) is true."""
        return replace(self, faces=self.faces[mask], uv=self.uv[mask])

    def lifted(self, extra: Float32Array) -> Piece:
        """The same faces with other offsets (n,3), dm, from where the vertices hang."""
        return replace(self, binding=replace(self.binding, extra=extra))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A piece and what it is made of."""

    layer: Layer
    piece: Piece
    material: Material


def assemble(parts: Sequence[Part]) -> tuple[Binding, Mesh]:
    """One binding and one mesh out of many parts; neighbours with the same binding share their vertices."""
    bindings: list[Binding] = []
    faces: list[Int32Array] = []
    first = count = 0
    for part in parts:
        if not bindings or part.piece.binding is not bindings[-1]:
            bindings.append(part.piece.binding)
            first, count = count, count + len(part.piece.binding.reference)
        faces.append(part.piece.faces + np.int32(first))
    binding = Binding(
        reference=np.concatenate([b.reference for b in bindings]),
        barycentric=np.concatenate([b.barycentric for b in bindings]),
        extra=np.concatenate([b.extra for b in bindings]),
        bone=np.concatenate([b.bone for b in bindings]),
        weight=np.concatenate([b.weight for b in bindings]),
    )
    materials = [replace(part.material, depth_bias=_DEPTH_BIAS[part.layer]) for part in parts]
    return binding, build_mesh(faces, [part.piece.uv for part in parts], materials)
