"""Decode untrusted image files: every mode that Pillow knows, in strips, so that memory holds one full RGB copy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gfla_cli.errors import GflaError, MediaError
from gfla_cli.io.background import ProcessLock, native_stderr_silenced, python_warnings_silenced
from gfla_cli.io.files import require_file

SMALLEST_SIDE = 16
LARGEST_AREA = 200_000_000
# Left out: formats that start other programs (EPS), and formats that photographs do not have.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF", "PPM", "JPEG2000", "TGA", "ICO")
_STRIP_AREA = 4_000_000  # pixels converted at a time
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
_DAMAGED = "the file may be cut off or damaged: copy or export it again"
_EXPORT = "open it in an image viewer and export it as PNG or JPEG"


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Opens the file with Pillow, checks the size in its header, and closes it after the block.

    Every error in the block, decoding included, becomes a MediaError of one line. Pillow's warnings are silenced.
    """
    require_file(path, "image")
    with _quiet_pillow:
        try:
            with _identified(path) as picture:
                _check_size(path, picture.size)
                yield picture
        except GflaError:
            raise
        except UnidentifiedImageError as error:
            raise _not_an_image(path) from error
        except MemoryError as error:
            raise MediaError(f"{path}: the image does not fit into memory", hint="scale it down first") from error
        # Damaged files raise OSError, SyntaxError, struct.error, zlib.error, and others: no list is complete.
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MediaError(f"{path}: the image cannot be decoded ({reason})", hint=_DAMAGED) from error


def _identified(path: Path) -> Image.Image:
    Image.preinit()
    with suppress(UnidentifiedImageError):
        return Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])
    Image.init()  # loads all formats in 0.1 s, which PNG and JPEG do not need
    return Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])


def decode(picture: Image.Image, max_side: int | None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an opened image: upright, over white, at most `max_side` pixels on the longer side."""
    if max_side is not None:
        wanted = min(1.0, max_side / max(picture.size))
        # JPEG only: decodes at 1/2, 1/4 or 1/8, but not below the wanted size.
        picture.draft(None, (max(1, int(picture.width * wanted)), max(1, int(picture.height * wanted))))
    # libtiff prints errors of damaged files to stderr.
    with native_stderr_silenced() if picture.format == "TIFF" else nullcontext():
        picture.load()
    with suppress(Exception):  # the image may be good although its EXIF block is damaged
        ImageOps.exif_transpose(picture, in_place=True)
    longest = max(picture.size)
    # Blocks are averaged first, so that the slow filter starts at about twice the wanted size.
    step = 1 if max_side is None else max(1, longest // (2 * max_side))
    width, height = (-(-side // step) for side in picture.size)
    image = np.empty((height, width, 3), np.uint8)
    to_rgb = _rgb_conversion(picture)
    rows = max(1, _STRIP_AREA // max(1, picture.width) // step) * step
    for top in range(0, picture.height, rows):
        strip = to_rgb(picture.crop((0, top, picture.width, min(top + rows, picture.height))))
        strip = strip.reduce(step) if step > 1 else strip
        image[top // step : top // step + strip.height] = np.asarray(strip)
    if max_side is None or max(width, height) <= max_side:
        return image
    scale = max_side / max(width, height)
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > LARGEST_AREA:
        megapixels = f"{width * height / 1e6:.0f} megapixels; {LARGEST_AREA // 1_000_000} are the most"
        raise MediaError(f"{path}: {width}x{height} is {megapixels}", hint="scale it down first")
    if min(size) < SMALLEST_SIDE:
        hint = f"use an image of at least {SMALLEST_SIDE} px a side, better 256"
        raise MediaError(f"{path}: {width}x{height} is too small", hint=hint)


def _not_an_image(path: Path) -> MediaError:
    """An error that says what the file is instead, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(_SIGNATURES) or head[8:12] in (b"WEBP", b"avif", b"avis"):
        return MediaError(f"{path}: the image cannot be decoded (its header is damaged)", hint=_DAMAGED)
    if head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return MediaError(f"{path}: HEIC images are not supported", hint=_EXPORT)
    if head[4:8] == b"ftyp" or head[:4] in (b"\x1a\x45\xdf\xa3",) or head[8:12] == b"AVI ":
        return MediaError(f"{path} is a video, not an image", hint="`gfla animate` and `gfla extract` take videos")
    if head[:4] == b"%PDF":
        return MediaError(f"{path} is a PDF, not an image", hint=_EXPORT)
    if b"<svg" in head:
        return MediaError(f"{path} is an SVG drawing, not an image of pixels", hint=_EXPORT)
    if head and b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return MediaError(f"{path} holds text, not an image", hint="was a web page saved instead of the image?")
    return MediaError(f"{path} is not an image in any known format", hint=_EXPORT)


class _QuietPillow:
    """Turns off Pillow's warnings, log lines and size limit in its block; `open_image` reports errors itself.

    These settings belong to the whole process: the first thread to enter changes them, the last to leave restores them.
    """

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._inside = 0
        self._restore = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._restore.enter_context(python_warnings_silenced)
                logger = logging.getLogger("PIL")
                self._restore.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)
                self._restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._restore.close()


_quiet_pillow = _QuietPillow()


def _rgb_conversion(picture: Image.Image) -> Any:
    """A function from a strip of the image to RGB. It maps the value range of the whole image to 0..255."""
    if picture.mode.startswith("I;16"):
        return lambda strip: _grey(np.asarray(strip, dtype=np.float32) / np.float32(257))
    if picture.mode in ("I", "F"):
        high = float(np.max(picture.getextrema()))
        scale = 1 / 257 if picture.format in ("PNG", "PPM") else _scale_of_wide_values(picture.mode, high)
        return lambda strip: _grey(np.nan_to_num(np.asarray(strip, dtype=np.float32)) * scale)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        return _over_white
    return lambda strip: strip.convert("RGB")


def _scale_of_wide_values(mode: str, high: float) -> float:
    """The factor for 32-bit grey values. Files do not define white, so the largest value decides."""
    if mode == "F" and high <= 1.5:
        return 255.0
    if high <= 255:
        return 1.0
    return 255 / (65_535 if high <= 65_535 else high)


def _grey(values: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8)).convert("RGB")


def _over_white(strip: Image.Image) -> Image.Image:
    coloured = strip.convert("RGBA")
    paper = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
    return Image.alpha_composite(paper, coloured).convert("RGB")
