"""Draw a network's intermediate results: flow, mask, attention (figure 6 of the paper), solids. Imports no torch.

h x w is the feature grid of an attention level, H x W the frame. All images are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from gfla_cli.arrays import Float32Array, Image
from gfla_cli.errors import UsageError

_WHEEL = 56  # pixels, side of the colour wheel
_MARGIN = 6
_FAINTEST = 0.15  # taps below this share of the strongest are not drawn
_BODY_OPACITY = 0.75  # of a body map over the image
_SUBPIXEL = 4  # fractional bits of coordinates, for cv2's drawing functions


@dataclass(frozen=True, slots=True)
class AttentionMaps:
    """One attention level: for every target position, where in the source it samples."""

    offset: Float32Array  # (2, h, w) flow x, y to the source position, in grid pixels
    mask: Float32Array  # (1, h, w) in 0..1: 1 = warped from the source, 0 = generated
    attention: Float32Array | None = None  # (n*n, h, w) weights of a patch, row-major; None for other samplers


@dataclass(frozen=True, slots=True)
class Intermediates:
    """A network's intermediate results for one pair of images."""

    levels: Sequence[AttentionMaps]  # coarse to fine
    bodies: Float32Array | None = None  # (2, 5, h, w) body maps of source and target; None for models without depth


def show_flow(source: Image, made: Image, found: Intermediates, points: Float32Array) -> Image:
    """The source, and the flow of every level, coarse to fine: hue is direction, saturation is length.

    Where the mask is low the colour fades to white. The rim of the colour wheel is the longest flow of all levels, in
    frame pixels.
    """
    height, width = made.shape[:2]
    flows = [_resized(level.offset * (width / level.offset.shape[2]), (height, width)) for level in found.levels]
    longest = max(float(np.hypot(*flow).max()) for flow in flows)
    tiles = []
    for flow, level in zip(flows, found.levels, strict=True):
        trusted = _resized(level.mask, (height, width))[0, ..., None]
        coloured = flow_colours(flow / max(longest, 1e-6)) * trusted + 255 * (1 - trusted)
        tiles.append(coloured.astype(np.uint8))
    image = np.hstack(tiles)
    _draw_wheel(image, longest)
    return np.hstack([source, image])


def show_mask(source: Image, made: Image, found: Intermediates, points: Float32Array) -> Image:
    """The result, and for every level, coarse to fine, the result darkened where the mask is low."""
    tiles = [made]
    for level in found.levels:
        mask = _resized(level.mask, (made.shape[0], made.shape[1]))[0, ..., None]
        tiles.append((made * (0.15 + 0.85 * mask)).astype(np.uint8))
    return np.hstack(tiles)


def show_attention(source: Image, made: Image, found: Intermediates, points: Float32Array) -> Image:
    """The result with a dot at every joint, and for every level the source with the patches of these joints.

    `points` (18, 3) are the target's joints: x, y, confidence. Every tap of a patch is a dot in the joint's colour; its
    size is its weight. Without attention weights a patch is one position.
    """
    joints = [(joint, x, y) for joint, (x, y, there) in enumerate(points) if there > 0]
    target = made.copy()
    for joint, x, y in joints:
        _dot(target, x, y, 4, _colour(joint, len(points)))
    tiles = [target]
    for level in found.levels:
        tile = cv2.addWeighted(source, 0.75, np.full_like(source, 255), 0.25, 0)
        for joint, x, y in joints:
            _draw_taps(tile, level, x, y, _colour(joint, len(points)))
        tiles.append(np.asarray(tile, np.uint8))
    return np.hstack(tiles)


def show_solids(source: Image, made: Image, found: Intermediates, points: Float32Array) -> Image:
    """Source and result with their body maps: hue is the position on the body, brightness is nearness.

    Raises UsageError for models without depth.
    """
    if found.bodies is None:
        raise UsageError("this model has no solids to show", hint="pose-people has them; other models have --show flow")
    tiles = [_with_body(image, body) for image, body in zip((source, made), found.bodies, strict=True)]
    return np.hstack(tiles)


def _with_body(image: Image, body: Float32Array) -> Image:
    """A body map (5, h, w) over an image (H, W, 3): position at rest as colour, nearness as brightness."""
    maps = _resized(body, (image.shape[0], image.shape[1])).transpose(1, 2, 0)
    place, near, covered = maps[..., :3], maps[..., 3:4], maps[..., 4:].clip(0, 1)
    shade = np.where(near > 0, 0.35 + near / np.maximum(covered, 0.1), 0.9)  # nearness is 0 where depths are unknown
    colours = (255 * (0.25 + 0.75 * place / np.maximum(covered, 0.1)) * shade).clip(0, 255)
    mixed = image * (1 - _BODY_OPACITY * covered) + colours * (_BODY_OPACITY * covered)
    return np.asarray(mixed.clip(0, 255), np.uint8)


# The values of --show: name -> function of source frame, result, intermediates and target joints.
VISUALIZATIONS: Mapping[str, Callable[[Image, Image, Intermediates, Float32Array], Image]] = {
    "flow": show_flow,
    "mask": show_mask,
    "attention": show_attention,
    "solids": show_solids,
}


def flow_colours(flow: Float32Array) -> Float32Array:
    """(2, H, W) flow of length 0..1 -> (H, W, 3) colours 0..255: hue is the direction, white is no motion."""
    x, y = flow
    hue = (np.degrees(np.arctan2(y, x)) % 360).astype(np.float32)
    strength = np.minimum(np.hypot(x, y), 1).astype(np.float32)
    hsv = np.stack([hue, strength, np.ones_like(hue)], axis=-1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255, np.float32)


def _draw_wheel(image: Image, longest: float) -> None:
    """Draws the legend into the lower right corner."""
    steps = np.linspace(-1, 1, _WHEEL, dtype=np.float32)
    x, y = np.meshgrid(steps, steps)
    inside = np.hypot(x, y) <= 1
    corner = image[-_MARGIN - _WHEEL : -_MARGIN, -_MARGIN - _WHEEL : -_MARGIN]
    if corner.shape[:2] != inside.shape:
        return  # the frame is too small for a legend
    corner[inside] = flow_colours(np.stack([x, y]))[inside].astype(np.uint8)
    place = (image.shape[1] - _WHEEL - _MARGIN, image.shape[0] - _WHEEL - 2 * _MARGIN)
    cv2.putText(image, f"{longest:.0f} px", place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (60, 60, 60), 1, cv2.LINE_AA)


def _draw_taps(tile: Image, level: AttentionMaps, x: float, y: float, colour: tuple[int, int, int]) -> None:
    """Draws the source patch of the target position (x, y), in frame pixels."""
    _, h, w = level.offset.shape
    scale = tile.shape[1] / w
    column, row = (int(np.clip(v / scale, 0, limit - 1)) for v, limit in ((x, w), (y, h)))
    weights = level.attention[:, row, column] if level.attention is not None else np.ones(1, np.float32)
    r = int(np.sqrt(len(weights))) // 2
    centre = np.array([column, row]) + level.offset[:, row, column]
    for tap in np.argsort(weights):
        share = float(weights[tap] / weights.max())
        if share < _FAINTEST:
            continue
        step = np.array([tap % (2 * r + 1) - r, tap // (2 * r + 1) - r])
        at = ((centre + step).clip(0, [w - 1, h - 1]) + 0.5) * scale
        _dot(tile, at[0], at[1], max(scale * 0.45 * share, 0.8), colour)


def _dot(image: Image, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    unit = 1 << _SUBPIXEL
    cv2.circle(
        image, (round(x * unit), round(y * unit)), round(radius * unit), colour, -1, cv2.LINE_AA, shift=_SUBPIXEL
    )


def _colour(index: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.95, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _resized(planes: Float32Array, size: tuple[int, int]) -> Float32Array:
    """(C, h, w) -> (C, H, W), bilinear."""
    return np.stack([cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in planes])
