"""Hair that is drawn as procedural strands instead of from MakeHuman's pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gfla_cli.arrays import Float64Array
from gfla_cli.synth.makehuman.clothing import Clothing, PackItem, hairstyle
from gfla_cli.synth.meshes import clip

_HEAD_AXIS = 0.3  # dm before the origin
_BROW_HEIGHT, _TEMPLE, _FACE = 7.62, 0.66, 0.55  # dm: the box before the eyes that a fringe must not hang into


def stranded(clothing: Clothing, base: Float64Array) -> PackItem:
    """A hairstyle with texture coordinates for strands that fall from the crown. base: (V,3)."""
    return hairstyle(clothing, _strand_uv(clothing, clothing.fit(base)))


def trimmed(clothing: Clothing, base: Float64Array) -> PackItem:
    """The same with the fringe cut straight above the eyes."""
    fitted = clothing.fit(base)
    x, y, z = fitted.T
    outside_box = np.maximum(y - _BROW_HEIGHT, np.maximum(np.abs(x) - _TEMPLE, _FACE - z))
    uv = _strand_uv(clothing, fitted).astype(np.float32)
    low, high, share, faces, cut_uv = clip(clothing.mesh.faces.astype(np.int32), uv, outside_box)

    nearest = np.where(share > 0.5, high, low)  # a new vertex moves with the nearer end of its edge
    moved = fitted[low] * (1 - share[:, None]) + fitted[high] * share[:, None] - fitted[nearest]
    cut = replace(
        clothing,
        mesh=replace(clothing.mesh, faces=faces, uv_faces=np.zeros_like(faces)),
        reference=np.concatenate([clothing.reference, clothing.reference[nearest]]),
        barycentric=np.concatenate([clothing.barycentric, clothing.barycentric[nearest]]),
        offset=np.concatenate([clothing.offset, clothing.offset[nearest] + moved / clothing.size(base)]),
    )
    return hairstyle(cut, cut_uv.astype(np.float64))


def _strand_uv(clothing: Clothing, fitted: Float64Array) -> Float64Array:
    """(F,3,2): u = twice the turns about the head, without a seam inside a triangle; v = height, 0..1."""
    x, y, z = fitted.T
    turns = (np.arctan2(x, z - _HEAD_AXIS) / (2 * np.pi))[clothing.mesh.faces]
    turns -= np.round(turns - turns[:, :1])
    height = (y - y.min()) / np.ptp(y)
    return np.stack([turns * 2, height[clothing.mesh.faces]], -1)
