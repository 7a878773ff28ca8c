"""Light and scene, and the image that a camera takes of a mesh in them.

Visible samples are shaded by compiled kernels: texture, ambient light, one key light with soft shadows, highlights.

Lengths are decimetres (dm), y is up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array, Float64Array, FloatArray, Int32Array
from gfla_cli.synth.renderer.camera import Camera
from gfla_cli.synth.renderer.procedural import BackgroundKind, background, choose
from gfla_cli.synth.renderer.rasterizer import (
    Mesh,
    Samples,
    empty_samples,
    fast_kernel,
    interpolate_on_surface,
    rasterize,
    render_shadow_map,
)

_SUPERSAMPLING = 2  # samples per pixel and axis
_SHADOW_SIDE = 320  # texels of the shadow map
_SHADOW_MARGIN = 8  # texels of it that stay free, in total of both borders
_FLOOR_SIDE = 64  # pixels of the shadow on the floor before it is upsampled
_FLOOR_REACH = 5.0  # dm; parts of a body lower than this darken the floor
_OCCLUSION_RADIUS = 0.55  # dm around a point, whose mean depth the point is compared with
_OCCLUSION_DEPTH = 0.9  # dm behind that mean depth at which occlusion is strongest

Triple = tuple[float, float, float]


class Lighting(NamedTuple):
    """The light of one image, in world coordinates."""

    eye: Float64Array  # (3,) position of the camera
    direction: Float64Array  # (3,) unit vector towards the key light
    key: Float64Array  # (3,) linear RGB of the key light
    ambient: Float64Array  # (3,) linear RGB of the ambient light
    shadow_depth: Float32Array  # (m,m) the result of `render_shadow_map`
    to_shadow: Float64Array  # (3,4) world point -> column, row, coordinate towards the light


# The compiler inlines small functions of scalars and one or two arrays, so they cost nothing. A record of arrays is an
# expensive argument: numba counts references to all of its arrays at every call. That took longer than the shading.


@fast_kernel
def _dot(a: Triple, b: Triple) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@fast_kernel
def _scaled(a: Triple, factor: float) -> Triple:
    return a[0] * factor, a[1] * factor, a[2] * factor


@fast_kernel
def _interpolated(values: Float32Array, corners: tuple[int, int, int], w0: float, w1: float, w2: float) -> Triple:
    """A vertex attribute (vertices,3) at a point of a triangle with barycentric weights w0, w1, w2."""
    i, j, k = corners
    return (
        w0 * values[i, 0] + w1 * values[j, 0] + w2 * values[k, 0],
        w0 * values[i, 1] + w1 * values[j, 1] + w2 * values[k, 1],
        w0 * values[i, 2] + w1 * values[j, 2] + w2 * values[k, 2],
    )


@fast_kernel
def _transformed(matrix: Float64Array, point: Triple) -> Triple:
    """Applies an affine map (3,4) to a point."""
    return (
        matrix[0, 0] * point[0] + matrix[0, 1] * point[1] + matrix[0, 2] * point[2] + matrix[0, 3],
        matrix[1, 0] * point[0] + matrix[1, 1] * point[1] + matrix[1, 2] * point[2] + matrix[1, 3],
        matrix[2, 0] * point[0] + matrix[2, 1] * point[1] + matrix[2, 2] * point[2] + matrix[2, 3],
    )


@fast_kernel
def _bilinear(texels: ByteArray, corners: tuple[int, int, int, int], x: float, y: float, channel: int) -> float:
    top_left, top_right, bottom_left, bottom_right = corners
    above = texels[top_left + channel] * (1 - x) + texels[top_right + channel] * x
    below = texels[bottom_left + channel] * (1 - x) + texels[bottom_right + channel] * x
    return (above * (1 - y) + below * y) / 255.0  # type: ignore[no-any-return]


@fast_kernel
def _texture(texels: ByteArray, start: int, side: int, u: float, v: float) -> Triple:
    """RGB, 0..1, of one mip level of a texture at (u, v), bilinear and wrapped."""
    x, y = (u - np.floor(u)) * side - 0.5, (1 - (v - np.floor(v))) * side - 0.5
    column, row = int(np.floor(x)), int(np.floor(y))
    left, right = (column % side) * 4, ((column + 1) % side) * 4
    top, bottom = start + (row % side) * side * 4, start + ((row + 1) % side) * side * 4
    corners = top + left, top + right, bottom + left, bottom + right
    x, y = x - column, y - row
    return (
        _bilinear(texels, corners, x, y, 0),
        _bilinear(texels, corners, x, y, 1),
        _bilinear(texels, corners, x, y, 2),
    )


@fast_kernel
def _shadow_factor(depth: Float32Array, x: float, y: float, least: float) -> float:
    """The share of the key light, 0..1, that reaches (x, y) of a shadow map: 3 x 3 percentage-closer filtering."""
    side, lit = depth.shape[0], 0.0
    for down in range(-1, 2):
        for across in range(-1, 2):
            column, row = int(x + across * 1.2), int(y + down * 1.2)
            outside = column < 0 or row < 0 or column >= side or row >= side
            if outside or depth[row, column] < least:
                lit += 1.0
    return lit / 9


@fast_kernel
def _sky(normal: Triple, view: Triple) -> float:
    """The share of the ambient light that a surface reflects, 0..1: more if it faces upwards, less at outlines."""
    rim = 1 - max(_dot(normal, view), 0.0)
    return (0.78 + 0.22 * normal[1]) * (1 - 0.25 * rim)


@fast_kernel
def _highlight(normal: Triple, view: Triple, light: Triple, strength: float, power: float) -> float:
    """The share of the key light in the highlight, 0..strength (Blinn-Phong)."""
    if strength == 0:  # most cloth is matt, and the power is slow to compute
        return 0.0
    halfway = light[0] + view[0], light[1] + view[1], light[2] + view[2]
    alike = _dot(normal, halfway) / max(np.sqrt(_dot(halfway, halfway)), 1e-6)
    return strength * max(alike, 0.0) ** power  # type: ignore[no-any-return]


@fast_kernel
def _is_inside_one_part(triangle: Int32Array, part: Int32Array, row: int, column: int, supersampling: int) -> bool:
    """Whether all samples of a pixel see the same part of the mesh; (row, column) is the pixel's first sample."""
    first = triangle[row, column]
    if first < 0:
        return False
    for k in range(1, supersampling * supersampling):
        t = triangle[row + k // supersampling, column + k % supersampling]
        if t < 0 or part[t] != part[first]:
            return False
    return True


# One long kernel, for the reason above: only this function takes records.
@fast_kernel
def shade(
    mesh: Mesh,
    samples: Samples,
    vertices: Float32Array,
    normals: Float32Array,
    lighting: Lighting,
    supersampling: int,
    image: Float32Array,
) -> None:
    """Adds the light of the samples to image (s,s,3): linear RGB 0..1, multiplied by the coverage of the pixel.

    samples: (s * supersampling) squared; vertices, normals: (n,3). A pixel inside one part is shaded once, one mip
    level coarser. A pixel at an edge is shaded at every sample.
    """
    _, triangle, barycentric, sample_level = samples
    triangles, corner_uv, parts, materials, _ = mesh
    _, _, tint, specular, level_offset, level_size, texels = materials
    eye, direction, key, ambient, shadow_depth, to_shadow = lighting
    light = direction[0], direction[1], direction[2]
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            top, left = row * supersampling, column * supersampling
            once = supersampling > 1 and _is_inside_one_part(triangle, parts, top, left, supersampling)
            count = 1 if once else supersampling * supersampling
            for sample in range(count):
                at = top + sample // supersampling, left + sample % supersampling
                t = triangle[at]
                if t < 0:
                    continue
                part, corners = parts[t], (triangles[t, 0], triangles[t, 1], triangles[t, 2])
                w1, w2 = barycentric[at[0], at[1], 0], barycentric[at[0], at[1], 1]
                w0 = 1 - w1 - w2
                point = _interpolated(vertices, corners, w0, w1, w2)
                view = eye[0] - point[0], eye[1] - point[1], eye[2] - point[2]
                view = _scaled(view, 1 / np.sqrt(_dot(view, view)))
                normal = _interpolated(normals, corners, w0, w1, w2)
                length = max(np.sqrt(_dot(normal, normal)), 1e-6)
                normal = _scaled(normal, (-1 if _dot(normal, view) < 0 else 1) / length)  # surfaces have two sides

                x, y, towards = _transformed(to_shadow, point)
                lit = _shadow_factor(shadow_depth, x, y, towards + specular[part, 2])
                diffuse = max((_dot(normal, light) + 0.3) / 1.3, 0.0) * lit  # skin and cloth scatter light around
                mirrored = _highlight(normal, view, light, specular[part, 0], specular[part, 1]) * lit
                sky = _sky(normal, view)
                u = w0 * corner_uv[t, 0, 0] + w1 * corner_uv[t, 1, 0] + w2 * corner_uv[t, 2, 0]
                v = w0 * corner_uv[t, 0, 1] + w1 * corner_uv[t, 1, 1] + w2 * corner_uv[t, 2, 1]
                level = min(sample_level[t] + once, level_size[part, 1] - 1)
                colour = _texture(texels, level_offset[part, level], level_size[part, 0] >> level, u, v)
                for channel in range(3):
                    albedo = colour[channel] * colour[channel] * tint[part, channel]  # textures have gamma 2
                    matt = albedo * (ambient[channel] * sky + key[channel] * diffuse)
                    image[row, column, channel] += min(matt + key[channel] * mirrored, 1.0) / count


Box = tuple[FloatArray, FloatArray]  # lowest and highest corner, (3,) each, dm


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """One key light, and ambient light."""

    direction: Float64Array  # (3,) towards the key light, in camera axes; any length
    key: Float64Array  # (3,) linear RGB
    ambient: Float64Array  # (3,) linear RGB
    floor: bool  # whether the mesh casts a shadow on the floor


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What a mesh is rendered in."""

    background: ByteArray  # (s,s,3) RGB
    light: Light


def direction_to(azimuth: float, elevation: float) -> Float64Array:
    """The unit vector (3,) at two angles in radians: azimuth from +z towards +x, elevation from there upwards."""
    across = np.cos(elevation)
    return np.array([np.sin(azimuth) * across, np.sin(elevation), np.cos(azimuth) * across])


def sample_light(rng: np.random.Generator, floor: bool = True) -> Light:
    """A random light: the key light comes from the front, above the horizon; more ambient light makes it weaker."""
    azimuth, elevation = np.radians(rng.normal(0, 50)), np.radians(rng.uniform(5, 60))
    ambient = rng.uniform(0.48, 0.76)
    warmth = 1 + rng.normal(0, 0.035, 3) * [1, 0.3, 1]
    return Light(
        direction=direction_to(azimuth, elevation),
        key=warmth * rng.uniform(0.62, 0.92) * (1.25 - 0.45 * ambient),
        ambient=ambient * (1 + rng.normal(0, 0.02, 3)),
        floor=floor,
    )


def sample_scene(
    rng: np.random.Generator, size: int, backgrounds: Mapping[BackgroundKind, float], *, floor: bool = True
) -> Scene:
    """A random scene of size x size pixels; `backgrounds` are the shares of the kinds. Clutter never has a floor."""
    kind = choose(rng, backgrounds)
    image = background(rng, size, kind)
    return Scene(image, sample_light(rng, floor=floor and kind != "clutter"))


@dataclass(frozen=True, slots=True, eq=False)
class RenderedImage:
    """A rendered mesh."""

    image: ByteArray  # (s,s,3) RGB
    mask: ByteArray  # (s,s) share of the pixel that the mesh covers, 0..255
    inverse_depth: Float32Array  # (s,s) 1 / depth at the first sample of each pixel; 0 = background
    surface: Float32Array  # (s/2,s/2,3) rest positions, see `render`; NaN = background


def render(
    mesh: Mesh,
    vertices: Float32Array,
    normals: Float32Array,
    rest: Float32Array,
    camera: Camera,
    scene: Scene,
    *,
    shadow_box: Box | None = None,
    perspective: bool = False,
) -> RenderedImage:
    """Draws a mesh over the background of a scene.

    vertices, normals: (n,3) in the world. rest: (n,3) the same vertices at rest; the surface map holds these values.
    shadow_box: the part of the world that casts shadows, None = all of the mesh. perspective: see `rasterize`; needed
    for meshes of large triangles.

    surface[r, c] is the rest position that is seen in the middle of the 2 x 2 pixels from (2r, 2c) on. It is sampled
    at x = 2c + 0.75, y = 2r + 0.75 pixels, where pixel centres are at .5. It is always correct in perspective. Two
    images of one mesh show the same point of it where their surface maps hold the same value.
    """
    screen = camera.project(vertices).astype(np.float32)
    screen[:, :2] *= _SUPERSAMPLING
    samples = empty_samples(camera.size * _SUPERSAMPLING, len(mesh.triangles))
    rasterize(mesh, screen, perspective, samples)
    inverse_depth = np.ascontiguousarray(samples.inverse_depth[::_SUPERSAMPLING, ::_SUPERSAMPLING])

    lighting = _lighting(mesh, vertices, camera, scene.light, shadow_box)
    glow = np.zeros((camera.size, camera.size, 3), np.float32)
    shade(mesh, samples, vertices, normals, lighting, _SUPERSAMPLING, glow)
    glow *= _ambient_occlusion(inverse_depth, camera)[..., None]

    behind = (scene.background.astype(np.float32) / 255) ** 2  # gamma 2, like the textures
    if scene.light.floor:
        behind *= _floor_shadow(vertices[mesh.drawn], camera, lighting.direction)[..., None]
    is_covered = (samples.triangle >= 0).astype(np.float32)
    coverage = cv2.resize(is_covered, (camera.size, camera.size), interpolation=cv2.INTER_AREA)
    glow += behind * (1 - coverage[..., None])
    image = np.sqrt(np.clip(glow, 0, 1, out=glow), out=glow) * 255 + 0.5

    surface = np.empty((camera.size // 2, camera.size // 2, 3), np.float32)
    interpolate_on_surface(mesh, screen, samples, rest, _SUPERSAMPLING - 1, 2 * _SUPERSAMPLING, surface)
    return RenderedImage(image.astype(np.uint8), (coverage * 255).astype(np.uint8), inverse_depth, surface)


def _lighting(mesh: Mesh, vertices: Float32Array, camera: Camera, light: Light, box: Box | None) -> Lighting:
    """The light in world coordinates, with a shadow map of the box."""
    direction = camera.rotation.T @ (light.direction / np.linalg.norm(light.direction))
    across = np.cross(direction, [0.1, 1, 0.05])  # not exactly upwards: a light may come from there
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(across, direction), direction])

    drawn = vertices[mesh.drawn]
    low, high = box or (drawn.min(0), drawn.max(0))
    texels_per_unit = (_SHADOW_SIDE - _SHADOW_MARGIN) / np.linalg.norm(high - low)
    to_shadow = np.zeros((3, 4))
    to_shadow[:, :3] = axes * [[texels_per_unit], [texels_per_unit], [1]]
    to_shadow[:2, 3] = _SHADOW_SIDE / 2 - to_shadow[:2, :3] @ (low + high) / 2
    depth = np.full((_SHADOW_SIDE, _SHADOW_SIDE), -1e9, np.float32)
    render_shadow_map(mesh.triangles, (vertices @ to_shadow[:, :3].T + to_shadow[:, 3]).astype(np.float32), depth)
    return Lighting(camera.eye, direction, light.key, light.ambient, depth, to_shadow)


def _ambient_occlusion(inverse_depth: Float32Array, camera: Camera) -> Float32Array:
    """A factor (s,s), 0.6..1: points behind their surroundings get darker, as in folds and under the chin."""
    seen = (inverse_depth > 0).astype(np.float32)
    depth = seen / np.maximum(inverse_depth, 1e-6)
    sigma = max(_OCCLUSION_RADIUS * camera.scale_px, 1.0)
    around = cv2.GaussianBlur(depth, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(seen, (0, 0), sigma), 1e-3)
    factor: Float32Array = 1 - 0.4 * np.clip((depth - around) / _OCCLUSION_DEPTH, 0, 1)
    return factor


def _floor_shadow(drawn: Float32Array, camera: Camera, direction: Float64Array) -> Float32Array:
    """A factor (s,s), 0.55..1, for the background: the shadow on the floor of the lowest vertices of drawn (k,3)."""
    ground = drawn[:, 1].min()
    points = drawn[drawn[:, 1] < ground + _FLOOR_REACH][::3]
    points = points - direction * ((points[:, 1] - ground) / max(direction[1], 0.6))[:, None]
    points[:, 1] = ground
    cells = (camera.project(points)[:, :2] / camera.size * _FLOOR_SIDE).astype(int)
    cells = cells[((cells >= 0) & (cells < _FLOOR_SIDE)).all(1)]
    spots = np.zeros((_FLOOR_SIDE, _FLOOR_SIDE), np.float32)
    spots[cells[:, 1], cells[:, 0]] = 1
    shadow = cv2.resize(cv2.GaussianBlur(spots, (0, 0), 1.6), (camera.size, camera.size))
    factor: Float32Array = 1 - 0.45 * np.clip(shadow, 0, 1)
    return factor
