"""Textures with mip levels, materials, and the flat record of a textured mesh that the compiled kernels take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array, Float64Array, Int32Array, Int64Array
from gfla_cli.synth.renderer.rasterizer import Materials, Mesh

_SMALLEST_SIDE = 16  # texels of the coarsest mip level
_MAX_LEVELS = 16  # of a texture: 32768 x 32768 texels


@dataclass(frozen=True, slots=True, eq=False)
class MipChain:
    """A square RGBA texture at full size, half, a quarter and so on."""

    texels: ByteArray  # (B,) all levels one after the other, row by row
    side: int  # of the finest level
    levels: int

    @property
    def offsets(self) -> list[int]:
        """Where each level starts in `texels`."""
        sizes = [(self.side >> level) ** 2 * 4 for level in range(self.levels)]
        return [sum(sizes[:level]) for level in range(self.levels)]


def mip_chain(image: ByteArray) -> MipChain:
    """All mip levels, down to 16 x 16, of an RGBA image (n,n,4); n is a power of two, 16 or more."""
    levels = [image]
    while levels[-1].shape[0] > _SMALLEST_SIDE:
        half = levels[-1].shape[0] // 2
        levels.append(cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA))
    return MipChain(np.concatenate([level.ravel() for level in levels]), image.shape[0], len(levels))


def plain(red: int, green: int, blue: int) -> MipChain:
    """A texture of one opaque colour; red, green and blue are 0..255."""
    return mip_chain(np.full((_SMALLEST_SIDE, _SMALLEST_SIDE, 4), (red, green, blue, 255), np.uint8))


@dataclass(frozen=True, slots=True)
class Gloss:
    """The highlight of a material, and the depth tolerance of shadows on it."""

    strength: float  # of the highlight, 0..1; 0 = matt
    power: float  # Blinn-Phong exponent: the higher, the smaller the highlight
    shadow_bias: float  # dm by which an object must be closer to the light to cast a shadow on this surface


MATT = Gloss(0.0, 4, 0.22)


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """A texture with a tint and a gloss."""

    texture: MipChain
    tint: Float64Array  # (3,) linear RGB factor on the texture
    gloss: Gloss = MATT
    flags: int = 0  # rasterizer.CULL_BACK | rasterizer.ALPHA_TEST
    depth_bias: float = 0.0  # dm by which the surface is drawn closer to the eye than it is


def build_mesh(faces: Sequence[Int32Array], uv: Sequence[Float32Array], materials: Sequence[Material]) -> Mesh:
    """One mesh of several parts with common vertices.

    faces: triangles (F,3) per part; uv: texture coordinates (F,3,2) per corner, per part; materials: one per part.
    """
    triangles = np.concatenate(faces)
    texels, level_offset = _texture_atlas([material.texture for material in materials])
    glosses = [(material.gloss.strength, material.gloss.power, material.gloss.shadow_bias) for material in materials]
    return Mesh(
        triangles=triangles,
        corner_uv=np.concatenate(uv),
        part=np.repeat(np.arange(len(faces), dtype=np.int32), [len(part) for part in faces]),
        materials=Materials(
            flags=np.array([material.flags for material in materials], np.int64),
            depth_bias=np.array([material.depth_bias for material in materials], np.float64),
            tint=np.array([material.tint for material in materials], np.float64),
            specular=np.array(glosses, np.float64),
            level_offset=level_offset,
            level_size=np.array([(m.texture.side, m.texture.levels) for m in materials], np.int64),
            texels=texels,
        ),
        drawn=np.flatnonzero(np.bincount(triangles.ravel())),
    )


def _texture_atlas(textures: Sequence[MipChain]) -> tuple[ByteArray, Int64Array]:
    """All textures in one buffer, shared ones only once, and the start of each level (textures, _MAX_LEVELS)."""
    distinct = list({id(texture): texture for texture in textures}.values())
    starts = accumulate((len(texture.texels) for texture in distinct), initial=0)
    start = {id(texture): first for texture, first in zip(distinct, starts, strict=False)}
    level_offset = np.zeros((len(textures), _MAX_LEVELS), np.int64)
    for row, texture in enumerate(textures):
        level_offset[row, : texture.levels] = start[id(texture)] + np.array(texture.offsets)
    return np.concatenate([texture.texels for texture in distinct]), level_offset
