"""Pictures as data URIs: both of a pair at one size, and nothing about them that tells which one is real."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gfla_cli.errors import DataError
from gfla_cli.media.decoding import decode, opened
from gfla_cli.media.image import read_image

LARGEST_SIDE = 1024  # pixels; more is not seen on a rater's screen
_KEPT_BYTES_PER_PIXEL = 1.5  # a JPEG file up to this size goes in as it is
_ASPECT_TOLERANCE = 0.02
_MOSAIC = 10  # squares on the longer side of a catch trial's picture

Size = tuple[int, int]  # width, height


def shown_size(generated: Path) -> Size:
    """The size at which a generated picture, and so the real one beside it, is shown. Raises MediaError."""
    height, width = read_image(generated, LARGEST_SIDE).shape[:2]
    return width, height


def as_data_uri(path: Path, size: Size) -> str:
    """The picture at `size`: the file's own bytes if they are a small, plain JPEG of that size, else JPEG, quality 95.

    EXIF and colour profiles do not pass: a browser would apply to one picture of the pair what the other lacks, and
    they may hold a place or a name. Raises MediaError when it cannot be read, DataError when its shape is another.
    """
    with opened(path) as picture:
        plain = picture.format == "JPEG" and picture.mode in ("RGB", "L")
        told = {"exif", "icc_profile", "comment"} & set(picture.info)
        small = path.stat().st_size <= _KEPT_BYTES_PER_PIXEL * size[0] * size[1]
        pixels = decode(picture, None)
        if plain and not told and small and picture.size == size:
            return _jpeg_uri(path.read_bytes())
    return _encoded(_resized(path, pixels, size))


def mosaic_uri(path: Path, size: Size) -> str:
    """The picture in a few large squares, which nobody who looks takes for a photograph."""
    pixels = _resized(path, read_image(path), size)
    scale = _MOSAIC / max(size)
    few = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    coarse = Image.fromarray(pixels).resize(few, Image.Resampling.BOX).resize(size, Image.Resampling.NEAREST)
    return _encoded(np.asarray(coarse))


def _resized(path: Path, pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if abs(width * size[1] / (height * size[0]) - 1) > _ASPECT_TOLERANCE:
        what = f"{path} is {width}x{height}, but the generated picture is {size[0]}x{size[1]}: another shape"
        raise DataError(what, hint="crop the real pictures to the frame of the generated ones")
    if (width, height) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _encoded(pixels: NDArray[np.uint8]) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=95, subsampling=0)
    return _jpeg_uri(file.getvalue())


def _jpeg_uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
