"""The textures of the pack: MakeHuman's pictures at the size and in the form that the renderer wants."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array
from gfla_cli.errors import DataError
from gfla_cli.synth.makehuman.catalogue import PICTURES, SKINS, Picture, skin
from gfla_cli.synth.makehuman.figure import Figure
from gfla_cli.synth.makehuman.files import MakeHumanFiles
from gfla_cli.synth.picture_files import read_bgr, write_bgr

_SKIN_SIDE = 1024
_HEAD_WINDOW = (0.735, 0.14, 0.265, 0.70)  # u, v of its corner, width, height: as rendering.body reads it
_HAIR_BRIGHTNESS = 150  # of the mean of all hair, so that one tint gives one colour
_FLATTENED = {"hair_braid01": 0.4}  # exponents on the brightness of hair, so that dark strands are not lost
_USUAL_FLATTENING = 0.7


def write_textures(files: MakeHumanFiles, figure: Figure, folder: Path) -> None:
    """Writes all pictures of the pack into a folder."""
    shown = _shown_skin(figure)
    for name in SKINS:
        picture = _read(files.path(skin(name)))[..., :3]
        _write_jpeg(folder / f"{name}.jpg", _flat_where_hidden(_resized(picture, _SKIN_SIDE), shown))
        _write_jpeg(folder / f"{name}_head.jpg", _head(picture))
    for name, wanted in PICTURES.items():
        _write_picture(folder, name, wanted, _read(files.path(wanted.source)))


def _write_picture(folder: Path, name: str, wanted: Picture, picture: ByteArray) -> None:
    if wanted.kind == "opaque" or picture.shape[2] == 3:
        _write_jpeg(folder / f"{name}.jpg", _resized(picture[..., :3], wanted.side))
        return
    colour, alpha = _cut_out(picture, wanted.side)
    if wanted.kind == "hair":
        colour = _evened(colour, alpha, _FLATTENED.get(name, _USUAL_FLATTENING))
    rgba = np.dstack([colour, alpha * 255]).clip(0, 255).astype(np.uint8)
    write_bgr(folder / f"{name}.png", rgba, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _read(path: Path) -> ByteArray:
    """(H,W,3) BGR or (H,W,4) with alpha."""
    picture = read_bgr(path)
    if picture is None or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise DataError(f"{path}: not a colour picture", hint="it may be cut short; fetch it again")
    return picture


def _resized(picture: ByteArray, side: int) -> ByteArray:
    small: ByteArray = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return small


def _shown_skin(figure: Figure) -> ByteArray:
    """Where the texture of the skin is ever seen, (n,n), with a margin for filtering."""
    shown = np.zeros((_SKIN_SIDE, _SKIN_SIDE), np.uint8)
    u, v = np.moveaxis(figure.mesh.corner_uv[figure.skin], -1, 0)
    for triangle in np.stack([u * _SKIN_SIDE, (1 - v) * _SKIN_SIDE], -1).round().astype(np.int32):
        cv2.fillConvexPoly(shown, triangle, 255)
    grown: ByteArray = cv2.dilate(shown, np.ones((7, 7), np.uint8))
    return grown


def _flat_where_hidden(picture: ByteArray, shown: ByteArray) -> ByteArray:
    """What clothes always cover becomes one colour, which needs no bytes."""
    if (shown > 0).any():
        picture[shown == 0] = np.median(picture[shown > 0], 0)
    return picture


def _head(skin_picture: ByteArray) -> ByteArray:
    """The head's part of a skin at a resolution of its own."""
    side = len(skin_picture)
    left, bottom, width, height = _HEAD_WINDOW
    rows = slice(int((1 - bottom - height) * side), int((1 - bottom) * side))
    columns = slice(int(left * side), int((left + width) * side))
    window = skin_picture[rows, columns]
    head: ByteArray = cv2.resize(window, (_SKIN_SIDE, _SKIN_SIDE), interpolation=cv2.INTER_CUBIC)
    return head


def _cut_out(picture: ByteArray, side: int) -> tuple[Float32Array, Float32Array]:
    """Colour (n,n,3), 0..255, and alpha (n,n), 0..1; the colour reaches beyond the edge, against dark fringes."""
    alpha = picture[..., 3:].astype(np.float32) / 255
    whole = np.dstack([picture[..., :3] * alpha, alpha])
    small = cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), 8)
    inside = small[..., :3] / np.maximum(small[..., 3:], 1e-3)
    beyond = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-4)
    return np.where(small[..., 3:] > 0.02, inside, beyond), small[..., 3]


def _evened(colour: Float32Array, alpha: Float32Array, exponent: float) -> Float32Array:
    """Hair in grey, about equally bright in all styles."""
    grey = colour.mean(2)
    mean = (grey * alpha).sum() / max(alpha.sum(), 1e-6)
    grey = np.clip(_HAIR_BRIGHTNESS * (grey / max(mean, 1)) ** exponent, 0, 255)
    return np.repeat(grey[..., None], 3, 2)


def _write_jpeg(path: Path, picture: ByteArray) -> None:
    write_bgr(path, picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
