"""Light and scene, and the image that a camera takes of a mesh in them.

Lengths are decimetres (dm), y is up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array, Float64Array, FloatArray
from gfla_cli.synth.renderer.camera import Camera
from gfla_cli.synth.renderer.procedural import BackgroundKind, background, choose
from gfla_cli.synth.renderer.rasterizer import Mesh, empty_samples, interpolate_on_surface, rasterize, render_shadow_map
from gfla_cli.synth.renderer.shading import Lighting, shade

_SUPERSAMPLING = 2  # samples per pixel and axis
_SHADOW_SIDE = 320  # texels of the shadow map
_SHADOW_MARGIN = 8  # texels of it that stay free, in total of both borders
_FLOOR_SIDE = 64  # pixels of the shadow on the floor before it is upsampled
_FLOOR_REACH = 5.0  # dm; parts of a body lower than this darken the floor
_OCCLUSION_RADIUS = 0.55  # dm around a point, whose mean depth the point is compared with
_OCCLUSION_DEPTH = 0.9  # dm behind that mean depth at which occlusion is strongest

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
