"""A software rasterizer: textured meshes as flat arrays, the z-buffer and the shadow map of a light.

It draws any mesh of triangles with square textures whose side is a power of two. The records that compiled code takes
are NamedTuples: numba supports them, but no dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar, cast

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array
from gfla_cli.errors import MissingExtraError

try:
    import numba
except ImportError as error:
    raise MissingExtraError("rendering synthetic people needs numba", "render") from error

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compiles a function at its first call, with exact IEEE arithmetic. The machine code is cached on disk."""
    return cast(Function, numba.njit(cache=True)(function))


def fast_kernel(function: Function) -> Function:
    """Like `kernel`, but the compiler may reorder sums: pixels can differ in the last bit between machines."""
    return cast(Function, numba.njit(cache=True, fastmath=True)(function))


CULL_BACK = 1  # flags of a material: back faces are not drawn
ALPHA_TEST = 2  # texels with little alpha are holes

_ALPHA_THRESHOLD = 110  # 0..255; texels with less alpha are holes
_NEAR_PLANE = 0.5  # a triangle with a corner closer to the eye than this is dropped, not clipped
_LEVEL_BIAS = 0.35  # mip levels below the one with a texel per sample, since supersampling averages once more
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
    flags: int = 0  # CULL_BACK | ALPHA_TEST
    depth_bias: float = 0.0  # dm by which the surface is drawn closer to the eye than it is


class Materials(NamedTuple):
    """The materials of the M parts of a mesh."""

    flags: Int64Array  # (M,) CULL_BACK | ALPHA_TEST
    depth_bias: Float64Array  # (M,) length by which a part is drawn closer to the eye, so that inner layers stay hidden
    tint: Float64Array  # (M,3) linear RGB factor on the texture
    specular: Float64Array  # (M,3) strength, power, shadow bias (length)
    level_offset: Int64Array  # (M,L) where each mip level starts in `texels`
    level_size: Int64Array  # (M,2) side of the finest level in texels, number of levels
    texels: ByteArray  # (B,) RGBA of all levels of all textures, row by row


class Mesh(NamedTuple):
    """T textured triangles; the vertex arrays that they index are passed separately."""

    triangles: Int32Array  # (T,3)
    corner_uv: Float32Array  # (T,3,2) texture coordinates, v upwards, wrapped
    part: Int32Array  # (T,) row of the materials
    materials: Materials
    drawn: Int64Array  # (k,) the vertices that some triangle uses


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


class Samples(NamedTuple):
    """The surface that each of n x n samples of the image sees."""

    inverse_depth: Float32Array  # (n,n) 1 / depth; 0 = background
    triangle: Int32Array  # (n,n) -1 = background
    barycentric: Float32Array  # (n,n,2) weights of the triangle's second and third corner
    level: Int8Array  # (T,) mip level of each triangle


def empty_samples(side: int, triangles: int) -> Samples:
    """Samples (side, side) that all see the background, for `rasterize` to fill."""
    return Samples(
        np.zeros((side, side), np.float32),
        np.full((side, side), -1, np.int32),
        np.empty((side, side, 2), np.float32),
        np.zeros(triangles, np.int8),
    )


@fast_kernel
def _area(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> float:
    """Twice the signed area of a triangle on the screen; negative if counter-clockwise, as y points down."""
    return (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)


@fast_kernel
def _first_sample(a: float, b: float, c: float) -> int:
    """The first sample at or after the smallest of three coordinates; sample i has its centre at i + 0.5."""
    return max(int(np.ceil(min(a, b, c) - 0.5)), 0)


@fast_kernel
def _last_sample(a: float, b: float, c: float, side: int) -> int:
    return min(int(np.floor(max(a, b, c) - 0.5)), side - 1)


@fast_kernel
def _mip_level(uv: Float32Array, side: int, levels: int, area: float) -> int:
    """The level whose texels are about as large as the samples of a triangle that covers `area` / 2 of them."""
    texels = abs(_area(uv[0, 0], uv[0, 1], uv[1, 0], uv[1, 1], uv[2, 0], uv[2, 1])) * side * side
    level = 0.5 * np.log2(max(texels, 1e-9) / abs(area)) - _LEVEL_BIAS
    return min(max(int(level + 0.5), 0), levels - 1)


@fast_kernel
def _is_hole(texels: ByteArray, start: int, side: int, u: float, v: float) -> bool:
    column = int((u - np.floor(u)) * side) % side
    row = int((1 - (v - np.floor(v))) * side) % side
    return bool(texels[start + (row * side + column) * 4 + 3] < _ALPHA_THRESHOLD)


# One long kernel, as most of the time is spent here: the loop over the samples uses local numbers only.
@fast_kernel
def rasterize(mesh: Mesh, screen: Float32Array, perspective: bool, samples: Samples) -> None:
    """Draws a mesh into the samples; the nearest surface wins.

    screen: (vertices,3) x and y in samples (y down), and depth. perspective: True gives barycentric weights on the
    surface, which large triangles need; False gives weights on the screen, enough for triangles of a few pixels.
    """
    inverse_depth, triangle, barycentric, _ = samples
    height, width = triangle.shape
    materials = mesh.materials
    for t in range(mesh.triangles.shape[0]):
        i, j, k, part = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2], mesh.part[t]
        ax, ay, az = screen[i, 0], screen[i, 1], screen[i, 2]
        bx, by, bz = screen[j, 0], screen[j, 1], screen[j, 2]
        cx, cy, cz = screen[k, 0], screen[k, 1], screen[k, 2]
        area = _area(ax, ay, bx, by, cx, cy)
        if abs(area) < 1e-7 or (area > 0 and materials.flags[part] & CULL_BACK) or min(az, bz, cz) < _NEAR_PLANE:
            continue
        left, right = _first_sample(ax, bx, cx), _last_sample(ax, bx, cx, width)
        top, bottom = _first_sample(ay, by, cy), _last_sample(ay, by, cy, height)
        if left > right or top > bottom:
            continue
        bias, holes = materials.depth_bias[part], materials.flags[part] & ALPHA_TEST
        near_a, near_b, near_c = 1 / (az - bias), 1 / (bz - bias), 1 / (cz - bias)
        uv = mesh.corner_uv[t]
        level = _mip_level(uv, materials.level_size[part, 0], materials.level_size[part, 1], area)
        start, side = materials.level_offset[part, level], materials.level_size[part, 0] >> level
        samples.level[t] = level
        inverse_area = 1 / area
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                w1 = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) * inverse_area
                w2 = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) * inverse_area
                w0 = 1 - w1 - w2
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                near = w0 * near_a + w1 * near_b + w2 * near_c
                if near <= inverse_depth[row, column]:
                    continue
                if perspective:
                    w1, w2 = w1 * near_b / near, w2 * near_c / near
                    w0 = 1 - w1 - w2
                if holes:
                    u = w0 * uv[0, 0] + w1 * uv[1, 0] + w2 * uv[2, 0]
                    v = w0 * uv[0, 1] + w1 * uv[1, 1] + w2 * uv[2, 1]
                    if _is_hole(materials.texels, start, side, u, v):
                        continue
                inverse_depth[row, column] = near
                triangle[row, column] = t
                barycentric[row, column, 0] = w1
                barycentric[row, column, 1] = w2


@fast_kernel
def render_shadow_map(triangles: Int32Array, seen: Float32Array, depth: Float32Array) -> None:
    """Fills a shadow map (m,m): for each texel, the coordinate towards the light of the surface nearest to the light.

    seen: (vertices,3) column and row in the map, and the coordinate towards the light.
    """
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = seen[i, 0], seen[i, 1], seen[i, 2]
        bx, by, bz = seen[j, 0], seen[j, 1], seen[j, 2]
        cx, cy, cz = seen[k, 0], seen[k, 1], seen[k, 2]
        area = _area(ax, ay, bx, by, cx, cy)
        if abs(area) < 1e-7:
            continue
        for row in range(_first_sample(ay, by, cy), _last_sample(ay, by, cy, height) + 1):
            y = row + 0.5
            for column in range(_first_sample(ax, bx, cx), _last_sample(ax, bx, cx, width) + 1):
                x = column + 0.5
                w1 = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
                w2 = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
                if w1 < 0 or w2 < 0 or w1 + w2 > 1:
                    continue
                towards = az + w1 * (bz - az) + w2 * (cz - az)
                if towards > depth[row, column]:
                    depth[row, column] = towards


@kernel
def interpolate_on_surface(
    mesh: Mesh, screen: Float32Array, samples: Samples, values: Float32Array, first: int, step: int, out: Float32Array
) -> None:
    """Interpolates a vertex attribute, values (vertices,3), at a grid of samples; NaN on the background.

    out: (rows,columns,3); out[r, c] belongs to sample (first + r * step, first + c * step). The result is correct in
    perspective for both kinds of weights in the samples.
    """
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            t = samples.triangle[first + row * step, first + column * step]
            if t < 0:
                out[row, column] = np.nan
                continue
            i, j, k = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2]
            x, y = first + column * step + 0.5, first + row * step + 0.5
            area = _area(screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1], screen[k, 0], screen[k, 1])
            w1 = _area(screen[k, 0], screen[k, 1], screen[i, 0], screen[i, 1], x, y) / area
            w2 = _area(screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1], x, y) / area
            w0, w1, w2 = (1 - w1 - w2) / screen[i, 2], w1 / screen[j, 2], w2 / screen[k, 2]
            total = w0 + w1 + w2
            for axis in range(3):
                out[row, column, axis] = (w0 * values[i, axis] + w1 * values[j, axis] + w2 * values[k, axis]) / total
