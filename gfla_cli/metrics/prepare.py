"""Bringing a picture to the size and through the file format of a protocol."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from PIL import Image as PillowImage

from gfla_cli.arrays import Image
from gfla_cli.media.image import through_jpeg
from gfla_cli.metrics.protocol import Filter, Protocol, Size


def prepared(image: Image, protocol: Protocol, size: Size, *, fresh: bool = False) -> Image:
    """(H, W, 3) uint8 at `size`. `fresh`: from a network, so that the protocol's file format is still before it.

    A picture from a file that has the size already is left as it is: its format was chosen by whoever wrote it.
    """
    fits = image.shape[:2] == size
    if not fits:
        for step, kind in protocol.steps(size):
            image = resized(image, step, kind)
    if protocol.jpeg_quality is not None and (fresh or not fits):
        image = through_jpeg(image, protocol.jpeg_quality)
    return image


def resized(image: Image, size: Size, kind: Filter) -> Image:
    """(H, W, 3) uint8 stretched to height, width."""
    if image.shape[:2] == size:
        return image
    height, width = size
    if kind == "bilinear":
        return cast(Image, cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BICUBIC))


def padding(size: Size, wanted: Size) -> tuple[int, int, int, int]:
    """Pixels to add left, right, top, bottom so that `size` becomes `wanted` with the picture in the middle."""
    tall, wide = (max(0, goal - side) for goal, side in zip(wanted, size, strict=True))
    return wide // 2, wide - wide // 2, tall // 2, tall - tall // 2
