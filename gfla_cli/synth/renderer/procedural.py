"""Random draws, and images made from noise: cloth, hair strands and backgrounds.

Everything is a pure function of its random generator: the order of the draws is fixed, as seeds of published data sets
depend on it.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array, Float64Array, FloatArray

Name = TypeVar("Name", bound=str)
BackgroundKind = Literal["white", "grey", "colour", "gradient", "noise", "clutter"]
FabricKind = Literal[
    "solid", "stripes", "plaid", "dots", "camouflage", "gradient", "letter", "denim", "blocks", "floral", "knit"
]
_DENIM = np.array([[70, 95, 140], [45, 60, 95], [120, 150, 185], [60, 62, 70], [150, 165, 180]], np.float32)
_FONTS = (cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX)
_LOGO_CHARACTERS = [c for c in string.ascii_uppercase if c not in "IJOQW"] + list(string.digits)
_CHEST = 0.55  # the height of the chest on the texture of a top, 0 = upper edge, 1 = lower edge
_MIN_CONTRAST = 90  # between the first two colours of a fabric: sum of the absolute RGB differences, 0..765


def choose(rng: np.random.Generator, shares: Mapping[Name, float]) -> Name:
    """Draws one name; `shares` are relative probabilities and need not add up to one."""
    share = np.array(list(shares.values()), np.float64)
    return list(shares)[rng.choice(len(share), p=share / share.sum())]


def noise(rng: np.random.Generator, side: int, cell: int) -> Float32Array:
    """Smooth noise (side,side): normal values, about -1..1, on a grid of `cell` pixels, interpolated between."""
    cells = max(side // cell, 2)
    return _upsampled(rng.standard_normal((cells, cells), np.float32), side)


def seamless_noise(rng: np.random.Generator, side: int, cell: int) -> Float32Array:
    """Like `noise`, but it tiles: opposite edges fit together. `side` must be a multiple of `cell`."""
    cells = side // cell
    wrapped = np.pad(rng.standard_normal((cells, cells), np.float32), 2, mode="wrap")
    upsampled = _upsampled(wrapped, (cells + 4) * cell)
    return upsampled[2 * cell : 2 * cell + side, 2 * cell : 2 * cell + side]


def _upsampled(coarse: Float32Array, side: int) -> Float32Array:
    fine: Float32Array = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return fine


def random_colour(rng: np.random.Generator) -> Float64Array:
    """A random colour of clothes, RGB (3,), about 0..255: white, black, grey or saturated."""
    kind = rng.random()
    if kind < 0.16:
        return np.full(3, rng.uniform(215, 250)) + rng.uniform(-8, 4, 3)
    if kind < 0.28:
        return np.full(3, rng.uniform(25, 60)) + rng.uniform(-6, 8, 3)
    if kind < 0.38:
        return np.full(3, rng.uniform(90, 190)) + rng.uniform(-10, 10, 3)
    hue, saturation, value = rng.uniform(0, 180), 255 * rng.beta(2, 1.6), 255 * rng.uniform(0.35, 1) ** 0.8
    pixel = np.array([[[hue, saturation, value]]]).astype(np.uint8)
    colour: Float64Array = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)
    return colour


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """The input of the functions that draw a pattern."""

    rng: np.random.Generator
    side: int
    x: FloatArray  # (side,side) 0..1 to the right
    y: FloatArray  # (side,side) 0..1 downwards
    colours: list[Float64Array]  # four RGB colours (3,), 0..255; the first one is the ground
    ground: FloatArray  # (side,side,3) filled with the first colour


def _blended(under: FloatArray, mask: FloatArray, colour: Float64Array) -> FloatArray:
    return under * (1 - mask[..., None]) + colour * mask[..., None]


def _soft_edge(distance: FloatArray, width: float) -> FloatArray:
    """Turns a signed distance (positive inside) into a mask, 0..1, whose edge is `width` wide."""
    return np.clip(distance / width + 0.5, 0, 1)


def _plain(cloth: _Pattern) -> FloatArray:
    return cloth.ground


def _stripes(cloth: _Pattern) -> FloatArray:
    rng, count = cloth.rng, cloth.rng.integers(6, 36)
    position = cloth.x if rng.random() < 0.25 else cloth.y
    from_middle, edge = np.abs((position * count) % 1 - 0.5), count / cloth.side * 1.5
    striped = _blended(cloth.ground, _soft_edge(from_middle - 0.5 + rng.uniform(0.1, 0.35), edge), cloth.colours[1])
    if rng.random() < 0.3:
        return _blended(striped, _soft_edge(0.06 - from_middle, edge), cloth.colours[2])
    return striped


def _plaid(cloth: _Pattern) -> FloatArray:
    count, image = cloth.rng.integers(6, 22), cloth.ground
    for position in (cloth.x, cloth.y):
        wide = _soft_edge(np.abs((position * count) % 1 - 0.5) - 0.25, count / cloth.side * 1.5)
        thin = _soft_edge(0.04 - np.abs((position * count + 0.3) % 1 - 0.5), count / cloth.side)
        image = _blended(_blended(image, 0.5 * wide, cloth.colours[1]), 0.45 * thin, cloth.colours[2])
    return image


def _dots(cloth: _Pattern) -> FloatArray:
    count, radius = cloth.rng.integers(10, 34), cloth.rng.uniform(0.16, 0.34)

    def dots(shift: float) -> FloatArray:
        x, y = (cloth.x * count + shift) % 1 - 0.5, (cloth.y * count + shift) % 1 - 0.5
        distance: FloatArray = radius - np.hypot(x, y)
        return distance

    inside = np.maximum(dots(0), dots(0.5) if radius < 0.25 else -1)
    return _blended(cloth.ground, _soft_edge(inside, count / cloth.side * 1.5), cloth.colours[1])


def _camouflage(cloth: _Pattern) -> FloatArray:
    image = cloth.ground
    for colour in cloth.colours[1:]:
        cell = int(cloth.rng.choice([16, 32, 64]))
        image = _blended(image, _soft_edge(seamless_noise(cloth.rng, cloth.side, cell) - 0.35, 0.1), colour)
    return image


def _gradient(cloth: _Pattern) -> FloatArray:
    wave = np.cos(2 * np.pi * (cloth.y + cloth.rng.random())) * 0.5
    return _blended(cloth.ground, _soft_edge(wave, 1.0), cloth.colours[1])


def _floral(cloth: _Pattern) -> FloatArray:
    rng, side, image = cloth.rng, cloth.side, cloth.ground.astype(np.uint8)
    for _ in range(70):
        x, y, radius, petal = rng.random(), rng.random(), rng.uniform(0.01, 0.035), cloth.colours[rng.integers(1, 4)]
        turn = rng.random() * 6
        for angle in turn + 1.257 * np.arange(5):
            at = int((x + radius * np.cos(angle)) * side), int((y + radius * np.sin(angle)) * side)
            cv2.circle(image, at, max(int(radius * side * 0.6), 1), petal.tolist(), -1, cv2.LINE_AA)
        middle = cloth.colours[rng.integers(1, 4)]
        at = int(x * side), int(y * side)
        cv2.circle(image, at, max(int(radius * side * 0.5), 1), middle.tolist(), -1, cv2.LINE_AA)
    return image.astype(np.float32)


def _blocks(cloth: _Pattern) -> FloatArray:
    rng, side, image = cloth.rng, cloth.side, cloth.ground.copy()
    for _ in range(rng.integers(1, 4)):
        first, last = np.sort(rng.random(2))
        image[int(first * side) : int(last * side)] = cloth.colours[rng.integers(1, 4)]
    if rng.random() < 0.4:
        image[:, side // 2 :] = image[:, side // 2 :] * 0.35 + cloth.colours[3] * 0.65
    return image


def _denim(cloth: _Pattern) -> FloatArray:
    rng, side = cloth.rng, cloth.side
    dye: Float32Array = _DENIM[rng.integers(len(_DENIM))]
    weave = rng.standard_normal((side, side, 1), np.float32) * 9
    return dye + weave + seamless_noise(rng, side, 64)[..., None] * 13


def _knit(cloth: _Pattern) -> FloatArray:
    stitches = np.sin(2 * np.pi * cloth.x * 64 + 2 * np.abs(np.sin(np.pi * cloth.y * 64)))
    knit: FloatArray = cloth.ground * (0.9 + 0.13 * stitches)[..., None]
    return knit


_PATTERNS: dict[FabricKind, tuple[float, Callable[[_Pattern], FloatArray]]] = {  # share of all fabrics, how to draw it
    "solid": (0.22, _plain),
    "stripes": (0.14, _stripes),
    "plaid": (0.1, _plaid),
    "dots": (0.07, _dots),
    "camouflage": (0.06, _camouflage),
    "gradient": (0.07, _gradient),
    "letter": (0.11, _plain),
    "denim": (0.09, _denim),
    "blocks": (0.06, _blocks),
    "floral": (0.04, _floral),
    "knit": (0.04, _knit),
}


def fabric(rng: np.random.Generator, kind: FabricKind | None = None, side: int = 512, logo: bool = True) -> ByteArray:
    """A texture of cloth that tiles, RGBA (side,side,4). On a top, the centre of the texture is the front's middle.

    kind: None draws one by its share. side: pixels, a multiple of 64. logo: allows printed letters.
    """
    if kind is None:
        kind = choose(rng, {name: share for name, (share, _) in _PATTERNS.items()})
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    colours = [random_colour(rng) for _ in range(4)]
    while np.abs(colours[0] - colours[1]).sum() < _MIN_CONTRAST:
        colours[1] = random_colour(rng)
    ground = np.empty((side, side, 3), np.float32)
    ground[:] = colours[0]

    image = _PATTERNS[kind][1](_Pattern(rng, side, x, y, colours, ground))
    if logo and (kind == "letter" or rng.random() < 0.12):
        image = _with_logo(rng, image, colours)
    folds = 1 + 0.035 * seamless_noise(rng, side, 32) + 0.03 * seamless_noise(rng, side, 64)
    image = image * folds[..., None] + rng.standard_normal((side, side, 1), np.float32) * 2.5
    cloth = np.full((side, side, 4), 255, np.uint8)
    cloth[..., :3] = np.clip(image, 0, 255)
    return cloth


def _with_logo(rng: np.random.Generator, image: FloatArray, colours: list[Float64Array]) -> FloatArray:
    """Prints one to three characters on the chest, sometimes over a disc or a box. image: (side,side,3), 0..255."""
    side = image.shape[0]
    scale = rng.uniform(0.8, 2.4) * side / 256
    text = "".join(rng.choice(_LOGO_CHARACTERS, rng.integers(1, 4)))
    font, thickness = int(rng.choice(_FONTS)), max(int(3 * scale), 2)
    (width, height), _ = cv2.getTextSize(text, font, scale, thickness)
    middle, chest, backdrop = side // 2, int(side * _CHEST), rng.random()
    printed = np.clip(image, 0, 255).astype(np.uint8)  # OpenCV's text and shapes need bytes
    if backdrop < 0.35:
        radius = int(side * rng.uniform(0.05, 0.1))
        cv2.circle(printed, (middle, chest), radius, colours[2].tolist(), -1, cv2.LINE_AA)
    elif backdrop < 0.6:
        half = int(side * 0.06)
        corners = (int(side * 0.4), chest - half), (int(side * 0.6), chest + half)
        cv2.rectangle(printed, *corners, colours[2].tolist(), -1)
    start = middle - width // 2, chest + height // 2
    cv2.putText(printed, text, start, font, scale, colours[1].tolist(), thickness, cv2.LINE_AA)
    return printed.astype(np.float32)


def strands(rng: np.random.Generator, side: int = 512) -> ByteArray:
    """A texture of grey hair, RGBA (side,side,4), which tiles from left to right; its lower end is transparent."""
    waves = cv2.resize(rng.standard_normal((8, side), np.float32), (side, side), interpolation=cv2.INTER_CUBIC) * 14
    streaks = cv2.GaussianBlur(rng.standard_normal((1, side), np.float32), (0, 0), 2.5) * 45
    ragged = np.abs(cv2.GaussianBlur(rng.standard_normal((1, side), np.float32), (0, 0), 1.5))
    height = np.linspace(1, 0, side, dtype=np.float32)[:, None]
    grey = np.clip(148 + (waves + streaks) * 0.8 + 18 * np.sin(height * 5 + 2) - 30 * (1 - height), 30, 235)
    alpha = np.where(height > 0.02 + 0.1 * ragged, 255, 0)
    return np.dstack([grey, grey, grey, alpha]).astype(np.uint8)


def background(rng: np.random.Generator, size: int, kind: BackgroundKind) -> ByteArray:
    """A random background, RGB (size,size,3): a wall, coloured paper, or `clutter`, an imitation of a blurred room."""
    image = np.empty((size, size, 3), np.float32)
    match kind:
        case "white":
            image[:] = rng.uniform(235, 255)
        case "grey":
            image[:] = rng.uniform(150, 235) + rng.uniform(-5, 5, 3)
        case "colour":
            image[:] = random_colour(rng) * 0.6 + 90
        case "gradient":  # brighter at the top or the bottom, darker towards the corners
            colour = rng.uniform(140, 250) + rng.uniform(-10, 10, 3)
            down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
            across = down.transpose(1, 0, 2)
            slope = (colour * (1 - down * rng.uniform(-0.3, 0.3))).astype(np.float32)
            image[:] = slope * (1 - 0.12 * ((down - 0.5) ** 2 + (across - 0.5) ** 2))
        case "noise":
            paper = (random_colour(rng) * 0.5 + 100).astype(np.float32)
            large = noise(rng, size, size // 4)[..., None] * rng.uniform(8, 25)
            image[:] = paper + (large + noise(rng, size, size // 16)[..., None] * 6)
        case "clutter":
            image[:] = _clutter_background(rng, size)
    grain = rng.standard_normal(image.shape, np.float32) * 1.2
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _clutter_background(rng: np.random.Generator, size: int) -> FloatArray:
    room = np.empty((size, size, 3), np.uint8)
    room[:] = random_colour(rng) * 0.4 + 120
    floor = int(size * rng.uniform(0.6, 0.9))
    room[floor:] = random_colour(rng) * 0.5 + 60
    for _ in range(rng.integers(5, 16)):
        start = (rng.random(2) * size).astype(int)
        end = (start + rng.uniform(0.05, 0.45, 2) * size).astype(int)
        colour = (random_colour(rng) * rng.uniform(0.5, 1)).tolist()
        if rng.random() < 0.7:
            cv2.rectangle(room, start.tolist(), end.tolist(), colour, -1)
        else:
            cv2.circle(room, start.tolist(), int(size * rng.uniform(0.02, 0.15)), colour, -1)
    blurred: ByteArray = cv2.GaussianBlur(room, (0, 0), size * rng.uniform(0.008, 0.03))
    return blurred * (1 + 0.12 * noise(rng, size, size // 3)[..., None])
