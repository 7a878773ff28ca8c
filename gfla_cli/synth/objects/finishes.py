"""Random finishes of furniture: wood, paint, metal, plastic, leather, cloth and cane.

Functions that make finishes draw in a fixed order, as published data sets depend on their seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array, Float64Array
from gfla_cli.synth.renderer.procedural import FabricKind, choose, fabric, random_colour, seamless_noise
from gfla_cli.synth.renderer.rasterizer import ALPHA_TEST, Gloss, Material, mip_chain

FinishKind = Literal["wood", "paint", "metal", "plastic", "dark", "leather", "cloth", "cane", "mesh"]

_SIDE = 256  # texels of a texture
_SHADOW_BIAS = 0.12  # dm, see Gloss
_WOODS = np.array(  # RGB of beech, oak, pine, teak, cherry, walnut, mahogany, wenge, grey oak, maple
    [
        [214, 176, 132], [193, 152, 104], [226, 190, 138], [168, 116, 68], [160, 92, 58],
        [104, 70, 46], [112, 52, 36], [62, 44, 36], [158, 146, 130], [232, 206, 170],
    ],
    np.float64,
)  # fmt: skip
_LEATHERS = np.array(
    [[38, 34, 32], [84, 54, 38], [140, 88, 52], [206, 190, 166], [236, 232, 224], [112, 28, 28], [60, 72, 84]],
    np.float64,
)
_METALS = np.array([[186, 188, 192], [150, 152, 156], [40, 40, 42], [60, 58, 56], [196, 168, 112]], np.float64)
# Fabrics of upholstery: no letters, no camouflage.
_CLOTHS: Mapping[FabricKind, float] = {
    "solid": 0.5, "stripes": 0.13, "plaid": 0.08, "dots": 0.04, "floral": 0.07, "knit": 0.1, "denim": 0.08,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Finish:
    """A material and the scale of its texture."""

    material: Material
    tile: float  # dm of the surface that the texture covers once


def finish(rng: np.random.Generator, kind: FinishKind) -> Finish:
    """A random finish of one kind."""
    return _MAKERS[kind](rng)


def any_finish(rng: np.random.Generator, shares: Mapping[FinishKind, float]) -> Finish:
    """A random finish; `shares` are the relative probabilities of its kind."""
    return finish(rng, choose(rng, shares))


def _opaque(image: Float32Array, gloss: Gloss, tile: float) -> Finish:
    """A finish without holes. image: RGB 0..255, which broadcasts to (_SIDE,_SIDE,3)."""
    opaque = np.full((_SIDE, _SIDE, 4), 255, np.uint8)
    opaque[..., :3] = np.clip(image, 0, 255)
    return Finish(Material(mip_chain(opaque), np.ones(3), gloss), tile)


def _jittered(rng: np.random.Generator, colour: Float64Array, amount: float) -> Float32Array:
    return (colour * (1 + rng.normal(0, amount)) + rng.normal(0, amount * 40, 3)).astype(np.float32)


def _wood(rng: np.random.Generator) -> Finish:
    """Grain along v: distorted bands with darker pores."""
    colour = _jittered(rng, _WOODS[rng.integers(len(_WOODS))], 0.08)
    rings = seamless_noise(rng, _SIDE, 64)
    x = np.arange(_SIDE, dtype=np.float32)[None] / _SIDE
    bands = np.sin(2 * np.pi * (x * rng.integers(3, 10) + rings * rng.uniform(0.15, 0.5)))
    pores = _streaks(rng, 24)
    contrast = rng.uniform(0.03, 0.13)
    shade = 1 + contrast * bands + rng.uniform(0.02, 0.06) * pores
    tinted = colour * shade[..., None] ** np.array([0.8, 1.0, 1.25], np.float32)
    gloss = Gloss(rng.uniform(0.0, 0.16), rng.uniform(8, 30), _SHADOW_BIAS)
    return _opaque(tinted, gloss, rng.uniform(2.5, 5))


def _streaks(rng: np.random.Generator, times: int) -> Float32Array:
    """Noise (_SIDE,_SIDE) in streaks along v, each about `times` texels long; it tiles along v."""
    short = rng.standard_normal((_SIDE // times + 4, _SIDE), np.float32)
    short[-4:] = short[:4]
    tall = cv2.resize(short, (_SIDE, (len(short)) * times), interpolation=cv2.INTER_CUBIC)
    streaks: Float32Array = tall[2 * times : 2 * times + _SIDE]
    return streaks


def _paint(rng: np.random.Generator) -> Finish:
    colour = random_colour(rng).astype(np.float32)
    streaks = _streaks(rng, 16)[..., None] * rng.uniform(0, 2.5)
    return _opaque(colour + streaks, Gloss(rng.uniform(0.02, 0.2), rng.uniform(10, 40), _SHADOW_BIAS), 4.0)


def _metal(rng: np.random.Generator) -> Finish:
    """Chrome, steel, brass or black paint; bands along v imitate the reflection of a room."""
    colour = _jittered(rng, _METALS[rng.choice(len(_METALS), p=[0.36, 0.14, 0.3, 0.1, 0.1])], 0.05)
    x = np.arange(_SIDE, dtype=np.float32)[None, :, None] / _SIDE
    bands = rng.uniform(0.0, 0.22) * np.sin(2 * np.pi * x * 2 + rng.uniform(0, 6))
    bands = bands + 0.05 * np.sin(2 * np.pi * x * 5 + rng.uniform(0, 6))
    brushed = _streaks(rng, 32)[..., None] * 1.5
    gloss = Gloss(rng.uniform(0.15, 0.55), rng.uniform(20, 60), _SHADOW_BIAS)
    return _opaque(colour * (1 + bands) + brushed, gloss, rng.uniform(0.6, 1.2))


def _plastic(rng: np.random.Generator) -> Finish:
    colour = random_colour(rng).astype(np.float32)
    uneven = seamless_noise(rng, _SIDE, 64)[..., None] * 1.2
    return _opaque(colour + uneven, Gloss(rng.uniform(0.05, 0.3), rng.uniform(12, 50), _SHADOW_BIAS), 4.0)


def _dark(rng: np.random.Generator) -> Finish:
    """The plastic and painted steel of office chairs: black or grey."""
    colour = _jittered(rng, np.full(3, rng.choice([30.0, 46.0, 120.0, 175.0], p=[0.5, 0.25, 0.15, 0.1])), 0.05)
    uneven = seamless_noise(rng, _SIDE, 64)[..., None] * 0.8
    return _opaque(colour + uneven, Gloss(rng.uniform(0.05, 0.25), rng.uniform(12, 40), _SHADOW_BIAS), 4.0)


def _leather(rng: np.random.Generator) -> Finish:
    """A fine grain with paler, worn areas."""
    known = rng.random() < 0.75
    colour = _jittered(rng, _LEATHERS[rng.integers(len(_LEATHERS))] if known else random_colour(rng), 0.06)
    grain = np.abs(seamless_noise(rng, _SIDE, 4)) * -0.08 + seamless_noise(rng, _SIDE, 64) * 0.02
    gloss = Gloss(rng.uniform(0.05, 0.2), rng.uniform(8, 25), _SHADOW_BIAS)
    return _opaque(colour * (1 + grain[..., None]), gloss, rng.uniform(2, 4))


def _cloth(rng: np.random.Generator) -> Finish:
    cloth = fabric(rng, choose(rng, _CLOTHS), _SIDE, logo=False)
    weave = 1 + 0.05 * seamless_noise(rng, _SIDE, 2) * rng.uniform(0, 1)
    cloth[..., :3] = np.clip(cloth[..., :3] * weave[..., None], 0, 255)
    return Finish(Material(mip_chain(cloth), np.ones(3), Gloss(0.0, 4, _SHADOW_BIAS)), rng.uniform(2.5, 5))


def _cane(rng: np.random.Generator) -> Finish:
    """Woven strips with holes between them."""
    colour = _jittered(rng, _WOODS[rng.choice([0, 2, 9, 3])], 0.08)
    return _lattice(rng, colour, count=int(rng.integers(14, 22)), open_share=rng.uniform(0.3, 0.5))


def _mesh(rng: np.random.Generator) -> Finish:
    """The fine net of an office chair."""
    colour = (random_colour(rng) * 0.4 + 20).astype(np.float32)
    return _lattice(rng, colour, count=int(rng.integers(20, 30)), open_share=rng.uniform(0.25, 0.45))


def _lattice(rng: np.random.Generator, colour: Float32Array, *, count: int, open_share: float) -> Finish:
    """`count` x `count` square holes, which are together the share `open_share` of the area."""
    steps = (np.arange(_SIDE, dtype=np.float32) + 0.5) / _SIDE * count % 1
    is_hole = np.abs(steps - 0.5) < np.sqrt(open_share) / 2
    image: ByteArray = np.full((_SIDE, _SIDE, 4), 255, np.uint8)
    strands = 1 + 0.08 * seamless_noise(rng, _SIDE, 8)[..., None]
    image[..., :3] = np.clip(colour * strands, 0, 255)
    image[..., 3] = np.where(is_hole[:, None] & is_hole[None], 0, 255)
    return Finish(Material(mip_chain(image), np.ones(3), Gloss(0.02, 8, _SHADOW_BIAS), flags=ALPHA_TEST), 4.0)


_MAKERS: Mapping[FinishKind, Callable[[np.random.Generator], Finish]] = {
    "wood": _wood,
    "paint": _paint,
    "metal": _metal,
    "plastic": _plastic,
    "dark": _dark,
    "leather": _leather,
    "cloth": _cloth,
    "cane": _cane,
    "mesh": _mesh,
}
