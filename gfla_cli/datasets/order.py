"""The order and the small movements in which the pairs of a published set are trained on, as functions of a seed."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gfla_cli.datasets.deepfashion import BenchmarkPairs
from gfla_cli.datasets.sample import PosePair

_ANGLE_DEG, _SHIFT, _SCALE = 5.0, 5.0, 0.05  # the authors' for Market-1501: most rotation, pixels, share of the size
_TARGET_ANGLE, _TARGET_SHIFT = 0.2, 0.5  # of what the source is moved by; the target keeps its size
_GREY = (128, 128, 128)
_MISSING = (-1, -1, 0)


class ShuffledPairs(Dataset[PosePair]):
    """The same pairs, endlessly; every pass over them in an order of its own.

    Neighbouring rows of the published files share a person, and a batch of one person teaches little.
    """

    def __init__(self, pairs: BenchmarkPairs, seed: int, *, jittered: bool = False) -> None:
        self.pairs, self.seed, self.jittered = pairs, seed, jittered
        self.pictures = pairs.pictures
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def __getitem__(self, index: int) -> PosePair:
        epoch, place = divmod(index, len(self.pairs))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        pair = self.pairs[int(self._order[1][place])]
        return jitter(pair, np.random.default_rng([self.seed, 1, index])) if self.jittered else pair


def jitter(pair: PosePair, rng: np.random.Generator) -> PosePair:
    """Both pictures and their joints turned and shifted a little, the source resized too; outside is grey."""
    angle_deg, *shift = rng.uniform(-1, 1, 3) * (_ANGLE_DEG, _SHIFT, _SHIFT)
    scale = 1 + rng.uniform(-_SCALE, _SCALE)
    source_image, source_points = _moved(pair.source_image, pair.source_points, angle_deg, np.array(shift), scale)
    target_image, target_points = _moved(
        pair.target_image, pair.target_points, _TARGET_ANGLE * angle_deg, _TARGET_SHIFT * np.array(shift), 1.0
    )
    return pair._replace(
        source_image=source_image, source_points=source_points, target_image=target_image, target_points=target_points
    )


def _moved(
    image: NDArray[np.uint8], points: NDArray[np.float32], angle_deg: float, shift: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(H, W, 3) and (18, 3), turned about the middle; joints that leave the frame are missing."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, scale)
    matrix[:, 2] += shift
    turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=_GREY)
    moved = points.copy()
    moved[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    outside = ((moved[:, :2] < 0) | (moved[:, :2] > (width - 1, height - 1))).any(axis=1)
    moved[outside | (points[:, 2] <= 0)] = _MISSING
    return cast(NDArray[np.uint8], turned), moved
