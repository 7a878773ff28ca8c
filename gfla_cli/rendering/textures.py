"""Textures as chains of mip levels, and noise to make them from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array

_SMALLEST_SIDE = 16


@dataclass(frozen=True, slots=True, eq=False)
class MipChain:
    """A square RGBA picture at full, half, quarter ... size."""

    texels: ByteArray  # (B,) all levels one after the other, row by row
    side: int  # of the finest level
    levels: int

    @property
    def offsets(self) -> list[int]:
        """Where each level starts in `texels`."""
        sizes = [(self.side >> level) ** 2 * 4 for level in range(self.levels)]
        return [sum(sizes[:level]) for level in range(self.levels)]


def mip_chain(picture: ByteArray) -> MipChain:
    """All mip levels of an RGBA picture (n,n,4), n a power of two, down to 16 x 16."""
    levels = [picture]
    while levels[-1].shape[0] > _SMALLEST_SIDE:
        half = levels[-1].shape[0] // 2
        levels.append(cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA))
    return MipChain(np.concatenate([level.ravel() for level in levels]), picture.shape[0], len(levels))


def plain(red: int, green: int, blue: int) -> MipChain:
    """A texture of one opaque colour, 0..255."""
    return mip_chain(np.full((_SMALLEST_SIDE, _SMALLEST_SIDE, 4), (red, green, blue, 255), np.uint8))


def noise(rng: np.random.Generator, side: int, cell: int) -> Float32Array:
    """Smooth noise (side,side), about -1..1, with blobs of `cell` pixels."""
    cells = max(side // cell, 2)
    return _enlarged(rng.standard_normal((cells, cells), np.float32), side)


def seamless_noise(rng: np.random.Generator, side: int, cell: int) -> Float32Array:
    """Like `noise`, but the left edge continues the right and the top the bottom; side is a multiple of cell."""
    cells = side // cell
    wrapped = np.pad(rng.standard_normal((cells, cells), np.float32), 2, mode="wrap")
    enlarged = _enlarged(wrapped, (cells + 4) * cell)
    return enlarged[2 * cell : 2 * cell + side, 2 * cell : 2 * cell + side]


def _enlarged(coarse: Float32Array, side: int) -> Float32Array:
    fine: Float32Array = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return fine
