"""Read and write image files, and convert between uint8 arrays and tensors.

Outside the networks an image is `uint8 (H, W, 3)` RGB; inside it is float `(1, 3, H, W)` RGB in [-1, 1].
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gfla_cli.arrays import ByteArray, Float32Array
from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io.files import atomic_path, files_of

if TYPE_CHECKING:
    from torch import Tensor


READABLE = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".ppm", ".pgm", ".jp2"),
    *(".heic", ".heif", ".hif"),  # with the package pillow-heif; without it, an error names the package
)
# suffix -> Pillow's name, its options, the longest side the format can store
_WRITABLE: dict[str, tuple[str, dict[str, Any], int]] = {
    ".png": ("PNG", {"compress_level": 4}, 1 << 31),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}, 65_500),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}, 65_500),
    ".webp": ("WEBP", {"quality": 95}, 16_383),
    ".bmp": ("BMP", {}, 32_767),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}, 1 << 31),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}, 1 << 31),
}
WRITABLE = tuple(_WRITABLE)
WITH_ALPHA = (".png", ".webp")
_RESULT, _SOFTWARE_TAG = "gfla", 0x0131  # what results say, and where in EXIF they do
# A file, the bytes of one, (H, W, 3) uint8 RGB, or what NumPy sees as such an array: a PIL image, a torch tensor, ...
ImageSource = Path | str | bytes | ByteArray | Any
Pixels = TypeVar("Pixels", ByteArray, Float32Array)


def read_image(path: Path | str, max_side: int | None = None) -> ByteArray:
    """An image file as (H, W, 3) uint8 sRGB: turned upright by its EXIF orientation, transparency over white.

    Colours are brought to sRGB by the embedded profile. Of several frames or pages the first is read (see
    `is_animated`). `max_side` limits the longer side in pixels.
    Raises MediaError when the file is missing, damaged or no image, below 16 px a side or above 200 megapixels.
    """
    from gfla_cli.io.image_decoding import decode, open_image

    with open_image(Path(path)) as image:
        return decode(image, max_side)


def check_image_file(path: Path | str) -> None:
    """Raises the MediaError of `read_image` if the file's header already tells that it cannot be read."""
    from gfla_cli.io.image_decoding import open_image

    with open_image(Path(path)):
        pass


def load_image(source: ImageSource, max_side: int | None = None) -> ByteArray:
    """A file read by `read_image`, or an array in its own size. Raises MediaError when it is no image."""
    if isinstance(source, str | PathLike):
        return read_image(Path(source), max_side)
    if isinstance(source, bytes | bytearray | memoryview):
        return _read_bytes(bytes(source), max_side)
    try:
        if hasattr(source, "convert"):  # a PIL image in any mode
            source = source.convert("RGB")
        source = np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)
        check_image(source)
    except (TypeError, RuntimeError, OSError) as error:
        what = f"a {type(source).__name__} is not an image"
        raise MediaError(what, hint="give a uint8 RGB array (H, W, 3), or a file name") from error
    except ValueError as error:
        raise MediaError(str(error), hint="give a uint8 RGB array (H, W, 3), or a file name") from error
    return source


def _read_bytes(content: bytes, max_side: int | None) -> ByteArray:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            return read_image(path, max_side)
        except MediaError as error:
            raise MediaError(str(error).replace(str(path), "the image"), hint=error.hint) from error


def image_name(source: ImageSource) -> str:
    """The image's name in messages."""
    return str(source) if isinstance(source, str | PathLike) else "the image"


def is_animated(path: Path | str) -> bool:
    """Whether the file holds several frames or pages; `read_image` reads the first. Raises MediaError."""
    from gfla_cli.io.image_decoding import open_image

    with open_image(Path(path)) as image:
        # The further images of MPO and HEIC files are depth and gain maps of a phone's photograph.
        return image.format not in ("MPO", "HEIF") and int(getattr(image, "n_frames", 1)) > 1


def is_result(path: Path | str) -> bool:
    """Whether the file says that `write_image` wrote it as a result. False for files that cannot be read."""
    from gfla_cli.io.image_decoding import open_image

    if Path(path).suffix.lower() not in WRITABLE:
        return False
    try:
        with open_image(Path(path)) as image:
            return _RESULT in (image.info.get("Software"), image.getexif().get(_SOFTWARE_TAG))
    except MediaError:
        return False


def write_image(path: Path | str, image: ByteArray, *, overwrite: bool = False, result: bool = False) -> None:
    """Writes (H, W, 3) uint8 sRGB, or (H, W, 4) with alpha, in the format of the suffix, tagged as sRGB but for BMP.

    `result`: the file says that gfla made it, see `is_result`. BMP files cannot say so.
    The file appears complete or not at all. Raises UsageError for an unknown suffix, for one that cannot hold
    transparency when there is an alpha channel, and for an existing file (unless `overwrite`). Missing folders
    are made. Raises MediaError when the image is too large for the format or the disk refuses.
    """
    path = Path(path)
    check_image(image[..., :3] if image.ndim == 3 and image.shape[2] == 4 else image)
    if path.suffix.lower() not in _WRITABLE:
        what = f"images cannot be written as {path.suffix}" if path.suffix else "its name has no suffix"
        raise UsageError(f"{path}: {what}", hint=f"known: {' '.join(WRITABLE)}")
    if image.shape[2] == 4 and path.suffix.lower() not in WITH_ALPHA:
        raise UsageError(f"{path}: {path.suffix} files have no transparency", hint=f"write {' or '.join(WITH_ALPHA)}")
    name, options, longest = _WRITABLE[path.suffix.lower()]
    if max(image.shape) > longest:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise MediaError(f"{path}: a {path.suffix} image cannot be {size}", hint="write a .png instead")
    with atomic_path(path, overwrite=overwrite) as temporary:
        # Not by Pillow, which would report a full disk as "encoder error -2".
        temporary.write_bytes(encoded(image, name, **options, **_tags(name, result=result)))


def encoded(image: ByteArray, name: str, **options: Any) -> bytes:
    """The content of an image file in the format `name` of Pillow, with its options; by default those of Pillow."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, format=name, **options)
    return file.getvalue()


def _tags(name: str, *, result: bool) -> dict[str, Any]:
    """The options with which Pillow writes into a file of that format that it is sRGB, and that gfla made it."""
    from PIL import Image, PngImagePlugin

    if name == "BMP":
        return {}
    if name == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add(b"sRGB", b"\1")  # relative colorimetric
        if result:
            chunks.add_text("Software", _RESULT)
        return {"pnginfo": chunks}
    exif = Image.Exif()
    if result:
        exif[_SOFTWARE_TAG] = _RESULT
    return {"icc_profile": _srgb_profile(), **({"exif": exif} if result else {})}


@cache
def _srgb_profile() -> bytes:
    """The ICC profile of sRGB. The same bytes every time: without the date that it was made on."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)
    return bytes(profile)


def through_jpeg(image: ByteArray, quality: int) -> ByteArray:
    """(H, W, 3) uint8 RGB compressed as JPEG of that quality, by Pillow's defaults, and decoded again."""
    from PIL import Image

    return np.asarray(Image.open(BytesIO(encoded(image, "JPEG", quality=quality))).convert("RGB"))


def find_images(folder: Path | str, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder, sorted by name, without hidden ones. Raises MediaError if there are none."""
    found = files_of(Path(folder), READABLE, recursive=recursive)
    if not found:
        raise MediaError(f"{folder}: no images in this folder", hint=f"looked for {' '.join(READABLE)}")
    return found


def reduced(image: Pixels, longest: int) -> Pixels:
    """(H, W) or (H, W, C), uint8 or float32, reduced until no side is longer than `longest` pixels."""
    import cv2  # takes a tenth of a second, and most commands look at their input first

    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), image.dtype)


def at_size(image: ByteArray, size: tuple[int, int]) -> ByteArray:
    """(H, W, C) at `size` (height, width): averaged when it shrinks, cubic when it grows."""
    import cv2

    if image.shape[:2] == size:
        return image
    method = cv2.INTER_AREA if image.shape[0] > size[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.uint8)


def check_image(image: ByteArray) -> None:
    """Raises ValueError unless the array is (H, W, 3) uint8 with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image is uint8 RGB (H, W, 3), got {image.dtype} {image.shape}")


def to_planes(image: ByteArray) -> Float32Array:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [-1, 1]. Raises ValueError for another shape or type."""
    check_image(image)
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(127.5) - np.float32(1)


def from_planes(planes: Float32Array) -> ByteArray:
    """(1, 3, H, W) float32, nominally in [-1, 1] -> (H, W, 3) uint8, rounded and clipped. Raises ValueError."""
    if planes.ndim != 4 or planes.shape[:2] != (1, 3):
        raise ValueError(f"one image is (1, 3, H, W), got {planes.shape}")
    levels = np.rint((planes[0].transpose(1, 2, 0) + 1) * np.float32(127.5)).clip(0, 255)
    return np.ascontiguousarray(levels, np.uint8)


def to_tensor(image: ByteArray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 tensor in [-1, 1]."""
    import torch

    return torch.from_numpy(to_planes(image))


def to_uint8(tensor: Tensor) -> ByteArray:
    """(1, 3, H, W) or (3, H, W), any float type, nominally in [-1, 1] -> (H, W, 3) uint8, rounded and clipped."""
    planes = tensor.detach().float().cpu().numpy()
    return from_planes(planes if planes.ndim == 4 else planes[None])
