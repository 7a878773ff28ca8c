"""Decode untrusted image files: every mode that Pillow knows, in strips, so that memory holds one full RGB copy.

Colours come out as sRGB. An embedded profile says what the numbers of the file mean; without one they are sRGB.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageFilter, ImageOps, UnidentifiedImageError

from gfla_cli.arrays import ByteArray, Float32Array
from gfla_cli.errors import GflaError, MediaError
from gfla_cli.io.background import ProcessWide, native_stderr_silenced, python_warnings_silenced
from gfla_cli.io.files import require_file

SMALLEST_SIDE = 16
LARGEST_AREA = 200_000_000
# Left out: formats that start other programs (EPS), and formats that photographs do not have.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF", "PPM", "JPEG2000", "TGA", "ICO")
_STRIP_AREA = 4_000_000  # pixels converted at a time
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
_DAMAGED = "the file may be cut off or damaged: copy or export it again"
_Conversion = Callable[[Image.Image], Image.Image]
# Colours on a grid, as an image: a profile that leaves all of them as they are is that of sRGB.
_COLOURS = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3, indexing="ij"), axis=-1).reshape(
    64, 64, 3
)
_ROUNDING = 2  # levels
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
    # `init` loads all formats in 0.1 s, which PNG and JPEG do not need.
    for load_formats in (Image.preinit, Image.init):
        load_formats()
        with suppress(UnidentifiedImageError):
            return Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])
    with path.open("rb") as file:
        is_heic = _is_heic(file.read(12))
    if not is_heic:
        raise UnidentifiedImageError
    try:
        import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        what = f"{path}: HEIC images need the package pillow-heif"
        raise MediaError(what, hint=f"pip install pillow-heif, or {_EXPORT}") from error
    return Image.open(path, formats=["HEIF"])


def _is_heic(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf")


def load_upright(picture: Image.Image) -> None:
    """Decodes an opened image and turns it by its orientation tag. Nothing else in this package turns images."""
    if picture.format == "TIFF" and isinstance(picture, ImageFile.ImageFile):
        # Pillow maps uncompressed files into memory by their name, and then with the sides of the turned image.
        picture.filename = ""
    # libtiff prints errors of damaged files to stderr.
    with native_stderr_silenced if picture.format == "TIFF" else nullcontext():
        picture.load()  # turns TIFF files and removes their tag
    with suppress(Exception):  # the image may be good although its EXIF block is damaged
        ImageOps.exif_transpose(picture, in_place=True)


def decode(picture: Image.Image, max_side: int | None) -> ByteArray:
    """(H, W, 3) uint8 RGB of an opened image: upright, over white, at most `max_side` pixels on the longer side."""
    if max_side is not None:
        wanted = min(1.0, max_side / max(picture.size))
        # JPEG only: decodes at 1/2, 1/4 or 1/8, but not below the wanted size.
        picture.draft(None, (max(1, int(picture.width * wanted)), max(1, int(picture.height * wanted))))
    load_upright(picture)
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
    if head.startswith(_SIGNATURES) or head[8:12] in (b"WEBP", b"avif", b"avis") or _is_heic(head):
        return MediaError(f"{path}: the image cannot be decoded (its header is damaged)", hint=_DAMAGED)
    if head[4:8] == b"ftyp" or head[:4] in (b"\x1a\x45\xdf\xa3",) or head[8:12] == b"AVI ":
        return MediaError(f"{path} is a video, not an image", hint="`gfla animate` and `gfla extract` take videos")
    if head[:4] == b"%PDF":
        return MediaError(f"{path} is a PDF, not an image", hint=_EXPORT)
    if b"<svg" in head:
        return MediaError(f"{path} is an SVG drawing, not an image of pixels", hint=_EXPORT)
    if head and b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return MediaError(f"{path} holds text, not an image", hint="was a web page saved instead of the image?")
    return MediaError(f"{path} is not an image in any known format", hint=_EXPORT)


def _silence_pillow(restore: ExitStack) -> None:
    """Turns off Pillow's warnings, log lines and size limit; `open_image` reports errors itself."""
    restore.enter_context(python_warnings_silenced)
    logger = logging.getLogger("PIL")
    restore.callback(logger.setLevel, logger.level)
    logger.setLevel(logging.CRITICAL + 1)
    restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = None


_quiet_pillow = ProcessWide(_silence_pillow)


def _rgb_conversion(picture: Image.Image) -> Any:
    """A function from a strip of the image to sRGB. It maps the value range of the whole image to 0..255."""
    to_srgb = _srgb_conversion(picture)
    if picture.mode.startswith("I;16"):
        return lambda strip: to_srgb(_grey(np.asarray(strip, dtype=np.float32) / np.float32(257)))
    if picture.mode in ("I", "F"):
        high = float(np.max(picture.getextrema()))
        scale = 1 / 257 if picture.format in ("PNG", "PPM") else _scale_of_wide_values(picture.mode, high)
        return lambda strip: to_srgb(_grey(np.nan_to_num(np.asarray(strip, dtype=np.float32)) * scale))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        return lambda strip: _over_white(strip.convert("RGBA"), to_srgb)
    return to_srgb


def _srgb_conversion(picture: Image.Image) -> _Conversion:
    """A function from a strip of the image without alpha channel to sRGB, by the image's colour profile."""
    embedded = picture.info.get("icc_profile", b"")
    if not embedded and picture.mode != "LAB":
        return _from_adobe_rgb if _means_adobe_rgb(picture) else _plain
    from PIL import ImageCms

    def transform(profile: Any, mode: str) -> _Conversion:
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        srgb = ImageCms.createProfile("sRGB")
        colours = ImageCms.buildTransform(profile, srgb, mode, "RGB", intent, flags)

        def applied(strip: Image.Image) -> Image.Image:
            converted = ImageCms.applyTransform(strip if strip.mode == mode else strip.convert(mode), colours)
            assert converted is not None
            return converted

        return applied

    if picture.mode == "LAB":
        return transform(ImageCms.createProfile("LAB"), "LAB")
    # A damaged profile, or one for another kind of image, does not count; browsers ignore it, too.
    with suppress(ImageCms.PyCMSError, OSError, AttributeError, TypeError):
        profile = ImageCms.getOpenProfile(BytesIO(embedded))
        space = profile.profile.xcolor_space.strip()
        if space == "CMYK" and picture.mode == "CMYK":
            return transform(profile, "CMYK")
        if space == "GRAY" and (picture.mode[0] in "1LIF" or picture.mode in ("PA", "P")):
            return transform(profile, "L")
        if space == "RGB" and picture.mode != "CMYK":
            convert = transform(profile, "RGB")
            changed = np.asarray(convert(Image.fromarray(_COLOURS)), np.int16) - _COLOURS
            return convert if np.abs(changed).max() > _ROUNDING else _plain
    return _plain


def _plain(strip: Image.Image) -> Image.Image:
    return strip.convert("RGB")


def _means_adobe_rgb(picture: Image.Image) -> bool:
    """Whether a camera says in EXIF that the colours are Adobe RGB; it then embeds no profile (DCF 2.0)."""
    with suppress(Exception):  # the EXIF block may be damaged
        return picture.getexif().get_ifd(ExifTags.IFD.Interop).get(1) == "R03"
    return False


def _from_adobe_rgb(strip: Image.Image) -> Image.Image:
    return strip.convert("RGB").filter(_adobe_rgb_table())


@cache
def _adobe_rgb_table() -> ImageFilter.Color3DLUT:
    """Adobe RGB (1998) to sRGB: gamma 563/256, primaries by IEC 61966-2-5, white D65 in both."""

    def converted(*adobe: float) -> tuple[float, ...]:
        red, green, blue = (value ** (563 / 256) for value in adobe)
        linear = (1.39836 * red - 0.39836 * green, green, 1.04293 * blue - 0.04293 * green)
        return tuple(12.92 * v if v <= 0.0031308 else 1.055 * min(v, 1.0) ** (1 / 2.4) - 0.055 for v in linear)

    return ImageFilter.Color3DLUT.generate(33, converted)


def _scale_of_wide_values(mode: str, high: float) -> float:
    """The factor for 32-bit grey values. Files do not define white, so the largest value decides."""
    if mode == "F" and high <= 1.5:
        return 255.0
    if high <= 255:
        return 1.0
    return 255 / (65_535 if high <= 65_535 else high)


def _grey(values: Float32Array) -> Image.Image:
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))


def _over_white(strip: Image.Image, to_srgb: _Conversion) -> Image.Image:
    coloured = to_srgb(strip.convert("RGB"))
    coloured.putalpha(strip.getchannel("A"))
    paper = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
    return Image.alpha_composite(paper, coloured).convert("RGB")
