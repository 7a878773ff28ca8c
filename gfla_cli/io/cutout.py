"""Cut an object out of its image: by the alpha channel, by a plain background, or by GrabCut.

The image's border shows whether the background is plain: one surface, or a wall over a floor. Falling light and soft
shadows are allowed. A busy background is left to GrabCut, which is often wrong; `Cutout.guessed` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Image
from gfla_cli.io.image import reduced
from gfla_cli.io.image_decoding import decode, load_upright, open_image

_WORKING_SIDE, _GUESSING_SIDE = 1024, 384  # pixels of the longer side
_RING = 0.02  # share of the image that counts as its border
_PLAIN = 0.82  # share of the border that must fit a smooth background
# A colour closer than the tolerance to the background, in Lab, belongs to it.
_TOLERANCE, _NOISE = 7.0, 3.5  # smallest tolerance, and its size in standard deviations of the noise
_MOST_TOLERANT = 12.0  # with a larger tolerance the background is not plain
_SURE = 0.5  # share of the tolerance for pixels that the border does not reach
_ONE_HUE = 12.0  # largest range of Lab a and b over one surface
_ALIKE = 0.9  # share of rows whose two ends must be alike
_SHADOW = 45.0  # Lab lightness by which a soft shadow may be darker
_STEP = 3  # largest step in grey levels between neighbouring pixels of a soft shadow
_CRUMB = 0.01  # pieces below this share of the largest are dust
_OPAQUE = 128  # smallest alpha of the object


@dataclass(frozen=True, slots=True)
class Cutout:
    """An object on white, and the pixels that it covers."""

    on_white: Image  # (H, W, 3) RGB
    cover: Image  # (H, W) 0..255, 255 on the object
    guessed: bool  # whether the background was too busy for a sure result


def read_cutout(path: Path | str, max_side: int | None = None) -> Cutout:
    """The object in an image file, at most `max_side` pixels on the longer side. Raises MediaError as `read_image`."""
    with open_image(Path(path)) as picture:
        transparent = picture.has_transparency_data
        image = decode(picture, max_side)
    if transparent:
        alpha = _alpha(Path(path), image.shape[:2])
        if alpha.min() < _OPAQUE:
            return Cutout(image, alpha, guessed=False)  # `decode` has put it on white
    return cut_out(image)


def _alpha(path: Path, size: tuple[int, int]) -> Image:
    """(H, W) opacity 0..255, upright and resized to (height, width)."""
    from PIL import Image as PillowImage

    with open_image(path) as picture:
        load_upright(picture)
        alpha = picture.convert("RGBA").getchannel("A")
        return np.array(alpha.resize(size[::-1], PillowImage.Resampling.BOX))


def cut_out(image: Image) -> Cutout:
    """The object in an (H, W, 3) RGB image without transparency. `cover` is all 0 when nothing stands out."""
    small = reduced(image, _WORKING_SIDE)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    fit = _one_surface(lab) or _wall_and_floor(lab)  # None: the background is busy
    mask = _guess(small) if fit is None else _unlike(small, lab, fit)
    # Soft edges, shrunk a little so that no rim of the background remains.
    blurred = cv2.GaussianBlur(_without_crumbs(mask).astype(np.float32), (0, 0), 1.0)
    cover = np.asarray(np.clip(blurred * 2 - 1, 0, 1) * 255 + 0.5, np.uint8)
    if cover.shape != image.shape[:2]:
        cover = np.asarray(cv2.resize(cover, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    share = cover[..., None].astype(np.float32) / 255
    on_white = (image * share + 255 * (1 - share) + 0.5).astype(np.uint8)
    return Cutout(on_white, cover, guessed=fit is None)


@dataclass(frozen=True, slots=True)
class _Fit:
    """The background, extrapolated from the border."""

    lab: Float32Array  # (H, W, 3)
    tolerance: float


def _wall_and_floor(lab: Float32Array) -> _Fit | None:
    """A background whose rows each blend their two ends; None when the ends differ too much."""
    height, width = lab.shape[:2]
    thick = max(2, round(_RING * min(height, width)))
    left, right = np.median(lab[:, :thick], axis=1), np.median(lab[:, -thick:], axis=1)  # (H, 3)
    apart = np.linalg.norm(left - right, axis=1)
    noise = float(np.median([lab[:, :thick].std(axis=1), lab[:, -thick:].std(axis=1)]))
    tolerance = max(_TOLERANCE, _NOISE * noise * np.sqrt(3), 1.5 * float(np.median(apart)))
    if tolerance > _MOST_TOLERANT or (apart > tolerance * 1.5).mean() > 1 - _ALIKE:
        return None
    across = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    expected = left[:, None] * (1 - across) + right[:, None] * across
    if (np.linalg.norm(lab[:thick] - expected[:thick], axis=2) > tolerance).mean() > 1 - _PLAIN:
        return None
    return _Fit(expected.astype(np.float32), tolerance)


def _one_surface(lab: Float32Array) -> _Fit | None:
    """A quadratic surface fitted to the border; None when it does not fit."""
    height, width = lab.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width - 0.5, y / height - 0.5
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    ring = np.ones((height, width), bool)
    thick = max(2, round(_RING * min(height, width)))
    ring[thick:-thick, thick:-thick] = False
    # The object may touch the border, so outliers are dropped and the surface is fitted again.
    kept = np.linalg.norm(lab - np.median(lab[ring], axis=0), axis=2)[ring]
    kept = kept <= np.percentile(kept, 75)
    values, terms = lab[ring], basis[ring]
    for _ in range(5):
        weights, *_ = np.linalg.lstsq(terms[kept], values[kept], rcond=None)
        error = np.linalg.norm(values - terms @ weights, axis=1)
        tolerance = max(_TOLERANCE, _NOISE * float(np.sqrt((error[kept] ** 2).mean())))
        kept = error < min(tolerance, _MOST_TOLERANT)
        if kept.mean() < _PLAIN:
            return None
    surface = (basis @ weights).astype(np.float32)
    if np.ptp(surface[..., 1:], axis=(0, 1)).max() > _ONE_HUE:
        return None  # falling light does not change the hue
    return _Fit(surface, min(tolerance, _MOST_TOLERANT))


def _unlike(small: Image, lab: Float32Array, fit: _Fit) -> BoolArray:
    """True where the image differs from the background, its soft shadows, and the background seen through gaps."""
    difference = lab - fit.lab
    distance = np.linalg.norm(difference, axis=2)
    colourless = np.linalg.norm(difference[..., 1:], axis=2) < fit.tolerance * _SURE
    shadow = colourless & (difference[..., 0] < 0) & (difference[..., 0] > -_SHADOW)
    reached = _flooded(small, (distance < fit.tolerance) | shadow)
    gaps = distance < fit.tolerance * _SURE
    return np.asarray(~(reached | gaps))


def _flooded(small: Image, allowed: BoolArray) -> BoolArray:
    """The pixels that a flood fill from the border reaches, through allowed pixels and not across edges."""
    height, width = allowed.shape
    smooth = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (0, 0), 1.2)
    mask = np.ones((height + 2, width + 2), np.uint8)
    mask[1:-1, 1:-1] = ~allowed
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | (2 << 8)
    border = [(x, y) for x in range(width) for y in (0, height - 1)]
    border += [(x, y) for y in range(height) for x in (0, width - 1)]
    for x, y in border:
        if mask[y + 1, x + 1] == 0:
            cv2.floodFill(smooth, mask, (x, y), 0, _STEP, _STEP, flags)
    reached = mask[1:-1, 1:-1] == 2
    # Close the pinholes that noise leaves.
    closed = cv2.morphologyEx(reached.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    return np.asarray(reached | (closed & allowed))


def _guess(small: Image) -> BoolArray:
    """GrabCut, given only that the object does not touch the border."""
    tiny = reduced(small, _GUESSING_SIDE)
    height, width = tiny.shape[:2]
    margin_x, margin_y = max(1, width // 30), max(1, height // 30)
    mask = np.zeros((height, width), np.uint8)
    inside = (margin_x, margin_y, width - 2 * margin_x, height - 2 * margin_y)
    cv2.setRNGSeed(0)  # its clusters start at random
    cv2.grabCut(tiny, mask, inside, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_RECT)
    found = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    return np.asarray(cv2.resize(found, small.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0)


def _without_crumbs(mask: BoolArray) -> BoolArray:
    """The largest piece, and all others but dust and those that touch the image's border."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    kept = areas >= _CRUMB * areas.max()
    kept[np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))] = False
    kept[areas.argmax()] = True
    return np.asarray(kept[labels] & mask)
