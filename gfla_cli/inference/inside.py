"""Pictures of what happens inside a network: flow, mask, attention (figure 6 of the paper), solids. Imports no torch.

h x w is the feature grid of a level, H x W the frame.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.errors import UsageError

Floats = NDArray[np.float32]

_WHEEL = 56  # pixels of the colour wheel's side
_MARGIN = 6
_FAINTEST = 0.15  # share of the strongest tap below which a tap is not drawn
_BODY_OPACITY = 0.75  # of a body map over its picture
_SUBPIXEL = 4  # bits of a fraction, for cv2's drawing calls


@dataclass(frozen=True, slots=True)
class AttentionMaps:
    """Where one attention level looks for every position of its grid."""

    offset: Floats  # (2, h, w) x, y to the source position, grid pixels
    mask: Floats  # (1, h, w) 1 = taken from the source, 0 = invented
    attention: Floats | None = None  # (n*n, h, w) weights of the patch's taps, row-major; None for other samplers


@dataclass(frozen=True, slots=True)
class Inside:
    """What a network made of one pair of pictures on the way to its result."""

    levels: Sequence[AttentionMaps]  # coarse to fine
    bodies: Floats | None = None  # (2, 5, h, w) body maps of source and target; None for models without depth


def show_flow(source: Image, made: Image, inside: Inside, points: Floats) -> Image:
    """Coarse to fine: direction and length of every flow as hue and strength, faded to white where the mask is low.

    The colour wheel tells direction; its rim is the longest flow of all levels, given in pixels of the frame.
    """
    height, width = made.shape[:2]
    flows = [_resized(look.offset * (width / look.offset.shape[2]), (height, width)) for look in inside.levels]
    longest = max(float(np.hypot(*flow).max()) for flow in flows)
    tiles = []
    for flow, look in zip(flows, inside.levels, strict=True):
        trusted = _resized(look.mask, (height, width))[0, ..., None]
        coloured = flow_colours(flow / max(longest, 1e-6)) * trusted + 255 * (1 - trusted)
        tiles.append(coloured.astype(np.uint8))
    picture = np.hstack(tiles)
    _draw_wheel(picture, longest)
    return np.hstack([source, picture])


def show_mask(source: Image, made: Image, inside: Inside, points: Floats) -> Image:
    """Coarse to fine: the result, darkened where it was invented and not taken from the source."""
    tiles = [made]
    for look in inside.levels:
        mask = _resized(look.mask, (made.shape[0], made.shape[1]))[0, ..., None]
        tiles.append((made * (0.15 + 0.85 * mask)).astype(np.uint8))
    return np.hstack(tiles)


def show_attention(source: Image, made: Image, inside: Inside, points: Floats) -> Image:
    """The result with a dot at every joint of `points` (18, 3), and per level the source with the places it came from.

    Every tap of a patch is a dot in its joint's colour, larger the more it weighs; without attention the patch is
    one position.
    """
    joints = [(joint, x, y) for joint, (x, y, there) in enumerate(points) if there > 0]
    target = made.copy()
    for joint, x, y in joints:
        _dot(target, x, y, 4, _colour(joint, len(points)))
    tiles = [target]
    for look in inside.levels:
        tile = cv2.addWeighted(source, 0.75, np.full_like(source, 255), 0.25, 0)
        for joint, x, y in joints:
            _draw_taps(tile, look, x, y, _colour(joint, len(points)))
        tiles.append(np.asarray(tile, np.uint8))
    return np.hstack(tiles)


def show_solids(source: Image, made: Image, inside: Inside, points: Floats) -> Image:
    """The bodies of source and target over both pictures: a colour for each place of the body, darker the deeper it is.

    Raises UsageError for models whose joints have no depth.
    """
    if inside.bodies is None:
        raise UsageError("this model has no solids to show", hint="pose-people has; --show flow works for every model")
    tiles = [_with_body(picture, body) for picture, body in zip((source, made), inside.bodies, strict=True)]
    return np.hstack(tiles)


def _with_body(picture: Image, body: Floats) -> Image:
    """A body map (5, h, w) over a picture (H, W, 3): place at rest as colour, nearness as brightness."""
    maps = _resized(body, (picture.shape[0], picture.shape[1])).transpose(1, 2, 0)
    place, near, covered = maps[..., :3], maps[..., 3:4], maps[..., 4:].clip(0, 1)
    shade = np.where(near > 0, 0.35 + near / np.maximum(covered, 0.1), 0.9)  # nearness is 0 where depths are unknown
    colours = (255 * (0.25 + 0.75 * place / np.maximum(covered, 0.1)) * shade).clip(0, 255)
    mixed = picture * (1 - _BODY_OPACITY * covered) + colours * (_BODY_OPACITY * covered)
    return np.asarray(mixed.clip(0, 255), np.uint8)


# What --show takes: name -> (source frame, result, what was inside, target joints) -> picture.
SHOWS: Mapping[str, Callable[[Image, Image, Inside, Floats], Image]] = {
    "flow": show_flow,
    "mask": show_mask,
    "attention": show_attention,
    "solids": show_solids,
}


def flow_colours(flow: Floats) -> Floats:
    """(2, H, W) vectors of length up to 1 -> (H, W, 3) colours 0..255: hue is the direction, white is no motion."""
    x, y = flow
    hue = (np.degrees(np.arctan2(y, x)) % 360).astype(np.float32)
    strength = np.minimum(np.hypot(x, y), 1).astype(np.float32)
    hsv = np.stack([hue, strength, np.ones_like(hue)], axis=-1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255, np.float32)


def _draw_wheel(picture: Image, longest: float) -> None:
    """The legend, in the lower right corner."""
    steps = np.linspace(-1, 1, _WHEEL, dtype=np.float32)
    x, y = np.meshgrid(steps, steps)
    inside = np.hypot(x, y) <= 1
    corner = picture[-_MARGIN - _WHEEL : -_MARGIN, -_MARGIN - _WHEEL : -_MARGIN]
    if corner.shape[:2] != inside.shape:
        return  # a frame too small for a legend
    corner[inside] = flow_colours(np.stack([x, y]))[inside].astype(np.uint8)
    place = (picture.shape[1] - _WHEEL - _MARGIN, picture.shape[0] - _WHEEL - 2 * _MARGIN)
    cv2.putText(picture, f"{longest:.0f} px", place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (60, 60, 60), 1, cv2.LINE_AA)


def _draw_taps(tile: Image, look: AttentionMaps, x: float, y: float, colour: tuple[int, int, int]) -> None:
    """The patch that the target position (x, y) of the frame looks at."""
    _, h, w = look.offset.shape
    scale = tile.shape[1] / w
    column, row = (int(np.clip(v / scale, 0, limit - 1)) for v, limit in ((x, w), (y, h)))
    weights = look.attention[:, row, column] if look.attention is not None else np.ones(1, np.float32)
    r = int(np.sqrt(len(weights))) // 2
    centre = np.array([column, row]) + look.offset[:, row, column]
    for tap in np.argsort(weights):
        share = float(weights[tap] / weights.max())
        if share < _FAINTEST:
            continue
        step = np.array([tap % (2 * r + 1) - r, tap // (2 * r + 1) - r])
        at = ((centre + step).clip(0, [w - 1, h - 1]) + 0.5) * scale
        _dot(tile, at[0], at[1], max(scale * 0.45 * share, 0.8), colour)


def _dot(picture: Image, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    unit = 1 << _SUBPIXEL
    cv2.circle(
        picture, (round(x * unit), round(y * unit)), round(radius * unit), colour, -1, cv2.LINE_AA, shift=_SUBPIXEL
    )


def _colour(index: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.95, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _resized(planes: Floats, size: tuple[int, int]) -> Floats:
    """(C, h, w) -> (C, H, W)."""
    return np.stack([cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in planes])
